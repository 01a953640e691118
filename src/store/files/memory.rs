//! The files of a store that is none: `persistence false`.

use redb::Database;
use redb::backends::InMemoryBackend;

use super::disk::{Files, Meter, Metered};
use super::open;
use crate::store::error::Error;
use crate::store::tables::meta::{Meta, initialise};

/// A store in memory.
pub(in crate::store) struct MemoryFiles;

impl Files for MemoryFiles {
    fn open_store(&mut self) -> Result<Database, Error> {
        let database = self.create_store()?;
        initialise(&database, &Meta::new_store())?;
        Ok(database)
    }

    fn journal_bytes(&self) -> usize {
        0
    }

    fn open_journal(&mut self) -> Result<Option<Metered>, Error> {
        Ok(None)
    }

    fn create_journal(&mut self, _header: &[u8], _size: usize) -> Result<Metered, Error> {
        Ok(Metered::new(InMemoryBackend::new(), Meter::default()))
    }

    fn create_store(&mut self) -> Result<Database, Error> {
        let created = open::builder().create_with_backend(InMemoryBackend::new());
        Ok(created.map_err(redb::Error::from)?)
    }

    fn install_store(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn discard_store(&mut self) {}

    fn sync_names(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn store_bytes(&self) -> Option<u64> {
        None
    }
}
