//! When to look at what: timers, and queues whose messages grow too old.
//!
//! One wheel with slots of a second. A timer is not moved when its deadline moves: when its slot
//! comes whoever set it looks whether it is due, and if not sets another.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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

/// When to look for messages that have grown too old, by queue. Unlike a [`Timer`] a time is moved:
/// a message may expire in a year and be gone at once, and the next one too.
#[derive(Debug, Default)]
pub(crate) struct Purges {
    /// In seconds, rounded up.
    due: BTreeSet<(u64, SessionKey)>,
    of: HashMap<SessionKey, u64>,
    /// There is more to do than is done at once: not before this.
    pause: Option<Time>,
}

impl Purges {
    /// The queue of `key` is looked at at `at`, or not at all.
    pub(crate) fn set(&mut self, key: SessionKey, at: Option<Time>) {
        if let Some(old) = self.of.remove(&key) {
            self.due.remove(&(old, key));
        }
        if let Some(at) = at {
            let second = at.as_millis().div_ceil(1000);
            self.of.insert(key, second);
            self.due.insert((second, key));
        }
    }

    /// It is looked at at `at` if not before.
    pub(crate) fn hasten(&mut self, key: SessionKey, at: Time) {
        let second = at.as_millis().div_ceil(1000);
        if self.of.get(&key).is_none_or(|known| *known > second) {
            self.set(key, Some(at));
        }
    }

    /// How many queues are to be looked at.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    /// When the queue of `key` is looked at.
    #[cfg(test)]
    pub(crate) fn of(&self, key: SessionKey) -> Option<Time> {
        self.of.get(&key).copied().map(Time::from_secs)
    }

    /// None is before `until`.
    pub(crate) fn pause(&mut self, until: Time) {
        self.pause = Some(until);
    }

    /// A queue that is to be looked at at `now`; it is not any more.
    pub(crate) fn take(&mut self, now: Time) -> Option<SessionKey> {
        self.next().filter(|at| *at <= now)?;
        self.pause = None;
        let (_, key) = self.due.pop_first()?;
        self.of.remove(&key);
        Some(key)
    }

    /// When [`Purges::take`] has something.
    pub(crate) fn next(&self) -> Option<Time> {
        let (second, _) = self.due.first()?;
        let at = Time::from_millis(second.saturating_mul(1000));
        Some(self.pause.map_or(at, |pause| pause.max(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Table;

    #[test]
    fn a_queue_has_one_time() {
        let mut table = Table::<SessionKey, ()>::default();
        let (a, b) = (table.insert(()), table.insert(()));
        let at = Time::from_secs;
        let mut purges = Purges::default();
        for n in 0..1000 {
            purges.set(a, Some(at(1000 + n)));
            purges.hasten(b, at(3000 - n));
            purges.hasten(a, at(2000));
        }
        assert_eq!((purges.due.len(), purges.of.len()), (2, 2));
        assert_eq!(purges.next(), Some(at(1999)));
        assert_eq!(purges.take(Time::from_millis(1_998_999)), None);
        purges.pause(at(2500));
        assert_eq!(
            (purges.take(at(2000)), purges.next()),
            (None, Some(at(2500)))
        );
        let mut both = [purges.take(at(2500)), purges.take(at(2500))];
        both.sort_unstable();
        assert_eq!(both, [Some(a.min(b)), Some(a.max(b))]);
        purges.hasten(a, Time::from_millis(1));
        assert_eq!(purges.next(), Some(at(1)), "rounded up");
        purges.set(a, None);
        assert_eq!(purges.next(), None);
    }
}
