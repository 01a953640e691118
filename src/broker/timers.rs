//! When to look at what: timers, and queues whose messages grow too old.
//!
//! A connection has one timer and a session has one, in whole seconds. A timer is not moved when its
//! deadline moves, which may be with each packet: when its second comes whoever set it looks whether
//! it is due, and if not sets it again. It goes with what it looks at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::marker::PhantomData;

use crate::keys::{ConnId, Key, SessionKey, key_of};
use crate::time::Time;

/// What to look at when its second comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// The keep-alive, or the CONNECT that is due.
    Connection(ConnId),
    /// The expiry or the delayed will of a session without a connection.
    Session(SessionKey),
}

/// The timers of connections and sessions.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    connections: Seconds<ConnId>,
    sessions: Seconds<SessionKey>,
}

impl Timers {
    /// A connection is looked at at `at`, or up to a second later; not at all if that is `None`.
    pub(crate) fn set_connection(&mut self, c: ConnId, at: Option<Time>) {
        self.connections.set(c, at);
    }

    /// A session is looked at at `at`, or up to a second later; not at all if that is `None`.
    pub(crate) fn set_session(&mut self, key: SessionKey, at: Option<Time>) {
        self.sessions.set(key, at);
    }

    /// When [`Timers::take`] has something.
    pub(crate) fn next(&self) -> Option<Time> {
        let both = [self.connections.next(), self.sessions.next()];
        both.into_iter().flatten().min()
    }

    /// A timer whose second has come; it is set no more.
    pub(crate) fn take(&mut self, now: Time) -> Option<Timer> {
        let connection = self.connections.take(now).map(Timer::Connection);
        connection.or_else(|| self.sessions.take(now).map(Timer::Session))
    }

    /// How many are set.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.connections.len() + self.sessions.len()
    }
}

/// No place.
const NONE: u32 = u32::MAX;

/// The keys, in a list for each second. A second has 32 bits, which reach to 2106: what lies beyond is
/// looked at then, and set again.
#[derive(Debug)]
struct Seconds<K> {
    /// The place of the first of each second.
    due: BTreeMap<u32, u32>,
    /// By place.
    of: Vec<Link>,
    keys: PhantomData<K>,
}

/// A place in a list.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// With the place, whose timer it is; 0 if it is not set.
    generation: u32,
    second: u32,
    before: u32,
    behind: u32,
}

/// A place that is in no list.
const UNSET: Link = Link {
    generation: 0,
    second: 0,
    before: NONE,
    behind: NONE,
};

impl<K> Default for Seconds<K> {
    fn default() -> Seconds<K> {
        Seconds {
            due: BTreeMap::new(),
            of: Vec::new(),
            keys: PhantomData,
        }
    }
}

impl<K: Key> Seconds<K> {
    fn set(&mut self, key: K, at: Option<Time>) {
        let (place, generation) = (key.index().slot(), key.index().generation());
        let slot = place as usize;
        let known = self.of.get(slot).map_or(0, |link| link.generation);
        // The place may have another user by the time that an old one is to have no timer.
        if known != 0 && (at.is_some() || known == generation) {
            self.unlink(place);
        }
        if let Some(at) = at {
            // Rounded up: a timer must not find itself too early every time.
            let second = rounded_up(at).as_secs();
            let second = u32::try_from(second).unwrap_or(u32::MAX);
            if self.of.len() <= slot {
                self.of.resize(slot + 1, UNSET);
            }
            self.link(place, generation, second);
        }
    }

    fn link_mut(&mut self, place: u32) -> Option<&mut Link> {
        self.of.get_mut(place as usize)
    }

    /// Puts a place that is in no list before the others of its second.
    fn link(&mut self, place: u32, generation: u32, second: u32) {
        let behind = self.due.insert(second, place).unwrap_or(NONE);
        if let Some(next) = self.link_mut(behind) {
            next.before = place;
        }
        if let Some(link) = self.link_mut(place) {
            *link = Link {
                generation,
                second,
                before: NONE,
                behind,
            };
        }
    }

    /// Takes a place out of its list; returns whose it was.
    fn unlink(&mut self, place: u32) -> Option<K> {
        let link = std::mem::replace(self.link_mut(place)?, UNSET);
        if let Some(next) = self.link_mut(link.behind) {
            next.before = link.before;
        }
        if let Some(last) = self.link_mut(link.before) {
            last.behind = link.behind;
        } else if link.behind == NONE {
            self.due.remove(&link.second);
        } else {
            self.due.insert(link.second, link.behind);
        }
        key_of(place, link.generation)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.of.iter().filter(|link| link.generation != 0).count()
    }

