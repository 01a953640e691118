//! What can be read: the tables, and over them what the journal holds beyond.

use std::cell::Cell;
use std::cmp::Ordering;
use std::ops::{ControlFlow, Range};

use redb::{
    AccessGuard, Database, Key, ReadTransaction, ReadableDatabase, StorageError, TableError, Value,
    WriteTransaction,
};

use super::changes::{Overlay, message_bytes, part_bytes, retained_bytes, session_bytes};
use super::schema::{MSG, PART, RETAINED, SESSION, WIDE_SESSION};
use crate::store::error::Error;
use crate::store::rows::part::session_of;
use crate::store::rows::session::{NarrowKey, SessionKey, narrow};

/// Whether a visitor wants the next row.
pub(in crate::store) type Flow = Result<ControlFlow<()>, Error>;

/// A visitor goes on.
pub(in crate::store) const CONTINUE: Flow = Ok(ControlFlow::Continue(()));

/// All rows, as one.
pub(in crate::store) struct View<'a> {
    pub(in crate::store) txn: ReadTransaction,
    overlay: &'a Overlay,
    /// Bytes of the rows of the tables that were passed, whatever the journal has in their place.
    stored: Cell<u64>,
}

impl<'a> View<'a> {
    pub(in crate::store) fn new(
        database: &Database,
        overlay: &'a Overlay,
    ) -> Result<View<'a>, Error> {
        Ok(View {
            txn: database.begin_read()?,
            overlay,
            stored: Cell::new(0),
        })
    }

    /// Bytes of all rows of the tables, once everything was visited or passed.
    pub(in crate::store) fn stored_bytes(&self) -> u64 {
        self.stored.get()
    }

    /// Visits the messages among `ids`, rising.
    pub(in crate::store) fn messages(
        &self,
        ids: Range<u64>,
        mut visit: impl FnMut(u64, &[u8]) -> Flow,
    ) -> Flow {
        if ids.is_empty() {
            return CONTINUE;
        }
        let table = self.txn.open_table(MSG)?;
        // What the journal deletes may be most of a backlog: it isn't read.
        for ids in self.overlay.deletes.gaps(ids) {
            let over = self.overlay.messages.range(ids.clone());
            let flow = merge::<u64>(
                table.range(ids)?,
                over.map(|(id, row)| (*id, Some(&**row))),
                |_, row| self.count(message_bytes(row)),
                &mut visit,
            )?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        CONTINUE
    }

    /// Passes the messages that the journal deletes from the tables.
    pub(in crate::store) fn pass_deleted(&self) -> Result<(), Error> {
        let table = self.txn.open_table(MSG)?;
        for ids in self.overlay.deletes.iter() {
            for entry in table.range(ids)? {
                self.count(message_bytes(entry?.1.value()));
            }
        }
        Ok(())
    }

    fn count(&self, bytes: u64) {
        self.stored.set(self.stored.get() + bytes);
    }

    /// Visits the rows of sessions, by number and kind.
    pub(in crate::store) fn sessions(
        &self,
        mut visit: impl FnMut(SessionKey, &[u8]) -> Flow,
    ) -> Flow {
        let over = self.overlay.sessions.iter();
        let over = over.map(|(key, row)| (*key, row.as_deref()));
        let table = self.txn.open_table(SESSION)?;
        let narrowed = over
            .clone()
            .filter_map(|(key, row)| Some((narrow(key)?, row)));
        let flow = merge::<NarrowKey>(
            table.range::<NarrowKey>(..)?,
            narrowed,
            |_, row| self.count(session_bytes(row)),
            |(id, kind), row| visit((id.into(), kind), row),
        )?;
        if flow.is_break() {
            return Ok(flow);
        }
        let table = match self.txn.open_table(WIDE_SESSION) {
            Err(TableError::TableDoesNotExist(_)) => None,
            other => Some(other?),
        };
        let base = table
            .map(|table| table.range::<SessionKey>(..))
            .transpose()?;
        merge::<SessionKey>(
            base.into_iter().flatten(),
            over.filter(|(key, _)| narrow(*key).is_none()),
            |_, row| self.count(session_bytes(row)),
            visit,
        )
    }

    /// Visits the retained messages, by topic.
    pub(in crate::store) fn retained(&self, visit: impl FnMut(&str, &[u8]) -> Flow) -> Flow {
        let table = self.txn.open_table(RETAINED)?;
        let over = self.overlay.retained.iter();
        merge::<&'static str>(
            table.range::<&str>(..)?,
            over.map(|(topic, row)| (&**topic, row.as_deref())),
            |topic, row| self.count(retained_bytes(topic, row)),
            visit,
        )
    }

    /// Visits the parts of sessions, by key. Those of sessions that the journal deletes are passed.
    pub(in crate::store) fn parts(&self, visit: impl FnMut(&[u8], &[u8]) -> Flow) -> Flow {
        let table = match self.txn.open_table(PART) {
            Err(TableError::TableDoesNotExist(_)) => None,
            other => Some(other?),
        };
        let base = table.map(|table| table.range::<&[u8]>(..)).transpose()?;
        let base = base.into_iter().flatten().filter(|entry| {
            let Ok((key, row)) = entry else { return true };
            let (key, row) = (key.value(), row.value());
            let id = session_of(key);
            let has_ended = id.is_some_and(|id| self.overlay.ended.contains(&id.0));
            if has_ended {
                self.count(part_bytes(key, row));
            }
            !has_ended
        });
        let over = self.overlay.parts.iter();
        merge::<&'static [u8]>(
            base,
            over.map(|(key, row)| (&**key, row.as_deref())),
            |key, row| self.count(part_bytes(key, row)),
            visit,
        )
    }

    /// Copies all rows into empty tables; returns their bytes.
    pub(in crate::store) fn copy(&self, txn: &WriteTransaction) -> Result<u64, Error> {
        let mut bytes = 0;
        let mut table = txn.open_table(MSG)?;
        let mut cursor = table.upper_bound_mut(std::ops::Bound::<u64>::Unbounded)?;
        let _ = self.messages(0..u64::MAX, |id, row| {
            bytes += message_bytes(row);
            cursor.insert_before(id, row)?;
            CONTINUE
        })?;
        cursor.close()?;
        let mut table = txn.open_table(SESSION)?;
        let mut wide_table = None;
        let _ = self.sessions(|key, row| {
            bytes += session_bytes(row);
            if let Some(key) = narrow(key) {
                table.insert(key, row)?;
                return CONTINUE;
            }
            let table = match &mut wide_table {
                Some(table) => table,
                None => wide_table.insert(txn.open_table(WIDE_SESSION)?),
            };
            table.insert(key, row)?;
            CONTINUE
        })?;
        let mut table = txn.open_table(RETAINED)?;
        let _ = self.retained(|topic, row| {
            bytes += retained_bytes(topic, row);
            table.insert(topic, row)?;
            CONTINUE
        })?;
        let mut table = None;
        let _ = self.parts(|key, row| {
            bytes += part_bytes(key, row);
            let table = match &mut table {
                Some(table) => table,
                None => table.insert(txn.open_table(PART)?),
            };
            table.insert(key, row)?;
            CONTINUE
        })?;
        Ok(bytes)
    }
}

