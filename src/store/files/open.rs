//! Finding, creating and setting aside the file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};
use rustix::fs::{Advice, fadvise};

use super::disk::{Files, Meter, Metered, Usage};
use super::journal;
use crate::store::error::Error;
use crate::store::tables::meta::{Meta, initialise};

/// redb's page cache, in bytes: enough for the pages of one commit. Its default is 1 GiB.
const CACHE_BYTES: usize = 512 << 10;
/// Bytes of the journal. What it holds lies in RAM too.
const JOURNAL_BYTES: usize = 256 << 10;
/// redb's magic number, which every database starts with.
const REDB_MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// Where redb's two commit slots keep the version of its file format.
const REDB_VERSIONS: [usize; 2] = [64, 192];
/// The formats that newer versions of redb may write; beyond these it is garbage.
const REDB_NEWER: Range<u8> = 4..16;
/// What a Mosquitto persistence file starts with.
pub const MOSQUITTO_MAGIC: &[u8] = b"\x00\xB5\x00mosquitto db";
/// What an SQLite database starts with, such as that of Mosquitto's persist-sqlite plugin.
pub const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

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
pub(in crate::store) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

/// The files of a store at a path: `NAME`, and `NAME.journal` beside it.
pub(in crate::store) struct StoreFiles {
    path: PathBuf,
    meter: Meter,
    store: Option<FileId>,
    /// The store made last, not yet under its name.
    new: Option<FileId>,
    journal: Option<FileId>,
    /// A name was changed and the folder not synced since.
    unsynced: bool,
}

impl StoreFiles {
    pub(in crate::store) fn new(path: &Path, meter: Meter) -> StoreFiles {
        // A link stays one: the store is replaced where it is, and its journal lies beside it.
        let target = fs::symlink_metadata(path)
            .ok()
            .filter(|meta| meta.is_symlink())
            .and_then(|_| fs::canonicalize(path).ok());
        StoreFiles {
            path: target.unwrap_or_else(|| path.into()),
            meter,
            store: None,
            new: None,
            journal: None,
            unsynced: false,
        }
    }

    /// Makes an empty store unless there is a file already. It comes into being under another
    /// name and is synced first, so that a power cut leaves a whole store or none; its journal is
    /// there before it, so that one that is missing later is known to be lost.
    pub(in crate::store) fn create_if_absent(&mut self) -> Result<(), Error> {
        match fs::metadata(&self.path) {
            Ok(meta) if meta.len() > 0 => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(denied(&self.path, e)),
        }
        let folder = folder_of(&self.path);
        if !folder.is_dir() {
            return Err(Error::NoFolder(folder.into()));
        }
        let meta = Meta::new_store();
        drop(journal::create(self, meta.id)?);
        self.install_new(&meta)
    }

    fn install_new(&mut self, meta: &Meta) -> Result<(), Error> {
        let database = self.create_store()?;
        initialise(&database, meta)?;
        drop(database);
        self.install_store()?;
        self.sync_names()
    }

    fn new_path(&self) -> PathBuf {
        with_suffix(&self.path, ".new")
    }

    fn journal_path(&self) -> PathBuf {
        with_suffix(&self.path, ".journal")
    }

    /// Gives a new file the permissions of the store, if there is one.
    fn keep_mode(&self, file: &File) {
        if let Ok(meta) = fs::metadata(&self.path) {
            // A file system without permissions.
            let _ = file.set_permissions(meta.permissions());
        }
    }

    fn metered(&self, file: File) -> Result<Metered, Error> {
        let file = FileBackend::new(file).map_err(redb::Error::from)?;
        Ok(Metered::new(file, self.meter.clone()))
    }

