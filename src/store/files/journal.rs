//! The journal: small commits, one after another in a file of fixed size beside the store.
//!
//! A commit to redb costs some 25 KB of writes and two syncs however small it is; a record here
//! costs one page and one sync, and as the file never changes its size, none of its metadata.
//! What the journal holds lies in RAM too, folded, and goes to redb when the journal is full.
//!
//! The file is a header and then records, each from a sector of its own on, so that no write
//! touches a sector that holds what was promised. They are numbered through the life of the
//! store; the store says up to which number it has them, and the next is written from the start
//! of the file over the oldest. So what counts is what rises from the start of the file and is
//! beyond that number. A gap in it is damage: a record is written only once the one before is on
//! disk.

use redb::StorageBackend;

use super::disk::{Files, Metered};
use crate::impossible;
use crate::store::error::{Corrupt, Error};
use crate::store::rows::batch::{Batch, MAX_FRONT};
use crate::store::rows::codec::{Reader, seal, tail, unseal};
use crate::store::rows::format::Format;
use crate::store::tables::changes::Overlay;
use crate::store::tables::meta::{Meta, Stamp};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// The largest record. In redb a larger batch costs less directly than written twice: measured
/// with messages of 200 bytes that stay, it is even at 80 to a commit.
const MAX_RECORD: usize = 24 << 10;
/// After a failure so many commits go to redb directly, before another file is tried.
const PAUSE: u32 = 64;

/// What the file starts with; then the number of the store follows, and a checksum.
const MAGIC: &[u8; 8] = b"fbjrnl1\n";
/// What a record starts with; then follow its checksum, length, store and number.
const RECORD: &[u8; 4] = b"rec1";
/// Bytes of a record before its contents.
pub(in crate::store) const HEAD: usize = 28;

/// The journal of an open store.
pub(in crate::store) struct Journal {
    /// `None` while it is paused.
    file: Option<Metered>,
    /// The store's number.
    id: u64,
    /// The number of the last record that was tried.
    seq: u64,
    /// Where the next record goes.
    tail: usize,
    /// Bytes of the file.
    size: usize,
    /// How many more commits go past it.
    paused: u32,
}

/// What a journal held when it was opened.
#[derive(Default)]
pub(in crate::store) struct Replayed {
    /// The changes, folded.
    pub(in crate::store) overlay: Overlay,
    /// What a program must know to read the records.
    pub(in crate::store) format: Format,
    /// The stamp of the newest record.
    pub(in crate::store) stamp: Option<Stamp>,
    /// The latest of their wall clocks, in milliseconds since 1970.
    pub(in crate::store) known: u64,
    /// Records that are missing, or 1 for a file that is missing or of something else.
    pub(in crate::store) damaged: u64,
}

impl Journal {
    /// Opens the journal of the store that says `meta` and whose messages are below `end`. One
    /// that is missing or damaged is made anew, as soon as what is left of it is in the store.
    ///
    /// # Errors
    /// If it may not be read and written, or another process has it.
    pub(in crate::store) fn open(
        files: &mut dyn Files,
        meta: &Meta,
        end: u64,
    ) -> Result<(Journal, Replayed), Error> {
        let mut journal = Journal {
            file: None,
            id: meta.id,
            seq: meta.applied,
            tail: SECTOR,
            size: files.journal_bytes(),
            paused: 0,
        };
        let mut replayed = Replayed::default();
        let (file, bytes) = read_file(files)?;
        for record in records(&bytes, meta.id, meta.applied) {
            replayed.damaged += record.seq - journal.seq - 1;
            (journal.seq, journal.tail) = (record.seq, record.end);
            match decode(record.contents) {
                Ok((stamp, batch)) => {
                    replayed.overlay.absorb(&batch, end);
                    replayed.format = replayed.format.max(batch.format());
                    replayed.known = replayed.known.max(stamp.wall);
                    replayed.stamp = Some(stamp);
                }
                Err(_) => replayed.damaged += 1,
            }
        }
        if read_header(&bytes) == Some(meta.id) && bytes.len() == journal.size {
            journal.file = file;
        } else {
            replayed.damaged += 1;
            drop(file);
            if journal.tail == SECTOR {
                journal.renew(files);
            }
        }
        Ok((journal, replayed))
    }

