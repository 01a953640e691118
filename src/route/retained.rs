//! The retained messages.
//!
//! They lie in the order of their topics, with a separator below every character. So the topics under a level are
//! one unbroken run, and a filter is answered by seeking from one possible match to the next: the
//! literal levels of a filter narrow the search wherever they stand. A place in the order has a key:
//! the topic with `/` turned into NUL, which no topic contains [MQTT-1.5.4-2].

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::rc::Rc;

use super::kept::{Kept, Value, key};
use super::owners::{Owned, Owners};
use super::sorted::Sorted;
use crate::held::{ALLOCATION, Charge, RETAINED};
use crate::message::Message;
use crate::time::Time;

/// The retained message of each topic (5.0 §3.3.1.3).
#[derive(Debug, Default)]
pub struct Retained {
    messages: Sorted,
    /// The messages that expire, soonest first.
    expiries: BTreeSet<(Time, Box<[u8]>)>,
    bytes: usize,
    /// What messages take that are shared with queues, which count them.
    shared: usize,
    /// What the rest takes.
    held: Charge<RETAINED>,
    /// Whose they are.
    owners: Owners,
    /// What that takes.
    owners_held: Charge<RETAINED>,
}

/// What a message takes besides if it expires: a key in a tree, whose nodes are two thirds full, in bytes.
fn held_expiry(key: &[u8]) -> usize {
    let entry = size_of::<(Time, Box<[u8]>)>();
    key.len() + ALLOCATION + entry + entry / 2
}

impl Retained {
    /// No retained messages.
    pub fn new() -> Retained {
        Retained::default()
    }

    /// How many messages are retained.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// True without any retained message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of topic, properties and payload of all retained messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What all of them take in memory, in bytes.
    pub fn held(&self) -> usize {
        self.shared + self.held.bytes() + self.owners_held.bytes()
    }

    /// What a client has retained.
    pub fn owned_by(&self, client_id: &str) -> Owned {
        self.owners.get(client_id)
    }

    /// What a message takes that is retained, in bytes, about.
    pub fn weight(message: Value<'_>) -> usize {
        let expiry = message.expiry().map(|_| held_expiry(message.topic_bytes()));
        message.weight() + expiry.unwrap_or_default()
    }

