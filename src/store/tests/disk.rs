//! A disk in memory that remembers every write, and can fail.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use redb::{Database, StorageBackend};

use crate::store::files::disk::{Files, Meter, Metered};
use crate::store::files::journal;
use crate::store::files::open::builder;
use crate::store::tables::meta::{Meta, initialise};
use crate::store::{Db, Error, Loaded};

/// Bytes of the journal: little, so that it is soon full.
pub(super) const JOURNAL_BYTES: usize = 16 << 10;

/// A file by its number, which outlives its name.
pub(super) type Inode = u32;

/// One thing asked of the disk.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write(Inode, u64, Vec<u8>),
    SetLen(Inode, u64),
    Sync(Inode),
    /// A whole journal, synced and under its name.
    Journal(Inode, Vec<u8>),
    /// The file is the store now.
    Install(Inode),
    SyncNames,
}

impl Op {
    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Op::Sync(_) | Op::SyncNames)
    }
}

/// What is on a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    files: BTreeMap<Inode, Vec<u8>>,
    pub(super) store: Inode,
    pub(super) journal: Option<Inode>,
}

impl Image {
    /// Does `op`.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Write(inode, at, data) => {
                let bytes = self.file(*inode);
                let (start, end) = (*at as usize, *at as usize + data.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(data);
            }
            Op::SetLen(inode, len) => self.file(*inode).resize(*len as usize, 0),
            Op::Journal(inode, bytes) => {
                *self.file(*inode) = bytes.clone();
                self.journal = Some(*inode);
            }
            Op::Install(inode) => self.store = *inode,
            Op::Sync(_) | Op::SyncNames => {}
        }
    }

    pub(super) fn file(&mut self, inode: Inode) -> &mut Vec<u8> {
        self.files.entry(inode).or_default()
    }
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    ops: Vec<Op>,
    /// Where in memory the bytes of the last write were.
    last_written_from: Range<usize>,
    /// How many more writes and syncs succeed; `None` is no limit.
    budget: Option<u64>,
    /// Whether no file can grow, as on a full disk.
    full: bool,
    /// Whether redb gives up in the midst of a write.
    cursed: bool,
    next: Inode,
}

/// Where in memory bytes are.
pub(super) fn addresses(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr() as usize;
    start..start + bytes.len()
}

/// A disk; clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// A disk with an empty store on it, and an empty journal.
    pub(super) fn with_store() -> Disk {
        let disk = Disk::default();
        let mut files = disk.files();
        let meta = Meta::new_store();
        journal::create(&mut files, meta.id).unwrap();
        initialise(&files.create_store().unwrap(), &meta).unwrap();
        files.install_store().unwrap();
        files.sync_names().unwrap();
        disk
    }

    /// A disk that holds `image`.
    pub(super) fn holding(image: Image) -> Disk {
        let disk = Disk::default();
        let mut state = disk.0.lock().unwrap();
        state.next = image.files.keys().last().map_or(0, |last| last + 1);
        state.image = image;
        drop(state);
        disk
    }

    pub(super) fn files(&self) -> DiskFiles {
        DiskFiles {
            disk: self.clone(),
            new: None,
            journal_bytes: JOURNAL_BYTES,
        }
    }

    /// Opens the store on it.
    pub(super) fn open(&self) -> Result<(Db, Loaded), Error> {
        Db::with_files(Box::new(self.files()))
    }

    /// Opens the store on it, without the journal.
    pub(super) fn opener(&self) -> Box<dyn Files> {
        let files = self.files();
        Box::new(DiskFiles {
            journal_bytes: 0,
            ..files
        })
    }

    /// The [`addresses`] of the bytes that were written last.
    pub(super) fn last_written_from(&self) -> Range<usize> {
        self.0.lock().unwrap().last_written_from.clone()
    }

    /// Its contents, synced or not.
    pub(super) fn image(&self) -> Image {
        self.0.lock().unwrap().image.clone()
    }

    /// All that was asked of it so far.
    pub(super) fn ops(&self) -> Vec<Op> {
        self.0.lock().unwrap().ops.clone()
    }

    /// Lets `n` more writes and syncs succeed; all after them find the disk full.
    pub(super) fn fail_after(&self, n: u64) {
        self.0.lock().unwrap().budget = Some(n);
    }

    /// Lets only what is there be overwritten, as a full disk does.
    pub(super) fn fill_up(&self) {
        self.0.lock().unwrap().full = true;
    }

    /// Lets redb panic at the next write.
    pub(super) fn curse(&self) {
        self.0.lock().unwrap().cursed = true;
    }

    /// Lets everything succeed again.
    pub(super) fn heal(&self) {
        let mut state = self.0.lock().unwrap();
        (state.budget, state.full) = (None, false);
    }

    fn apply(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if std::mem::take(&mut state.cursed) {
            drop(state);
            panic!("a page that makes no sense");
        }
        match &mut state.budget {
            Some(0) => return Err(io::ErrorKind::StorageFull.into()),
            Some(n) => *n -= 1,
            None => {}
        }
        let grows = match &op {
            Op::SetLen(inode, len) => *len > state.image.file(*inode).len() as u64,
            Op::Journal(..) => true,
            _ => false,
        };
        if state.full && grows {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.image.apply(&op);
        state.ops.push(op);
        Ok(())
    }

    fn new_inode(&self) -> Inode {
        let mut state = self.0.lock().unwrap();
        state.next += 1;
        state.next
    }

    fn open_inode(&self, inode: Inode) -> Metered {
        let disk = self.clone();
        Metered::new(Open { disk, inode }, Meter::default())
    }

    fn database(&self, inode: Inode) -> Result<Database, Error> {
        let opened = builder().create_with_backend(self.open_inode(inode));
        Ok(opened.map_err(redb::Error::from)?)
    }
}

