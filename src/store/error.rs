//! What can go wrong with the store.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A row that is not what was written: too short, a wrong checksum, or fields that make no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt;

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("damaged row")
    }
}

impl std::error::Error for Corrupt {}

/// Why the store cannot be opened, read or written. Each prints as one line that names the cause
/// and, where an operator can act, the cure.
#[derive(Debug)]
pub enum Error {
    /// The folder of the store does not exist.
    NoFolder(PathBuf),
    /// The file or its folder may not be read and written.
    Denied(PathBuf, io::Error),
    /// Another process has the store open.
    Locked(PathBuf),
    /// The file was written by a newer version of this program, in format `found`.
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u64,
    },
    /// The file is a sound redb database, but not a store of this program.
    Foreign(PathBuf),
    /// The file is a persistence file of Mosquitto's.
    Mosquittos(PathBuf),
    /// There is something in the store already, where there must be nothing.
    NotEmpty,
    /// The disk or the quota is full.
    Full(io::Error),
    /// The disk failed.
    Io(io::Error),
    /// The database is damaged.
    Corrupt(String),
    /// Closing gave up on a disk that does not take the last commits; this many were lost.
    Unsaved(usize),
    /// The database refused for a reason of its own.
    Database(Box<redb::Error>),
}

impl Error {
    /// True if freeing disk space would help.
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Full(_))
    }

    /// Names the file in an error that was found inside it.
    pub(super) fn at(self, path: &Path) -> Error {
        match self {
            Error::Foreign(_) => Error::Foreign(path.into()),
            Error::Newer { found, .. } => Error::Newer {
                path: path.into(),
                found,
            },
            other => other,
        }
    }

    /// True if the contents of the file are at fault: it is worth setting aside.
    pub(super) fn is_damage(&self) -> bool {
        // EIO: a sector that cannot be read will not heal by asking again.
        const EIO: i32 = 5;
        match self {
            Error::Corrupt(_) => true,
            Error::Io(e) => {
                e.raw_os_error() == Some(EIO)
                    || matches!(
                        e.kind(),
                        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                    )
            }
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoFolder(path) => write!(
                f,
                "{}: the folder does not exist; create it or change persistence_location",
                path.display()
            ),
            Error::Denied(path, e) => write!(
                f,
                "{}: {e}; give the broker's user write access or change persistence_location",
                path.display()
            ),
            Error::Locked(path) => write!(
                f,
                "{}: in use by another process; stop it or change persistence_location",
                path.display()
            ),
            Error::Newer { path, found } => write!(
                f,
                "{}: written by a newer version (format {found}); upgrade, or move the file away",
                path.display()
            ),
            Error::Foreign(path) => write!(
                f,
                "{}: not a store of this program; move it away or change persistence_file",
                path.display()
            ),
            Error::Mosquittos(path) => write!(
                f,
                "{0}: a store of Mosquitto's; give another persistence_file, and \
                 `footbridge import-mosquitto {0}` takes over what is in it",
                path.display()
            ),
            Error::NotEmpty => f.write_str("there is something in the store already"),
            Error::Full(e) => write!(f, "the disk of the store is full: {e}"),
            Error::Io(e) => write!(f, "the disk of the store fails: {e}"),
            Error::Corrupt(why) => write!(f, "the store is damaged: {why}"),
            Error::Unsaved(n) => write!(f, "the disk took no writes: {n} commits were lost"),
            Error::Database(e) => write!(f, "the store fails: {e}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Denied(_, e) | Error::Full(e) | Error::Io(e) => Some(e),
            Error::Database(e) => Some(e.as_ref()),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Error {
        match e.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Error::Full(e),
            _ => Error::Io(e),
        }
    }
}

impl From<redb::Error> for Error {
    fn from(e: redb::Error) -> Error {
        match e {
            redb::Error::Io(e) => e.into(),
            redb::Error::Corrupted(why) => Error::Corrupt(why),
            other => Error::Database(Box::new(other)),
        }
    }
}

/// redb has an error type an operation; they all fold into one.
macro_rules! from_redb {
    ($($name:ident),*) => {
        $(impl From<redb::$name> for Error {
            fn from(e: redb::$name) -> Error {
                redb::Error::from(e).into()
            }
        })*
    };
}

from_redb!(
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    CursorError,
    CompactionError
);
