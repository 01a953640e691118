//! The database: tables, commits and cold reads. Every call blocks on the disk.

use std::fs;
use std::ops::{Bound, Range};
use std::path::PathBuf;

use redb::backends::InMemoryBackend;
use redb::{
    CursorError, Database, ReadTransaction, ReadableDatabase, Table, TableDefinition, TableError,
    WriteTransaction,
};

use super::batch::Batch;
use super::codec::{put_varint, seal, unseal};
use super::error::Error;
use super::load::{Loaded, load};
use super::open::{self, Location};
use super::record::SessionKey;
use super::rescue;
use crate::message::MessageId;
use crate::time::Time;

/// Messages by number.
pub(super) const MSG: TableDefinition<u64, &[u8]> = TableDefinition::new("msg");
/// Identity and state of sessions.
pub(super) const SESSION: TableDefinition<SessionKey, &[u8]> = TableDefinition::new("session");
/// Retained messages by topic.
pub(super) const RETAINED: TableDefinition<&str, &[u8]> = TableDefinition::new("retained");
/// The format version and the time floor.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// The version of the tables and rows; rises when an older program would misread them.
pub(super) const FORMAT: u64 = 1;
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const FLOOR_KEY: &str = "floor";
/// How far, in milliseconds, the stored time floor may lag: its row costs a page a commit.
const FLOOR_STEP: u64 = 60_000;

/// A file up to this many bytes is never compacted.
const COMPACT_ABOVE: u64 = 4 << 20;
/// A file is worth compacting when it is this many times its live rows.
const COMPACT_RATIO: u64 = 4;

/// How a database is opened, the first time and after an error.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, Error> + Send>;

/// The open database. After an error its handle is dropped, and the next call opens it anew:
/// redb refuses all work once an I/O failed.
pub struct Db {
    database: Option<Database>,
    opener: Opener,
    /// The file, if it is one.
    path: Option<PathBuf>,
    /// Bytes of all rows, roughly: what compaction could shrink the file to.
    live: u64,
    floor: Time,
    /// The file's length after the last compaction: below twice that, another is no use.
    compacted: u64,
}

/// Message rows read back.
#[derive(Debug, Default)]
pub struct Rows {
    arena: Vec<u8>,
    rows: Vec<(MessageId, Range<usize>)>,
    /// Every id asked for below this was looked at; the rest wasn't read for want of room.
    pub through: MessageId,
}

impl Rows {
    /// The rows found, ascending, for [`decode_message`](super::decode_message).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (MessageId, &[u8])> {
        self.rows
            .iter()
            .map(|(id, span)| (*id, &self.arena[span.clone()]))
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    fn push(&mut self, id: MessageId, row: &[u8]) {
        let start = self.arena.len();
        self.arena.extend_from_slice(row);
        self.rows.push((id, start..self.arena.len()));
    }
}

impl Db {
    /// Opens the store, or creates it, and reads all but the backlog's payloads. A damaged file
    /// is set aside for one with what could be saved of it; [`Loaded::quarantined`] then says so.
    ///
    /// # Errors
    /// Whatever an operator has to cure: see [`Error`].
    pub fn open(location: Location) -> Result<(Db, Loaded), Error> {
        let path = match location {
            Location::Memory => return Db::in_memory(),
            Location::File(path) => path,
        };
        let resumed = rescue::resume(&path)?;
        open::create_if_absent(&path)?;
        let quarantined = match Db::open_file(path.clone()) {
            Err(e) if e.is_damage() => rescue::rescue(&path, &e)?,
            Ok((db, mut loaded)) if resumed => {
                loaded.quarantined = Some(rescue::resumed(&path, &loaded));
                return Ok((db, loaded));
            }
            other => return other,
        };
        let (db, mut loaded) = Db::open_file(path)?;
        loaded.quarantined = Some(quarantined);
        Ok((db, loaded))
    }

    fn open_file(path: PathBuf) -> Result<(Db, Loaded), Error> {
        let file = path.clone();
        let opener: Opener = Box::new(move || open::open_file(&file));
        let (mut db, loaded) = Db::with_opener(opener).map_err(|e| e.at(&path))?;
        db.path = Some(path);
        Ok((db, loaded))
    }

    fn in_memory() -> Result<(Db, Loaded), Error> {
        let database = open::builder()
            .create_with_backend(InMemoryBackend::new())
            .map_err(redb::Error::from)?;
        initialise(&database)?;
        let gone = || Err(Error::Corrupt("the memory is gone".into()));
        Db::with_database(database, Box::new(gone))
    }

