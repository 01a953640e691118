//! The retained messages.
//!
//! One ordered map, keyed by the topic with `/` turned into NUL (which no topic contains
//! [MQTT-1.5.4-2]). So a separator sorts below every character, the topics under a level are one
//! unbroken run, and a filter is answered by seeking from one possible match to the next: the
//! literal levels of a filter narrow the search wherever they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::rc::Rc;

use super::owners::{Owned, Owners};
use crate::held::{ALLOCATION, Charge, RETAINED};
use crate::message::{self, Message};
use crate::time::Time;

/// The retained message of each topic (5.0 §3.3.1.3).
#[derive(Debug, Default)]
pub struct Retained {
    messages: BTreeMap<Box<[u8]>, Rc<Message>>,
    /// The messages that expire, soonest first.
    expiries: BTreeSet<(Time, Box<[u8]>)>,
    bytes: usize,
    /// What the keys take.
    held: Charge<RETAINED>,
    /// Whose they are.
    owners: Owners,
    /// What that takes.
    owners_held: Charge<RETAINED>,
}

/// What a key takes in a tree, whose nodes are two thirds full, in bytes; `entry`: of the tree.
fn key_bytes(key: &[u8], entry: usize) -> usize {
    key.len() + ALLOCATION + entry + entry / 2
}

/// What a retained message takes here.
fn held(key: &[u8]) -> usize {
    key_bytes(key, size_of::<(Box<[u8]>, Rc<Message>)>())
}

/// What it takes besides if it expires.
fn held_expiry(key: &[u8]) -> usize {
    key_bytes(key, size_of::<(Time, Box<[u8]>)>())
}

