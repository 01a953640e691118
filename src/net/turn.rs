//! A turn: everything that connections can do now.
//!
//! One task drives all connections. Each that is ready reads once; then [`end_turn`] gives the store
//! its batch and writes each connection's output once, and the one timer is set. Other tasks (listeners, what
//! the store reports, bridges) wake this one, and as the executor's queue is first in, first out,
//! it runs after those that were ready before.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::hub::{Hub, Shared};
use crate::broker::end_turn;

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

impl Hub {
    fn take_turn(&mut self, cx: &mut Context<'_>) {
        // What is asked for from here on, this turn does.
        self.turn = None;
        self.note_changes(cx);
        self.drive_ready();
        let now = self.now();
        let (bytes, largest) = (self.half.bytes(), self.half.largest());
        self.broker.set_half_packets(bytes, largest);
        self.half.set_memory_limit(self.broker.memory_limit());
        let more = end_turn(self, now);
        self.forget_now();
        if more || !self.ready.is_empty() {
            // A write made room, and the broker filled it, or a connection has more to read: once
            // more, after the others.
            cx.waker().wake_by_ref();
        } else {
            self.turn = Some(cx.waker().clone());
        }
    }

    /// Takes in what the kernel says about connections.
    fn note_changes(&mut self, cx: &Context<'_>) {
        let mut changes = mem::take(&mut self.changes);
        self.reactor().take_changes(&mut changes, cx);
        for (id, more) in changes.drain(..) {
            self.changed(id, more);
        }
        self.changes = changes;
    }

    /// Lets each connection that has something to do do it, once.
    fn drive_ready(&mut self) {
        let mut ready = mem::take(&mut self.ready);
        for id in ready.drain(..) {
            self.drive(id);
        }
        // The list keeps its room.
        ready.append(&mut self.ready);
        self.ready = ready;
    }
}
