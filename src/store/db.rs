//! The database: tables, commits and cold reads. Every call blocks on the disk.

mod fill;

use std::ops::{ControlFlow, Range};
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::error::Error;
use super::files::disk::{Files, Meter, Usage};
use super::files::journal::{Journal, Replayed};
use super::files::memory::MemoryFiles;
use super::files::open::{Location, StoreFiles};
use super::load::{Loaded, load};
use super::rescue;
use super::rows::batch::Batch;
use super::rows::codec::slice;
use super::tables::changes::Overlay;
use super::tables::meta::{Meta, Stamp, Written};
use super::tables::schema::MSG;
use super::tables::view::{CONTINUE, View};
use crate::message::MessageId;

/// How far, in milliseconds, the stored time may lag: its row costs a page a commit.
const STAMP_STEP: u64 = 60_000;
/// How many bytes may be written before they are counted on disk.
const STAMP_BYTES: u64 = 1 << 20;

/// A file is worth compacting when it is this many times its live rows.
const COMPACT_RATIO: u64 = 4;
/// What is smaller in memory is not worth compacting, in bytes.
const MIN_BYTES_IN_MEMORY: u64 = 128 << 10;

/// How much a smaller file is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// There is other work: only if it takes no time.
    Busy,
    /// There is nothing else to do.
    Idle,
    /// The disk is full.
    Full,
}

impl Need {
    /// The file must be larger than this, in bytes.
    const fn min_file_bytes(self) -> u64 {
        match self {
            Need::Busy => 16 << 20,
            Need::Idle => 4 << 20,
            Need::Full => 256 << 10,
        }
    }

    /// There must be no more live bytes: to copy them takes time.
    const fn max_live_bytes(self) -> u64 {
        match self {
            Need::Busy => 512 << 10,
            Need::Idle | Need::Full => 8 << 20,
        }
    }
}

/// The open store. After an error redb's handle is dropped, and the next call opens it anew: redb
/// refuses all work once an I/O failed.
pub struct Db {
    files: Box<dyn Files>,
    database: Option<Database>,
    /// `None` in memory.
    journal: Option<Journal>,
    /// What the journal holds beyond the tables.
    overlay: Overlay,
    /// As it is to be written next; `applied` is what the tables have.
    meta: Meta,
    /// The time and the wear as they were last written.
    stored: Stamp,
    /// How much of what was written is counted in `meta`.
    counted: u64,
    /// Bytes of all rows of the tables.
    live: u64,
    /// The most that `live` was since the last rewrite.
    most_live: u64,
    /// The tables have no message from this number on.
    end: u64,
    /// The file's length after the last rewrite, and its live bytes: below twice that, and above
    /// half these, another is no use.
    compacted: (u64, u64),
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
            .map(|(id, place)| (*id, slice(&self.arena, place)))
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
    /// is set aside for one with what could be saved of it; [`Loaded::quarantined`] then says so. A
    /// store of a newer format is left as it is, to the byte, with its journal.
    ///
    /// # Errors
    /// Whatever an operator has to cure: see [`Error`].
    pub fn open(location: Location) -> Result<(Db, Loaded), Error> {
        let path = match location {
            Location::Memory => return Db::with_files(Box::<MemoryFiles>::default()),
            Location::File(path) => path,
        };
        let meter = Meter::default();
        let files = || StoreFiles::new(&path, meter.clone());
        rescue::peek::check(&path)?;
        let resumed = rescue::resume(&path)?;
        files().create_if_absent()?;
        let opened = Db::with_files(Box::new(files()));
        let quarantined = match opened.map_err(|e| e.at(&path)) {
            Err(e) if e.is_damage() => rescue::rescue(&mut files(), &path, &e)?,
            Ok((db, mut loaded)) if resumed => {
                loaded.quarantined = Some(rescue::resumed(&path, loaded.counts()));
                return Ok((db, loaded));
            }
            other => return other,
        };
        let (db, mut loaded) = Db::with_files(Box::new(files()))?;
        loaded.quarantined = Some(quarantined);
        Ok((db, loaded))
    }

    /// A store on whatever files these are; the tables exist.
    pub(super) fn with_files(mut files: Box<dyn Files>) -> Result<(Db, Loaded), Error> {
        let database = files.open_store()?;
        let (mut meta, end) = read_meta(&database)?;
        let mut replayed = Replayed::default();
        let mut journal = None;
        if files.journal_bytes() > 0 {
            let (opened, found) = Journal::open(&mut *files, &meta, end)?;
            (journal, replayed) = (Some(opened), found);
        }
        meta.stamp = replayed.stamp.unwrap_or(meta.stamp);
        meta.known = meta.known.max(replayed.known);
        // The store that says otherwise was made anew for this journal.
        meta.format = meta.format.max(replayed.format);
        let mut loaded = load(&View::new(&database, &replayed.overlay)?, &meta)?;
        loaded.damaged += replayed.damaged;
        let db = Db {
            files,
            database: Some(database),
            journal,
            overlay: replayed.overlay,
            meta,
            stored: meta.stamp,
            counted: 0,
            live: loaded.live,
            most_live: loaded.live,
            end,
            compacted: (0, 0),
        };
        Ok((db, loaded))
    }

