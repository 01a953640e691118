//! Which retained messages must reach the disk, and when.
//!
//! A value that somebody waits for (QoS 1 and 2) is written with the next commit. One that was
//! published with QoS 0 promises nothing: a topic's first is written within a second or so, and
//! what follows on that topic is coalesced to one write a [`PAUSE`].

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::lazy::Lazy;
use crate::held::{ALLOCATION, Charge, RETAINED, table};
use crate::time::Time;

/// How long after a topic was written a value that nobody waits for is written.
const PAUSE: Duration = Duration::from_secs(60);

/// How many values that nobody waits for one commit writes, at most: one client can make very many of
/// them at once, and what a commit gathers is gathered in one turn.
const LAZY: usize = 1_000;
/// How soon the next commit goes on with them.
const LAZY_PAUSE: Duration = Duration::from_millis(50);

/// How many rows of values that have expired one commit deletes, at most: there may be very many, and to
/// gather them takes time. A row that a kill -9 leaves has expired when it is read.
const EXPIRED: usize = 5_000;
/// How soon the next commit goes on with them.
const EXPIRED_PAUSE: Duration = Duration::from_secs(1);

/// The topics whose row differs from what is retained.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    /// To be written with the next commit, whenever that is.
    next: HashSet<Box<str>>,
    /// The same, but nobody waits: as many of them as a commit takes.
    lazy: Lazy,
    /// When the next of them are to be written.
    lazy_due: Option<Time>,
    /// To be written at the given moment.
    later: HashMap<Box<str>, Time>,
    /// The values of these have expired.
    expired: HashSet<Box<str>>,
    /// When the next of them are to be deleted.
    expired_due: Option<Time>,
    /// The first of the moments of `later`, or an earlier one.
    due: Option<Time>,
    /// In which second topics were written, by the hash of each, those of the last [`PAUSE`] at least.
    /// Where two have the same, as one in forty thousand has among a hundred thousand, a value that
    /// nobody waits for is written later than it might be.
    written: HashMap<u32, u32>,
    hash: RandomState,
    /// When `written` was last rid of what is older.
    swept: Time,
    /// What the topics take that are to be written.
    held: Charge<RETAINED>,
    /// What `lazy` takes.
    held_lazy: Charge<RETAINED>,
    /// What `written` takes.
    held_written: Charge<RETAINED>,
}

