//! Why the demo could not be run to its end.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::cli::client::{self, plain};
use crate::run;

/// What stopped the demo.
#[derive(Debug)]
pub enum DemoError {
    /// The system refused something.
    System(&'static str, io::Error),
    /// A broker did not start; its log is in the file.
    BrokerProcess(&'static str, PathBuf),
    /// A client could not do its part.
    Client(&'static str, client::Error),
    /// No answer in time.
    Silence(&'static str),
    /// SIGINT or SIGTERM.
    Interrupted,
    /// It ran to its end, and something promised did not hold.
    Broken,
    /// A broker process of the demo ended with an error.
    Run(run::Error),
}

impl DemoError {
    /// For `map_err`.
    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> DemoError {
        move |error| DemoError::System(what, error)
    }

    /// For `map_err`.
    pub(super) fn client(what: &'static str) -> impl Fn(client::Error) -> DemoError {
        move |error| DemoError::Client(what, error)
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DemoError::System(what, error) => write!(f, "{what}: {}", plain(error)),
            DemoError::BrokerProcess(name, log) => {
                write!(f, "the {name} broker did not start, see {}", log.display())
            }
            DemoError::Client(what, error) => {
                let text = error.to_string();
                write!(f, "{what}: {}", text.trim_start_matches("Error: "))
            }
            DemoError::Silence(what) => write!(f, "{what}: no answer in time"),
            DemoError::Interrupted => write!(f, "interrupted"),
            DemoError::Broken => write!(f, "a promise was broken"),
            DemoError::Run(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for DemoError {}
