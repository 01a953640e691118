//! Changes to rows, folded: of each row only the last word counts.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};

use redb::{
    CursorError, Key, ReadableTable, Table, TableDefinition, TableHandle, WriteTransaction,
};

use super::schema::{MSG, PART, RETAINED, SESSION, WIDE_SESSION};
use crate::message::SessionId;
use crate::store::error::Error;
use crate::store::rows::batch::Batch;
use crate::store::rows::part::keys_of;
use crate::store::rows::session::{IDENTITY, SessionKey, narrow};

/// The changes of one or more batches. `T` is a topic and `R` a row, owned or borrowed; `None`
/// deletes.
pub(in crate::store) struct Changes<T, R> {
    pub(in crate::store) messages: BTreeMap<u64, R>,
    /// Messages to delete; none of them is in `messages`.
    pub(in crate::store) deletes: Runs,
    pub(in crate::store) sessions: BTreeMap<SessionKey, Option<R>>,
    pub(in crate::store) retained: BTreeMap<T, Option<R>>,
    pub(in crate::store) parts: BTreeMap<R, Option<R>>,
    /// The sessions whose parts in the tables are to be deleted, for they were deleted themselves.
    pub(in crate::store) ended: BTreeSet<u64>,
}

/// What the journal holds beyond the tables.
pub(in crate::store) type Overlay = Changes<Box<str>, Box<[u8]>>;

impl<T, R> Default for Changes<T, R> {
    fn default() -> Changes<T, R> {
        Changes {
            messages: BTreeMap::new(),
            deletes: Runs::default(),
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            parts: BTreeMap::new(),
            ended: BTreeSet::new(),
        }
    }
}