    /// A store on whatever `opener` opens, already initialised.
    pub(super) fn with_opener(opener: Opener) -> Result<(Db, Loaded), Error> {
        let database = opener()?;
        Db::with_database(database, opener)
    }

    fn with_database(database: Database, opener: Opener) -> Result<(Db, Loaded), Error> {
        let loaded = load(&database)?;
        let db = Db {
            database: Some(database),
            opener,
            path: None,
            live: loaded.live,
            floor: loaded.stored_floor,
            compacted: 0,
        };
        Ok((db, loaded))
    }

    /// What another start would find now.
    #[cfg(test)]
    pub(crate) fn reload(&mut self) -> Result<Loaded, Error> {
        load(self.database()?)
    }

    /// Commits the batch and syncs. Doing so again after an error is safe: the outcome is the
    /// same whether or not the first attempt got through.
    ///
    /// # Errors
    /// Whatever redb and the disk report; the batch is then whole or absent.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        let result = self.try_commit(batch);
        self.drop_failed(result)
    }

    fn try_commit(&mut self, batch: &Batch) -> Result<(), Error> {
        let txn = self.database()?.begin_write()?;
        let mut change = Change::default();
        write_messages(&txn, batch, &mut change)?;
        write_sessions(&txn, batch, &mut change)?;
        write_retained(&txn, batch, &mut change)?;
        let floor = batch.floor.max(self.floor);
        let floor_due = floor.as_millis() - self.floor.as_millis() >= FLOOR_STEP;
        if floor_due {
            put_meta(&txn, FLOOR_KEY, floor.as_millis())?;
        }
        txn.commit()?;
        if floor_due {
            self.floor = floor;
        }
        self.live = (self.live + change.added).saturating_sub(change.removed);
        Ok(())
    }

    /// Reads the stored messages among `ranges`, which ascend, until the rows take `max_bytes`;
    /// the first row always fits. Checksums are the decoder's to check.
    ///
    /// # Errors
    /// Whatever redb and the disk report.
    pub fn read(&mut self, ranges: &[Range<u64>], max_bytes: usize) -> Result<Rows, Error> {
        let result = self.try_read(ranges, max_bytes);
        self.drop_failed(result)
    }

    fn try_read(&mut self, ranges: &[Range<u64>], max_bytes: usize) -> Result<Rows, Error> {
        let table = self.database()?.begin_read()?.open_table(MSG)?;
        let mut rows = Rows::default();
        for range in ranges {
            for entry in table.range(range.clone())? {
                let (id, row) = entry?;
                let (id, row) = (MessageId(id.value()), row.value());
                if !rows.rows.is_empty() && rows.bytes() + row.len() > max_bytes {
                    rows.through = id;
                    return Ok(rows);
                }
                rows.push(id, row);
            }
            rows.through = MessageId(range.end);
        }
        Ok(rows)
    }

    /// Bytes of the file, or of the rows if it is in memory.
    pub fn file_bytes(&self) -> u64 {
        let path = self.path.as_ref();
        path.and_then(|path| fs::metadata(path).ok())
            .map_or(self.live, |meta| meta.len())
    }

    /// Bytes of all rows, roughly.
    pub fn live_bytes(&self) -> u64 {
        self.live
    }

    /// Whether [`Db::compact`] would give much back.
    pub fn is_worth_compacting(&self) -> bool {
        let bytes = self.file_bytes();
        bytes > COMPACT_ABOVE && bytes / COMPACT_RATIO > self.live && bytes / 2 > self.compacted
    }

    /// Shrinks the file to about its live rows. Costs time and writes in proportion to these,
    /// and a few syncs.
    ///
    /// # Errors
    /// Whatever redb and the disk report; nothing is lost.
    pub fn compact(&mut self) -> Result<(), Error> {
        let result = self.try_compact();
        // Also after a failure, which another attempt right away would only repeat.
        self.compacted = self.file_bytes();
        self.drop_failed(result)
    }

    fn try_compact(&mut self) -> Result<(), Error> {
        self.database()?.compact()?;
        Ok(())
    }

    fn database(&mut self) -> Result<&mut Database, Error> {
        match &mut self.database {
            Some(database) => Ok(database),
            closed => Ok(closed.insert((self.opener)()?)),
        }
    }

    fn drop_failed<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.database = None;
        }
        result
    }
}

/// How many bytes of rows a commit adds and removes.
#[derive(Default)]
struct Change {
    added: u64,
    removed: u64,
}

