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

pub(super) mod gather;
pub(super) mod heap;
pub(super) mod ready;
pub(super) mod watch;

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::conn::{Conn, Role};
use super::hub::{Hub, Shared};
use super::reactor::Timer;
use crate::broker::{ConnId, end_turn};
use crate::time::Time;
use gather::Verdict;
use watch::Part;

/// The task that takes the turns; never done.
pub struct Turn {
    hub: Shared,
    timer: Timer,
}

impl Turn {
    /// The task of `hub`; a hub has one.
    pub fn new(hub: Shared) -> Turn {
        let timer = hub.borrow().reactor().timer_at(None);
        Turn { hub, timer }
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Turn { hub, timer } = &mut *self;
        let mut hub = hub.borrow_mut();
        hub.take_turn(cx);
        let due = hub.next_timeout();
        let due = due.and_then(|at| hub.clock().instant(at));
        if let Some(at) = due.into_iter().chain(hub.gathering.next()).min() {
            timer.wake_by(at, cx);
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
        self.make_late_ready();
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

    /// The upstreams have their turn whose answers have been gathered long enough.
    fn make_late_ready(&mut self) {
        let now = self.reactor().woken();
        while let Some(id) = self.gathering.late(now) {
            if let Some(conn) = self.conn(id) {
                // The system has not told of what is below the mark.
                conn.ready.readable = true;
                self.make_ready(id);
            } else {
                self.gathering.forget(id);
            }
        }
    }

    /// True if an upstream is to be read only once more of the many answers that are awaited has come.
    pub(super) fn gathers(&mut self, id: ConnId) -> bool {
        let now = self.reactor().woken();
        let place = self.conns.get_mut(id.slot()).and_then(Option::as_mut);
        let Some(conn) = place.filter(|conn| conn.is(id)) else {
            return false;
        };
        if conn.role == Role::Device || conn.ready.ended {
            return false;
        }
        let awaited = self.broker.awaited_answers(id);
        let verdict = (self.gathering).judge(id, awaited, || conn.input_waiting(), now);
        if let Verdict::ReadFrom(mark) | Verdict::WaitFor(mark) = verdict {
            conn.wake_at(mark);
        }
        let waits = matches!(verdict, Verdict::WaitFor(_));
        if waits {
            // At the mark the system tells of all that is there.
            conn.ready.read_dry();
        }
        waits
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

    /// The turn at `now` is over.
    fn end_watch(&mut self, now: Time) {
        let (took, part) = self.watch.end();
        let broker = &self.broker;
        let cause = || match part {
            None | Some(Part::Tasks) => "new connections, signals or bridges".to_owned(),
            Some(Part::Store) => "the store".to_owned(),
            Some(Part::Timers) => "what was due".to_owned(),
            Some(Part::Packets(id)) => format!("packets of {}", broker.name(id)),
            Some(Part::Writing(id)) => format!("output to {}", broker.name(id)),
        };
        if self.watch.is_worth_a_line(took, now) {
            let millis = took.as_millis();
            log::info!(
                "Everybody had to wait for {millis} ms, mostly for {}.",
                cause()
            );
        }
        self.sys.turn(took, cause, now);
    }
}

#[cfg(test)]
mod tests;
