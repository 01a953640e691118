//! Why a file of Mosquitto's can't be brought over.

use std::fmt;
use std::io;

use crate::store;

/// Why a file of Mosquitto's can't be brought over. Each prints as one line that names the cause and, where
/// an operator can act, the cure; the file itself is for the caller to name.
#[derive(Debug)]
pub enum Error {
    /// The file can't be read.
    Read(io::Error),
    /// It is not a persistence file of Mosquitto's.
    Foreign,
    /// It is a database of Mosquitto's plugin `persist-sqlite`.
    Sqlite,
    /// It is a persistence file in a format that is not known.
    Format(u32),
    /// It ends, or makes no sense, in the record that begins at this byte.
    Damaged {
        /// The byte, counted from 0.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// It has more records than can be counted.
    TooMany,
    /// The store can't be written.
    Store(store::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read(e) => e.fmt(f),
            Error::Foreign => f.write_str("not a persistence file of Mosquitto's"),
            Error::Sqlite => f.write_str(
                "a database of Mosquitto's plugin persist-sqlite, which can't be read, nor can Mosquitto \
                 make a mosquitto.db of it. What is retained comes over a bridge: start footbridge on \
                 another port, with a connection to the running Mosquitto that has `topic # in 2`; \
                 clients whose messages wait there get them by connecting there once more",
            ),
            Error::Format(format) => write!(
                f,
                "a persistence file of Mosquitto's in format {format}; known are 3 to 6"
            ),
            Error::Damaged { at, what } => {
                write!(f, "damaged at byte {at}: {what}; nothing was taken over")
            }
            Error::TooMany => f.write_str("more than 4,294,967,295 records"),
            Error::Store(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Read(e) => Some(e),
            Error::Store(e) => Some(e),
            Error::Foreign
            | Error::Sqlite
            | Error::Format(_)
            | Error::Damaged { .. }
            | Error::TooMany => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Error {
        Error::Read(e)
    }
}

impl From<store::Error> for Error {
    fn from(e: store::Error) -> Error {
        Error::Store(e)
    }
}