    fn open_database(&self, path: &Path, file: File) -> Result<Database, Error> {
        let opened = builder().create_with_backend(self.metered(file)?);
        opened.map_err(|e| match e {
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
}

impl Files for StoreFiles {
    fn open_store(&mut self) -> Result<Database, Error> {
        let path = &self.path;
        let file = open_existing(path)?;
        let meta = file.metadata().map_err(|e| denied(path, e))?;
        if meta.len() == 0 {
            return Err(Error::Corrupt("the file is empty".into()));
        }
        let database = self.open_database(path, file)?;
        self.store = Some(FileId::of(&meta));
        Ok(database)
    }

    fn journal_bytes(&self) -> usize {
        JOURNAL_BYTES
    }

    fn open_journal(&mut self) -> Result<Option<Metered>, Error> {
        let path = self.journal_path();
        let file = match open_existing(&path) {
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        lock(&path, &file)?;
        use_small_pages(&file);
        self.journal = file.metadata().ok().as_ref().map(FileId::of);
        self.metered(file).map(Some)
    }

    fn create_journal(&mut self, header: &[u8], size: usize) -> Result<Metered, Error> {
        let path = self.journal_path();
        // Where it can't be made there is none to lose.
        self.journal = None;
        // Another process may have the one that is replaced.
        let _old = match open_existing(&path) {
            Ok(old) => lock(&path, &old).map(|()| Some(old))?,
            Err(_) => None,
        };
        let new = with_suffix(&path, ".new");
        let created = write_new(&new, header, size).and_then(|file| {
            self.keep_mode(&file);
            fs::rename(&new, &path)?;
            sync_folder(&path)?;
            Ok(file)
        });
        let file = created.map_err(|e| {
            // What there was of it takes up room on a full disk.
            let _ = fs::remove_file(&new);
            denied(&path, e)
        })?;
        self.meter.add_bytes(size as u64);
        self.meter.add_sync();
        lock(&path, &file)?;
        use_small_pages(&file);
        self.journal = file.metadata().ok().as_ref().map(FileId::of);
        self.metered(file)
    }

    fn create_store(&mut self) -> Result<Database, Error> {
        let path = self.new_path();
        let file = new_file(&path).map_err(|e| denied(&path, e))?;
        self.keep_mode(&file);
        self.new = file.metadata().ok().as_ref().map(FileId::of);
        self.open_database(&path, file)
    }

    fn install_store(&mut self) -> Result<(), Error> {
        let new = self.new_path();
        let denied = |e| denied(&self.path, e);
        File::open(&new)
            .and_then(|file| file.sync_all())
            .map_err(denied)?;
        self.meter.add_sync();
        fs::rename(&new, &self.path).map_err(denied)?;
        self.unsynced = true;
        self.store = self.new.take();
        Ok(())
    }

    fn discard_store(&mut self) {
        // It is removed before the next is made, too.
        let _ = fs::remove_file(self.new_path());
    }

    fn sync_names(&mut self) -> Result<(), Error> {
        if self.unsynced {
            sync_folder(&self.path).map_err(|e| denied(&self.path, e))?;
            self.unsynced = false;
        }
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn is_store_lost(&self) -> bool {
        self.store.is_some_and(|id| id.is_lost(&self.path))
    }

    fn is_journal_lost(&self) -> bool {
        self.journal
            .is_some_and(|id| id.is_lost(&self.journal_path()))
    }

    fn store_bytes(&self) -> Option<u64> {
        // The file has holes where it has shrunk inside.
        let on_disk = |meta: fs::Metadata| meta.len().min(meta.blocks() * 512);
        fs::metadata(&self.path).ok().map(on_disk)
    }

    fn usage(&self) -> Usage {
        self.meter.usage()
    }
}

/// A file as the system knows it, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    fn of(meta: &fs::Metadata) -> FileId {
        FileId {
            dev: meta.dev(),
            ino: meta.ino(),
        }
    }

    /// Whether `path`, which was resolved, leads elsewhere, be it by a link. A disk that doesn't
    /// answer isn't taken for that.
    fn is_lost(self, path: &Path) -> bool {
        match fs::symlink_metadata(path) {
            Ok(meta) => FileId::of(&meta) != self,
            Err(e) => e.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// A damage that is none: the file of something else, or of a newer redb.
fn refine(path: &Path, error: Error) -> Error {
    if !error.is_damage() {
        return error;
    }
    let refused = refuse_foreign(path).and_then(|()| refuse_newer_redb(path));
    refused.err().unwrap_or(error)
}

/// Refuses the file of a newer redb.
///
/// # Errors
/// [`Error::Newer`].
pub(in crate::store) fn refuse_newer_redb(path: &Path) -> Result<(), Error> {
    let head = head(path);
    match version(&head) {
        Some(version) if head.starts_with(REDB_MAGIC) && REDB_NEWER.contains(&version) => {
            Err(Error::Newer {
                path: path.into(),
                found: version.into(),
            })
        }
        _ => Ok(()),
    }
}

/// Refuses the file of a program whose files may be taken for a store by mistake, by its first bytes.
/// One that can't be read passes.
///
/// # Errors
/// [`Error::Mosquittos`] and [`Error::Foreign`].
pub(in crate::store) fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let head = head(path);
    if head.starts_with(MOSQUITTO_MAGIC) {
        Err(Error::Mosquittos(path.into()))
    } else if head.starts_with(SQLITE_MAGIC) {
        Err(Error::Foreign(path.into()))
    } else {
        Ok(())
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

fn open_existing(path: &Path) -> Result<File, Error> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.map_err(|e| denied(path, e))
}

/// Makes an empty file in the place of any before.
fn new_file(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        // What waits in it is nobody else's.
        .mode(0o600)
        .open(path)
}

/// Writes `header` and then zeros, `size` bytes in all.
fn write_new(path: &Path, header: &[u8], size: usize) -> io::Result<File> {
    let mut file = new_file(path)?;
    file.write_all(header)?;
    let zeros = size.saturating_sub(header.len()) as u64;
    // By pieces: a buffer for all of it would stay resident, and it is needed once in a store's life.
    io::copy(&mut io::repeat(0).take(zeros), &mut file)?;
    file.sync_all()?;
    Ok(file)
}

fn lock(path: &Path, file: &File) -> Result<(), Error> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::Locked(path.into())),
        // A file system that knows no locks.
        Err(TryLockError::Error(_)) | Ok(()) => Ok(()),
    }
}

/// Lets the page cache hold the file, which is synced, in pages of their own. What was written or
/// read at one go it may hold as one large folio, all of which then counts as written with each
/// sector of it (Linux 6.16, ext4).
fn use_small_pages(file: &File) {
    // Where a system knows nothing of it, there is nothing to mend.
    for advice in [Advice::DontNeed, Advice::Random] {
        let _ = fadvise(file, 0, None, advice);
    }
}

/// Gives a damaged file the name `NAME.corrupt-UNIXTIME-N`, after the time it was last written,
/// and returns that. Where the file system can, it keeps its old name too until another file takes
/// it: without a store there, a start after a power cut would not know the journal for its own.
pub(in crate::store) fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    // When it was last written: near enough to now, and no clock is needed.
    let written = fs::metadata(path)
        .and_then(|meta| meta.modified())
        .map_err(|e| denied(path, e))?;
    let at = written
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    // It has the name already where a crash came before another file took its old one.
    let is_it = |name: &Path| {
        let ids = [path, name].map(|path| fs::metadata(path).ok().as_ref().map(FileId::of));
        ids[0] == ids[1]
    };
    let aside = (0u32..)
        .map(|n| with_suffix(path, &format!(".corrupt-{at}-{n}")))
        .find(|name| !name.exists() || is_it(name))
        .unwrap_or_else(|| with_suffix(path, ".corrupt"));
    if !aside.exists() {
        fs::hard_link(path, &aside)
            .or_else(|_| fs::rename(path, &aside))
            .map_err(|e| denied(path, e))?;
    }
    sync_folder(path).map_err(|e| denied(path, e))?;
    Ok(aside)
}

pub(in crate::store) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

pub(in crate::store) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(in crate::store) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

pub(in crate::store) fn denied(path: &Path, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory => Error::Denied(path.into(), e),
        _ => refine(path, e.into()),
    }
}