impl<T: Ord + Borrow<str>, R: Ord + Borrow<[u8]>> Changes<T, R> {
    /// True if nothing is changed.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.deletes.is_empty()
            && self.sessions.is_empty()
            && self.retained.is_empty()
            && self.parts.is_empty()
    }

    /// Adds a batch, whose puts come before its deletes. What it deletes below `end` must be
    /// deleted from the tables too; they have no message from there on.
    pub(in crate::store) fn absorb<'b>(&mut self, batch: &'b Batch, end: u64)
    where
        T: From<&'b str>,
        R: From<&'b [u8]>,
    {
        for (id, row) in batch.messages() {
            self.deletes.remove(id);
            self.messages.insert(id, row.into());
        }
        for ids in batch.deletes() {
            self.delete(ids.clone(), end);
        }
        for (key, row) in batch.sessions() {
            if let ((id, IDENTITY), None) = (key, row) {
                self.end(SessionId(id));
            }
            self.sessions.insert(key, row.map(R::from));
        }
        for (key, row) in batch.parts() {
            self.parts.insert(key.into(), row.map(R::from));
        }
        for (topic, row) in batch.retained() {
            self.retained.insert(topic.into(), row.map(R::from));
        }
    }

    fn delete(&mut self, ids: Range<u64>, end: u64) {
        if ids.is_empty() {
            return;
        }
        let gone: Vec<u64> = self
            .messages
            .range(ids.clone())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.messages.remove(&id);
        }
        self.deletes.insert(ids.start..ids.end.min(end));
    }

    /// Deletes the parts that a session has.
    fn end(&mut self, id: SessionId) {
        self.ended.insert(id.0);
        if self.parts.is_empty() {
            return;
        }
        let (from, to) = keys_of(id);
        let mut of_it = self.parts.split_off(from.as_slice());
        let mut rest = of_it.split_off(to.as_slice());
        self.parts.append(&mut rest);
    }

    /// The same changes, borrowed.
    pub(in crate::store) fn borrowed(&self) -> Changes<&str, &[u8]> {
        let messages = self.messages.iter().map(|(id, row)| (*id, row.borrow()));
        let sessions = self.sessions.iter();
        let retained = self.retained.iter();
        let parts = self.parts.iter();
        Changes {
            messages: messages.collect(),
            deletes: self.deletes.clone(),
            sessions: sessions
                .map(|(key, row)| (*key, row.as_ref().map(R::borrow)))
                .collect(),
            retained: retained
                .map(|(topic, row)| (topic.borrow(), row.as_ref().map(R::borrow)))
                .collect(),
            parts: parts
                .map(|(key, row)| (key.borrow(), row.as_ref().map(R::borrow)))
                .collect(),
            ended: self.ended.clone(),
        }
    }

    /// Writes all to the tables.
    pub(in crate::store) fn write(&self, txn: &WriteTransaction) -> Result<Balance, Error> {
        let mut balance = Balance::default();
        self.write_messages(txn, &mut balance)?;
        self.write_sessions(txn, &mut balance)?;
        self.write_retained(txn, &mut balance)?;
        self.write_parts(txn, &mut balance)?;
        Ok(balance)
    }

    fn write_messages(&self, txn: &WriteTransaction, balance: &mut Balance) -> Result<(), Error> {
        if self.messages.is_empty() && self.deletes.is_empty() {
            return Ok(());
        }
        let mut table = txn.open_table(MSG)?;
        for ids in self.deletes.iter() {
            table.retain_in(ids, |_, row| {
                balance.removed += message_bytes(row);
                false
            })?;
        }
        let messages = self.messages.iter().map(|(id, row)| (*id, row.borrow()));
        put_messages(&mut table, messages, balance)
    }

    fn write_sessions(&self, txn: &WriteTransaction, balance: &mut Balance) -> Result<(), Error> {
        let rows = self.sessions.iter();
        let rows = rows.map(|(key, row)| (*key, row.as_ref().map(R::borrow)));
        let narrowed = rows
            .clone()
            .filter_map(|(key, row)| Some((narrow(key)?, row)));
        let wide = rows.filter(|(key, _)| narrow(*key).is_none());
        put_sessions(txn, SESSION, narrowed, balance)?;
        put_sessions(txn, WIDE_SESSION, wide, balance)
    }

    fn write_retained(&self, txn: &WriteTransaction, balance: &mut Balance) -> Result<(), Error> {
        if self.retained.is_empty() {
            return Ok(());
        }
        let mut table = txn.open_table(RETAINED)?;
        for (topic, row) in &self.retained {
            let topic = topic.borrow();
            let row = row.as_ref().map(R::borrow);
            let old = match row {
                Some(row) => table.insert(topic, row)?,
                None => table.remove(topic)?,
            };
            balance.removed += old.map_or(0, |old| retained_bytes(topic, old.value()));
            balance.added += row.map_or(0, |row| retained_bytes(topic, row));
        }
        Ok(())
    }

    /// Writes the parts of sessions. Their table is made with the first of them.
    fn write_parts(&self, txn: &WriteTransaction, balance: &mut Balance) -> Result<(), Error> {
        let is_there = || -> Result<bool, Error> {
            Ok(txn.list_tables()?.any(|table| table.name() == PART.name()))
        };
        if self.parts.is_empty() && (self.ended.is_empty() || !is_there()?) {
            return Ok(());
        }
        let mut table = txn.open_table(PART)?;
        for id in &self.ended {
            let (from, to) = keys_of(SessionId(*id));
            let keys = from.as_slice()..to.as_slice();
            if table.range::<&[u8]>(keys.clone())?.next().is_none() {
                continue;
            }
            table.retain_in::<&[u8], _>(keys, |key, row| {
                balance.removed += part_bytes(key, row);
                false
            })?;
        }
        for (key, row) in &self.parts {
            let key = key.borrow();
            let row = row.as_ref().map(R::borrow);
            let old = match row {
                Some(row) => table.insert(key, row)?,
                None => table.remove(key)?,
            };
            balance.removed += old.map_or(0, |old| part_bytes(key, old.value()));
            balance.added += row.map_or(0, |row| part_bytes(key, row));
        }
        Ok(())
    }
}

/// Writes rows of sessions to one of their tables, which is touched only if there are any.
fn put_sessions<'r, K>(
    txn: &WriteTransaction,
    table: TableDefinition<'_, K, &'static [u8]>,
    rows: impl Iterator<Item = (K, Option<&'r [u8]>)>,
    balance: &mut Balance,
) -> Result<(), Error>
where
    K: for<'k> Key<SelfType<'k> = K> + 'static,
{
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut table = txn.open_table(table)?;
    for (key, row) in rows {
        let old = match row {
            Some(row) => table.insert(key, row)?,
            None => table.remove(key)?,
        };
        balance.removed += old.map_or(0, |old| session_bytes(old.value()));
        balance.added += row.map_or(0, session_bytes);
    }
    Ok(())
}

