//! The bridge's own messages, recognised when they come back.
//!
//! An upstream that speaks neither MQTT 5 (no-local) nor accepts the bridge bit returns what we
//! publish under a filter that we are subscribed to; passed on, it would go round for ever.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::time::Time;

/// The last messages sent upstream, as hashes of topic and payload.
///
/// A message of someone else that equals one of ours is dropped once in its place: the receivers
/// here already have the same payload from us.
#[derive(Debug, Default)]
pub struct Echo {
    /// Oldest first.
    recent: VecDeque<(Time, u64)>,
    hasher: RandomState,
}

impl Echo {
    /// The most messages remembered: 16 KiB of them.
    pub const CAPACITY: usize = 1024;
    /// How long a message is remembered.
    pub const LIFETIME: Duration = Duration::from_secs(60);

    /// Remembers nothing.
    pub fn new() -> Echo {
        Echo::default()
    }

    /// Remembers a message sent upstream; `topic` is the remote one.
    pub fn sent(&mut self, topic: &str, payload: &[u8], now: Time) {
        self.forget(now);
        if self.recent.len() == Echo::CAPACITY {
            self.recent.pop_front();
        }
        self.recent.push_back((now, self.hash(topic, payload)));
    }

    /// True if a message that came from upstream is one of ours; each is recognised once.
    pub fn is_ours(&mut self, topic: &str, payload: &[u8], now: Time) -> bool {
        self.forget(now);
        let wanted = self.hash(topic, payload);
        match self.recent.iter().position(|(_, hash)| *hash == wanted) {
            Some(at) => self.recent.remove(at).is_some(),
            None => false,
        }
    }

    fn forget(&mut self, now: Time) {
        while let Some((sent, _)) = self.recent.front()
            && now.since(*sent) >= Echo::LIFETIME
        {
            self.recent.pop_front();
        }
    }

    fn hash(&self, topic: &str, payload: &[u8]) -> u64 {
        self.hasher.hash_one((topic, payload))
    }
}
