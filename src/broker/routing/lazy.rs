//! Topics whose value is to be written and nobody waits for, the oldest first.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::held::table;

/// Topics, each once. One client can make very many at once, and what is retained of them is allocated at
/// the same time: topics in allocations of their own would leave holes between those values. So all lie in
/// one buffer, and are known by their hashes. Those have a key, and 64 bits: that one of a million topics
/// is taken for another is as likely as one in thirty million.
#[derive(Debug, Default)]
pub(super) struct Lazy {
    /// Length, in two bytes, and bytes of each, the removed ones among them.
    topics: VecDeque<u8>,
    /// The hashes of those that are in.
    known: HashSet<u64>,
    hash: RandomState,
}

impl Lazy {
    /// How many there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.known.len()
    }

    /// True without any.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// True if `topic` is in.
    pub(super) fn contains(&self, topic: &str) -> bool {
        self.known.contains(&self.hash.hash_one(topic))
    }

    /// Puts `topic` in, unless it is.
    pub(super) fn insert(&mut self, topic: &str) {
        // No topic has more bytes [MQTT-4.7.3-3].
        if let Ok(len) = u16::try_from(topic.len())
            && self.known.insert(self.hash.hash_one(topic))
        {
            self.topics.extend(len.to_be_bytes());
            self.topics.extend(topic.as_bytes());
        }
    }

    /// Takes `topic` out.
    pub(super) fn remove(&mut self, topic: &str) {
        self.known.remove(&self.hash.hash_one(topic));
        if self.known.is_empty() {
            *self = Lazy::default();
        }
    }

    /// Takes the oldest out.
    pub(super) fn pop(&mut self) -> Option<Box<str>> {
        while let (Some(high), Some(low)) = (self.topics.pop_front(), self.topics.pop_front()) {
            let len = usize::from(u16::from_be_bytes([high, low]));
            let end = len.min(self.topics.len());
            let topic = String::from_utf8(self.topics.drain(..end).collect());
            // One that was removed may stand here once more.
            let found = topic.ok().filter(|topic| {
                let hash = self.hash.hash_one(&**topic);
                self.known.remove(&hash)
            });
            if let Some(topic) = found {
                if self.known.is_empty() {
                    *self = Lazy::default();
                }
                return Some(topic.into());
            }
        }
        None
    }

    /// What they take in memory, in bytes.
    pub(super) fn held(&self) -> usize {
        self.topics.capacity() + table(self.known.capacity(), size_of::<u64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_come_once_and_in_order() {
        let mut lazy = Lazy::default();
        for topic in ["a/b", "c", "a/b", "d", "e"] {
            lazy.insert(topic);
        }
        lazy.remove("c");
        lazy.remove("c");
        lazy.remove("d");
        lazy.insert("d");
        assert!(lazy.contains("d") && !lazy.contains("c"));
        assert_eq!(lazy.len(), 3);
        let all: Vec<_> = std::iter::from_fn(|| lazy.pop()).collect();
        assert_eq!(all, ["a/b", "d", "e"].map(Into::into));
        assert!(lazy.is_empty());
        assert_eq!(lazy.held(), 0, "nothing is left of them");
    }

    #[test]
    fn a_topic_takes_little_more_than_its_bytes() {
        let mut lazy = Lazy::default();
        for n in 0..10_000 {
            lazy.insert(&format!("site/meter{n:05}/value"));
        }
        assert!(lazy.held() < 10_000 * 90, "{}", lazy.held());
        for n in 0..10_000 {
            lazy.remove(&format!("site/meter{n:05}/value"));
        }
        assert_eq!((lazy.held(), lazy.pop()), (0, None));
    }
}
