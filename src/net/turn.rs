//! A turn: everything that connections can do now.
//!
//! One task drives all connections. Each that is ready reads once, until the turn has done its share of
//! work (`ready`): the others go on in the next one. Then [`end_turn`] gives the store its batch and
//! writes each connection's output once, within a bound of its own, and the one timer is set. Other tasks
//! (listeners, what the store reports, bridges) wake this one, and as the executor's queue is first in,
//! first out, it runs after those that were ready before.
//!
//! Between two turns the kernel is always asked what has happened: what others have sent, signals and
//! new connections don't wait until whoever sends all the time is done. And nobody is taken for silent
//! ([`Hub::heard`], [`Broker::tick_unless`]) by a moment after that, or while what it sent waits.
//!
//! [`Broker::tick_unless`]: crate::broker::Broker::tick_unless

pub(super) mod heap;
pub(super) mod ready;
pub(super) mod watch;

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::conn::Conn;
use super::hub::{Hub, Shared};
use crate::broker::{ConnId, end_turn};
use watch::Part;

/// The task that takes the turns; never done.
pub struct Turn {
    hub: Shared,
}

impl Turn {
    /// The task of `hub`; a hub has one.
    pub fn new(hub: Shared) -> Turn {
        Turn { hub }
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut hub = self.hub.borrow_mut();
        hub.take_turn(cx);
        let due = hub.next_timeout();
        if let Some(at) = due.and_then(|at| hub.clock().instant(at)) {
            hub.reactor().set_alarm(at, cx);
        }
        Poll::Pending
    }
}

/// What the buffer of a connection's half packet takes, in bytes.
fn half_packet(conns: &[Option<Conn>], id: ConnId) -> usize {
    let conn = conns.get(id.slot()).and_then(Option::as_ref);
    conn.filter(|conn| conn.is(id))
        .map_or(0, |conn| conn.transport.half_packet())
}

impl Hub {
    fn take_turn(&mut self, cx: &mut Context<'_>) {
        // What is asked for from here on, this turn does.
        self.turn = None;
        self.written_from = None;
        self.begin_watch();
        self.note_changes(cx);
        self.drive_ready();
        self.tell_what_was_read();
        let now = self.now();
        let conns = &self.conns;
        let of = |id| half_packet(conns, id);
        self.broker.set_half_packets(self.half.bytes(), of, now);
        self.half.set_memory_limit(self.broker.memory_limit());
        let more = end_turn(self, now);
        if self.written_from.is_none() {
            self.lap(Part::Store);
        }
        self.end_watch(now);
        self.forget_now();
        if more || !self.ready.is_empty() {
            // A write made room, and the broker filled it, or a connection has more to read: once
            // more, after the others and what they have sent meanwhile.
            self.reactor().call_again();
        } else {
            self.turn = Some(cx.waker().clone());
        }
    }

    /// Lets the connections that have something to do do it, as far as the turn goes.
    fn drive_ready(&mut self) {
        let hold = mem::take(&mut self.is_unwritten);
        let (mut round, begun) = (self.ready.begin(hold), self.work());
        while let Some(id) = self.ready.next(&mut round, self.work() - begun) {
            self.drive(id);
            self.lap(Part::Packets(id));
        }
    }
}

#[cfg(test)]
mod tests;