    /// What another start would find now.
    #[cfg(test)]
    pub(crate) fn reload(&mut self) -> Result<Loaded, Error> {
        let meta = self.meta;
        load(&self.view()?, &meta)
    }

    /// Commits the batch and syncs. Doing so again after an error is safe: the outcome is the
    /// same whether or not the first attempt got through.
    ///
    /// # Errors
    /// Whatever redb and the disk report; the batch is then whole or absent.
    pub fn commit(&mut self, batch: &mut Batch) -> Result<(), Error> {
        // Also where the journal alone would do: a commit of redb that failed may have got
        // through, and then the journal starts anew.
        self.database()?;
        self.files.sync_names()?;
        let bytes = self.uncounted();
        self.counted += bytes;
        self.meta.stamp.advance(batch.floor, batch.wall, bytes);
        if batch.known != 0 {
            self.meta.known = batch.known;
        }
        // The journal's records have no format of their own: the tables must tell it first.
        let is_journaled = batch.format() <= self.meta.format;
        if let Some(journal) = self.journal.as_mut().filter(|_| is_journaled)
            && journal.append(&self.meta.stamp, batch)?
        {
            self.overlay.absorb(batch, self.end);
            self.stored = self.meta.stamp;
            return Ok(());
        }
        let result = self.checkpoint(batch);
        self.drop_failed(result)
    }

    /// Commits to the tables what the journal holds, so that the store is one file.
    ///
    /// # Errors
    /// As [`Db::commit`]; the journal then still has it.
    pub fn fold(&mut self) -> Result<(), Error> {
        if self.overlay.is_empty() {
            return Ok(());
        }
        self.database()?;
        let result = self.checkpoint(&Batch::default());
        self.drop_failed(result)
    }

    /// Commits to the tables what the journal holds, and the batch.
    fn checkpoint(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut changes = self.overlay.borrowed();
        changes.absorb(batch, self.end);
        let meta = Meta {
            applied: self.seq(),
            format: self.meta.format.max(batch.format()),
            ..self.meta
        };
        let has_meta = meta.applied != self.meta.applied
            || meta.format != self.meta.format
            || self.is_stamp_due();
        let database = self.database.as_ref().ok_or_else(closed)?;
        let txn = database.begin_write()?;
        let balance = changes.write(&txn)?;
        if has_meta {
            meta.write(&txn)?;
        }
        txn.commit()?;
        if has_meta {
            self.stored = meta.stamp;
        }
        if let Some((last, _)) = changes.messages.last_key_value() {
            self.end = self.end.max(last + 1);
        }
        self.live = (self.live + balance.added).saturating_sub(balance.removed);
        self.most_live = self.most_live.max(self.live);
        self.meta.format = meta.format;
        self.applied(meta.applied);
        Ok(())
    }

    /// Whether the time or the wear have moved so far that they are worth a page.
    fn is_stamp_due(&self) -> bool {
        let (now, then) = (&self.meta.stamp, &self.stored);
        now.floor.as_millis() - then.floor.as_millis() >= STAMP_STEP
            || now.written.total - then.written.total >= STAMP_BYTES
    }

    /// The tables have everything up to record `seq`, which is the last.
    fn applied(&mut self, seq: u64) {
        self.meta.applied = seq;
        self.overlay = Overlay::default();
        if let Some(journal) = &mut self.journal {
            journal.restart(&mut *self.files);
        }
    }

    /// The number of the last record of the journal.
    fn seq(&self) -> u64 {
        let journal = self.journal.as_ref();
        journal.map_or(self.meta.applied, Journal::seq)
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
        let view = self.view()?;
        let mut rows = Rows::default();
        for range in ranges {
            let flow = view.messages(range.clone(), |id, row| {
                if !rows.rows.is_empty() && rows.bytes() + row.len() > max_bytes {
                    rows.through = MessageId(id);
                    return Ok(ControlFlow::Break(()));
                }
                rows.push(MessageId(id), row);
                CONTINUE
            })?;
            if flow.is_break() {
                return Ok(rows);
            }
            rows.through = MessageId(range.end);
        }
        Ok(rows)
    }

