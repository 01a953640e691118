//! The topic aliases of one connection, both ways (5.0 §3.3.2.3.4). They end with it
//! [MQTT-3.3.2-7].

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::held::{ALLOCATION, CONNECTIONS, Charge};
use crate::impossible;
use crate::mqtt::Reason;

/// The aliases that the peer has set.
#[derive(Debug, Default)]
pub(super) struct Inward(Vec<Option<Box<str>>>, Charge<CONNECTIONS>);

/// What an alias takes that stands for a topic.
fn held(topic: &str) -> usize {
    topic.len() + size_of::<(Box<str>, u32)>() + ALLOCATION
}

impl Inward {
    /// Sets the `alias` of a PUBLISH that names its `topic` too, or answers what the alias stands
    /// for where that is empty. `max` is what was announced to the peer.
    ///
    /// # Errors
    /// Topic Alias Invalid for one above `max` [MQTT-3.3.2-9], Protocol Error for one that was
    /// not set (5.0 §3.3.4).
    pub(super) fn resolve(
        &mut self,
        topic: &str,
        alias: u16,
        max: u16,
    ) -> Result<Option<&str>, Reason> {
        if alias == 0 || alias > max {
            return Err(Reason::TOPIC_ALIAS_INVALID);
        }
        let at = usize::from(alias) - 1;
        if !topic.is_empty() {
            if self.0.len() <= at {
                self.0.resize(at + 1, None);
            }
            if let Some(known) = self.0.get_mut(at) {
                let old = known.replace(topic.into());
                self.1.shift(held(topic), old.map_or(0, |old| held(&old)));
            }
            return Ok(None);
        }
        let known = self.0.get(at).and_then(|topic| topic.as_deref());
        known.map(Some).ok_or(Reason::PROTOCOL_ERROR)
    }

    /// `alias` stands for nothing until it is set again.
    pub(super) fn forget(&mut self, alias: u16) {
        let at = usize::from(alias).checked_sub(1);
        if let Some(known) = at.and_then(|at| self.0.get_mut(at)) {
            let old = known.take();
            self.1.shift(0, old.map_or(0, |old| held(&old)));
        }
    }

    /// What they take, in bytes.
    pub(super) fn held(&self) -> usize {
        self.1.bytes()
    }

    /// No alias stands for anything until it is set again.
    pub(super) fn forget_all(&mut self) {
        self.0.clear();
        self.1.set(0);
    }
}

/// How a PUBLISH names its topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Naming {
    /// By its name alone.
    Name,
    /// By its name, which this alias stands for from now on.
    Both(u16),
    /// By this alias alone.
    Alias(u16),
}

impl Naming {
    /// The alias to send.
    pub(super) fn alias(self) -> Option<u16> {
        match self {
            Naming::Name => None,
            Naming::Both(alias) | Naming::Alias(alias) => Some(alias),
        }
    }
}

/// Aliases set for one peer at most, whatever it takes: they are searched one by one.
const MAX_ALIASES: u16 = 256;
/// Topics that are remembered, each by eight bytes, to see which come again.
const REMEMBERED: u8 = 32;
/// An alias that this many messages went by without may be given to another topic. More than a
/// round of all that are remembered: devices report in turn.
const IDLE: u32 = 4 * REMEMBERED as u32;

/// The aliases set for the peer.
///
/// As long as there are any, the first message on a topic sets one for a client, as in Mosquitto
/// 2.1: that costs three bytes a time, and a topic that comes again saves its length. An upstream,
/// to which Mosquitto sets none, gets one for a topic that comes again within [`REMEMBERED`] topics; so
/// does a client once all are given, for the retained messages of a new subscription are each on a
/// topic of their own. What is taken over then has lain idle, so that more topics than aliases do
/// not push each other out in turn.
#[derive(Debug, Default)]
pub(super) struct Outward {
    /// Highest alias the peer takes [MQTT-3.1.2-26], [MQTT-3.2.2-17].
    max: u16,
    /// The first message on a topic sets one.
    eager: bool,
    /// The next place in `seen`.
    next: u8,
    /// Messages so far.
    count: u32,
    /// The topic of each alias, from 1, and the message that it was last used for.
    given: Vec<(Box<str>, u32)>,
    /// Hashes of the last topics without an alias.
    seen: Vec<u64>,
    /// What the topics of `given` take.
    held: Charge<CONNECTIONS>,
}

impl Outward {
    /// Aliases up to `max` for a client; none with 0 [MQTT-3.1.2-27].
    pub(super) fn new(max: u16) -> Outward {
        Outward {
            max: max.min(MAX_ALIASES),
            eager: true,
            ..Outward::default()
        }
    }

    /// Aliases up to `max` for an upstream.
    pub(super) fn upward(max: u16) -> Outward {
        Outward {
            max,
            ..Outward::default()
        }
    }

    /// What they take, in bytes.
    pub(super) fn held(&self) -> usize {
        self.held.bytes()
    }

    /// How to name `topic` in the next PUBLISH. Sets nothing: see [`Outward::sent`].
    pub(super) fn name(&self, topic: &str) -> Naming {
        if self.max == 0 {
            return Naming::Name;
        }
        if let Some(at) = self.given.iter().position(|(given, _)| **given == *topic) {
            return Naming::Alias(alias_at(at));
        }
        let free = self.given.len() < usize::from(self.max);
        if !(free && self.eager || self.seen.contains(&hash(topic))) {
            return Naming::Name;
        }
        if free {
            return Naming::Both(alias_at(self.given.len()));
        }
        let idle = |used: u32| self.count.wrapping_sub(used) >= IDLE;
        match self.given.iter().position(|&(_, used)| idle(used)) {
            Some(at) => Naming::Both(alias_at(at)),
            None => Naming::Name,
        }
    }

