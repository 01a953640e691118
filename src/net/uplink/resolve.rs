//! Host names to addresses, off the loop.
//!
//! `getaddrinfo` blocks, for as long as the resolver's time-outs say, and cannot be cancelled. So
//! each bridge may have one helper thread, no more: where a lookup hangs, the next attempt waits
//! for the same thread instead of starting another. Other bridges have their own, and devices
//! never wait.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use smol::channel::{self, Receiver};

/// The helper needs room for libc's resolver, not for us.
const STACK: usize = 256 * 1024;

/// Why a name has no addresses.
#[derive(Debug)]
pub(super) enum Error {
    /// The resolver's answer.
    Lookup(io::Error),
    /// The resolver knows the name, but no address of it.
    Empty,
    /// No answer within the deadline; the lookup goes on by itself.
    TimedOut,
    /// An earlier lookup, of another name, still hangs.
    Busy,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Lookup(e) => write!(f, "{e}"),
            Error::Empty => f.write_str("the name has no address"),
            Error::TimedOut => f.write_str("the name server does not answer"),
            Error::Busy => f.write_str("an earlier lookup still waits for the name server"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Lookup(e) => Some(e),
            _ => None,
        }
    }
}

/// The blocking lookup itself.
type Lookup = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// Looks names up for one bridge.
#[derive(Debug)]
pub(super) struct Resolver {
    lookup: Lookup,
    running: Option<Running>,
}

/// A lookup whose thread has not answered yet.
#[derive(Debug)]
struct Running {
    host: String,
    answer: Receiver<io::Result<Vec<SocketAddr>>>,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }
}

impl Resolver {
    fn new(lookup: Lookup) -> Resolver {
        Resolver {
            lookup,
            running: None,
        }
    }

    /// The addresses of `host`, in the resolver's order. An IP address is its own answer, without
    /// a thread.
    ///
    /// # Errors
    /// When there is no answer within `deadline`, or a bad one.
    pub(super) async fn resolve(
        &mut self,
        host: &str,
        port: u16,
        deadline: Duration,
    ) -> Result<Vec<SocketAddr>, Error> {
        if let Some(ip) = literal(host) {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let answer = self.running(host)?;
        let wait = async { answer.recv().await.ok() };
        let late = async {
            Timer::after(deadline).await;
            None
        };
        let Some(answer) = future::or(wait, late).await else {
            return Err(Error::TimedOut);
        };
        self.running = None;
        let mut addresses = answer.map_err(Error::Lookup)?;
        // The lookup that was waited for may have been started for another port.
        addresses.iter_mut().for_each(|a| a.set_port(port));
        if addresses.is_empty() {
            return Err(Error::Empty);
        }
        Ok(addresses)
    }

    /// The answer to come for `host`: of the lookup that still runs, else of a new one.
    fn running(&mut self, host: &str) -> Result<Receiver<io::Result<Vec<SocketAddr>>>, Error> {
        if let Some(running) = &self.running {
            let under_way = running.answer.is_empty() && !running.answer.is_closed();
            if running.host == host && (under_way || !running.answer.is_empty()) {
                return Ok(running.answer.clone());
            }
            if under_way {
                return Err(Error::Busy);
            }
        }
        let (sender, answer) = channel::bounded(1);
        let (lookup, name) = (self.lookup, host.to_owned());
        std::thread::Builder::new()
            .name("resolve".into())
            .stack_size(STACK)
            .spawn(move || {
                // Nobody waits any more: the bridge is gone.
                let _ = sender.try_send(lookup(&name, 0));
            })
            .map_err(Error::Lookup)?;
        self.running = Some(Running {
            host: host.to_owned(),
            answer: answer.clone(),
        });
        Ok(answer)
    }
}

/// `host` as an IP address, with or without the brackets of a URL.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn literals_need_no_lookup() {
        let mut resolver = Resolver::new(|_, _| Err(io::Error::other("must not be asked")));
        for host in ["127.0.0.1", "::1", "[::1]"] {
            let found = async_io::block_on(resolver.resolve(host, 1883, SHORT)).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].port(), 1883);
        }
    }

    #[test]
    fn a_stuck_lookup_meets_its_deadline_and_starts_no_second_thread() {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let mut resolver = Resolver::new(|_, _| {
            STARTED.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_secs(3));
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))])
        });
        let begun = Instant::now();
        for _ in 0..5 {
            let answer = async_io::block_on(resolver.resolve("stuck.example", 1, SHORT));
            assert!(matches!(answer, Err(Error::TimedOut)));
        }
        let other = async_io::block_on(resolver.resolve("other.example", 1, SHORT));
        assert!(matches!(other, Err(Error::Busy)));
        assert!(begun.elapsed() < Duration::from_secs(2));
        let late = async_io::block_on(resolver.resolve("stuck.example", 8883, LONG)).unwrap();
        assert_eq!(late, [SocketAddr::from(([127, 0, 0, 1], 8883))]);
        assert_eq!(STARTED.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_bad_answer_is_not_remembered() {
        let mut resolver = Resolver::new(|host, _| Err(io::Error::other(host.to_owned())));
        for host in ["a.example", "b.example"] {
            let answer = async_io::block_on(resolver.resolve(host, 1, LONG));
            assert!(matches!(answer, Err(Error::Lookup(e)) if e.to_string() == host));
        }
    }
}
