//! TLS of the listeners: what handshakes go by.

use socket2::Socket;

use super::Channel;
use super::handshakes::Handshakes;
use crate::net::clock::wall;
use crate::time::Time;
use crate::tls::{Clock, ServerSide, Session};

/// TLS of the listeners.
pub(in crate::net) struct ListenersTls {
    /// What each listener's handshakes go by, by its index; `None` without TLS.
    sides: Vec<Option<ServerSide>>,
    /// What certificates are judged by.
    clock: Clock,
    pub(in crate::net) handshakes: Handshakes,
}

impl ListenersTls {
    /// Of listeners without it.
    pub(in crate::net) fn new(handshakes: Handshakes) -> ListenersTls {
        ListenersTls {
            sides: Vec::new(),
            clock: Clock::default(),
            handshakes,
        }
    }

    /// The clock that certificates are judged by; it knows what time it is.
    pub(in crate::net) fn clock(&self) -> Clock {
        self.clock.tell(wall().since(Time::ZERO));
        self.clock.clone()
    }

    /// A connection that has come to `listener`.
    pub(in crate::net) fn channel(&self, socket: Socket, listener: usize) -> Channel {
        let side = self.sides.get(listener).and_then(Option::as_ref);
        let session = side.map(|side| {
            self.clock.tell(wall().since(Time::ZERO));
            Box::new(Session::accept(side))
        });
        Channel::new(socket, session)
    }

    /// What handshakes go by from now on, for each listener, and what certificates are judged by. True if a
    /// listener goes by something else than before.
    pub(in crate::net) fn set(&mut self, clock: &Clock, sides: Vec<Option<ServerSide>>) -> bool {
        let is_same = |(old, new): (&Option<ServerSide>, &Option<ServerSide>)| match (old, new) {
            (Some(old), Some(new)) => old.is_same(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        let is_changed = !self.sides.iter().zip(&sides).all(is_same);
        self.clock = clock.clone();
        self.sides = sides;
        is_changed
    }
}
