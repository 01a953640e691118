//! A disk in memory that remembers every write, and can fail.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::store::open::builder;
use crate::store::tables::{Opener, initialise};

/// One thing redb asked of the disk.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Op {
    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Op::Sync)
    }
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    ops: Vec<Op>,
    /// How many more writes and syncs succeed; `None` is no limit.
    budget: Option<u64>,
    /// Whether the file cannot grow, as on a full disk.
    full: bool,
}

/// A disk; clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// A disk with an empty store on it.
    pub(super) fn with_store() -> Disk {
        let disk = Disk::default();
        initialise(&builder().create_with_backend(disk.clone()).unwrap()).unwrap();
        disk
    }

    /// A disk that holds `bytes`.
    pub(super) fn holding(bytes: Vec<u8>) -> Disk {
        let disk = Disk::default();
        disk.0.lock().unwrap().bytes = bytes;
        disk
    }

    /// Opens the store on it.
    pub(super) fn opener(&self) -> Opener {
        let disk = self.clone();
        Box::new(move || {
            let opened = builder().create_with_backend(disk.clone());
            Ok(opened.map_err(redb::Error::from)?)
        })
    }

    /// Its contents, synced or not.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
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

    /// Lets everything succeed again.
    pub(super) fn heal(&self) {
        let mut state = self.0.lock().unwrap();
        (state.budget, state.full) = (None, false);
    }

    fn apply(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        match &mut state.budget {
            Some(0) => return Err(io::ErrorKind::StorageFull.into()),
            Some(n) => *n -= 1,
            None => {}
        }
        if state.full && matches!(op, Op::SetLen(len) if len > state.bytes.len() as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        apply(&mut state.bytes, &op);
        state.ops.push(op);
        Ok(())
    }
}

/// Does `op` to `bytes`.
pub(super) fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(at, data) => {
            let (start, end) = (*at as usize, *at as usize + data.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(data);
        }
        Op::SetLen(len) => bytes.resize(*len as usize, 0),
        Op::Sync => {}
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let start = offset as usize;
        let from = state.bytes.get(start..start + out.len());
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.apply(Op::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.apply(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.apply(Op::Write(offset, data.to_vec()))
    }
}
