//! Connecting to one of several addresses: happy eyeballs (RFC 8305), in small.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_lite::{Future, future};

use crate::net::reactor::{Reactor, Timer};
use crate::net::stream::Stream;

/// How long an attempt has the field to itself before the next address is tried beside it
/// (RFC 8305 §5: Connection Attempt Delay).
const STAGGER: Duration = Duration::from_millis(250);

/// Addresses of a family tried in one go; a name with more is a list to pick from, not one to walk.
const MAX_ADDRESSES: usize = 8;

/// How long more addresses are waited for once all that are there have failed.
const PATIENCE: Duration = Duration::from_secs(2);

type Attempt = Pin<Box<dyn Future<Output = io::Result<(Stream, SocketAddr)>>>>;

/// `bridge_bind_address`: where connections come from.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// As the directive has it.
    pub(super) name: String,
    /// Of each family the first counts. None at all: the routing table chooses.
    pub(super) addresses: Vec<SocketAddr>,
}

impl Local {
    /// Where to come from on the way to `remote`; `None` if there is nothing of its family.
    fn to(&self, remote: &SocketAddr) -> Option<Option<SocketAddr>> {
        if self.addresses.is_empty() {
            return Some(None);
        }
        let mut of_family = self.addresses.iter();
        of_family
            .find(|local| local.is_ipv4() == remote.is_ipv4())
            .map(|local| Some(*local))
    }

    /// All addresses are of the other family.
    fn misfit(&self) -> io::Error {
        let (own, others) = match self.addresses.first() {
            Some(SocketAddr::V4(_)) => ("IPv4", "IPv6"),
            _ => ("IPv6", "IPv4"),
        };
        io::Error::other(format!(
            "bridge_bind_address {} is {own}, and there are only addresses of {others}",
            self.name
        ))
    }
}

/// Connects to the first of `addresses` that answers, alternating between the families, within
/// `deadline` for all of them together. `more` has those that come later, and `None` once there are no more.
///
/// # Errors
/// The last address's error, or `TimedOut`.
pub(super) async fn connect(
    reactor: &Rc<Reactor>,
    addresses: &[SocketAddr],
    more: impl FnMut(&mut Context<'_>) -> Poll<Option<Vec<SocketAddr>>>,
    local: &Local,
    deadline: Duration,
) -> io::Result<(Stream, SocketAddr)> {
    let late = async {
        reactor.timer_after(deadline).await;
        // One that has answered by now is not too late.
        reactor.ask().await;
        Err(io::ErrorKind::TimedOut.into())
    };
    let mut race = Race {
        reactor: Rc::clone(reactor),
        local,
        more: Some(more),
        seen: Vec::new(),
        waiting: Vec::new(),
        running: Vec::new(),
        stagger: reactor.timer_at(None),
        begun: None,
        patience: None,
        is_misfit: false,
        last: io::ErrorKind::AddrNotAvailable.into(),
    };
    race.enter(addresses);
    future::or(poll_fn(move |cx| race.poll(cx)), late).await
}

/// The attempts of one connect.
struct Race<'a, M> {
    reactor: Rc<Reactor>,
    local: &'a Local,
    /// Until there are no more.
    more: Option<M>,
    /// All that have entered.
    seen: Vec<SocketAddr>,
    /// Not yet tried; the next is at the end.
    waiting: Vec<SocketAddr>,
    running: Vec<Attempt>,
    stagger: Timer,
    /// When the last attempt has begun.
    begun: Option<Instant>,
    /// Runs while nothing else does, and there may be more.
    patience: Option<Timer>,
    /// There are addresses of a family that [`Local`] has not.
    is_misfit: bool,
    last: io::Error,
}