/// Appends through a cursor, which fills pages and is cheaper than inserting each on its own;
/// what isn't new and rising, as in a commit tried again, is inserted. The cursor gathers what it
/// is given before it makes pages of it: that is redb's own copy, and to reserve the place of each
/// row in its page instead would cost two, one of zeroes.
fn put_messages<'r>(
    table: &mut Table<'_, u64, &'static [u8]>,
    messages: impl Iterator<Item = (u64, &'r [u8])>,
    balance: &mut Balance,
) -> Result<(), Error> {
    let mut messages = messages.peekable();
    let mut cursor = table.upper_bound_mut(Bound::<u64>::Unbounded)?;
    while let Some(&(id, row)) = messages.peek() {
        match cursor.insert_before(id, row) {
            Ok(()) => balance.added += message_bytes(row),
            Err(CursorError::UnorderedKey) => break,
            Err(e) => return Err(e.into()),
        }
        messages.next();
    }
    cursor.close()?;
    for (id, row) in messages {
        balance.added += message_bytes(row);
        if let Some(old) = table.insert(id, row)? {
            balance.removed += message_bytes(old.value());
        }
    }
    Ok(())
}

/// How many bytes of rows a commit adds and removes.
#[derive(Default)]
pub(in crate::store) struct Balance {
    pub(in crate::store) added: u64,
    pub(in crate::store) removed: u64,
}

/// What a message row counts for.
pub(in crate::store) fn message_bytes(row: &[u8]) -> u64 {
    row.len() as u64
}

/// What a session row counts for.
pub(in crate::store) fn session_bytes(row: &[u8]) -> u64 {
    row.len() as u64
}

/// What a retained row counts for.
pub(in crate::store) fn retained_bytes(topic: &str, row: &[u8]) -> u64 {
    (topic.len() + row.len()) as u64
}

/// What the row of a part counts for.
pub(in crate::store) fn part_bytes(key: &[u8], row: &[u8]) -> u64 {
    (key.len() + row.len()) as u64
}

/// A set of ids as runs, each by its start, none touching another.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Runs(BTreeMap<u64, u64>);

impl Runs {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::store) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }

    /// How many ids there are.
    pub(in crate::store) fn len(&self) -> u64 {
        self.iter().map(|ids| ids.end - ids.start).sum()
    }

    /// What of `ids` is not in the set.
    pub(in crate::store) fn gaps(&self, ids: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let before = self.0.range(..=ids.start).next_back();
        let within = self.0.range(ids.start.saturating_add(1)..);
        let mut runs = before.into_iter().chain(within);
        let mut start = Some(ids.start);
        std::iter::from_fn(move || {
            loop {
                let from = start?;
                let run = runs.next().filter(|(next, _)| **next < ids.end);
                let Some((&next, &end)) = run else {
                    start = None;
                    return Some(from..ids.end);
                };
                start = Some(from.max(end));
                if from < next {
                    return Some(from..next);
                }
            }
        })
        .filter(|gap| !gap.is_empty())
    }

    fn remove(&mut self, id: u64) {
        let before = self.0.range_mut(..=id).next_back();
        if let Some((&start, end)) = before
            && id < *end
        {
            let rest = id + 1..*end;
            *end = id;
            if start == id {
                self.0.remove(&start);
            }
            self.insert(rest);
        }
    }

    fn insert(&mut self, ids: Range<u64>) {
        if ids.is_empty() {
            return;
        }
        let Range { mut start, mut end } = ids;
        while let Some((&from, &to)) = self.0.range(..=end).next_back()
            && to >= start
        {
            (start, end) = (start.min(from), end.max(to));
            self.0.remove(&from);
        }
        self.0.insert(start, end);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Runs;

    proptest! {
        #[test]
        fn runs_behave_like_a_set(
            changes in prop::collection::vec((any::<bool>(), 0..40u64, 0..9u64), 0..30),
            ids in (0..45u64, 0..45u64),
        ) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for (insert, id, len) in changes {
                if insert {
                    runs.insert(id..id + len);
                    set.extend(id..id + len);
                } else {
                    runs.remove(id);
                    set.remove(&id);
                }
                prop_assert!(runs.iter().flatten().eq(set.iter().copied()), "{:?}", runs);
                prop_assert_eq!(runs.len(), set.len() as u64);
            }
            let ids = ids.0..ids.1;
            let missing = ids.clone().filter(|id| !set.contains(id));
            prop_assert!(runs.gaps(ids).flatten().eq(missing), "{:?}", runs);
        }
    }
}
