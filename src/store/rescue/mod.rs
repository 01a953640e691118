//! What can still be read in a damaged file, saved into a new store.
//!
//! redb gives up on a file with one wrong bit. Its pages are simple enough to be read without it
//! (`pages`, `link`, `node`), every row has a checksum of its own (`row`), and the trees tell which rows
//! are live (`walk`); what they lead to no more is searched for (`search`). The rows go into a
//! new store beside the old one (`new_store`), a bounded number at a time.
//!
//! By the same pages a start finds out, before redb may write to a file, whether that is a store for
//! this program (`peek`).
//!
//! The new store takes the place of the damaged file by renames, and there is no moment at which
//! a crash loses either or makes an empty store of both:
//!
//! | after | a start finds |
//! |---|---|
//! | the copy is begun, as `NAME.new` | the damaged file: begins anew |
//! | the copy is done, now `NAME.rescued` | the damaged file: begins anew |
//! | the damaged file is `NAME.corrupt-…` | no file, but `NAME.rescued`: renames it |
//! | `NAME.rescued` is `NAME` | the new store |

mod link;
mod new_store;
mod node;
mod pages;
pub(super) mod peek;
pub(super) mod report;
mod row;
mod search;
mod tables;
mod walk;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use redb::Database;

use self::new_store::NewStore;
use self::pages::Pages;
pub(super) use self::pages::Source;
use self::report::{Quarantined, Rescued};
use super::error::Error;
use super::files::disk::Files;
use super::files::journal;
use super::files::open::{self, StoreFiles, denied, sync_folder, with_suffix};
use super::tables::meta::{Meta, initialise};

/// How many damaged files are kept: flash is small.
const KEPT_FILES: usize = 2;

/// Sets the damaged file at `path` aside for a store with all that could be saved. It goes on
/// with the journal, which is newer than anything in the file.
///
/// # Errors
/// If the damaged file is that of a newer version, in use, or not even an empty store can be
/// made. It is then still where it was.
pub(super) fn rescue(
    files: &mut StoreFiles,
    path: &Path,
    damage: &Error,
) -> Result<Quarantined, Error> {
    let source = File::open(path).map_err(|e| denied(path, e))?;
    // Another process has the same in mind.
    if let Err(TryLockError::WouldBlock) = source.try_lock() {
        return Err(Error::Locked(path.into()));
    }
    let deleted = delete_old(path);
    let of_journal = journal::meta_for_journal(files)?;
    let copied = create(files).and_then(|database| copy(&source, database, of_journal));
    let copied = copied.inspect_err(|_| files.discard_store());
    let copied = copied.map_err(|e| e.at(path))?;
    make_ready(path)?;
    let aside = open::set_aside(path)?;
    take_place(path)?;
    Ok(Quarantined {
        aside,
        why: damage.to_string(),
        rescued: copied.rescued,
        lost: copied.lost,
        cut_short: copied.cut_short,
        deleted,
    })
}

/// Ends the rescue that a crash cut short when the damaged file was already aside; whether there
/// was one.
///
/// # Errors
/// If the folder cannot be read and written.
pub(super) fn resume(path: &Path) -> Result<bool, Error> {
    let ready = with_suffix(path, ".rescued");
    if !ready.exists() {
        return Ok(false);
    }
    // A file of no bytes is none, as for `create_if_absent`.
    if fs::metadata(path).is_ok_and(|meta| meta.len() > 0) {
        fs::remove_file(&ready).map_err(|e| denied(&ready, e))?;
        return Ok(false);
    }
    take_place(path)?;
    Ok(true)
}

/// What [`resume`] can still tell of the rescue.
pub(super) fn resumed(path: &Path, rescued: Rescued) -> Quarantined {
    Quarantined {
        aside: set_aside_before(path).pop().unwrap_or_default(),
        why: "found at an earlier start, which was interrupted".into(),
        rescued,
        lost: None,
        cut_short: None,
        deleted: Vec::new(),
    }
}

/// What [`copy`] did.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) rescued: Rescued,
    pub(super) lost: Option<u64>,
    pub(super) cut_short: Option<Error>,
}

fn create(files: &mut StoreFiles) -> Result<Database, Error> {
    let database = files.create_store()?;
    initialise(&database, &Meta::new_store())?;
    Ok(database)
}

/// Copies what can be read in `source` to `database`, an empty store, and closes that. `of_journal`:
/// what the journal says of the store, where that doesn't.
pub(super) fn copy(
    source: &dyn Source,
    database: Database,
    of_journal: Option<Meta>,
) -> Result<Copied, Error> {
    let mut new_store = NewStore::new(database);
    let mut pages = Pages::new(source);
    let walked = walk::walk(&mut pages, &mut new_store);
    let searches = !walked.lost.is_empty() && new_store.error().is_none();
    if searches {
        search::search(&mut pages, &walked.lost, &mut new_store);
    }
    let (counts, cut_short) = match new_store.finish(of_journal) {
        (_, Some(newer @ Error::Newer { .. })) => return Err(newer),
        finished => finished,
    };
    // What a search finds may be old: it makes up for nothing.
    let expected = walked.expected.filter(|_| walked.lost.is_empty());
    Ok(Copied {
        rescued: counts.rescued,
        lost: expected.map(|expected| expected.saturating_sub(counts.rows)),
        cut_short,
    })
}

/// Marks the copy as whole.
pub(super) fn make_ready(path: &Path) -> Result<(), Error> {
    let new = with_suffix(path, ".new");
    let ready = with_suffix(path, ".rescued");
    File::open(&new)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&new, &ready))
        .and_then(|()| sync_folder(path))
        .map_err(|e| denied(&ready, e))
}

/// Puts the copy where the damaged file was.
fn take_place(path: &Path) -> Result<(), Error> {
    let ready = with_suffix(path, ".rescued");
    fs::rename(&ready, path)
        .and_then(|()| sync_folder(path))
        .map_err(|e| denied(path, e))
}

/// Deletes the oldest of the files set aside, to have room for one more. One that cannot be
/// deleted is in nobody's way.
fn delete_old(path: &Path) -> Vec<PathBuf> {
    let mut files = set_aside_before(path);
    let surplus = (files.len() + 1).saturating_sub(KEPT_FILES);
    files.truncate(surplus);
    files.retain(|file| fs::remove_file(file).is_ok());
    files
}

/// The files set aside so far, by when they were last written.
fn set_aside_before(path: &Path) -> Vec<PathBuf> {
    let prefix = with_suffix(path, ".corrupt");
    let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes();
    let entries = fs::read_dir(open::folder_of(path)).into_iter().flatten();
    let mut files: Vec<(i64, i64, PathBuf)> = entries
        .filter_map(io::Result::ok)
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix))
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some((meta.mtime(), meta.mtime_nsec(), entry.path()))
        })
        .collect();
    files.sort();
    files.into_iter().map(|(.., file)| file).collect()
}
