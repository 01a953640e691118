//! Finding, creating and setting aside the file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use redb::{Builder, Database, DatabaseError};

use super::error::Error;
use super::tables::initialise;

/// redb's page cache, in bytes: enough for the pages of one commit. Its default is 1 GiB.
const CACHE: usize = 512 << 10;
/// redb's magic number, which every database starts with.
const REDB_MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// Where redb's two commit slots keep the version of its file format.
const REDB_VERSIONS: [usize; 2] = [64, 192];
/// The formats that newer versions of redb may write; beyond these it is garbage.
const REDB_NEWER: Range<u8> = 4..16;
/// What a Mosquitto persistence file starts with.
const MOSQUITTO_MAGIC: &[u8] = b"\x00\xB5\x00mosquitto db";

/// Where the store lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// In this file; its folder must exist.
    File(PathBuf),
    /// In memory (`persistence false`): it dies with the process.
    Memory,
}

/// redb as this store wants it. The check at open makes bit rot an error instead of wrong
/// payloads or a panic. It reads the whole file, as opening after a crash does anyway: 60 ms for
/// 200,000 messages in 70 MB on a desktop, against 3 ms without it after a clean end.
///
/// Commits are one-phase and without quick-repair, redb's defaults: both alternatives write more
/// at each commit to save time at start-up only.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true);
    builder
}

/// Opens the database in the file at `path`, which exists.
pub(super) fn open_file(path: &Path) -> Result<Database, Error> {
    builder().open(path).map_err(|e| match e {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::Locked(path.into())
        }
        DatabaseError::UpgradeRequired(found) => match version(&head(path)) {
            Some(_) => Error::Foreign(path.into()),
            None => Error::Corrupt(format!("one of its slots claims version {found}")),
        },
        DatabaseError::Storage(redb::StorageError::Io(e)) => denied(path, e),
        other => refine(path, redb::Error::from(other).into()),
    })
}

/// A damage that is none: the file of something else, or of a newer redb.
fn refine(path: &Path, error: Error) -> Error {
    let head = match error.is_damage() {
        true => head(path),
        false => return error,
    };
    if head.starts_with(MOSQUITTO_MAGIC) {
        return Error::Foreign(path.into());
    }
    match version(&head) {
        Some(version) if head.starts_with(REDB_MAGIC) && REDB_NEWER.contains(&version) => {
            Error::Newer {
                path: path.into(),
                found: version.into(),
            }
        }
        _ => error,
    }
}

/// The version of redb's format. Both commit slots name it: rot would have hit one of them.
fn version(head: &[u8]) -> Option<u8> {
    let [a, b] = REDB_VERSIONS.map(|at| head.get(at).copied());
    a.filter(|_| a == b)
}

/// The first bytes of a file, or none.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(256).read_to_end(&mut head));
    read.map_or(Vec::new(), |_| head)
}

/// Makes an empty store at `path` unless there is a file already. It comes into being under
/// another name and is synced first, so that a power cut leaves a whole store or none.
pub(super) fn create_if_absent(path: &Path) -> Result<(), Error> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > 0 => return Ok(()),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(denied(path, e)),
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(Error::NoFolder(folder.into()));
    }
    let young = with_suffix(path, ".new");
    drop(create(&young)?);
    let denied = |e| denied(path, e);
    File::open(&young)
        .and_then(|file| file.sync_all())
        .map_err(denied)?;
    fs::rename(&young, path).map_err(denied)?;
    sync_folder(path).map_err(denied)
}

/// Makes an empty store at `path`, whatever is there.
pub(super) fn create(path: &Path) -> Result<Database, Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(denied(path, e)),
        _ => {}
    }
    let database = builder().create(path).map_err(|e| match e {
        DatabaseError::Storage(redb::StorageError::Io(e)) => denied(path, e),
        other => redb::Error::from(other).into(),
    })?;
    initialise(&database)?;
    Ok(database)
}

/// Renames a damaged file to `NAME.corrupt-UNIXTIME-N`, after the time it was last written, and
/// returns the new name.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    // When it was last written: near enough to now, and no clock is needed.
    let written = fs::metadata(path)
        .and_then(|meta| meta.modified())
        .map_err(|e| denied(path, e))?;
    let at = written
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let aside = (0u32..)
        .map(|n| with_suffix(path, &format!(".corrupt-{at}-{n}")))
        .find(|name| !name.exists())
        .unwrap_or_else(|| with_suffix(path, ".corrupt"));
    fs::rename(path, &aside).map_err(|e| denied(path, e))?;
    sync_folder(path).map_err(|e| denied(path, e))?;
    Ok(aside)
}

pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

pub(super) fn denied(path: &Path, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory => Error::Denied(path.into(), e),
        _ => refine(path, e.into()),
    }
}
