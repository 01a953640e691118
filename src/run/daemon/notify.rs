//! What a service manager is told: sd_notify(3), by hand, over the datagram socket that NOTIFY_SOCKET
//! names; a start, a reload, a stop, and that the loop turns (WATCHDOG_USEC).

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::net::{self, Shared};

/// How long the loop waits at most for a service manager that does not read.
const SEND_WITHIN: Duration = Duration::from_millis(100);

/// Why the service manager can't be told.
#[derive(Debug)]
pub(in crate::run) enum NotifyError {
    /// NOTIFY_SOCKET names neither a path nor an abstract socket.
    Address(OsString),
    /// There is no socket for it: the system's answer.
    Socket(io::Error),
}

impl fmt::Display for NotifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotifyError::Address(address) => write!(
                f,
                "NOTIFY_SOCKET {} is neither a path nor an abstract socket",
                address.display()
            ),
            NotifyError::Socket(e) => write!(f, "the socket of NOTIFY_SOCKET: {e}"),
        }
    }
}

/// The way to the service manager; without one, nothing is said.
#[derive(Debug, Default)]
pub(in crate::run) struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// What the environment says.
    ///
    /// # Errors
    /// When it names a service manager that can't be reached.
    pub(in crate::run) fn from_env() -> Result<Notify, NotifyError> {
        let var = |name| env::var_os(name).filter(|value| !value.is_empty());
        let own = std::process::id().to_string();
        let is_ours = var("WATCHDOG_PID").is_none_or(|pid| pid == *own);
        let watchdog = var("WATCHDOG_USEC").filter(|_| is_ours);
        Notify::new(var("NOTIFY_SOCKET"), watchdog)
    }

    fn new(socket: Option<OsString>, watchdog: Option<OsString>) -> Result<Notify, NotifyError> {
        let Some(name) = socket else {
            return Ok(Notify::default());
        };
        let address = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
            [b'/', ..] => SocketAddr::from_pathname(&name),
            _ => return Err(NotifyError::Address(name)),
        };
        let address = address.map_err(NotifyError::Socket)?;
        let socket = UnixDatagram::unbound().map_err(NotifyError::Socket)?;
        socket
            .set_write_timeout(Some(SEND_WITHIN))
            .map_err(NotifyError::Socket)?;
        let micros = watchdog.and_then(|micros| micros.to_str()?.parse().ok());
        Ok(Notify {
            manager: Some((socket, address)),
            watchdog: micros.filter(|&m| m > 0).map(Duration::from_micros),
        })
    }

    /// The broker serves, for the first time or again.
    pub(in crate::run) fn ready(&self) {
        self.say("READY=1");
        self.watch(self.watchdog);
    }

    /// The configuration is read again; [`Notify::ready`] ends that.
    pub(in crate::run) fn reloading(&self) {
        self.say("RELOADING=1");
    }

    /// The broker starts over. Damage to the store is mended meanwhile, which takes its time.
    pub(in crate::run) fn starting_over(&self) {
        self.watch(self.watchdog.map(|_| Duration::ZERO));
    }

    /// The broker stops.
    pub(in crate::run) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Says that the loop turns, twice as often as the service manager wants to hear it. As a task
    /// of the loop it stands still when that does.
    pub(in crate::run) async fn feed_watchdog(&self, hub: &Shared) {
        let Some(watchdog) = self.watchdog else {
            return;
        };
        loop {
            net::sleep(hub, watchdog / 2).await;
            self.say("WATCHDOG=1");
        }
    }

    /// Sets how long the service manager waits for a word of the loop; zero is for ever.
    fn watch(&self, within: Option<Duration>) {
        if let Some(within) = within {
            self.say(&format!("WATCHDOG_USEC={}", within.as_micros()));
        }
    }

    fn say(&self, what: &str) {
        let Some((socket, address)) = &self.manager else {
            return;
        };
        if let Err(e) = socket.send_to_addr(what.as_bytes(), address) {
            log::warn!("The service manager was not told {what}: {e}.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(manager: &UnixDatagram) -> String {
        let mut message = [0; 64];
        let n = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..n]).into_owned()
    }

    fn tells(manager: &UnixDatagram, name: &str) {
        let notify = Notify::new(Some(name.into()), Some("2000000".into())).unwrap();
        notify.ready();
        notify.reloading();
        notify.starting_over();
        notify.stopping();
        for said in [
            "READY=1",
            "WATCHDOG_USEC=2000000",
            "RELOADING=1",
            "WATCHDOG_USEC=0",
            "STOPPING=1",
        ] {
            assert_eq!(heard(manager), said);
        }
    }

    #[test]
    fn a_socket_with_a_path_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        tells(&manager, path.to_str().unwrap());
    }

    #[test]
    fn an_abstract_socket_is_told() {
        let name = format!("footbridge-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        tells(&manager, &format!("@{name}"));
    }

    #[test]
    fn without_a_watchdog_nothing_is_said_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        for watchdog in [None, Some("0"), Some("soon")] {
            let watchdog = watchdog.map(OsString::from);
            let notify = Notify::new(Some(path.clone().into()), watchdog).unwrap();
            notify.ready();
            notify.starting_over();
            notify.stopping();
            assert_eq!(heard(&manager), "READY=1");
            assert_eq!(heard(&manager), "STOPPING=1");
        }
    }

    #[test]
    fn other_kinds_of_sockets_are_refused() {
        let refused = Notify::new(Some("vsock:2:1".into()), None).unwrap_err();
        assert!(matches!(refused, NotifyError::Address(_)), "{refused}");
        let long = format!("/{}", "x".repeat(200));
        let refused = Notify::new(Some(long.into()), None).unwrap_err();
        assert!(matches!(refused, NotifyError::Socket(_)), "{refused}");
    }
}
