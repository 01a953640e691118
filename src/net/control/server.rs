//! The one task that accepts connections and serves them.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::net::SocketFlags;

use super::conversation::Conversation;
use super::socket::ControlSocket;
use super::{Answer, Asked};
use crate::net::hub::Shared;
use crate::net::reactor::{Reactor, Source, Timer};

/// So many connections there are at most: one more takes the place of that which was quiet for longest.
pub(super) const MOST: usize = 8;
/// Connections accepted before others get their turn.
const BURST: usize = 2 * MOST;
/// How long nobody is accepted when descriptors or memory have run out.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves the socket for ever: `ask` says what is to be answered. It is not called while the hub is
/// borrowed.
pub async fn control(
    socket: Rc<ControlSocket>,
    hub: Shared,
    ask: impl Fn(Asked<'_>) -> Answer + Clone + 'static,
) {
    let reactor = Rc::clone(hub.borrow().reactor());
    let source = match reactor.register(&socket.socket) {
        Ok(source) => source,
        Err(e) => {
            let path = socket.path().display();
            return log::warn!("control_socket {path}: {e}; nobody is served there.");
        }
    };
    let mut server = Server {
        socket,
        source,
        timer: reactor.timer_at(None),
        reactor,
        rests_until: None,
        connections: Vec::new(),
    };
    poll_fn(|cx| {
        server.accept(&ask, cx);
        let connections = &mut server.connections;
        connections.retain_mut(|one| one.work.as_mut().poll(cx).is_pending());
        Poll::<()>::Pending
    })
    .await;
}

struct Server {
    socket: Rc<ControlSocket>,
    source: Source,
    reactor: Rc<Reactor>,
    /// Something had run out.
    rests_until: Option<Instant>,
    /// Wakes the task then.
    timer: Timer,
    connections: Vec<Connection>,
}

struct Connection {
    /// When the other end last did something.
    moved: Rc<Cell<Instant>>,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

impl Server {
    /// Takes in who waits, up to a bound.
    fn accept(&mut self, ask: &(impl Fn(Asked<'_>) -> Answer + Clone + 'static), cx: &Context<'_>) {
        if let Some(until) = self.rests_until.filter(|until| Instant::now() < *until) {
            return self.timer.wake_by(until, cx);
        }
        self.rests_until = None;
        for _ in 0..BURST {
            if self.source.poll_readable(cx).is_pending() {
                return;
            }
            match self.accept_one() {
                Ok(conversation) => {
                    self.make_room();
                    let moved = Rc::new(Cell::new(Instant::now()));
                    let work = Box::pin(conversation.go_on(ask.clone(), Rc::clone(&moved)));
                    self.connections.push(Connection { moved, work });
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.source.read_dry(),
                Err(e) => {
                    log::debug!("The control socket takes no connection for now: {e}.");
                    let until = Instant::now() + PAUSE;
                    self.rests_until = Some(until);
                    return self.timer.wake_by(until, cx);
                }
            }
        }
        cx.waker().wake_by_ref();
    }

    fn accept_one(&self) -> io::Result<Conversation> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accepted = rustix::net::accept_with(&self.socket.socket, flags)?;
        Conversation::new(UnixStream::from(accepted), &self.reactor)
    }

    fn make_room(&mut self) {
        if self.connections.len() >= MOST {
            let connections = self.connections.iter().enumerate();
            let quietest = connections.min_by_key(|(_, one)| one.moved.get());
            if let Some((at, _)) = quietest {
                drop(self.connections.remove(at));
            }
        }
    }
}
