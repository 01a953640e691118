//! `log_dest syslog`: datagrams to the system's log daemon, in the format of RFC 3164 as the C
//! library writes it, without a host name.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::LogType;
use crate::time::calendar::DateTime;

/// Where the daemon listens.
const SOCKET: &str = "/dev/log";

/// The facility DAEMON.
const DAEMON: u8 = 3;
/// The first of eight for local use.
const LOCAL0: u8 = 16;

/// The connection to the system's log. It never blocks: what the daemon does not take is dropped
/// and counted.
#[derive(Debug)]
pub(super) struct Syslog {
    path: PathBuf,
    facility: u8,
    socket: Option<UnixDatagram>,
    lost: u64,
}

impl Syslog {
    /// Lines for `facility`: `None` for DAEMON, else one of LOCAL0 to LOCAL7.
    pub(super) fn new(facility: Option<u8>) -> Syslog {
        Syslog::at(Path::new(SOCKET), facility)
    }

    fn at(path: &Path, facility: Option<u8>) -> Syslog {
        Syslog {
            path: path.to_owned(),
            facility: facility.map_or(DAEMON, |local| LOCAL0 + local.min(7)),
            socket: None,
            lost: 0,
        }
    }

    /// Sends a line, and before it the number of those that were lost.
    pub(super) fn send(&mut self, kind: LogType, at: Duration, text: &str) {
        if self.lost > 0 {
            let lost = format!(
                "Warning: {} log lines lost on the way to syslog.",
                self.lost
            );
            if self.pass_on(LogType::Warning, at, &lost).is_ok() {
                self.lost = 0;
            }
        }
        if self.pass_on(kind, at, text).is_err() {
            self.lost += 1;
        }
    }

    fn pass_on(&mut self, kind: LogType, at: Duration, text: &str) -> io::Result<()> {
        let priority = self.facility << 3 | severity(kind);
        let time = DateTime::new(at).format("%b %e %T");
        let process = std::process::id();
        let line = format!("<{priority}>{time} footbridge[{process}]: {text}");
        if let Some(socket) = &self.socket {
            match socket.send(line.as_bytes()) {
                Ok(_) => return Ok(()),
                // The daemon is there, but slow.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(e),
                // It was restarted, and has a new socket.
                Err(_) => self.socket = None,
            }
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        self.socket.insert(socket).send(line.as_bytes()).map(drop)
    }
}

/// The severity of syslog(3) that Mosquitto gives the type.
fn severity(kind: LogType) -> u8 {
    match kind {
        LogType::Error => 3,
        LogType::Warning => 4,
        LogType::Notice | LogType::Subscribe | LogType::Unsubscribe => 5,
        LogType::Information => 6,
        LogType::Debug | LogType::Websockets => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1_709_424_000);

    fn next(daemon: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let n = daemon.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    }

    #[test]
    fn lines_are_as_syslog_wants_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let pid = std::process::id();
        Syslog::at(&path, None).send(LogType::Error, AT, "a: b");
        assert_eq!(
            next(&daemon),
            format!("<27>Mar  3 00:00:00 footbridge[{pid}]: a: b")
        );
        Syslog::at(&path, Some(7)).send(LogType::Debug, AT, "c");
        assert!(next(&daemon).starts_with("<191>Mar  3"));
    }

    #[test]
    fn a_daemon_that_is_away_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut syslog = Syslog::at(&path, None);
        syslog.send(LogType::Notice, AT, "nobody is there");
        let daemon = UnixDatagram::bind(&path).unwrap();
        syslog.send(LogType::Notice, AT, "first");
        assert!(next(&daemon).ends_with("Warning: 1 log lines lost on the way to syslog."));
        assert!(next(&daemon).ends_with("]: first"));
        drop(daemon);
        std::fs::remove_file(&path).unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        syslog.send(LogType::Notice, AT, "second");
        assert!(next(&daemon).ends_with("]: second"));
    }

    #[test]
    fn a_daemon_that_does_not_read_costs_lines_not_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _daemon = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::at(&path, None);
        while syslog.lost == 0 {
            syslog.send(LogType::Notice, AT, &"x".repeat(1000));
        }
    }
}
