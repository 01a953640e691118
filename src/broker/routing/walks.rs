//! The walks through what is retained that subscriptions have begun, and how far each has come.
//!
//! A subscription to `#` may ask for a hundred thousand messages. They are not queued at once: a walk
//! goes through the topics in the order of their keys, a piece at a time, as fast as the subscriber
//! takes what it brings. It reads what is retained when it comes by, so it never brings a value that
//! a newer one has replaced.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use crate::held::{ALLOCATION, Charge, SESSIONS};
use crate::keys::SessionKey;
use crate::mqtt::filter_matches;
use crate::route::{self, SubOptions};

/// How many topics a session may have been sent before its walks came to them; beyond, an older
/// retained message may come after a newer one on its topic that is not retained.
const MAX_AHEAD: usize = 1_000;
/// How many walks of a session are asked whether they still come to a topic, those that began first.
/// One behind them brings what the topic retains also after a newer message that is not retained.
const MAX_ASKED: usize = 16;

/// The way of one subscription through what is retained.
#[derive(Debug)]
pub(crate) struct Walk {
    filter: Rc<str>,
    options: SubOptions,
    /// The key of the last topic that it has come to.
    passed: Option<Box<[u8]>>,
    /// The topics that were sent before it came to them, as hashes.
    ahead: HashSet<u64>,
}

impl Walk {
    /// The filter that the topics match.
    pub(crate) fn filter(&self) -> &Rc<str> {
        &self.filter
    }

    /// How the session is subscribed.
    pub(crate) fn options(&self) -> SubOptions {
        self.options
    }

    /// The key of the last topic that it has come to.
    pub(crate) fn passed(&self) -> Option<&[u8]> {
        self.passed.as_deref()
    }

    /// True if it will come to `topic`.
    fn comes_to(&self, topic: &str) -> bool {
        let is_beyond = |passed: &[u8]| *route::key(topic) > *passed;
        filter_matches(&self.filter, topic) && self.passed().is_none_or(is_beyond)
    }

    /// What it takes in memory with its places in the maps, in bytes, about.
    fn weight(&self) -> usize {
        let places = size_of::<(u64, Walk)>() + 2 * size_of::<(Rc<str>, u64)>();
        let texts = self.filter.len() + self.passed().map_or(0, <[u8]>::len);
        // A hash has a byte beside it, and an eighth of the table stays free.
        let ahead = self.ahead.capacity() * (size_of::<u64>() + 3);
        places + texts + ahead + 3 * ALLOCATION
    }
}

/// The walks of one session.
#[derive(Debug, Default)]
struct OfSession {
    /// By the order in which they began; the first goes on.
    walks: BTreeMap<u64, Walk>,
    by_filter: HashMap<Rc<str>, u64>,
    next: u64,
    /// Those with a lower number are noted on disk, or are to be.
    noted_below: u64,
    /// How many topics were sent before their walks came to them.
    ahead: usize,
    /// In the list of those to go on.
    is_due: bool,
    /// What all that takes.
    held: Charge<SESSIONS>,
}

impl OfSession {
    /// Ends the walk with this number.
    fn end(&mut self, number: u64) {
        if let Some(walk) = self.walks.remove(&number) {
            self.by_filter.remove(&walk.filter);
            self.ahead = self.ahead.saturating_sub(walk.ahead.len());
            self.held.shift(0, walk.weight());
        }
    }
}

/// All walks.
#[derive(Debug, Default)]
pub(crate) struct Walks {
    of: HashMap<SessionKey, OfSession>,
    /// The sessions whose walks may go on, each once.
    due: VecDeque<SessionKey>,
    hasher: RandomState,
}

impl Walks {
    /// A session is to get what is retained and matches `filter`. A walk for the same filter that goes
    /// on ends: its place is taken by this one, which begins anew.
    pub(crate) fn begin(&mut self, key: SessionKey, filter: &str, options: SubOptions) {
        let of = self.of.entry(key).or_insert_with(|| OfSession {
            held: Charge::new(2 * size_of::<(SessionKey, OfSession)>()),
            ..OfSession::default()
        });
        if let Some(known) = of.by_filter.get(filter).copied() {
            of.end(known);
        }
        let filter: Rc<str> = filter.into();
        let number = of.next;
        of.next += 1;
        of.by_filter.insert(Rc::clone(&filter), number);
        let walk = Walk {
            filter,
            options,
            passed: None,
            ahead: HashSet::new(),
        };
        of.held.shift(walk.weight(), 0);
        of.walks.insert(number, walk);
        self.hasten(key);
    }

