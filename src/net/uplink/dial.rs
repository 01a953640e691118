//! Connecting to one of several addresses: happy eyeballs (RFC 8305), in small.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::Timer;
use futures_lite::{Future, future};

use crate::net::reactor::Reactor;
use crate::net::stream::Stream;

/// How long an attempt has the field to itself before the next address is tried beside it
/// (RFC 8305 §5: Connection Attempt Delay).
const STAGGER: Duration = Duration::from_millis(250);

/// Addresses tried in one go; a name with more is a list to pick from, not one to walk.
const MAX_ADDRESSES: usize = 8;

type Attempt = Pin<Box<dyn Future<Output = io::Result<(Stream, SocketAddr)>>>>;

/// Connects to the first of `addresses` that answers, alternating between the families, within
/// `deadline` for all of them together.
///
/// # Errors
/// The last address's error, or `TimedOut`.
pub(super) async fn connect(
    reactor: &Rc<Reactor>,
    addresses: &[SocketAddr],
    deadline: Duration,
) -> io::Result<(Stream, SocketAddr)> {
    let late = async {
        Timer::after(deadline).await;
        // One that has answered by now is not too late.
        reactor.ask().await;
        Err(io::ErrorKind::TimedOut.into())
    };
    let mut race = Race {
        reactor: Rc::clone(reactor),
        waiting: alternate(addresses)
            .into_iter()
            .take(MAX_ADDRESSES)
            .collect(),
        running: Vec::new(),
        stagger: Timer::never(),
        last: io::ErrorKind::AddrNotAvailable.into(),
    };
    race.waiting.reverse();
    future::or(poll_fn(move |cx| race.poll(cx)), late).await
}

/// The attempts of one connect.
struct Race {
    reactor: Rc<Reactor>,
    /// Not yet tried; the next is at the end.
    waiting: Vec<SocketAddr>,
    running: Vec<Attempt>,
    stagger: Timer,
    last: io::Error,
}

impl Race {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, SocketAddr)>> {
        loop {
            let before = self.running.len();
            if let Some(winner) = self.poll_running(cx) {
                return Poll::Ready(Ok(winner));
            }
            let freed = self.running.len() < before || self.running.is_empty();
            if !freed && Pin::new(&mut self.stagger).poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.waiting.pop() {
                Some(address) => {
                    let reactor = Rc::clone(&self.reactor);
                    self.running
                        .push(Box::pin(Stream::connect(address, reactor)));
                    self.stagger.set_after(STAGGER);
                }
                None if self.running.is_empty() => {
                    let last = std::mem::replace(&mut self.last, io::ErrorKind::Other.into());
                    return Poll::Ready(Err(last));
                }
                None => return Poll::Pending,
            }
        }
    }

    /// Polls every attempt and drops those that failed.
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Option<(Stream, SocketAddr)> {
        let mut i = 0;
        while let Some(attempt) = self.running.get_mut(i) {
            match attempt.as_mut().poll(cx) {
                Poll::Ready(Ok(winner)) => return Some(winner),
                Poll::Ready(Err(e)) => {
                    self.last = e;
                    drop(self.running.swap_remove(i));
                }
                Poll::Pending => i += 1,
            }
        }
        None
    }
}

/// `addresses` with the families taking turns, starting with the first one's (RFC 8305 §4).
fn alternate(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second) = addresses
        .iter()
        .copied()
        .partition::<Vec<_>, _>(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(first.next());
        order.extend(second.next());
    }
    order
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A socket of `domain` on loopback whose backlog is full: the kernel drops further SYNs, as
    /// a firewall or a dead host would.
    fn black_hole() -> (Socket, SocketAddr, Vec<std::net::TcpStream>) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let wait = Duration::from_millis(100);
        let mut held = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, wait) {
            held.push(stream);
        }
        (socket, address, held)
    }

    fn dial(addresses: &[SocketAddr], deadline: Duration) -> io::Result<(Stream, SocketAddr)> {
        let reactor = Reactor::new().unwrap();
        reactor.block_on(connect(&reactor, addresses, deadline))
    }

    #[test]
    fn families_take_turns() {
        let v4 = |n| SocketAddr::from(([10, 0, 0, n], 1));
        let v6 = |n| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, n], 1));
        assert_eq!(
            alternate(&[v6(1), v6(2), v6(3), v4(1)]),
            [v6(1), v4(1), v6(2), v6(3)]
        );
        assert_eq!(alternate(&[v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
    }

    #[test]
    fn an_address_that_never_answers_delays_the_next_by_the_stagger_only() {
        let (_hole, silent, _held) = black_hole();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let begun = Instant::now();
        let (_, reached) = dial(&[silent, good], Duration::from_secs(10)).unwrap();
        assert_eq!(reached, good);
        assert!(begun.elapsed() >= STAGGER);
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_refusal_moves_on_at_once() {
        let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let begun = Instant::now();
        let addresses = [refused.unwrap(), good];
        let (_, reached) = dial(&addresses, Duration::from_secs(10)).unwrap();
        assert_eq!(reached, good);
        assert!(begun.elapsed() < STAGGER);
    }

    #[test]
    fn silence_everywhere_meets_the_deadline() {
        let (_hole, silent, _held) = black_hole();
        let deadline = Duration::from_millis(400);
        let error = dial(&[silent, silent], deadline).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn no_address_at_all_is_an_error() {
        assert!(dial(&[], Duration::from_secs(10)).is_err());
    }
}
