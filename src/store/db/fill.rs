//! Filling a store in which there is nothing from elsewhere, at one go.

use redb::Database;

use super::{Db, read_meta};
use crate::store::error::Error;
use crate::store::rows::batch::Batch;
use crate::store::tables::changes::Changes;
use crate::store::tables::meta::{Meta, initialise};

impl Db {
    /// Fills the store with batches: `next` fills one, and says whether there is another. They are in it all
    /// together, also after a power cut, or none of them: they are gathered in a file of their own,
    /// which then takes the place of the store's. What is written is not counted as wear.
    ///
    /// # Errors
    /// What `next` says; whatever redb and the disk report; [`Error::NotEmpty`]. The store is then as it was.
    pub fn fill<E: From<Error>>(
        &mut self,
        mut next: impl FnMut(&mut Batch) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.fold()?;
        self.database()?;
        if self.live > 0 {
            return Err(Error::NotEmpty.into());
        }
        let filled = self.files.create_store().map_err(E::from);
        let filled = filled.and_then(|new| Ok((self.fill_store(&new, &mut next)?, new)));
        let installed = filled.and_then(|((meta, live), new)| {
            let (_, end) = read_meta(&new)?;
            self.files.install_store()?;
            Ok((meta, live, new, end))
        });
        let (meta, live, new, end) = installed.inspect_err(|_| self.files.discard_store())?;
        self.database = Some(new);
        (self.live, self.most_live, self.end) = (live, live, end);
        (self.meta, self.stored) = (meta, meta.stamp);
        self.applied(meta.applied);
        self.files.sync_names()?;
        Ok(())
    }

    /// Fills a new file; returns what it says of itself, and the bytes of its rows.
    fn fill_store<E: From<Error>>(
        &self,
        new: &Database,
        next: &mut impl FnMut(&mut Batch) -> Result<bool, E>,
    ) -> Result<(Meta, u64), E> {
        let mut meta = Meta {
            applied: self.seq(),
            ..self.meta
        };
        initialise(new, &meta)?;
        let (mut batch, mut live, mut has_more) = (Batch::new(0), 0, true);
        while has_more {
            batch.reset(0);
            has_more = next(&mut batch)?;
            meta.stamp.advance(batch.floor, batch.wall, 0);
            meta.known = meta.known.max(batch.known);
            meta.format = meta.format.max(batch.format());
            live += commit(new, &meta, &batch)?;
        }
        Ok((meta, live))
    }
}

/// Commits a batch to a new file; returns the bytes of its rows.
fn commit(new: &Database, meta: &Meta, batch: &Batch) -> Result<u64, Error> {
    let mut changes: Changes<&str, &[u8]> = Changes::default();
    // There is nothing yet that it could delete.
    changes.absorb(batch, 0);
    let txn = new.begin_write()?;
    let balance = changes.write(&txn)?;
    meta.write(&txn)?;
    txn.commit()?;
    Ok(balance.added.saturating_sub(balance.removed))
}