    /// A session is not subscribed to `filter` any more.
    pub(crate) fn end(&mut self, key: SessionKey, filter: &str) {
        if let Some(of) = self.of.get_mut(&key)
            && let Some(number) = of.by_filter.get(filter).copied()
        {
            of.end(number);
            self.tidy(key);
        }
    }

    /// All walks of a session end.
    pub(crate) fn forget(&mut self, key: SessionKey) {
        // It may stay in the list of those that are due, where its turn does nothing.
        self.of.remove(&key);
    }

    /// Forgets a session without walks.
    fn tidy(&mut self, key: SessionKey) {
        if self.of.get(&key).is_some_and(|of| of.walks.is_empty()) {
            self.of.remove(&key);
        }
    }

    /// True if a session has a walk that goes on.
    pub(crate) fn has(&self, key: SessionKey) -> bool {
        !self.of.is_empty() && self.of.contains_key(&key)
    }

    /// The filters of a session's walks that this was not asked for yet.
    pub(crate) fn take_unnoted(&mut self, key: SessionKey) -> Vec<Rc<str>> {
        let Some(of) = self.of.get_mut(&key) else {
            return Vec::new();
        };
        let from = std::mem::replace(&mut of.noted_below, of.next);
        let new = of.walks.range(from..);
        new.map(|(_, walk)| Rc::clone(&walk.filter)).collect()
    }