impl<M> Race<'_, M>
where
    M: FnMut(&mut Context<'_>) -> Poll<Option<Vec<SocketAddr>>>,
{
    /// Lets addresses in, before those that wait.
    fn enter(&mut self, addresses: &[SocketAddr]) {
        let mut order = Vec::with_capacity(addresses.len());
        for address in addresses {
            let same = |seen: &&SocketAddr| seen.is_ipv4() == address.is_ipv4();
            let count = self.seen.iter().filter(same).count();
            if count == MAX_ADDRESSES || self.seen.contains(address) {
                continue;
            }
            if self.local.to(address).is_none() {
                self.is_misfit = true;
                continue;
            }
            self.seen.push(*address);
            order.push(*address);
        }
        order.extend(self.waiting.drain(..).rev());
        self.waiting = alternate(&order);
        self.waiting.reverse();
        if let Some(begun) = self.begun {
            self.stagger.set_at(begun + STAGGER);
        }
    }

    /// Lets in what has come.
    fn poll_more(&mut self, cx: &mut Context<'_>) {
        while let Some(more) = &mut self.more {
            match more(cx) {
                Poll::Ready(Some(addresses)) => self.enter(&addresses),
                Poll::Ready(None) => self.more = None,
                Poll::Pending => return,
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, SocketAddr)>> {
        self.poll_more(cx);
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
                Some(address) => self.start(address),
                None if self.running.is_empty() => return self.poll_patience(cx),
                None => return Poll::Pending,
            }
        }
    }

    fn start(&mut self, address: SocketAddr) {
        let local = self.local.to(&address).flatten();
        let attempt = Stream::connect(address, local, Rc::clone(&self.reactor));
        self.running.push(Box::pin(attempt));
        self.stagger.set_after(STAGGER);
        self.begun = Some(Instant::now());
        self.patience = None;
    }

    /// All have failed.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, SocketAddr)>> {
        if self.more.is_some() {
            let begin = || self.reactor.timer_after(PATIENCE);
            let patience = self.patience.get_or_insert_with(begin);
            if Pin::new(patience).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        if self.seen.is_empty() && self.is_misfit {
            return Poll::Ready(Err(self.local.misfit()));
        }
        let last = std::mem::replace(&mut self.last, io::ErrorKind::Other.into());
        Poll::Ready(Err(last))
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
        dial_from(&Local::default(), addresses, &[], deadline)
    }

    /// With `late` after a while, and then no more.
    fn dial_from(
        local: &Local,
        addresses: &[SocketAddr],
        late: &[SocketAddr],
        deadline: Duration,
    ) -> io::Result<(Stream, SocketAddr)> {
        let reactor = Reactor::new().unwrap();
        let mut timer = reactor.timer_after(Duration::from_millis(600));
        let mut late = Some(late.to_vec()).filter(|late| !late.is_empty());
        let more = |cx: &mut Context<'_>| match late.take() {
            Some(addresses) => match Pin::new(&mut timer).poll(cx) {
                Poll::Ready(_) => Poll::Ready(Some(addresses)),
                Poll::Pending => {
                    late = Some(addresses);
                    Poll::Pending
                }
            },
            None => Poll::Ready(None),
        };
        reactor.block_on(connect(&reactor, addresses, more, local, deadline))
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

    /// The stagger is over by then, and there was nothing to try.
    #[test]
    fn addresses_that_come_late_are_tried_too() {
        let (_hole, silent, _held) = black_hole();
        let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let ten = Duration::from_secs(10);
        for first in [silent, refused.unwrap()] {
            let begun = Instant::now();
            let (_, reached) = dial_from(&Local::default(), &[first], &[first, good], ten).unwrap();
            assert_eq!(reached, good);
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
    }

    /// However many there are of the first.
    #[test]
    fn both_families_are_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let refused: Vec<_> = (0..2 * MAX_ADDRESSES)
            .map_while(|_| TcpListener::bind("[::1]:0").ok())
            .collect();
        let refused = refused.into_iter().map(|l| l.local_addr().unwrap());
        let mut addresses: Vec<_> = refused.collect();
        addresses.push(good);
        let (_, reached) = dial(&addresses, Duration::from_secs(10)).unwrap();
        assert_eq!(reached, good);
    }

    #[test]
    fn more_addresses_are_not_waited_for_without_end() {
        let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let reactor = Reactor::new().unwrap();
        let (begun, local) = (Instant::now(), Local::default());
        let (refused, minute) = (&[refused.unwrap()], Duration::from_secs(60));
        let never = |_: &mut Context<'_>| Poll::Pending;
        let error = reactor.block_on(connect(&reactor, refused, never, &local, minute));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < minute / 2);
    }

    #[test]
    fn connections_come_from_the_address_of_their_family() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let other = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 1));
        let ten = Duration::from_secs(10);
        let from = |text: &str| Local {
            name: text.to_owned(),
            addresses: vec![SocketAddr::new(text.parse().unwrap(), 0)],
        };
        dial_from(&from("127.0.0.9"), &[other, good], &[], ten).unwrap();
        let (_, seen) = listener.accept().unwrap();
        assert_eq!(seen.ip().to_string(), "127.0.0.9");
        for (local, remote, says) in [
            (
                "127.0.0.9",
                other,
                "bridge_bind_address 127.0.0.9 is IPv4, and there are only addresses of IPv6",
            ),
            (
                "::1",
                good,
                "bridge_bind_address ::1 is IPv6, and there are only addresses of IPv4",
            ),
            ("192.0.2.77", good, "bridge_bind_address 192.0.2.77: "),
        ] {
            let error = dial_from(&from(local), &[remote], &[], ten).unwrap_err();
            assert!(error.to_string().starts_with(says), "{error}");
        }
        let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let failed = dial_from(&from("127.0.0.9"), &[refused.unwrap()], &[other], ten);
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn no_address_at_all_is_an_error() {
        assert!(dial(&[], Duration::from_secs(10)).is_err());
    }
}