    /// Appends a batch and syncs; false if it is none for the journal. The rows of messages go to
    /// the file from where they lie in the batch.
    ///
    /// # Errors
    /// What the disk reports. Whether the record got through is not known then, until the next
    /// commit has gone to the store.
    pub(in crate::store) fn append(
        &mut self,
        stamp: &Stamp,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        if self.file.is_none() || batch.bytes() >= MAX_RECORD {
            return Ok(false);
        }
        let mut front = vec![0; HEAD];
        stamp.encode(&mut front);
        let written = batch.with_record(&front, |record, start| self.write(record, start));
        written.unwrap_or_else(|| {
            impossible!("the head and the stamp of a record are longer than {MAX_FRONT} bytes");
            Ok(false)
        })
    }

    /// Writes the record that begins at `start`, its head not filled in yet.
    fn write(&mut self, record: &mut Vec<u8>, start: usize) -> Result<bool, Error> {
        let len = record.len() - start;
        let padded = len.next_multiple_of(SECTOR);
        let Some(file) = self.file.as_ref() else {
            return Ok(false);
        };
        if padded > MAX_RECORD || self.tail + padded > self.size {
            return Ok(false);
        }
        self.seq += 1;
        record.resize(start + padded, 0);
        let record = tail(record, start);
        fill_head(record, len, self.id, self.seq);
        let done = file.write(self.tail as u64, record);
        if let Err(e) = done.and_then(|()| file.sync_data()) {
            self.file = None;
            self.paused = PAUSE;
            return Err(e.into());
        }
        self.tail += padded;
        Ok(true)
    }

    /// The number of the last record, on disk or not.
    pub(in crate::store) fn seq(&self) -> u64 {
        self.seq
    }

    /// Bytes of its records.
    pub(in crate::store) fn bytes(&self) -> u64 {
        (self.tail - SECTOR) as u64
    }

    /// The store has all records: starts again from the front of the file.
    pub(in crate::store) fn restart(&mut self, files: &mut dyn Files) {
        self.tail = SECTOR;
        if self.file.is_none() {
            self.paused = self.paused.saturating_sub(1);
            if self.paused == 0 {
                self.renew(files);
            }
        }
    }

    /// Makes the file anew, empty. Where that fails, commits go on without it.
    pub(in crate::store) fn renew(&mut self, files: &mut dyn Files) {
        // Its lock goes with it.
        self.file = None;
        self.file = create(files, self.id).ok();
        self.tail = SECTOR;
        self.paused = PAUSE;
    }
}

/// Makes the empty journal of a store.
pub(in crate::store) fn create(files: &mut dyn Files, id: u64) -> Result<Metered, Error> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&id.to_le_bytes());
    seal(b"", 0, &mut header);
    files.create_journal(&header, files.journal_bytes())
}

/// What a new store must say so that it takes over the journal of one that was lost; `None` if
/// there is nothing to take over.
pub(in crate::store) fn meta_for_journal(files: &mut dyn Files) -> Result<Option<Meta>, Error> {
    let (_, bytes) = read_file(files)?;
    let id = read_header(&bytes).or_else(|| any_id(&bytes));
    Ok(id.map(|id| {
        let first = records(&bytes, id, 0).next();
        Meta {
            id,
            applied: first.map_or(0, |first| first.seq - 1),
            ..Meta::default()
        }
    }))
}

