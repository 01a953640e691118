//! One wheel with slots of a second. A timer is not moved when its deadline moves: when its slot
//! comes whoever set it looks whether it is due, and if not sets another.

use std::collections::BTreeMap;

use crate::keys::{ConnId, SessionKey};
use crate::time::Time;

/// What to look at when a slot comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// The keep-alive, or the CONNECT that is due.
    Connection(ConnId),
    /// The expiry or the delayed will of a session without a connection.
    Session(SessionKey),
    /// Nothing but a look at what has a deadline of its own.
    Wake,
}

/// Timers by the second in which to look at them.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    slots: BTreeMap<u64, Vec<Timer>>,
}

impl Timers {
    /// Looks at `timer` at `at`, or up to a second later.
    pub(crate) fn add(&mut self, at: Time, timer: Timer) {
        // Rounded up: a timer must not find itself too early every time.
        let second = at.as_millis().div_ceil(1000);
        self.slots.entry(second).or_default().push(timer);
    }

    /// Makes the broker look around at `at`.
    pub(crate) fn wake(&mut self, at: Time) {
        self.add(at, Timer::Wake);
    }

    /// When the first slot comes.
    pub(crate) fn next(&self) -> Option<Time> {
        self.slots.keys().next().map(|secs| Time::from_secs(*secs))
    }

    /// The timers of one slot that has come.
    pub(crate) fn take(&mut self, now: Time) -> Option<Vec<Timer>> {
        let entry = self.slots.first_entry()?;
        (*entry.key() <= now.as_secs()).then(|| entry.remove())
    }
}