/// A row of a table, with its key.
type Entry<K> = (AccessGuard<'static, K>, AccessGuard<'static, &'static [u8]>);

/// Visits the rows of a table that no row of `over` replaces, and those of `over` that are not
/// deletions, in the order of keys. `pass` sees all rows of the table.
fn merge<'o, K: Key + 'static>(
    base: impl Iterator<Item = Result<Entry<K>, StorageError>>,
    over: impl Iterator<Item = (K::SelfType<'o>, Option<&'o [u8]>)>,
    mut pass: impl for<'k> FnMut(&K::SelfType<'k>, &[u8]),
    mut visit: impl for<'k> FnMut(K::SelfType<'k>, &[u8]) -> Flow,
) -> Flow {
    let mut over = over.peekable();
    for entry in base {
        let (key, row) = entry?;
        let (key, row) = (key.value(), row.value());
        let mut replaced = false;
        while let Some((new, new_row)) = over.next_if(|(new, _)| compare::<K>(new, &key).is_le()) {
            replaced |= compare::<K>(&new, &key).is_eq();
            if let Some(new_row) = new_row
                && visit(new, new_row)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        pass(&key, row);
        if !replaced && visit(key, row)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    for (key, row) in over {
        if let Some(row) = row
            && visit(key, row)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    CONTINUE
}

fn compare<K: Key + 'static>(a: &K::SelfType<'_>, b: &K::SelfType<'_>) -> Ordering {
    K::compare(
        <K as Value>::as_bytes(a).as_ref(),
        <K as Value>::as_bytes(b).as_ref(),
    )
}