fn write_messages(txn: &WriteTransaction, batch: &Batch, change: &mut Change) -> Result<(), Error> {
    if batch.messages().len() == 0 && batch.deletes().is_empty() {
        return Ok(());
    }
    let mut table = txn.open_table(MSG)?;
    put_messages(&mut table, batch, change)?;
    for ids in batch.deletes() {
        delete_range(&mut table, ids.clone(), change)?;
    }
    Ok(())
}

/// Appends through a cursor, which fills pages and is cheaper than inserting each on its own;
/// what isn't new and rising, as in a commit tried again, is inserted.
fn put_messages(
    table: &mut Table<'_, u64, &'static [u8]>,
    batch: &Batch,
    change: &mut Change,
) -> Result<(), Error> {
    let mut messages = batch.messages().peekable();
    let mut cursor = table.upper_bound_mut(Bound::<u64>::Unbounded)?;
    while let Some(&(id, row)) = messages.peek() {
        match cursor.insert_before(id, row) {
            Ok(()) => change.added += row.len() as u64,
            Err(CursorError::UnorderedKey) => break,
            Err(e) => return Err(e.into()),
        }
        messages.next();
    }
    cursor.close()?;
    for (id, row) in messages {
        change.added += row.len() as u64;
        if let Some(old) = table.insert(id, row)? {
            change.removed += old.value().len() as u64;
        }
    }
    Ok(())
}

fn delete_range(
    table: &mut Table<'_, u64, &'static [u8]>,
    ids: Range<u64>,
    change: &mut Change,
) -> Result<(), Error> {
    table.retain_in(ids, |_, row| {
        change.removed += row.len() as u64;
        false
    })?;
    Ok(())
}

fn write_sessions(txn: &WriteTransaction, batch: &Batch, change: &mut Change) -> Result<(), Error> {
    if batch.sessions().len() == 0 {
        return Ok(());
    }
    let mut table = txn.open_table(SESSION)?;
    for (key, row) in batch.sessions() {
        let old = match row {
            Some(row) => table.insert(key, row)?,
            None => table.remove(key)?,
        };
        change.removed += old.map_or(0, |old| old.value().len() as u64);
        change.added += row.map_or(0, |row| row.len() as u64);
    }
    Ok(())
}

fn write_retained(txn: &WriteTransaction, batch: &Batch, change: &mut Change) -> Result<(), Error> {
    if batch.retained().len() == 0 {
        return Ok(());
    }
    let mut table = txn.open_table(RETAINED)?;
    for (topic, row) in batch.retained() {
        let old = match row {
            Some(row) => table.insert(topic, row)?,
            None => table.remove(topic)?,
        };
        let size = |row: &[u8]| (topic.len() + row.len()) as u64;
        change.removed += old.map_or(0, |old| size(old.value()));
        change.added += row.map_or(0, size);
    }
    Ok(())
}

/// Creates the tables of an empty store.
pub(super) fn initialise(database: &Database) -> Result<(), Error> {
    let txn = database.begin_write()?;
    txn.open_table(MSG)?;
    txn.open_table(SESSION)?;
    txn.open_table(RETAINED)?;
    put_meta(&txn, FORMAT_KEY, FORMAT)?;
    put_meta(&txn, FLOOR_KEY, 0)?;
    txn.commit()?;
    Ok(())
}

/// Checks the format and returns the time floor.
pub(super) fn read_meta(txn: &ReadTransaction) -> Result<Time, Error> {
    let table = match txn.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Err(Error::Foreign(PathBuf::new())),
        other => other?,
    };
    let read = |key: &str| -> Result<u64, Error> {
        let damaged = || Error::Corrupt(format!("the {key} row is damaged"));
        let row = table.get(key)?.ok_or_else(damaged)?;
        let number = unseal(key.as_bytes(), row.value()).and_then(|mut row| row.varint());
        number.map_err(|_| damaged())
    };
    match read(FORMAT_KEY)? {
        FORMAT => Ok(Time::from_millis(read(FLOOR_KEY)?)),
        found => Err(Error::Newer {
            path: PathBuf::new(),
            found,
        }),
    }
}

pub(super) fn put_meta(txn: &WriteTransaction, key: &str, number: u64) -> Result<(), Error> {
    let mut row = Vec::new();
    put_varint(number, &mut row);
    seal(key.as_bytes(), 0, &mut row);
    txn.open_table(META)?.insert(key, row.as_slice())?;
    Ok(())
}
