//! The end of a turn.
//!
//! The executor's queue is first in, first out: the first connection that has something to do in a
//! turn wakes this task, which so runs after every other connection that was ready. It hands the
//! store its batch, writes each connection's output once, and sets the one timer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::hub::{Hub, Shared};

/// The task that ends each turn; never done.
pub struct Turn {
    hub: Shared,
}

impl Turn {
    /// The task that ends the turns of `hub`; a hub has one.
    pub fn new(hub: Shared) -> Turn {
        Turn { hub }
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut hub = self.hub.borrow_mut();
        hub.end_turn(cx);
        let due = hub.next_timeout();
        if let Some(at) = due.and_then(|at| hub.clock().instant(at)) {
            hub.reactor().set_alarm(at, cx);
        }
        Poll::Pending
    }
}

impl Hub {
    fn end_turn(&mut self, cx: &mut Context<'_>) {
        // This turn ends now; what is asked for from here on belongs to the next.
        self.turn = None;
        let now = self.now();
        self.tick(now);
        self.feed_store(now);
        let more = self.flush(now);
        for id in self.broker.take_resumed() {
            if let Some(conn) = self.conns.get(id.0).and_then(Option::as_ref) {
                conn.wake();
            }
        }
        self.forget_now();
        if more {
            // A write made room, and the broker filled it: once more, after the others.
            cx.waker().wake_by_ref();
        } else {
            self.turn = Some(cx.waker().clone());
        }
    }
}