    /// The message retained for `topic`, expired or not.
    pub fn get(&self, topic: &str) -> Option<Value<'_>> {
        self.messages.get(topic.as_bytes()).map(Kept::value)
    }

    /// All messages, in no order to rely on.
    pub fn iter(&self) -> impl Iterator<Item = Value<'_>> {
        self.messages.iter().map(Kept::value)
    }

    /// The messages whose topic comes after that of `key`, in their order; all of them for
    /// `None`.
    pub fn after(&self, key: Option<&[u8]>) -> impl Iterator<Item = Value<'_>> {
        let from = key.map_or(Unbounded, Excluded);
        self.messages.from(from).map(Kept::value)
    }

    /// Retains `message` for its topic. True if it replaces one [MQTT-3.3.1-5].
    ///
    /// A message without payload is retained like any other: that it clears the topic instead
    /// [MQTT-3.3.1-6] is the caller's to know.
    pub fn set(&mut self, message: Rc<Message>) -> bool {
        let expiry = message.expiry;
        let key = expiry.map(|_| key(message.topic()));
        let kept = Kept::new(message);
        self.count(&kept);
        let old = self.messages.replace(kept);
        if let Some(old) = &old {
            self.count_out(old);
            self.forget_expiry(old.value());
        }
        if let (Some(at), Some(key)) = (expiry, key) {
            self.held.shift(held_expiry(&key), 0);
            self.expiries.insert((at, key));
        }
        old.is_some()
    }

    /// Drops the message retained for `topic`. True if there was one.
    pub fn remove(&mut self, topic: &str) -> bool {
        let Some(old) = self.messages.take(topic.as_bytes()) else {
            return false;
        };
        self.count_out(&old);
        self.forget_expiry(old.value());
        true
    }

    fn count(&mut self, kept: &Kept) {
        let value = kept.value();
        self.bytes += value.size() as usize;
        self.shared += kept.shared();
        self.held.shift(kept.held(), 0);
        let client_id = value.origin().client_id();
        self.owners.add(client_id, Retained::weight(value));
        self.owners.hold(value.origin());
        self.owners_held.set(self.owners.held());
    }

    fn count_out(&mut self, kept: &Kept) {
        let value = kept.value();
        self.bytes -= value.size() as usize;
        self.shared -= kept.shared();
        self.held.shift(0, kept.held());
        let client_id = value.origin().client_id();
        self.owners.take(client_id, Retained::weight(value));
        self.owners.release(value.origin());
        self.owners_held.set(self.owners.held());
    }

    fn forget_expiry(&mut self, value: Value<'_>) {
        if let Some(at) = value.expiry() {
            let key = key(value.topic());
            self.held.shift(0, held_expiry(&key));
            self.expiries.remove(&(at, key));
        }
    }

    /// When the next message expires.
    pub fn next_expiry(&self) -> Option<Time> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Drops messages that have expired by `now`, at most `most` of them, the longest expired first, and
    /// returns them [MQTT-3.3.2-5].
    pub fn expire(&mut self, now: Time, most: usize) -> Vec<Rc<Message>> {
        let mut expired = Vec::new();
        while expired.len() < most
            && let Some((at, _)) = self.expiries.first()
            && *at <= now
            && let Some((_, key)) = self.expiries.pop_first()
        {
            self.held.shift(0, held_expiry(&key));
            if let Some(old) = self.messages.take(&key) {
                self.count_out(&old);
                expired.extend(old.value().message());
            }
        }
        expired
    }

    /// Looks for messages whose topic `filter`, a checked topic filter, matches and that have not expired
    /// by `now`, and calls `f` for each, in the order of their topics' keys. It looks at `most` topics
    /// at most (one is the least), from the one after the key `after` on, or from the first for `None`. What it answers
    /// says where to go on, whatever is retained or dropped in between.
    ///
    /// Filters that begin with a wildcard do not match topics that begin with `$`
    /// [MQTT-4.7.2-1].
    pub fn search(
        &self,
        filter: &str,
        (after, most): (Option<&[u8]>, usize),
        now: Time,
        f: &mut impl FnMut(Value<'_>),
    ) -> Searched {
        let (mut cursor, mut looked): (Vec<u8>, usize) = (Vec::new(), 0);
        let mut is_sought = false;
        'seek: loop {
            let from = match after {
                _ if is_sought => Included(&cursor[..]),
                Some(after) => Excluded(after),
                None => Unbounded,
            };
            for kept in self.messages.from(from) {
                let topic = kept.topic();
                if looked >= most.max(1) {
                    // The one before was looked at, and led here.
                    return Searched {
                        looked,
                        reached: self.before(topic),
                    };
                }
                looked += 1;
                match compare(filter, topic) {
                    Step::Match => {
                        let value = kept.value();
                        if !value.expired(now) {
                            f(value);
                        }
                    }
                    Step::Next => {}
                    Step::Seek { keep, then } => {
                        cursor.clear();
                        cursor.extend_from_slice(topic.get(..keep).unwrap_or_default());
                        cursor.extend_from_slice(then);
                        is_sought = true;
                        continue 'seek;
                    }
                    Step::End => break,
                }
            }
            return Searched {
                looked,
                reached: None,
            };
        }
    }

    /// The key of the topic before `topic`: nothing between the two is retained.
    fn before(&self, topic: &[u8]) -> Option<Box<[u8]>> {
        self.messages.before(topic).map(|kept| kept.value().key())
    }
}

/// How far a [search](Retained::search) has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Searched {
    /// How many topics it looked at.
    pub looked: usize,
    /// The key after which it goes on; `None` if nothing is left.
    pub reached: Option<Box<[u8]>>,
}

/// Where the search for matches of a filter goes from a topic.
enum Step<'f> {
    /// The topic matches; the next one may too.
    Match,
    /// The topic is above the matches; the next one may match.
    Next,
    /// Nothing before the first `keep` bytes of the topic, then `then`, matches.
    Seek { keep: usize, then: &'f [u8] },
    /// No later topic matches.
    End,
}

/// The byte after the separator's: sorts after all topics below a level.
const PAST_SUBTREE: &[u8] = &[SEPARATOR + 1];
const SEPARATOR: u8 = 0;

fn compare<'f>(filter: &'f str, topic: &[u8]) -> Step<'f> {
    if topic.first() == Some(&b'$') && filter.starts_with(['+', '#']) {
        return Step::Seek {
            keep: 0,
            then: &[b'$' + 1],
        };
    }
    let mut wanted = filter.split('/');
    // Where the level begins in the topic.
    let mut start = 0;
    for level in topic.split(|&b| b == b'/') {
        let Some(want) = wanted.next() else {
            return Step::Seek {
                keep: start - 1,
                then: PAST_SUBTREE,
            };
        };
        match want {
            "#" => return Step::Match,
            "+" => {}
            _ if want.as_bytes() > level => {
                return Step::Seek {
                    keep: start,
                    then: want.as_bytes(),
                };
            }
            _ if want.as_bytes() < level && start == 0 => return Step::End,
            _ if want.as_bytes() < level => {
                return Step::Seek {
                    keep: start - 1,
                    then: PAST_SUBTREE,
                };
            }
            _ => {}
        }
        start += level.len() + 1;
    }
    match wanted.next() {
        // `#` includes the level above it (5.0 §4.7.1.2).
        None | Some("#") => Step::Match,
        Some(_) => Step::Next,
    }
}
