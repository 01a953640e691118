//! The end of a turn.
//!
//! The executor's queue is first in, first out: the first connection that has something to do in a
//! turn wakes this task, which so runs after every other connection that was ready. It hands the
//! store its batch, writes each connection's output once, and sets the one timer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_io::Timer;

use super::hub::{Hub, Shared};
use crate::time::Time;

/// The task that ends each turn; never done.
pub struct Turn {
    hub: Shared,
    timer: Timer,
    /// When the timer will fire. It may be earlier than needed: moving it at each turn would cost
    /// more than waking once in vain.
    armed: Option<Time>,
}

impl Turn {
    /// The task that ends the turns of `hub`; a hub has one.
    pub fn new(hub: Shared) -> Turn {
        Turn {
            hub,
            timer: Timer::never(),
            armed: None,
        }
    }

    /// Makes sure that the timer fires when the broker next has something to do by itself.
    fn arm(&mut self, due: Option<Time>, cx: &mut Context<'_>) {
        let sooner = match (due, self.armed) {
            (Some(due), Some(armed)) => due < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if sooner && let Some(at) = due {
            let clock = self.hub.borrow().clock();
            match clock.instant(at) {
                Some(instant) => self.timer.set_at(instant),
                None => self.timer.clear(),
            }
            self.armed = due;
        }
        if self.armed.is_some() && Pin::new(&mut self.timer).poll(cx).is_ready() {
            self.armed = None;
            cx.waker().wake_by_ref();
        }
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.armed.is_some() && Pin::new(&mut self.timer).poll(cx).is_ready() {
            self.armed = None;
        }
        let due = self.hub.borrow_mut().end_turn(cx);
        self.arm(due, cx);
        Poll::Pending
    }
}

impl Hub {
    /// Returns when the broker next wants to be called.
    fn end_turn(&mut self, cx: &mut Context<'_>) -> Option<Time> {
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
        self.next_timeout()
    }
}
