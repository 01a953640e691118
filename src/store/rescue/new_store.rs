//! The new store that the rows go to.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::ops::Range;

use redb::{Database, Key, ReadableTable};

use super::report::Rescued;
use super::row::{Table, is_worth_when_old, message_id, session_key, topic};
use super::walk::Sink;
use crate::impossible;
use crate::store::error::Error;
use crate::store::rows::codec::slice;
use crate::store::rows::format::Format;
use crate::store::rows::part;
use crate::store::rows::session::{IDENTITY, narrow};
use crate::store::rows::state;
use crate::store::tables::meta::Meta;
use crate::store::tables::schema::{MSG, PART, RETAINED, SESSION, WIDE_SESSION};

/// Bytes of rows in one commit.
const CHUNK_BYTES: usize = 256 << 10;

/// An empty store that fills, commit by commit.
pub(super) struct NewStore {
    database: Database,
    chunk: Chunk,
    /// Sessions whose identity is known to be the last version.
    live: HashSet<u64>,
    /// What the new store is to say of itself.
    meta: Meta,
    /// That is what the damaged one said: the journal goes on from there.
    is_known: bool,
    done: Counts,
    /// The first error; nothing is taken any more.
    error: Option<Error>,
}

/// What was committed.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) rescued: Rescued,
    /// Rows, of which a session has two and its parts.
    pub(super) rows: u64,
}

/// Rows for the next commit.
#[derive(Default)]
struct Chunk {
    arena: Vec<u8>,
    rows: Vec<Row>,
}

struct Row {
    table: Table,
    key: Range<usize>,
    row: Range<usize>,
    is_live: bool,
}

impl NewStore {
    /// Fills `database`, an empty store.
    pub(super) fn new(database: Database) -> NewStore {
        NewStore {
            database,
            chunk: Chunk::default(),
            live: HashSet::new(),
            meta: Meta::new_store(),
            is_known: false,
            done: Counts::default(),
            error: None,
        }
    }

    /// Why it takes no more rows.
    pub(super) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Commits what is left and closes the store. `of_journal`: what the journal says of its store.
    pub(super) fn finish(mut self, of_journal: Option<Meta>) -> (Counts, Option<Error>) {
        if let Some(meta) = of_journal.filter(|_| !self.is_known) {
            (self.meta.id, self.meta.applied) = (meta.id, meta.applied);
        }
        self.commit();
        (self.done, self.error)
    }

    fn commit(&mut self) {
        if self.error.is_some() {
            return;
        }
        match self.try_commit() {
            Ok(done) => self.done = done,
            Err(e) => self.error = Some(e),
        }
        self.chunk.arena.clear();
        self.chunk.arena.shrink_to(CHUNK_BYTES);
        self.chunk.rows.clear();
    }

    fn try_commit(&self) -> Result<Counts, Error> {
        let mut done = self.done;
        let txn = self.database.begin_write()?;
        {
            let mut messages = txn.open_table(MSG)?;
            let mut sessions = txn.open_table(SESSION)?;
            let mut retained = txn.open_table(RETAINED)?;
            for row in self.chunk.rows() {
                let counts = &mut done.rescued;
                let is_new = match row.table {
                    Table::Meta => false,
                    Table::Message => {
                        let Some(id) = message_id(row.key) else {
                            unaccepted(&row);
                            continue;
                        };
                        let is_new = put(&mut messages, id.0, &row)?;
                        counts.messages += u64::from(is_new);
                        is_new
                    }
                    Table::Session | Table::WideSession => {
                        let Some(key) = session_key(row.key) else {
                            unaccepted(&row);
                            continue;
                        };
                        let is_new = match narrow(key) {
                            Some(key) => put(&mut sessions, key, &row)?,
                            None => put(&mut txn.open_table(WIDE_SESSION)?, key, &row)?,
                        };
                        counts.sessions += u64::from(is_new && key.1 == IDENTITY);
                        is_new
                    }
                    Table::Part => put(&mut txn.open_table(PART)?, row.key, &row)?,
                    Table::Retained => {
                        let Some(topic) = topic(row.key) else {
                            unaccepted(&row);
                            continue;
                        };
                        let is_new = put(&mut retained, topic, &row)?;
                        counts.retained += u64::from(is_new);
                        is_new
                    }
                };
                done.rows += u64::from(is_new);
            }
        }
        self.meta.write(&txn)?;
        txn.commit()?;
        Ok(done)
    }

    /// Notes what the damaged store says of itself.
    fn meta(&mut self, key: &[u8], row: &[u8]) {
        match self.meta.take(key, row) {
            Ok(known) => self.is_known |= known,
            // Counts for more than a full disk.
            Err(newer) => self.error = Some(newer),
        }
    }
}

impl Sink for NewStore {
    fn row(&mut self, table: Table, key: &[u8], row: &[u8], is_live: bool) {
        if table == Table::Meta {
            return self.meta(key, row);
        }
        if !is_live && !is_worth_when_old(table, key, row) {
            return;
        }
        let format = match table {
            Table::Session | Table::WideSession => {
                session_key(key).map_or(Format::First, |key| state::format_of(key, row))
            }
            Table::Part => part::format_of(key, row),
            Table::Meta | Table::Retained | Table::Message => Format::First,
        };
        self.meta.format = self.meta.format.max(format);
        if let (Table::Session | Table::WideSession, Some((id, IDENTITY))) =
            (table, session_key(key))
        {
            // Its age doesn't show for certain.
            if is_live {
                self.live.insert(id);
            } else if self.live.contains(&id) {
                return;
            }
        }
        if self.error.is_some() {
            return;
        }
        self.chunk.push(table, key, row, is_live);
        if self.chunk.arena.len() >= CHUNK_BYTES {
            self.commit();
        }
    }
}

/// A row of a chunk.
struct RowRef<'a> {
    table: Table,
    key: &'a [u8],
    row: &'a [u8],
    is_live: bool,
}

impl Chunk {
    fn push(&mut self, table: Table, key: &[u8], row: &[u8], is_live: bool) {
        let start = self.arena.len();
        self.arena.extend_from_slice(key);
        let middle = self.arena.len();
        self.arena.extend_from_slice(row);
        self.rows.push(Row {
            table,
            key: start..middle,
            row: middle..self.arena.len(),
            is_live,
        });
    }

    fn rows(&self) -> impl Iterator<Item = RowRef<'_>> {
        self.rows.iter().map(move |row| RowRef {
            table: row.table,
            key: slice(&self.arena, &row.key),
            row: slice(&self.arena, &row.row),
            is_live: row.is_live,
        })
    }
}

/// Every row was asked about before: [`Table::accepts`] knows keys that are none.
fn unaccepted(row: &RowRef<'_>) {
    impossible!("{:?} is the key of a row of {:?}", row.key, row.table);
}

/// Puts a row unless a newer version is there; whether there was none.
fn put<'k, K: Key>(
    table: &mut redb::Table<'_, K, &'static [u8]>,
    key: impl Borrow<K::SelfType<'k>>,
    row: &RowRef<'_>,
) -> Result<bool, Error> {
    // Only a search comes upon several versions.
    if !row.is_live
        && let Some(there) = table.get(key.borrow())?
        && !row.table.is_newer(row.key, row.row, there.value())
    {
        return Ok(false);
    }
    Ok(table.insert(key, row.row)?.is_none())
}