/// What a message takes that is retained under a key, in bytes.
fn weight(key: &[u8], message: &Message) -> usize {
    let expiry = message.expiry.map_or(0, |_| held_expiry(key));
    message.size() as usize + message::OVERHEAD + held(key) + expiry
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
        self.messages.is_empty()
    }

    /// Bytes of topic, properties and payload of all retained messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What all of them take in memory, in bytes.
    pub fn held(&self) -> usize {
        let keys = self.held.bytes() + self.owners_held.bytes();
        self.bytes + self.len() * message::OVERHEAD + keys
    }

    /// What a client has retained.
    pub fn owned_by(&self, client_id: &str) -> Owned {
        self.owners.get(client_id)
    }

    /// What `message` would take if it were retained, in bytes.
    pub fn weight(message: &Message) -> u64 {
        weight(message.topic().as_bytes(), message) as u64
    }

    /// The message retained under a key has gone from `old` to `new`.
    fn change_owner(&mut self, key: &[u8], old: Option<&Message>, new: Option<&Message>) {
        if let Some(old) = old {
            self.owners.take(old.origin.client_id(), weight(key, old));
        }
        if let Some(new) = new {
            self.owners.add(new.origin.client_id(), weight(key, new));
        }
        self.owners_held.set(self.owners.held());
    }

    /// The message retained for `topic`, expired or not.
    pub fn get(&self, topic: &str) -> Option<&Rc<Message>> {
        self.messages.get(&key(topic)[..])
    }

    /// All messages, in no order to rely on.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Message>> {
        self.messages.values()
    }

    /// The messages whose topic's key comes after `key`, in the order of their keys; all of them for
    /// `None`. The keys are of no use but for this.
    pub fn after<'a>(
        &'a self,
        key: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a Rc<Message>)> {
        let from = key.map_or(Unbounded, Excluded);
        let messages = self.messages.range::<[u8], _>((from, Unbounded));
        messages.map(|(key, message)| (&**key, message))
    }

    /// Retains `message` for its topic and returns the one it replaces [MQTT-3.3.1-5].
    ///
    /// A message without payload is retained like any other: that it clears the topic instead
    /// [MQTT-3.3.1-6] is the caller's to know.
    pub fn set(&mut self, message: Rc<Message>) -> Option<Rc<Message>> {
        let key = key(message.topic());
        let expiry = message.expiry;
        let new = Rc::clone(&message);
        self.bytes += message.size() as usize;
        let old = match self.messages.get_mut(&key) {
            Some(slot) => Some(std::mem::replace(slot, message)),
            None => {
                self.held.shift(held(&key), 0);
                self.messages.insert(key.clone(), message);
                None
            }
        };
        if let Some(old) = &old {
            self.bytes -= old.size() as usize;
        }
        self.change_owner(&key, old.as_deref(), Some(&new));
        let past = old.as_ref().and_then(|old| old.expiry);
        if past != expiry {
            if let Some(at) = past {
                self.held.shift(0, held_expiry(&key));
                self.expiries.remove(&(at, key.clone()));
            }
            if let Some(at) = expiry {
                self.held.shift(held_expiry(&key), 0);
                self.expiries.insert((at, key));
            }
        }
        old
    }

    /// Drops the message retained for `topic` and returns it.
    pub fn remove(&mut self, topic: &str) -> Option<Rc<Message>> {
        let (key, old) = self.messages.remove_entry(&key(topic)[..])?;
        self.bytes -= old.size() as usize;
        self.held.shift(0, held(&key));
        self.change_owner(&key, Some(&old), None);
        if let Some(at) = old.expiry {
            self.held.shift(0, held_expiry(&key));
            self.expiries.remove(&(at, key));
        }
        Some(old)
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
            if let Some(old) = self.messages.remove(&key) {
                self.bytes -= old.size() as usize;
                self.held.shift(0, held(&key) + held_expiry(&key));
                self.change_owner(&key, Some(&old), None);
                expired.push(old);
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
        f: &mut impl FnMut(&Rc<Message>),
    ) -> Searched {
        let (mut cursor, mut looked): (Vec<u8>, usize) = (Vec::new(), 0);
        let mut is_sought = false;
        'seek: loop {
            let from = match after {
                _ if is_sought => Included(&cursor[..]),
                Some(after) => Excluded(after),
                None => Unbounded,
            };
            for (key, message) in self.messages.range::<[u8], _>((from, Unbounded)) {
                if looked >= most.max(1) {
                    // The one before was looked at, and led here.
                    return Searched {
                        looked,
                        reached: self.before(key),
                    };
                }
                looked += 1;
                match compare(filter, key) {
                    Step::Match => {
                        if !message.expired(now) {
                            f(message);
                        }
                    }
                    Step::Next => {}
                    Step::Seek { keep, then } => {
                        cursor.clear();
                        cursor.extend_from_slice(key.get(..keep).unwrap_or_default());
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

    /// The key before `key`, which is one: nothing between the two is retained.
    fn before(&self, key: &[u8]) -> Option<Box<[u8]>> {
        let mut before = self.messages.range::<[u8], _>((Unbounded, Excluded(key)));
        before.next_back().map(|(key, _)| key.clone())
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

/// Where the search for matches of a filter goes from a key.
enum Step<'f> {
    /// The key matches; the next one may too.
    Match,
    /// The key is above the matches; the next one may match.
    Next,
    /// Nothing before the first `keep` bytes of the key, then `then`, matches.
    Seek { keep: usize, then: &'f [u8] },
    /// No later key matches.
    End,
}

/// The byte after the separator's: sorts after all topics below a level.
const PAST_SUBTREE: &[u8] = &[SEPARATOR + 1];
const SEPARATOR: u8 = 0;

fn compare<'f>(filter: &'f str, key: &[u8]) -> Step<'f> {
    if key.first() == Some(&b'$') && filter.starts_with(['+', '#']) {
        return Step::Seek {
            keep: 0,
            then: &[b'$' + 1],
        };
    }
    let mut wanted = filter.split('/');
    // Where the level begins in the key.
    let mut start = 0;
    for level in key.split(|&b| b == SEPARATOR) {
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

/// The key of a topic: keys sort in the order in which [`Retained::search`] finds topics.
pub fn key(topic: &str) -> Box<[u8]> {
    topic
        .bytes()
        .map(|b| if b == b'/' { SEPARATOR } else { b })
        .collect()
}
