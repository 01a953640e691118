//! What the files of a store sit on, and how much is written to it.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, Database, StorageBackend};

use crate::store::error::Error;

/// What flash and page cache write at least.
const PAGE: u64 = 4096;
/// Beyond so many pages between two syncs, some may be counted twice: that bounds the memory.
const MAX_PAGES_REMEMBERED: usize = 4096;

/// What was asked of the disk since the store was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Bytes written, in whole pages of 4 KiB as the disk sees them: a page counts once between
    /// two syncs, however often it is written. What the file system adds of its own isn't seen.
    pub bytes: u64,
    /// Syncs.
    pub syncs: u64,
}

/// Counts what is written to all files of a store; clones share the count.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Meter(Arc<Mutex<Usage>>);

impl Meter {
    /// The count so far.
    pub(in crate::store) fn usage(&self) -> Usage {
        *self.locked()
    }

    pub(in crate::store) fn add_bytes(&self, bytes: u64) {
        self.locked().bytes += bytes;
    }

    pub(in crate::store) fn add_sync(&self) {
        self.locked().syncs += 1;
    }

    // Not by atomics: 32-bit MIPS has none of 64 bits.
    fn locked(&self) -> MutexGuard<'_, Usage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of a store, wherever they are kept: the store itself and, beside it, the journal. What
/// has no names in a file system can't lose them.
pub(in crate::store) trait Files: Send {
    /// Opens the store, which exists.
    fn open_store(&mut self) -> Result<Database, Error>;

    /// Bytes that the journal is to have; 0 for none.
    fn journal_bytes(&self) -> usize;

    /// Opens the journal; `None` if there is none.
    fn open_journal(&mut self) -> Result<Option<Metered>, Error>;

    /// Makes a journal of `size` bytes in the place of any before, whole or not at all: `header`, then
    /// zeros.
    fn create_journal(&mut self, header: &[u8], size: usize) -> Result<Metered, Error>;

    /// Makes an empty database beside the store.
    fn create_store(&mut self) -> Result<Database, Error>;

    /// Puts the database made last, which is synced, in the place of the store. What it replaces
    /// may come back with a power cut until [`Files::sync_names`].
    fn install_store(&mut self) -> Result<(), Error>;

    /// Removes the database made last.
    fn discard_store(&mut self);

    /// Makes sure that a store which was installed stays so.
    fn sync_names(&mut self) -> Result<(), Error>;

    /// The store's file, if it is one.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// Whether the name of the store no longer leads to the file that is open.
    fn is_store_lost(&self) -> bool {
        false
    }

    /// The same of the journal.
    fn is_journal_lost(&self) -> bool {
        false
    }

    /// Bytes that the store takes, on disk or in memory; `None` if that is not known.
    fn store_bytes(&self) -> Option<u64>;

    /// True if the store is in memory, where a rewrite wears nothing out.
    fn is_memory(&self) -> bool {
        false
    }

    /// What was asked of the disk so far.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// A file that counts what is written to it.
pub(in crate::store) struct Metered {
    file: Box<dyn StorageBackend>,
    meter: Meter,
    /// The pages written since the last sync.
    unsynced: Mutex<HashSet<u64>>,
}

impl Metered {
    pub(in crate::store) fn new(file: impl StorageBackend, meter: Meter) -> Metered {
        Metered {
            file: Box::new(file),
            meter,
            unsynced: Mutex::default(),
        }
    }

    fn count(&self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        let mut unsynced = self.unsynced();
        if unsynced.len() > MAX_PAGES_REMEMBERED {
            unsynced.clear();
        }
        let pages = offset / PAGE..=(offset + len - 1) / PAGE;
        let new = pages.filter(|page| unsynced.insert(*page)).count();
        self.meter.add_bytes(new as u64 * PAGE);
    }

    fn unsynced(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl StorageBackend for Metered {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.meter.add_sync();
        self.unsynced().clear();
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.count(offset, data.len() as u64);
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
