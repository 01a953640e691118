//! What the process needs: `-d`, the pid file, room for descriptors, and no more rights than that.

pub(super) mod notify;

use std::env;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, setsid,
};
use rustix::stdio::dup2_stdin;
use rustix::thread::set_no_new_privs;

/// Set in the environment of the process that `-d` leaves behind.
const DETACHED: &str = "FOOTBRIDGE_DETACHED";

/// What that process says once it serves; anything else is why it does not.
const RUNNING: &str = "running";

/// How long the process that was started waits for that. A store that is rescued may take longer:
/// then it is left to itself.
const START_WITHIN: Duration = Duration::from_secs(60);

/// Which process this is after [`detach`].
#[derive(Debug)]
pub(super) enum Side {
    /// The one that was started; its work is done. Why the other did not start, if so.
    Parent(Result<(), String>),
    /// The one that goes on, in a session of its own.
    Child(Report),
}

/// What tells the process that was started how the start went. Without `-d` nobody waits for that.
#[derive(Debug, Default)]
pub(super) struct Report(Option<UnixStream>);

impl Report {
    /// The broker serves.
    pub(super) fn running(&mut self) {
        self.failed(RUNNING);
    }

    /// The broker can't start, for the reason `why`. What is said later is not heard.
    pub(super) fn failed(&mut self, why: &str) {
        if let Some(mut parent) = self.0.take() {
            // It may have been ended meanwhile.
            let _ = parent.write_all(why.as_bytes());
        }
    }
}

/// Goes into the background, and waits until the broker serves there. A fork is out of reach of
/// safe Rust, so the program starts itself a second time, with the same arguments, without a
/// terminal and in a new session. Until it serves, its standard input is a socket to this process.
///
/// # Errors
/// When the program can't be started again.
pub(super) fn detach() -> io::Result<Side> {
    if env::var_os(DETACHED).is_some() {
        let parent = io::stdin().as_fd().try_clone_to_owned()?;
        dup2_stdin(File::open("/dev/null")?)?;
        setsid()?;
        return Ok(Side::Child(Report(Some(parent.into()))));
    }
    let (here, there) = UnixStream::pair()?;
    let there = OwnedFd::from(there);
    // Both the command and its copy of the socket are gone when this is over: the end of the
    // process is the end of the socket.
    Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(DETACHED, "1")
        .stdin(there)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    here.set_read_timeout(Some(START_WITHIN))?;
    Ok(Side::Parent(outcome(here)))
}

/// What the process in the background says of its start.
fn outcome(mut child: impl Read) -> Result<(), String> {
    let mut said = Vec::new();
    match child.read_to_end(&mut said) {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        _ if said == RUNNING.as_bytes() => Ok(()),
        _ if said.is_empty() => Err("it has ended while it started; see the log".to_owned()),
        _ => Err(String::from_utf8_lossy(&said).into_owned()),
    }
}

/// Writes this process's number to `path` (`pid_file`).
///
/// # Errors
/// As for any file.
pub(super) fn write_pid(path: &Path) -> io::Result<()> {
    fs::write(path, format!("{}\n", std::process::id()))
}

/// Removes the file at `path` if it holds this process's number, as [`write_pid`] leaves it: by now it may
/// be that of another broker, or gone, and its folder may be another user's.
pub(super) fn remove_pid(path: &Path) {
    let own = format!("{}\n", std::process::id());
    if fs::read(path).is_ok_and(|found| found == own.as_bytes()) {
        let _ = fs::remove_file(path);
    }
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

/// Gives up what a broker never needs: rights that a program it might start could gain
/// (`no_new_privs`), and memory images of a crash, which hold passwords and messages. Only before
/// any thread is started, since each has the first for itself, and after the change of the user,
/// which allows images anew. Returns what the system refused, a line each.
pub(super) fn give_up_rights() -> Vec<String> {
    let no_core = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let done = [
        ("no_new_privs", set_no_new_privs(true)),
        (
            "a limit of 0 for core dumps",
            setrlimit(Resource::Core, no_core),
        ),
        (
            "being traced or dumped by others",
            set_dumpable_behavior(DumpableBehavior::NotDumpable),
        ),
    ];
    let failed = done
        .into_iter()
        .filter_map(|(what, done)| Some((what, done.err()?)));
    failed
        .map(|(what, e)| format!("The system does not let footbridge give up rights: {what}: {e}."))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_another_process_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        remove_pid(&path);
        write_pid(&path).unwrap();
        remove_pid(&path);
        assert!(!path.exists());
        fs::write(&path, "1\n").unwrap();
        remove_pid(&path);
        assert!(path.exists());
    }

    #[test]
    fn what_the_child_says_is_passed_on() {
        let said = |tell: fn(&mut Report)| {
            let (here, there) = UnixStream::pair().unwrap();
            let mut report = Report(Some(there));
            tell(&mut report);
            drop(report);
            outcome(here)
        };
        assert_eq!(said(Report::running), Ok(()));
        assert_eq!(said(|report| report.failed("no")), Err("no".to_owned()));
        assert!(said(|_| ()).unwrap_err().contains("see the log"));
        let late = said(|report| {
            report.running();
            report.failed("at the stop");
        });
        assert_eq!(late, Ok(()));
        Report::default().running();
    }

    #[test]
    fn a_child_that_takes_long_is_left_to_itself() {
        let (here, _there) = UnixStream::pair().unwrap();
        here.set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        assert_eq!(outcome(here), Ok(()));
    }
}
