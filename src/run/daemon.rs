//! What a daemon of the old kind needs: `-d`, the pid file, room for descriptors.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, setsid};

/// Set in the environment of the process that `-d` leaves behind.
const DETACHED: &str = "FOOTBRIDGE_DETACHED";

/// Which process this is after [`detach`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// The one that was started; its work is done.
    Parent,
    /// The one that goes on, in a session of its own.
    Child,
}

/// Goes into the background. A fork is out of reach of safe Rust, so the program starts itself a
/// second time, with the same arguments, without a terminal and in a new session; check the
/// configuration before, because the second start has nowhere to complain but the log.
///
/// # Errors
/// When the program can't be started again.
pub(super) fn detach() -> io::Result<Side> {
    if env::var_os(DETACHED).is_some() {
        setsid()?;
        return Ok(Side::Child);
    }
    Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(DETACHED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Side::Parent)
}

/// Writes this process's number to `path` (`pid_file`).
///
/// # Errors
/// As for any file.
pub(super) fn write_pid(path: &Path) -> io::Result<()> {
    fs::write(path, format!("{}\n", std::process::id()))
}

/// Allows as many open descriptors, and so connections, as the system lets us have.
pub(super) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(e) = setrlimit(Resource::Nofile, raised) {
            log::debug!("The limit of open descriptors stays as it is: {e}.");
        }
    }
}
