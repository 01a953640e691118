//! Why the broker can't run.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::{auth, config, net, store};

/// Why the broker can't start, or did not stop cleanly.
#[derive(Debug)]
pub enum Error {
    /// The configuration is wrong.
    Config(config::Errors),
    /// Bridges to this broker itself, a line each; never empty.
    Loop(Vec<String>),
    /// Password and access control files can't be used.
    Auth(auth::Errors),
    /// Listeners that can't speak TLS; never empty.
    Tls(Vec<super::TlsError>),
    /// Listeners that can't listen; never empty.
    Listen(Vec<net::ListenError>),
    /// The store can't be opened, or did not take the last commit.
    Store(store::Error),
    /// A file that a directive names can't be written: directive, path, and the system's answer.
    File(&'static str, PathBuf, io::Error),
    /// The rights of the user that the configuration names can't be taken.
    User(io::Error),
    /// What `-d` left in the background did not start: why.
    Background(String),
    /// Something of the system: what was tried, and its answer.
    System(&'static str, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(e) => e.fmt(f),
            Error::Loop(lines) => f.write_str(&lines.join("\n")),
            Error::Auth(e) => e.fmt(f),
            Error::Tls(errors) => {
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Error::Listen(errors) => {
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Error::Store(e) => e.fmt(f),
            Error::File(directive, path, e) => write!(
                f,
                "{directive}: {}: {e}; check the path and its rights",
                path.display()
            ),
            Error::User(e) => write!(f, "user: {e}"),
            Error::Background(why) => f.write_str(why),
            Error::System(what, e) => write!(f, "{what}: {e}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Config(e) => Some(e),
            Error::Loop(_) | Error::Background(_) => None,
            Error::Auth(e) => Some(e),
            Error::Tls(errors) => Some(errors.first()?),
            Error::Listen(errors) => Some(errors.first()?),
            Error::Store(e) => Some(e),
            Error::File(_, _, e) | Error::User(e) | Error::System(_, e) => Some(e),
        }
    }
}

impl Error {
    /// What `log` names can't be opened.
    pub(super) fn of_log(log: &config::Log, e: io::Error) -> Error {
        match &log.file {
            Some(path) => Error::File("log_dest", path.clone(), e),
            None => Error::System("opening the log", e),
        }
    }
}