    fn next(&self) -> Option<Time> {
        let (second, _) = self.due.first_key_value()?;
        Some(Time::from_secs(u64::from(*second)))
    }

    fn take(&mut self, now: Time) -> Option<K> {
        self.next().filter(|at| *at <= now)?;
        let (_, place) = self.due.first_key_value()?;
        self.unlink(*place)
    }
}

/// The first whole second that is not before `at`: what need not be exact is looked at together.
pub(crate) fn rounded_up(at: Time) -> Time {
    Time::from_millis(at.as_millis().div_ceil(1000).saturating_mul(1000))
}

/// When to look for messages that have grown too old, by queue. Unlike a [`Timer`] a time is moved:
/// a message may expire in a year and be gone at once, and the next one too.
#[derive(Debug, Default)]
pub(crate) struct Purges {
    /// In seconds, rounded up.
    due: BTreeSet<(u64, SessionKey)>,
    of: HashMap<SessionKey, u64>,
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

    /// A queue that is to be looked at at `now`; it is not any more.
    pub(crate) fn take(&mut self, now: Time) -> Option<SessionKey> {
        self.next().filter(|at| *at <= now)?;
        let (_, key) = self.due.pop_first()?;
        self.of.remove(&key);
        Some(key)
    }

    /// When [`Purges::take`] has something.
    pub(crate) fn next(&self) -> Option<Time> {
        let (second, _) = self.due.first()?;
        Some(Time::from_millis(second.saturating_mul(1000)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::keys::Table;

    proptest! {
        /// Whatever is set, moved and taken: each key once, in the order of the seconds.
        #[test]
        fn they_come_when_they_are_due(
            steps in prop::collection::vec((0usize..12, prop::option::of(0u64..6), 0u64..6), 1..200),
        ) {
            let mut table = Table::<ConnId, ()>::default();
            let keys: Vec<_> = (0..12).map(|_| table.insert(())).collect();
            let (mut seconds, mut model) = (Seconds::default(), BTreeMap::new());
            for (key, at, now) in steps {
                let key = keys[key];
                seconds.set(key, at.map(Time::from_secs));
                match at {
                    Some(at) => model.insert(key, at),
                    None => model.remove(&key),
                };
                prop_assert_eq!(seconds.len(), model.len());
                prop_assert_eq!(seconds.next(), model.values().min().map(|at| Time::from_secs(*at)));
                if let Some(key) = seconds.take(Time::from_secs(now)) {
                    let at = model.remove(&key);
                    prop_assert!(at.is_some() && at <= model.values().min().copied().or(at));
                    prop_assert!(at <= Some(now));
                } else {
                    prop_assert!(model.values().all(|at| *at > now));
                }
            }
        }
    }

    #[test]
    fn a_key_has_one_timer() {
        let mut table = Table::<ConnId, ()>::default();
        let (a, b) = (table.insert(()), table.insert(()));
        let at = Time::from_secs;
        let mut timers = Timers::default();
        for n in 0..1000 {
            timers.set_connection(a, Some(at(2000 - n)));
            timers.set_connection(b, Some(at(3000 + n)));
        }
        assert_eq!((timers.len(), timers.next()), (2, Some(at(1001))));
        assert_eq!(timers.take(Time::from_millis(1_000_999)), None);
        assert_eq!(timers.take(at(1001)), Some(Timer::Connection(a)));
        assert_eq!(timers.take(at(3998)), None);
        timers.set_connection(a, Some(Time::from_millis(1)));
        assert_eq!(timers.next(), Some(at(1)), "rounded up");
        // The next user of a place keeps its timer when the old one loses what it had.
        table.remove(b);
        let next = table.insert(());
        assert_eq!(next.slot(), b.slot());
        timers.set_connection(next, Some(at(9)));
        timers.set_connection(b, None);
        timers.set_connection(a, None);
        assert_eq!((timers.len(), timers.next()), (1, Some(at(9))));
        timers.set_connection(next, Some(Time::from_millis(u64::MAX)));
        assert_eq!(timers.next(), Some(at(u64::from(u32::MAX))));
        timers.set_connection(next, None);
        assert_eq!((timers.len(), timers.next()), (0, None));
    }

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
        let mut both = [purges.take(at(2001)), purges.take(at(2001))];
        both.sort_unstable();
        assert_eq!(both, [Some(a.min(b)), Some(a.max(b))]);
        purges.hasten(a, Time::from_millis(1));
        assert_eq!(purges.next(), Some(at(1)), "rounded up");
        purges.set(a, None);
        assert_eq!(purges.next(), None);
    }
}
