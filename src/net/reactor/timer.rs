//! Timers of tasks.
//!
//! Those that wait are kept by the moment they are due at: to set one, to take one back and to find the
//! first takes a few comparisons, also among the thousands that the bridges of a large site may have.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// When a timer is due, and a number of its own: several may be due at once.
type Key = (Instant, u64);

/// The timers that tasks wait for.
#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: RefCell<BTreeMap<Key, Waker>>,
    /// The number of the timer that was set last.
    last: Cell<u64>,
}

impl Timers {
    /// When the first is due.
    pub(super) fn first(&self) -> Option<Instant> {
        let waiting = self.waiting.borrow();
        waiting.keys().next().map(|(at, _)| *at)
    }

    /// Wakes the tasks whose timers are due by `now`. The others wait on, also where the kernel has ended
    /// a wait before its time.
    pub(super) fn ring(&self, now: Instant) {
        // Nothing is borrowed while a task is woken: it may end with that, and its timers with it.
        while let Some(waker) = self.take_due(now) {
            waker.wake();
        }
    }

    fn take_due(&self, now: Instant) -> Option<Waker> {
        let mut waiting = self.waiting.borrow_mut();
        let first = waiting.first_entry();
        let due = first.filter(|entry| entry.key().0 <= now);
        due.map(|entry| entry.remove())
    }

    fn next_key(&self, at: Instant) -> Key {
        let number = self.last.get().wrapping_add(1);
        self.last.set(number);
        (at, number)
    }

    /// Whether `waker`, or another of the same task, is woken at `key`.
    fn is_waiting(&self, key: Key, waker: &Waker) -> bool {
        let waiting = self.waiting.borrow();
        waiting.get(&key).is_some_and(|set| set.will_wake(waker))
    }

    /// Has `waker` woken at `key`, instead of who was there.
    fn insert(&self, key: Key, waker: Waker) {
        let before = self.waiting.borrow_mut().insert(key, waker);
        // To drop a waker may end a task.
        drop(before);
    }

    fn remove(&self, key: Key) -> Option<Waker> {
        self.waiting.borrow_mut().remove(&key)
    }
}

/// A moment that a task waits for, once: a timer that was ready never is again, unless it is set anew. It is
/// late by the rest of a millisecond, and by what the tasks before it take; never early.
#[derive(Debug)]
#[must_use = "a timer does nothing unless it is polled"]
pub(in crate::net) struct Timer {
    timers: Rc<Timers>,
    /// When it is due; `None`: never.
    at: Option<Instant>,
    /// Its place among those that wait, from the first poll on; it may have rung meanwhile.
    key: Option<Key>,
}

impl Timer {
    /// A timer that comes at `at`; without one, never.
    pub(super) fn new(timers: &Rc<Timers>, at: Option<Instant>) -> Timer {
        Timer {
            timers: Rc::clone(timers),
            at,
            key: None,
        }
    }

    /// From now on it comes at `at`, also for a task that waits for it already.
    pub(in crate::net) fn set_at(&mut self, at: Instant) {
        let waker = self.take_back();
        self.at = Some(at);
        if let Some(waker) = waker {
            self.enter(at, waker);
        }
    }

    /// From now on it comes after `duration`, as [`Timer::set_at`]; never, if that is beyond what the clock
    /// can count.
    pub(in crate::net) fn set_after(&mut self, duration: Duration) {
        match Instant::now().checked_add(duration) {
            Some(at) => self.set_at(at),
            None => {
                self.at = None;
                drop(self.take_back());
            }
        }
    }

    /// Has the task woken at `at` or earlier, once. A timer is moved forward only: to wake once in vain costs
    /// less than to move it each time.
    pub(in crate::net) fn wake_by(&mut self, at: Instant, cx: &Context<'_>) {
        let is_early = |key: &Key| key.0 <= at && self.timers.is_waiting(*key, cx.waker());
        if !self.key.as_ref().is_some_and(is_early) {
            drop(self.take_back());
            self.at = Some(at);
            self.enter(at, cx.waker().clone());
        }
    }

    fn enter(&mut self, at: Instant, waker: Waker) {
        let key = self.timers.next_key(at);
        self.timers.insert(key, waker);
        self.key = Some(key);
    }

    /// It waits no more; whom it would have woken.
    fn take_back(&mut self) -> Option<Waker> {
        self.key.take().and_then(|key| self.timers.remove(key))
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        if Instant::now() >= at {
            self.at = None;
            drop(self.take_back());
            return Poll::Ready(());
        }
        match self.key {
            Some(key) if self.timers.is_waiting(key, cx.waker()) => {}
            Some(key) => self.timers.insert(key, cx.waker().clone()),
            None => self.enter(at, cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        drop(self.take_back());
    }
}

#[cfg(test)]
mod tests;
