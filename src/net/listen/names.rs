//! Looking host names up, which blocks for as long as a name server is silent: in threads of their
//! own.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::net::uplink::lookup::{Failure, Family, literal, system};

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
    let look_up = move || answer(addresses_of(&host, port, Duration::MAX));
    let thread = std::thread::Builder::new().name("resolve".into());
    thread.stack_size(STACK).spawn(look_up).map(drop)
}

/// Looks `host` up by itself, one family beside the other; that blocks. Once one of them is there, the other is
/// waited for no longer than `patience`.
///
/// # Errors
/// There are no addresses of either family.
pub fn addresses_of(host: &str, port: u16, patience: Duration) -> Found {
    let failed = |failure: Failure| io::Error::other(failure.why);
    if let Some(address) = literal(host, port).map_err(failed)? {
        return Ok(vec![address]);
    }
    let (sender, answers) = mpsc::channel();
    for family in Family::ALL {
        let (sender, host) = (sender.clone(), host.to_owned());
        let thread = std::thread::Builder::new().name("resolve".into());
        // Nobody waits any more: the other family is enough.
        let look_up = move || drop(sender.send(system(&host, family)));
        thread.stack_size(STACK).spawn(look_up)?;
    }
    drop(sender);
    let (mut addresses, mut failures) = (Vec::new(), Vec::new());
    let next = |has_one: bool| {
        if has_one {
            return answers.recv_timeout(patience).ok();
        }
        answers.recv().ok()
    };
    while let Some(answer) = next(!addresses.is_empty()) {
        match answer {
            Ok(found) => addresses.extend(found),
            Err(failure) => failures.push(failure),
        }
    }
    if addresses.is_empty() {
        let failure = failures.into_iter().max_by_key(|failure| failure.doubt);
        return Err(failed(failure.unwrap_or(Failure::passing("no answer"))));
    }
    addresses.sort_by_key(SocketAddr::is_ipv4);
    addresses.iter_mut().for_each(|a| a.set_port(port));
    Ok(addresses)
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
    fn a_name_alone_has_its_port() {
        for host in ["localhost", "127.0.0.1", "::1", "[::1]"] {
            let found = addresses_of(host, 7, Duration::from_millis(50)).unwrap();
            assert!(found.iter().all(|a| a.port() == 7 && a.ip().is_loopback()));
        }
        assert!(addresses_of("nobody.invalid", 7, Duration::MAX).is_err());
    }

    #[test]
    fn no_answer_is_waited_for_beyond_the_deadline() {
        let found = look_up(["localhost"].into_iter(), Duration::ZERO);
        assert_eq!(found.len(), 1);
    }
}
