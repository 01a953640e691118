//! What `footbridge pub`, `sub`, `status`, `bridge`, `check`, `import-mosquitto` and `demo` end with when they fail.

use std::fmt;
use std::io;

use super::client::{self, plain};
use super::demo::DemoError;
use crate::config::printable::printable;
use crate::run;
use crate::run::control::protocol::Refusal;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum Error {
    /// Nothing went wrong: `--help` was given.
    Help,
    /// The arguments are wrong.
    Usage(String),
    /// There is no connection, or no more.
    Client(client::Error),
    /// A file or standard input can't be read.
    Read(String, io::Error),
    /// Standard output can't be written.
    Write(io::Error),
    /// `sub -W`: time is over.
    Timeout,
    /// The broker granted none of the subscriptions.
    Denied,
    /// `status`: the broker publishes no figures, or not to us.
    NoFigures,
    /// A line of standard input is longer than a message may be.
    LineTooLong,
    /// A running broker can't be reached over its control socket, and why.
    Unsteered(String),
    /// It refuses what it was asked for.
    Refused(Refusal),
    /// `check` has told something serious.
    Serious,
    /// Nothing of Mosquitto's file was brought over.
    Import(Box<run::import::Error>),
    /// The demo can't go on.
    Demo(DemoError),
}

impl Error {
    /// The exit status of the process, as mosquitto_pub and mosquitto_sub have it; 2 where there is
    /// no broker to steer.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Client(error) => error.exit_status(),
            Error::Timeout => 27,
            Error::Unsteered(_) => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Help => write!(f, "help was asked for"),
            Error::Serious => write!(f, "something is serious"),
            Error::Usage(what) => write!(f, "Error: {what}"),
            Error::Client(error) => write!(f, "{error}"),
            Error::Read(file, error) => {
                write!(f, "Error: Unable to read {file}: {}", plain(error))
            }
            Error::Write(error) => write!(f, "Error: Unable to write: {}", plain(error)),
            Error::Timeout => write!(f, "Timed out"),
            Error::Denied => write!(f, "All subscription requests were denied."),
            Error::NoFigures => write!(
                f,
                "The broker says nothing of itself: sys_interval is 0, or this user may not read \
                 $SYS/#."
            ),
            Error::LineTooLong => write!(f, "Error: A line is longer than a message may be."),
            Error::Unsteered(why) => write!(f, "Error: {why}."),
            Error::Refused(why) => {
                let lines: Vec<_> = why.0.lines().map(printable).collect();
                write!(f, "Error: {}.", lines.join("\n"))
            }
            Error::Import(why) => {
                let lines = why.to_string();
                let lines: Vec<_> = lines.lines().map(printable).collect();
                write!(f, "Error: {}.", lines.join("\n"))
            }
            Error::Demo(error) => write!(f, "Error: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Error {
        Error::Client(error)
    }
}
