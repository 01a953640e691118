//! Looking host names up, which blocks for as long as a name server is silent: in threads of their
//! own.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The answer of a look-up.
pub type Found = io::Result<Vec<SocketAddr>>;

/// Such a thread needs room for libc's resolver, not for us.
const STACK: usize = 256 * 1024;

/// Looks `host` up, and gives the answer to `answer`.
///
/// # Errors
/// When there is no room for a thread.
pub(super) fn start(
    host: &str,
    port: u16,
    answer: impl FnOnce(Found) + Send + 'static,
) -> io::Result<()> {
    let host = host.to_owned();
    let look_up = move || {
        let found = (host.as_str(), port).to_socket_addrs();
        answer(found.map(Iterator::collect));
    };
    let thread = std::thread::Builder::new().name("resolve".into());
    thread.stack_size(STACK).spawn(look_up).map(drop)
}

/// Looks all of `hosts` up at once. Those without an answer within `deadline` have timed out.
pub fn look_up<'a>(
    hosts: impl Iterator<Item = &'a str>,
    deadline: Duration,
) -> BTreeMap<String, Found> {
    let end = Instant::now() + deadline;
    let (sender, answers) = mpsc::channel();
    let mut found = BTreeMap::new();
    for host in hosts {
        if found.contains_key(host) {
            continue;
        }
        let (sender, name) = (sender.clone(), host.to_owned());
        let started = start(host, 0, move |found| {
            // Nobody waits any more.
            let _ = sender.send((name, found));
        });
        let silent = io::Error::new(ErrorKind::TimedOut, "the name server does not answer");
        found.insert(host.to_owned(), Err(started.err().unwrap_or(silent)));
    }
    drop(sender);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match answers.recv_timeout(left) {
            Ok((host, answer)) => drop(found.insert(host, answer)),
            Err(_) => return found,
        }
    }
}

/// Whether `ip` is an address of this machine: whether something could be bound to it.
pub fn is_here(ip: std::net::IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_are_answered() {
        let hosts = ["localhost", "127.0.0.1", "nobody.invalid", "localhost"];
        let found = look_up(hosts.into_iter(), Duration::from_secs(60));
        assert_eq!(found.len(), 3);
        for host in ["localhost", "127.0.0.1"] {
            let addresses = found[host].as_ref().unwrap();
            assert!(addresses.iter().all(|a| a.ip().is_loopback()), "{host}");
            assert!(addresses.iter().any(|a| is_here(a.ip())), "{host}");
        }
        assert!(found["nobody.invalid"].is_err());
        assert!(!is_here([192, 0, 2, 1].into()));
    }

    #[test]
    fn no_answer_is_waited_for_beyond_the_deadline() {
        let found = look_up(["localhost"].into_iter(), Duration::ZERO);
        assert_eq!(found.len(), 1);
    }
}
