//! Which queued messages have a newer one on their topic.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::bits::Bits;
use crate::held::table;

/// Topics told apart, at most: what memory they may take is bounded. Messages on further ones
/// count as if each were alone on its topic.
const MAX_TOPICS: usize = 65_536;

/// An index of a queue by topic. Topics are kept as keyed hashes of 64 bits: nobody can make two
/// of them collide on purpose.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    hasher: RandomState,
    /// The newest message of each topic and its size; may be gone from the queue.
    newest: HashMap<u64, (u64, u32)>,
    /// Those of `newest` that are still queued.
    current: Bits,
    /// Queued, and not the newest of their topic; even if that has expired.
    superseded: Bits,
    superseded_bytes: u64,
}

impl Topics {
    /// What it takes, in bytes, about.
    pub(super) fn room(&self) -> usize {
        size_of::<Topics>()
            + table(self.newest.capacity(), size_of::<(u64, (u64, u32))>())
            + self.current.room()
            + self.superseded.room()
    }

    /// A message was queued.
    pub(super) fn push(&mut self, topic: &str, id: u64, size: u32) {
        let hash = self.hasher.hash_one(topic);
        self.supersede(hash);
        if self.newest.len() >= MAX_TOPICS
            && self.current.len() < (MAX_TOPICS - MAX_TOPICS / 8) as u64
        {
            self.clean();
        }
        if self.newest.len() < MAX_TOPICS || self.newest.contains_key(&hash) {
            self.newest.insert(hash, (id, size));
            self.current.insert(id);
        }
    }

    /// A newer message of `topic` is about to come.
    pub(super) fn outdate(&mut self, topic: &str) {
        self.supersede(self.hasher.hash_one(topic));
    }

    fn supersede(&mut self, hash: u64) {
        if let Some((id, size)) = self.newest.get(&hash)
            && self.current.remove(*id)
        {
            self.superseded.insert(*id);
            self.superseded_bytes += u64::from(*size);
        }
    }

    /// A message left the queue.
    pub(super) fn gone(&mut self, id: u64, size: u32) {
        if self.superseded.remove(id) {
            self.superseded_bytes -= u64::from(size);
        } else {
            self.current.remove(id);
        }
        if self.newest.len() as u64 > 2 * self.current.len() + 64 {
            self.clean();
        }
    }

    /// Forgets the topics whose newest message has left.
    fn clean(&mut self) {
        let current = &self.current;
        self.newest.retain(|_, (id, _)| current.contains(*id));
        self.newest.shrink_to(2 * self.newest.len());
    }

    /// Whether a newer message on its topic is queued.
    pub(super) fn is_superseded(&self, id: u64) -> bool {
        self.superseded.contains(id)
    }

    /// True if any message has a newer one on its topic.
    pub(super) fn has_superseded(&self) -> bool {
        self.superseded.len() > 0
    }

    /// Takes all that have a newer one: their ids, and their bytes together.
    pub(super) fn take_superseded(&mut self) -> (Bits, u64) {
        (
            std::mem::take(&mut self.superseded),
            std::mem::take(&mut self.superseded_bytes),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_without_end_take_bounded_room() {
        let mut topics = Topics::default();
        for id in 0..2 * MAX_TOPICS as u64 {
            topics.push(&format!("t/{id}"), id, 10);
        }
        assert_eq!(topics.newest.len(), MAX_TOPICS);
        topics.push("t/5", 1_000_000, 10);
        topics.push("t/100000", 1_000_001, 10);
        assert!(topics.is_superseded(5) && !topics.is_superseded(100_000));
        for id in 0..MAX_TOPICS as u64 {
            topics.gone(id, 10);
        }
        assert!(topics.newest.len() < 100, "{}", topics.newest.len());
        let (superseded, bytes) = topics.take_superseded();
        assert_eq!((superseded.len(), bytes), (0, 0));
    }
}
