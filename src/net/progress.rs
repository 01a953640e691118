//! How a read or a write without blocking went, and why a connection ended.

use std::fmt;
use std::io::{self, ErrorKind};

use super::web::Over;
use crate::bridge;
use crate::tls;

/// How a read or write without blocking went.
#[derive(Debug)]
pub(super) enum Progress {
    /// This many bytes; at least one.
    Bytes(usize),
    /// Nothing can be moved now.
    Blocked,
    /// The peer has closed its side (reads only).
    Eof,
    /// The connection is broken.
    Failed(io::Error),
}

impl Progress {
    pub(super) fn of(result: io::Result<usize>) -> Progress {
        match result {
            Ok(0) => Progress::Eof,
            Ok(n) => Progress::Bytes(n),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Progress::Blocked
            }
            Err(e) => Progress::Failed(e),
        }
    }

    /// The bytes that were moved; `None`: none now.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn moved(self) -> Result<Option<usize>, End> {
        match self {
            Progress::Bytes(n) => Ok(Some(n)),
            Progress::Blocked => Ok(None),
            Progress::Eof => Err(End::Eof),
            Progress::Failed(e) => Err(End::Failed(e)),
        }
    }

    /// True if less than `asked` bytes could be moved: no need to ask the kernel for the rest.
    pub(super) fn is_short(&self, asked: usize) -> bool {
        match self {
            Progress::Bytes(n) => *n < asked,
            Progress::Blocked => true,
            Progress::Eof | Progress::Failed(_) => false,
        }
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The broker wanted it closed.
    Asked,
    /// The peer closed it.
    Eof,
    /// The socket failed.
    Failed(io::Error),
    /// An HTTP request was answered with an error, for this reason.
    Refused(&'static str),
    /// The peer broke this rule of WebSocket.
    Broken(&'static str),
    /// The peer broke a bound of TLS.
    BadTls(&'static str),
    /// TLS with the peer failed.
    Tls(Box<tls::Failure>),
}

impl From<tls::Failure> for End {
    fn from(failure: tls::Failure) -> End {
        End::Tls(Box::new(failure))
    }
}

impl From<Over> for End {
    fn from(over: Over) -> End {
        match over {
            Over::Broken(_, rule) => End::Broken(rule),
            Over::Closed(_) => End::Eof,
        }
    }
}

impl End {
    /// What it means for a bridge.
    pub(super) fn of_upstream(&self) -> bridge::Error {
        let why = self.to_string();
        let is_closed = match self {
            End::Eof => true,
            End::Failed(e) => matches!(
                e.kind(),
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
            ),
            End::Asked | End::Refused(_) | End::Broken(_) | End::BadTls(_) | End::Tls(_) => false,
        };
        if is_closed {
            bridge::Error::Closed(why)
        } else {
            bridge::Error::Io(why)
        }
    }

    /// True where the broker ends the connection, and the peer is to read to the end.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self, End::Eof | End::Failed(_))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Asked => f.write_str("closed by the broker"),
            End::Eof => f.write_str("connection closed by the peer"),
            End::Failed(e) => e.fmt(f),
            End::Refused(why) => write!(f, "HTTP request refused: {why}"),
            End::BadTls(rule) => write!(f, "TLS: {rule}"),
            End::Tls(failure) => failure.fmt(f),
            End::Broken(rule) => write!(f, "no valid WebSocket: {rule}"),
        }
    }
}