impl Db {
    /// A store on a disk.
    pub(super) fn with_opener(files: Box<dyn Files>) -> Result<(Db, Loaded), Error> {
        Db::with_files(files)
    }
}

/// The files of a store on a [`Disk`].
pub(super) struct DiskFiles {
    disk: Disk,
    new: Option<Inode>,
    journal_bytes: usize,
}

impl Files for DiskFiles {
    fn open_store(&mut self) -> Result<Database, Error> {
        let store = self.disk.0.lock().unwrap().image.store;
        self.disk.database(store)
    }

    fn journal_bytes(&self) -> usize {
        self.journal_bytes
    }

    fn open_journal(&mut self) -> Result<Option<Metered>, Error> {
        let journal = self.disk.0.lock().unwrap().image.journal;
        Ok(journal.map(|inode| self.disk.open_inode(inode)))
    }

    fn create_journal(&mut self, header: &[u8], size: usize) -> Result<Metered, Error> {
        let inode = self.disk.new_inode();
        let mut contents = header.to_vec();
        contents.resize(size, 0);
        self.disk.apply(Op::Journal(inode, contents))?;
        Ok(self.disk.open_inode(inode))
    }

    fn create_store(&mut self) -> Result<Database, Error> {
        let inode = self.disk.new_inode();
        self.new = Some(inode);
        self.disk.database(inode)
    }

    fn install_store(&mut self) -> Result<(), Error> {
        let new = self
            .new
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(self.disk.apply(Op::Install(new))?)
    }

    fn discard_store(&mut self) {
        self.new = None;
    }

    fn sync_names(&mut self) -> Result<(), Error> {
        if self.new.is_some() {
            self.disk.apply(Op::SyncNames)?;
            self.new = None;
        }
        Ok(())
    }

    fn store_bytes(&self) -> Option<u64> {
        let mut state = self.disk.0.lock().unwrap();
        let store = state.image.store;
        Some(state.image.file(store).len() as u64)
    }
}

/// A file that is open.
#[derive(Debug)]
struct Open {
    disk: Disk,
    inode: Inode,
}

impl StorageBackend for Open {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.0.lock().unwrap();
        Ok(state.image.file(self.inode).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let start = offset as usize;
        let file = state.image.file(self.inode);
        let from = file.get(start..start + out.len());
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.apply(Op::SetLen(self.inode, len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.apply(Op::Sync(self.inode))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.0.lock().unwrap().last_written_from = addresses(data);
        let data = data.to_vec();
        self.disk.apply(Op::Write(self.inode, offset, data))
    }
}