/// A moment in seconds, rounded up: a pause ends no sooner than it should.
fn second(at: Time) -> u32 {
    u32::try_from(at.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

/// What a topic takes in a table, which is half empty after it has grown.
fn held(topic: &str) -> usize {
    topic.len() + ALLOCATION + 2 * size_of::<(Box<str>, Time)>()
}

impl Unwritten {
    /// The value of `topic` has changed, and somebody waits for the commit.
    pub(crate) fn promised(&mut self, topic: &str) {
        self.forget(topic);
        if self.next.insert(topic.into()) {
            self.held.shift(held(topic), 0);
        }
    }

    /// The hash of a topic for `written`.
    fn hashed(&self, topic: &str) -> u32 {
        let [_, _, _, _, a, b, c, d] = self.hash.hash_one(topic).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// What nobody waits for need not be written any more, or somebody waits.
    fn forget(&mut self, topic: &str) {
        if self.later.remove(topic).is_some() {
            self.held.shift(0, held(topic));
        }
        self.lazy.remove(topic);
        self.held_lazy.set(self.lazy.held());
    }

    fn write_soon(&mut self, topic: &str) {
        if self.later.remove(topic).is_some() {
            self.held.shift(0, held(topic));
        }
        self.lazy.insert(topic);
        self.held_lazy.set(self.lazy.held());
    }

    /// The value of `topic` has changed, and nobody waits. Answers when it is to be written, if
    /// not with the next commit.
    pub(crate) fn changed(&mut self, topic: &str, now: Time) -> Option<Time> {
        let written = self.written.get(&self.hashed(topic));
        let at = written.map(|second| Time::from_secs(u64::from(*second)) + PAUSE);
        match at.filter(|at| *at > now) {
            _ if self.next.contains(topic) => None,
            Some(at) => {
                if self.later.insert(topic.into(), at).is_none() {
                    self.held.shift(held(topic), 0);
                }
                self.due = Some(self.due.map_or(at, |due| due.min(at)));
                Some(at)
            }
            None => {
                self.write_soon(topic);
                None
            }
        }
    }

    /// The value of `topic` has expired.
    pub(crate) fn expired(&mut self, topic: &str) {
        self.forget(topic);
        if !self.next.contains(topic) && self.expired.insert(topic.into()) {
            self.held.shift(held(topic), 0);
        }
    }

    /// True if a value of `topic` that nobody waits for is to be written, maybe not by the next commit.
    pub(crate) fn is_later(&self, topic: &str) -> bool {
        self.later.contains_key(topic) || self.lazy.contains(topic)
    }

    /// The topics to write now; all of them if `all`.
    pub(crate) fn take(&mut self, all: bool, now: Time) -> HashSet<Box<str>> {
        let mut topics = std::mem::take(&mut self.next);
        let mut held_bytes = self.held.bytes();
        // Each leaves its table.
        let written = |topic: &str, bytes: &mut usize| *bytes = bytes.saturating_sub(held(topic));
        topics
            .iter()
            .for_each(|topic| written(topic, &mut held_bytes));
        if all || self.due.is_some_and(|at| at <= now) {
            let due = self.later.extract_if(|_, at| all || *at <= now);
            for (topic, _) in due {
                written(&topic, &mut held_bytes);
                self.lazy.insert(&topic);
            }
            self.due = self.later.values().min().copied();
        }
        let most = if all { usize::MAX } else { LAZY };
        topics.extend(std::iter::from_fn(|| self.lazy.pop()).take(most));
        self.held_lazy.set(self.lazy.held());
        self.lazy_due = (!self.lazy.is_empty()).then(|| now + LAZY_PAUSE);
        let most = if all { usize::MAX } else { EXPIRED };
        for topic in self.expired.extract_if(|_| true).take(most) {
            written(&topic, &mut held_bytes);
            topics.insert(topic);
        }
        self.expired_due = (!self.expired.is_empty()).then(|| now + EXPIRED_PAUSE);
        if self.expired.is_empty() {
            self.expired = HashSet::new();
        }
        for topic in &topics {
            let hash = self.hashed(topic);
            self.written.insert(hash, second(now));
        }
        if now.since(self.swept) >= PAUSE {
            let from = second(now).saturating_sub(second(Time::ZERO + PAUSE));
            self.written.retain(|_, second| *second > from);
            let few = 2 * self.written.len();
            if self.written.capacity() > 2 * few {
                self.written.shrink_to(few);
            }
            self.swept = now;
        }
        self.held.set(held_bytes);
        let table = table(self.written.capacity(), size_of::<(u32, u32)>());
        self.held_written.set(table);
        topics
    }

    /// When [`Unwritten::take`] is to be called for what is to be written later.
    pub(crate) fn due(&self) -> Option<Time> {
        let dues = [self.due, self.lazy_due, self.expired_due];
        dues.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_secs(1_000);

    fn take(unwritten: &mut Unwritten, secs: u64) -> Vec<String> {
        let topics = unwritten.take(false, START + Duration::from_secs(secs));
        let mut topics: Vec<String> = topics.into_iter().map(Into::into).collect();
        topics.sort();
        topics
    }

    fn change(unwritten: &mut Unwritten, secs: u64) -> Option<Duration> {
        let due = unwritten.changed("t", START + Duration::from_secs(secs));
        due.map(|at| at.since(START))
    }

    #[test]
    fn what_topics_take_is_counted_as_long_as_they_are_here() {
        let mut unwritten = Unwritten::default();
        for second in 0..150 {
            unwritten.changed("a", START + Duration::from_secs(second));
            unwritten.promised(["b", "c"][usize::from(second % 2 == 0)]);
            take(&mut unwritten, second);
            let topics = unwritten.next.iter();
            let topics = topics.chain(unwritten.later.keys());
            assert_eq!(unwritten.held.bytes(), topics.map(|t| held(t)).sum());
        }
        take(&mut unwritten, 1_000);
        take(&mut unwritten, 2_000);
        let parts = [&unwritten.held, &unwritten.held_lazy].map(Charge::bytes);
        assert_eq!(parts, [0, 0]);
    }

    #[test]
    fn a_topic_whose_values_expire_again_and_again_is_kept_once() {
        let mut unwritten = Unwritten::default();
        for _ in 0..100 {
            unwritten.expired("t");
        }
        assert_eq!(unwritten.held.bytes(), held("t"));
        assert_eq!(take(&mut unwritten, 0), ["t"]);
        assert_eq!(unwritten.held.bytes(), 0);
    }

    #[test]
    fn a_value_that_changes_every_second_is_written_once_a_minute() {
        let mut unwritten = Unwritten::default();
        let mut writes = 0;
        for second in 0..600 {
            change(&mut unwritten, second);
            writes += take(&mut unwritten, second).len();
        }
        assert_eq!(writes, 10);
    }

    #[test]
    fn the_last_value_is_written_in_the_end() {
        let mut unwritten = Unwritten::default();
        assert_eq!(change(&mut unwritten, 0), None);
        assert_eq!(take(&mut unwritten, 1), ["t"]);
        assert_eq!(change(&mut unwritten, 2), Some(Duration::from_secs(61)));
        assert_eq!(change(&mut unwritten, 9), Some(Duration::from_secs(61)));
        assert!(take(&mut unwritten, 60).is_empty());
        assert_eq!(unwritten.due(), Some(START + Duration::from_secs(61)));
        assert_eq!(take(&mut unwritten, 61), ["t"]);
        assert_eq!(unwritten.due(), None);
    }

    #[test]
    fn a_promised_value_does_not_wait() {
        let mut unwritten = Unwritten::default();
        for second in 0..5 {
            unwritten.promised("t");
            assert_eq!(change(&mut unwritten, second), None);
            assert_eq!(take(&mut unwritten, second), ["t"]);
        }
        assert!(change(&mut unwritten, 5).is_some());
        unwritten.promised("t");
        assert_eq!(take(&mut unwritten, 6), ["t"]);
        assert!(
            take(&mut unwritten, 70).is_empty(),
            "it is not written again"
        );
        assert_eq!(unwritten.due(), None);
    }

    #[test]
    fn what_was_written_long_ago_is_forgotten() {
        let mut unwritten = Unwritten::default();
        for n in 0..1_000 {
            unwritten.changed(&format!("t/{n}"), START);
        }
        assert_eq!(take(&mut unwritten, 0).len(), 1_000);
        let counted = unwritten.held_written.bytes();
        assert!((9_000..40_000).contains(&counted), "{counted}");
        take(&mut unwritten, 61);
        assert!(unwritten.written.is_empty());
        assert!(unwritten.held_written.bytes() < 100);
    }

    #[test]
    fn values_that_nobody_waits_for_are_written_bit_by_bit() {
        let mut unwritten = Unwritten::default();
        for n in 0..2 * LAZY + 7 {
            unwritten.changed(&format!("t/{n}"), START);
        }
        unwritten.promised("new");
        unwritten.promised("t/0");
        let first = take(&mut unwritten, 0);
        assert_eq!(first.len(), LAZY + 2);
        assert!(first.iter().any(|topic| topic == "new") && first.iter().any(|t| t == "t/0"));
        assert_eq!(unwritten.due(), Some(START + LAZY_PAUSE));
        assert_eq!(take(&mut unwritten, 1).len(), LAZY);
        assert!(unwritten.due().is_some());
        assert_eq!(take(&mut unwritten, 2).len(), 6);
        assert_eq!(unwritten.due(), None);
    }

    #[test]
    fn what_expires_all_at_once_is_deleted_bit_by_bit() {
        let mut unwritten = Unwritten::default();
        for n in 0..2 * EXPIRED + 7 {
            unwritten.expired(&format!("t/{n}"));
        }
        unwritten.promised("new");
        assert_eq!(take(&mut unwritten, 0).len(), EXPIRED + 1);
        assert_eq!(unwritten.due(), Some(START + EXPIRED_PAUSE));
        assert_eq!(take(&mut unwritten, 1).len(), EXPIRED);
        assert_eq!(take(&mut unwritten, 2).len(), 7);
        assert_eq!(unwritten.due(), None);
        unwritten.promised("t");
        unwritten.expired("t");
        assert_eq!(take(&mut unwritten, 3), ["t"]);
    }

    #[test]
    fn at_the_end_everything_is_written() {
        let mut unwritten = Unwritten::default();
        change(&mut unwritten, 0);
        take(&mut unwritten, 0);
        change(&mut unwritten, 1);
        assert_eq!(unwritten.take(true, START).len(), 1);
    }
}
