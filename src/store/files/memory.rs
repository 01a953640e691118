//! The files of a store that is none: `persistence false`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, StorageBackend};

use super::disk::{Files, Meter, Metered};
use super::open;
use crate::held::ALLOCATION;
use crate::store::error::Error;
use crate::store::tables::meta::{Meta, initialise};

/// What is allocated at a time: a page of redb.
const PAGE: usize = 4096;

/// What a page takes, in bytes: itself, the allocation, and its place among the others.
const PAGE_TAKES: u64 = (PAGE + ALLOCATION + 2 * (size_of::<u64>() + size_of::<Page>())) as u64;

type Page = Box<[u8; PAGE]>;

/// A file in memory. Clones are the same file; what was never written takes nothing.
#[derive(Clone, Debug, Default)]
struct MemoryFile(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    len: u64,
    /// By number; those that are missing are zeros.
    pages: BTreeMap<u64, Page>,
}

/// The part of a file that lies in one page.
struct Part {
    page: u64,
    /// Where it begins in the page.
    start: usize,
    len: usize,
}

/// The parts of `len` bytes from `offset` on.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = Part> {
    let (mut offset, mut left) = (offset, len);
    std::iter::from_fn(move || {
        let start = usize::try_from(offset % PAGE as u64).unwrap_or_default();
        let len = left.min(PAGE - start);
        let page = offset / PAGE as u64;
        offset += len as u64;
        left -= len;
        (len > 0).then_some(Part { page, start, len })
    })
}

impl Pages {
    /// Fails beyond the end of the file.
    fn check(&self, offset: u64, len: usize) -> io::Result<()> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        self.check(offset, out.len())?;
        for Part { page, start, len } in parts(offset, out.len()) {
            let (now, later) = out.split_at_mut(len);
            let page = self.pages.get(&page);
            match page.and_then(|page| page.get(start..start + len)) {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            out = later;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        self.check(offset, data.len())?;
        for Part { page, start, len } in parts(offset, data.len()) {
            let (now, later) = data.split_at(len);
            let new = || Box::new([0; PAGE]);
            let page = self.pages.entry(page).or_insert_with(new);
            if let Some(bytes) = page.get_mut(start..start + len) {
                bytes.copy_from_slice(now);
            }
            data = later;
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        self.len = len;
        let within = usize::try_from(len % PAGE as u64).unwrap_or_default();
        self.pages.split_off(&len.div_ceil(PAGE as u64));
        // What is cut off comes back as zeros if the file grows again.
        let last = self.pages.get_mut(&(len / PAGE as u64));
        if let Some(rest) = last.and_then(|page| page.get_mut(within..)) {
            rest.fill(0);
        }
    }
}

impl MemoryFile {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it takes, in bytes.
    fn takes(&self) -> u64 {
        self.pages().pages.len() as u64 * PAGE_TAKES
    }

    fn open(&self) -> Result<Database, Error> {
        let opened = open::builder().create_with_backend(self.clone());
        Ok(opened.map_err(redb::Error::from)?)
    }
}

impl StorageBackend for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.pages().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.pages().read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pages().set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.pages().write(offset, data)
    }
}

/// A store in memory.
#[derive(Debug, Default)]
pub(in crate::store) struct MemoryFiles {
    /// `None` before it is opened for the first time.
    store: Option<MemoryFile>,
    /// The store made last, not yet in the place of the other.
    new: Option<MemoryFile>,
    /// What it takes without any rows, in bytes.
    empty: u64,
}

impl Files for MemoryFiles {
    fn open_store(&mut self) -> Result<Database, Error> {
        if let Some(store) = &self.store {
            return store.open();
        }
        let store = MemoryFile::default();
        let database = store.open()?;
        initialise(&database, &Meta::new_store())?;
        self.empty = store.takes();
        self.store = Some(store);
        Ok(database)
    }

    fn journal_bytes(&self) -> usize {
        0
    }

    fn open_journal(&mut self) -> Result<Option<Metered>, Error> {
        Ok(None)
    }

    fn create_journal(&mut self, _header: &[u8], _size: usize) -> Result<Metered, Error> {
        Ok(Metered::new(MemoryFile::default(), Meter::default()))
    }

    fn create_store(&mut self) -> Result<Database, Error> {
        self.new.insert(MemoryFile::default()).open()
    }

    fn install_store(&mut self) -> Result<(), Error> {
        if let Some(new) = self.new.take() {
            self.store = Some(new);
        }
        Ok(())
    }

    fn discard_store(&mut self) {
        self.new = None;
    }

    fn sync_names(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// What no peer has made grow is left out.
    fn store_bytes(&self) -> Option<u64> {
        let store = self.store.as_ref()?;
        Some(store.takes().saturating_sub(self.empty))
    }

    fn is_memory(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::ReadableDatabase;

    use super::*;

    proptest! {
        /// Whatever is written, cut off and grown again.
        #[test]
        fn a_file_in_memory_is_like_a_vector(
            steps in prop::collection::vec((0u8..4, 0usize..20_000, 0usize..9_000), 1..40),
        ) {
            let (file, mut model) = (MemoryFile::default(), Vec::<u8>::new());
            for (n, (step, offset, len)) in steps.into_iter().enumerate() {
                let fits = offset + len <= model.len();
                if step == 0 {
                    file.set_len(offset as u64).unwrap();
                    model.resize(offset, 0);
                } else if step < 3 {
                    let data = vec![n as u8 + 1; len];
                    prop_assert_eq!(file.write(offset as u64, &data).is_ok(), fits);
                    if fits {
                        model[offset..offset + len].copy_from_slice(&data);
                    }
                } else {
                    let mut out = vec![0xff; len];
                    prop_assert_eq!(file.read(offset as u64, &mut out).is_ok(), fits);
                    prop_assert!(!fits || out == model[offset..offset + len]);
                }
                prop_assert_eq!(file.len().unwrap(), model.len() as u64);
                prop_assert!(file.takes() <= (model.len().div_ceil(PAGE) as u64) * PAGE_TAKES);
            }
            let mut all = vec![0xff; model.len()];
            file.read(0, &mut all).unwrap();
            prop_assert_eq!(all, model);
        }
    }

    /// After an error it is opened anew; what it holds must still be there.
    #[test]
    fn a_store_in_memory_is_never_opened_empty() {
        let mut files = MemoryFiles::default();
        let meta = Meta {
            applied: 7,
            ..Meta::new_store()
        };
        let database = files.open_store().unwrap();
        let txn = database.begin_write().unwrap();
        meta.write(&txn).unwrap();
        txn.commit().unwrap();
        drop(database);
        let read = |files: &mut MemoryFiles| {
            let database = files.open_store().unwrap();
            Meta::read(&database.begin_read().unwrap()).unwrap()
        };
        assert_eq!(read(&mut files), meta);
        // One that is given up leaves the store as it was.
        drop(files.create_store().unwrap());
        files.discard_store();
        files.install_store().unwrap();
        assert_eq!(read(&mut files), meta);
    }

    #[test]
    fn what_was_never_written_or_is_cut_off_takes_nothing() {
        let file = MemoryFile::default();
        file.set_len(1 << 40).unwrap();
        file.write(1 << 39, b"x").unwrap();
        assert_eq!(file.takes(), PAGE_TAKES);
        file.set_len(1 << 39).unwrap();
        assert_eq!(file.takes(), 0);
    }
}