/// The file and what it holds; nothing if it cannot be read.
fn read_file(files: &mut dyn Files) -> Result<(Option<Metered>, Vec<u8>), Error> {
    let file = match files.open_journal() {
        Err(e) if e.is_damage() => None,
        other => other?,
    };
    let mut bytes = Vec::new();
    if let Some(file) = &file
        && let Ok(len) = file.len()
    {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        bytes.resize(len.min(files.journal_bytes()), 0);
        if file.read(0, &mut bytes).is_err() {
            bytes.clear();
        }
    }
    Ok((file, bytes))
}

/// Whose journal it is.
fn read_header(bytes: &[u8]) -> Option<u64> {
    let header = bytes.get(..MAGIC.len() + 8 + 4)?;
    let mut reader = unseal(b"", header).ok()?;
    let magic = reader.take(MAGIC.len()).ok()?;
    let id = reader.rest().first_chunk()?;
    (magic == MAGIC).then_some(u64::from_le_bytes(*id))
}

struct Record<'a> {
    id: u64,
    seq: u64,
    contents: &'a [u8],
    /// Where the next record starts.
    end: usize,
}

/// The records of store `id` beyond number `applied`. A damaged one hides none after it.
fn records(bytes: &[u8], id: u64, applied: u64) -> impl Iterator<Item = Record<'_>> {
    let (mut at, mut last) = (SECTOR, applied);
    std::iter::from_fn(move || {
        while at < bytes.len() {
            match read_record(bytes, at).filter(|record| record.id == id) {
                // Left from before the last start from the front.
                Some(record) if record.seq <= last => return None,
                Some(record) => {
                    (at, last) = (record.end, record.seq);
                    return Some(record);
                }
                None => at += SECTOR,
            }
        }
        None
    })
}

fn any_id(bytes: &[u8]) -> Option<u64> {
    let starts = (SECTOR..bytes.len()).step_by(SECTOR);
    let mut records = starts.filter_map(|at| read_record(bytes, at));
    records.next().map(|record| record.id)
}

fn read_record(bytes: &[u8], at: usize) -> Option<Record<'_>> {
    let (head, rest) = bytes.get(at..)?.split_first_chunk::<HEAD>()?;
    if !head.starts_with(RECORD) {
        return None;
    }
    let len = u32::from_le_bytes(*head[8..].first_chunk()?) as usize;
    let contents = rest.get(..len)?;
    let crc = u32::from_le_bytes(*head[4..].first_chunk()?);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[8..]);
    hasher.update(contents);
    (crc == hasher.finalize()).then_some(Record {
        id: u64::from_le_bytes(*head[12..].first_chunk()?),
        seq: u64::from_le_bytes(*head[20..].first_chunk()?),
        contents,
        end: (at + HEAD + len).next_multiple_of(SECTOR),
    })
}

/// Fills in what stands before the contents of a record of `len` bytes, which may be padded.
pub(in crate::store) fn fill_head(record: &mut [u8], len: usize, id: u64, seq: u64) {
    let Some((record, _)) = record.split_at_mut_checked(len) else {
        return impossible!("a record is longer than its buffer");
    };
    let Some((head, contents)) = record.split_first_chunk_mut::<HEAD>() else {
        return impossible!("a record is shorter than its head");
    };
    let (start, numbered) = head.split_at_mut(8);
    let Ok(len) = u32::try_from(contents.len()) else {
        return impossible!("a record is longer than the journal");
    };
    let numbers = len.to_le_bytes().into_iter();
    let numbers = numbers.chain(id.to_le_bytes()).chain(seq.to_le_bytes());
    for (byte, number) in numbered.iter_mut().zip(numbers) {
        *byte = number;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(numbered);
    hasher.update(contents);
    let crc = hasher.finalize().to_le_bytes();
    for (byte, value) in start.iter_mut().zip(RECORD.iter().chain(&crc)) {
        *byte = *value;
    }
}

fn decode(contents: &[u8]) -> Result<(Stamp, Batch), Corrupt> {
    let mut reader = Reader::new(contents);
    let stamp = Stamp::decode(&mut reader)?;
    Ok((stamp, Batch::decode(reader)?))
}
