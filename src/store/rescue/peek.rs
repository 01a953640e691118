//! Whether a store is one for this program, found out before redb may write to it.
//!
//! redb writes as it opens a file: it marks it as open, and repairs what was not closed. So what is
//! to be left alone must be known before; the few pages that tell are read without it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::pages::{Pages, Source};
use super::row::Table;
use super::walk::{Sink, walk_table};
use crate::store::error::Error;
use crate::store::files::open::{refuse_foreign, refuse_newer_redb, with_suffix};
use crate::store::tables::meta::Meta;

/// Refuses the store at `path`, and what an interrupted rescue has put beside it, if it is of a newer
/// format or the file of something else. Nothing is written. What can't be read is for others to judge.
///
/// # Errors
/// [`Error::Newer`], [`Error::Mosquittos`] and [`Error::Foreign`].
pub fn check(path: &Path) -> Result<(), Error> {
    check_file(path)?;
    check_file(&with_suffix(path, ".rescued"))
}

fn check_file(path: &Path) -> Result<(), Error> {
    // To open a pipe would take until somebody writes to it.
    if !fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
        return Ok(());
    }
    refuse_foreign(path)?;
    refuse_newer_redb(path)?;
    match File::open(path) {
        Ok(file) => check_pages(&file).map_err(|e| e.at(path)),
        Err(_) => Ok(()),
    }
}

/// As [`check`], without the path.
pub(in crate::store) fn check_pages(file: &dyn Source) -> Result<(), Error> {
    let mut found = Format(Ok(()));
    let has_table = walk_table(&mut Pages::new(file), Table::Meta, &mut found);
    found.0?;
    if has_table {
        Ok(())
    } else {
        Err(Error::Foreign(PathBuf::new()))
    }
}

/// Takes the rows in which a store tells of itself.
struct Format(Result<(), Error>);

impl Sink for Format {
    fn row(&mut self, _table: Table, key: &[u8], row: &[u8], _is_live: bool) {
        if let Err(newer) = Meta::default().take(key, row) {
            self.0 = Err(newer);
        }
    }
}