    /// The store's file, if it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.files.path()
    }

    /// Bytes of the file, or of what it takes in memory; of the rows if that is not known.
    pub fn file_bytes(&self) -> u64 {
        self.files.store_bytes().unwrap_or(self.live)
    }

    /// Bytes of all rows, roughly: what the journal holds may stand for rows that it replaces.
    pub fn live_bytes(&self) -> u64 {
        self.live + self.journal.as_ref().map_or(0, Journal::bytes)
    }

    /// What was asked of the disk since the store was opened.
    pub fn usage(&self) -> Usage {
        self.files.usage()
    }

    /// Bytes written to the disk since the store was first made, and today.
    pub fn written(&self) -> Written {
        let mut stamp = self.meta.stamp;
        stamp.count(self.uncounted());
        stamp.written
    }

    fn uncounted(&self) -> u64 {
        self.usage().bytes - self.counted
    }

    /// Whether [`Db::rewrite`] would give much back, and soon.
    pub fn is_worth_compacting(&self, need: Need) -> bool {
        let bytes = self.file_bytes();
        if self.files.is_memory() {
            // It is bounded closely and wears nothing out: a quarter of what was there is enough.
            return bytes > MIN_BYTES_IN_MEMORY && self.live < self.most_live / 4 * 3;
        }
        if bytes <= need.min_file_bytes() {
            return false;
        }
        let live = self.remaining_bytes();
        let (last_bytes, last_live) = self.compacted;
        let news = bytes / 2 > last_bytes || live < last_live / 2;
        news && live <= need.max_live_bytes() && bytes / COMPACT_RATIO > live
    }

    /// Bytes of the rows that the journal does not delete, roughly.
    fn remaining_bytes(&self) -> u64 {
        self.live_bytes().saturating_sub(self.deleted_bytes())
    }

    /// About how much of the tables the journal deletes, taking all rows for messages of one size.
    fn deleted_bytes(&self) -> u64 {
        let table = self.database.as_ref().and_then(|database| {
            let txn = database.begin_read().ok()?;
            txn.open_table(MSG).ok()
        });
        let messages = table.and_then(|table| table.len().ok()).unwrap_or(0);
        let deleted = self.overlay.deletes.len().min(messages);
        self.live / messages.max(1) * deleted
    }

    /// Whether the name of the store or of its journal no longer leads to the file that is open:
    /// it was deleted or replaced, and what is committed would be gone with the process.
    /// [`Db::rewrite`] brings all back.
    pub fn is_lost(&self) -> bool {
        self.files.is_store_lost() || self.files.is_journal_lost()
    }

    /// Copies all rows to a new file in the place of the old, which shrinks it to about its live
    /// rows. Costs time and writes in proportion to these, and a few syncs. In memory, where there may be
    /// no room for both, they move together in the old one.
    ///
    /// # Errors
    /// Whatever redb and the disk report; nothing is lost.
    pub fn rewrite(&mut self) -> Result<(), Error> {
        self.database()?;
        self.most_live = self.live;
        if self.files.is_memory() {
            let compacted = self.database.as_mut().map(Database::compact);
            let result = compacted.transpose().map(drop);
            return self.drop_failed(result.map_err(|e| redb::Error::from(e).into()));
        }
        let result = self.try_rewrite();
        if result.is_err() {
            self.files.discard_store();
        }
        // Also after a failure, which another attempt right away would only repeat.
        self.compacted = (self.file_bytes(), self.remaining_bytes());
        result?;
        self.files.sync_names()
    }

    fn try_rewrite(&mut self) -> Result<(), Error> {
        let new = self.files.create_store()?;
        let meta = Meta {
            applied: self.seq(),
            ..self.meta
        };
        let txn = new.begin_write()?;
        let live = self.view()?.copy(&txn)?;
        meta.write(&txn)?;
        txn.commit()?;
        // A store without a journal would be taken for one that lost it.
        if self.files.is_journal_lost()
            && let Some(journal) = &mut self.journal
        {
            journal.renew(&mut *self.files);
        }
        let (_, end) = read_meta(&new)?;
        self.files.install_store()?;
        self.database = Some(new);

        (self.live, self.end) = (live, end);
        self.stored = meta.stamp;
        self.applied(meta.applied);
        Ok(())
    }

    fn view(&mut self) -> Result<View<'_>, Error> {
        self.database()?;
        let database = self.database.as_ref().ok_or_else(closed)?;
        View::new(database, &self.overlay)
    }

    /// Opens the database again if it failed.
    fn database(&mut self) -> Result<(), Error> {
        if self.database.is_some() {
            return Ok(());
        }
        let database = self.files.open_store()?;
        let (found, end) = read_meta(&database)?;
        if found.id != self.meta.id {
            return Err(Error::Corrupt("another store is in its place".into()));
        }
        self.end = end;
        self.meta.format = self.meta.format.max(found.format);
        self.database = Some(database);
        // The commit that failed got through.
        if found.applied > self.meta.applied {
            self.applied(found.applied);
        }
        Ok(())
    }

    fn drop_failed<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.database = None;
        }
        result
    }
}

fn closed() -> Error {
    Error::Corrupt("the store is closed".into())
}

/// What a store says of itself, and the number after its last message.
fn read_meta(database: &Database) -> Result<(Meta, u64), Error> {
    let txn = database.begin_read()?;
    let meta = Meta::read(&txn)?;
    let table = txn.open_table(MSG)?;
    let last = table.last()?;
    Ok((meta, last.map_or(0, |(id, _)| id.value().saturating_add(1))))
}