    /// The sessions that have walks that go on.
    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        self.of.keys().copied().collect()
    }

    /// How many sessions have walks that go on.
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    /// What the walks of a session take in memory, in bytes, about.
    pub(crate) fn held(&self, key: SessionKey) -> usize {
        self.of.get(&key).map_or(0, |of| of.held.bytes())
    }

    /// There may be room for what the walks of a session bring: they go on in the next turn.
    pub(crate) fn hasten(&mut self, key: SessionKey) {
        if self.of.is_empty() {
            return;
        }
        if let Some(of) = self.of.get_mut(&key)
            && !std::mem::replace(&mut of.is_due, true)
        {
            self.due.push_back(key);
        }
    }

    /// True if there are walks that may go on.
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The next session whose walks may go on.
    pub(crate) fn take_due(&mut self) -> Option<SessionKey> {
        let key = self.due.pop_front()?;
        if let Some(of) = self.of.get_mut(&key) {
            of.is_due = false;
        }
        Some(key)
    }

    /// The walks of a session, in the order in which they began.
    #[cfg(test)]
    pub(crate) fn all(&self, key: SessionKey) -> impl Iterator<Item = &Walk> {
        let of = self.of.get(&key).into_iter();
        of.flat_map(|of| of.walks.values())
    }

    /// The walk of a session that goes on.
    pub(crate) fn first(&self, key: SessionKey) -> Option<&Walk> {
        let (_, walk) = self.of.get(&key)?.walks.first_key_value()?;
        Some(walk)
    }

    /// The walk that [`Walks::first`] names has come to the topic of this key; with `None`, to its end.
    pub(crate) fn reached(&mut self, key: SessionKey, topic: Option<Box<[u8]>>) {
        let Some(of) = self.of.get_mut(&key) else {
            return;
        };
        let Some(mut first) = of.walks.first_entry() else {
            return;
        };
        if topic.is_some() {
            let walk = first.get_mut();
            let before = walk.weight();
            walk.passed = topic;
            of.held.shift(walk.weight(), before);
            return;
        }
        let number = *first.key();
        of.end(number);
        self.tidy(key);
    }

    /// True if `topic`, which the walk that [`Walks::first`] names has come to, was sent before.
    pub(crate) fn was_sent(&mut self, key: SessionKey, topic: &str) -> bool {
        let hash = self.hasher.hash_one(topic);
        let Some(of) = self.of.get_mut(&key) else {
            return false;
        };
        let Some(mut first) = of.walks.first_entry() else {
            return false;
        };
        let was_sent = first.get_mut().ahead.remove(&hash);
        of.ahead -= usize::from(was_sent).min(of.ahead);
        was_sent
    }

    /// A message on `topic` goes to a session now. Returns how it is subscribed by each walk that would
    /// come to the topic later, and does not any more: what is retained goes first. Of a session with
    /// thousands of walks the first are asked.
    pub(crate) fn overtake(&mut self, key: SessionKey, topic: &str) -> Vec<SubOptions> {
        let hash = self.hasher.hash_one(topic);
        let mut overtaken = Vec::new();
        let Some(of) = self.of.get_mut(&key) else {
            return overtaken;
        };
        for walk in of.walks.values_mut().take(MAX_ASKED) {
            let before = walk.weight();
            if of.ahead < MAX_AHEAD && walk.comes_to(topic) && walk.ahead.insert(hash) {
                of.ahead += 1;
                of.held.shift(walk.weight(), before);
                overtaken.push(walk.options);
            }
        }
        overtaken
    }

    /// A message on `topic` that a session's walks were [overtaken](Walks::overtake) by did not reach it:
    /// they bring what is retained there after all.
    pub(crate) fn bring_later(&mut self, key: SessionKey, topic: &str) {
        let hash = self.hasher.hash_one(topic);
        let Some(of) = self.of.get_mut(&key) else {
            return;
        };
        for walk in of.walks.values_mut().take(MAX_ASKED) {
            let was_sent = walk.ahead.remove(&hash);
            of.ahead -= usize::from(was_sent).min(of.ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Table;

    #[test]
    fn a_filter_has_one_walk_and_each_session_its_turn() {
        let mut table = Table::<SessionKey, ()>::default();
        let (a, b) = (table.insert(()), table.insert(()));
        let mut walks = Walks::default();
        for filter in ["x/#", "y", "x/#"] {
            walks.begin(a, filter, SubOptions::default());
        }
        walks.begin(b, "#", SubOptions::default());
        assert_eq!([walks.take_due(), walks.take_due()], [Some(a), Some(b)]);
        assert_eq!(walks.take_due(), None);
        let filter = |walks: &Walks| walks.first(a).map(|walk| walk.filter().to_owned());
        assert_eq!(filter(&walks).as_deref(), Some("y"), "the other began anew");
        walks.reached(a, None);
        assert_eq!(filter(&walks).as_deref(), Some("x/#"));
        walks.end(a, "x/#");
        assert!(!walks.has(a) && walks.has(b));
        walks.hasten(a);
        assert!(!walks.has_due(), "it has none");
        walks.forget(b);
        assert_eq!(walks.len(), 0);
    }

    /// What walks take counts for as long as they go on, with what they remember.
    #[test]
    fn what_walks_take_counts_until_they_end() {
        let key = Table::<SessionKey, ()>::default().insert(());
        let mut walks = Walks::default();
        let filters: Vec<String> = (0..100)
            .map(|n| format!("{}/{n}/#", "f".repeat(90)))
            .collect();
        for filter in filters.iter().chain(&filters) {
            walks.begin(key, filter, SubOptions::default());
        }
        let least = 100 * (size_of::<Walk>() + 95);
        let begun = walks.held(key);
        assert!((least..2 * least).contains(&begun), "{begun}");
        assert_eq!(crate::held::of(SESSIONS), begun as u64);
        for n in 0..500 {
            walks.overtake(key, &format!("{}/0/{n}", "f".repeat(90)));
        }
        let with_hashes = walks.held(key);
        assert!(with_hashes >= begun + 500 * size_of::<u64>());
        walks.reached(key, Some(vec![0; 1_000].into()));
        assert_eq!(walks.held(key), with_hashes + 1_000);
        for filter in filters.iter().skip(1) {
            walks.end(key, filter);
        }
        assert!(walks.held(key) < with_hashes);
        walks.reached(key, None);
        assert_eq!((walks.held(key), crate::held::of(SESSIONS)), (0, 0));
        walks.begin(key, "#", SubOptions::default());
        walks.forget(key);
        assert_eq!(crate::held::of(SESSIONS), 0);
    }

    /// What went before a walk came by is remembered for so many topics, and no more.
    #[test]
    fn what_went_ahead_is_remembered_up_to_a_bound() {
        let key = Table::<SessionKey, ()>::default().insert(());
        let mut walks = Walks::default();
        walks.begin(key, "t/+", SubOptions::default());
        walks.reached(key, Some(route::key("t/5")));
        assert!(walks.overtake(key, "t/1").is_empty(), "it is past that");
        assert!(walks.overtake(key, "u").is_empty());
        assert_eq!(walks.overtake(key, "t/6").len(), 1);
        assert!(walks.overtake(key, "t/6").is_empty(), "once");
        assert!(walks.was_sent(key, "t/6") && !walks.was_sent(key, "t/6"));
        for n in 0..2 * MAX_AHEAD {
            walks.overtake(key, &format!("t/6{n}"));
        }
        assert_eq!(walks.of[&key].ahead, MAX_AHEAD);
        for n in 0..2 * MAX_ASKED {
            walks.begin(key, &format!("+/{n}/#"), SubOptions::default());
        }
        walks.end(key, "t/+");
        for (n, is_asked) in [(0, true), (MAX_ASKED - 1, true), (MAX_ASKED, false)] {
            let overtaken = walks.overtake(key, &format!("t/{n}/x"));
            assert_eq!(overtaken.len(), usize::from(is_asked), "{n}");
        }
        for n in 0..2 * MAX_ASKED {
            walks.end(key, &format!("+/{n}/#"));
        }
        assert!(walks.of.is_empty());
    }
}