    /// A PUBLISH that names `topic` like this is on its way.
    pub(super) fn sent(&mut self, topic: &str, naming: Naming) {
        if self.max == 0 {
            return;
        }
        self.count = self.count.wrapping_add(1);
        let at = naming.alias().map(|alias| usize::from(alias) - 1);
        match at.map(|at| (at, self.given.get_mut(at))) {
            None => self.remember(topic),
            Some((_, Some(given))) => {
                if matches!(naming, Naming::Both(_)) {
                    self.held.shift(held(topic), held(&given.0));
                    given.0 = topic.into();
                }
                given.1 = self.count;
            }
            Some((_, None)) => {
                self.held.shift(held(topic), 0);
                self.given.push((topic.into(), self.count));
            }
        }
    }

    fn remember(&mut self, topic: &str) {
        let hash = hash(topic);
        if self.seen.contains(&hash) {
            return;
        }
        match self.seen.get_mut(usize::from(self.next)) {
            Some(seen) => *seen = hash,
            None => self.seen.push(hash),
        }
        self.next = (self.next + 1) % REMEMBERED;
    }
}

/// The alias at this place of the table, which has [`MAX_ALIASES`] at most.
fn alias_at(at: usize) -> u16 {
    u16::try_from(at + 1).unwrap_or_else(|_| {
        impossible!("a table of {at} topic aliases");
        u16::MAX
    })
}

/// Topics that share a hash get an alias too early, nothing worse.
fn hash(topic: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    topic.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(table: &mut Inward, topic: &str, alias: u16) -> Result<Option<String>, Reason> {
        let resolved = table.resolve(topic, alias, 3)?;
        Ok(resolved.map(str::to_owned))
    }

    /// One message a topic goes up as Mosquitto would send it.
    #[test]
    fn an_upstream_gets_an_alias_for_what_comes_again() {
        let mut table = Outward::upward(2);
        for expected in [Naming::Name, Naming::Both(1), Naming::Alias(1)] {
            let naming = table.name("a/b");
            assert_eq!(naming, expected);
            table.sent("a/b", naming);
        }
    }

    /// [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.3.2-12]: from 1 to the maximum, and set anew at will.
    #[test]
    fn the_peer_sets_aliases_within_what_was_announced() {
        let mut table = Inward::default();
        assert_eq!(resolve(&mut table, "", 3), Err(Reason::PROTOCOL_ERROR));
        for topic in ["a", "b"] {
            assert_eq!(resolve(&mut table, topic, 3), Ok(None));
            assert_eq!(resolve(&mut table, "", 3), Ok(Some(topic.to_owned())));
        }
        assert_eq!(resolve(&mut table, "", 1), Err(Reason::PROTOCOL_ERROR));
        for alias in [0, 4] {
            let invalid = Err(Reason::TOPIC_ALIAS_INVALID);
            assert_eq!(resolve(&mut table, "a", alias), invalid);
        }
    }

    fn send(table: &mut Outward, topic: &str) -> Naming {
        let naming = table.name(topic);
        table.sent(topic, naming);
        naming
    }

    /// [MQTT-3.3.2-10] [MQTT-3.3.2-11]: never 0, never above what the peer announced.
    #[test]
    fn topics_get_aliases_as_far_as_they_go() {
        let mut table = Outward::new(1);
        assert_eq!(send(&mut table, "topic/1"), Naming::Both(1));
        assert_eq!(send(&mut table, "topic/1"), Naming::Alias(1));
        for _ in 0..3 {
            assert_eq!(send(&mut table, "topic/2"), Naming::Name, "all are given");
        }
        assert_eq!(send(&mut table, "topic/1"), Naming::Alias(1));
        let mut none = Outward::new(0);
        for _ in 0..3 {
            assert_eq!(send(&mut none, "topic/1"), Naming::Name);
        }
    }

    /// What could not be sent sets no alias.
    #[test]
    fn an_alias_is_set_by_what_is_sent() {
        let mut table = Outward::new(1);
        assert_eq!(table.name("topic/1"), Naming::Both(1));
        assert_eq!(table.name("topic/1"), Naming::Both(1), "not sent yet");
        table.sent("topic/1", Naming::Name);
        assert_eq!(table.name("topic/1"), Naming::Both(1), "sent without it");
    }

    /// An idle alias goes to a topic that comes again; a round of more topics than aliases keeps
    /// them.
    #[test]
    fn aliases_are_taken_over_when_they_lie_idle() {
        let mut table = Outward::new(2);
        let topics = ["topic/1", "topic/2", "topic/3"];
        for topic in topics.iter().cycle().take(300) {
            send(&mut table, topic);
        }
        let round = topics.map(|topic| send(&mut table, topic));
        assert_eq!(round, [Naming::Alias(1), Naming::Alias(2), Naming::Name]);
        for _ in 0..IDLE {
            send(&mut table, "topic/2");
            assert_eq!(table.given.len(), 2);
        }
        assert_eq!(
            send(&mut table, "topic/4"),
            Naming::Name,
            "its first message"
        );
        assert_eq!(send(&mut table, "topic/3"), Naming::Both(1));
        assert_eq!(send(&mut table, "topic/1"), Naming::Name);
        assert!(table.seen.len() <= usize::from(REMEMBERED));
    }
}
