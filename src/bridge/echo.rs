//! The bridge's own messages, recognised when they come back.
//!
//! An upstream that speaks neither MQTT 5 (no-local) nor accepts the bridge bit returns what we
//! publish under a filter that we are subscribed to; passed on, it would go round for ever. So does one
//! of MQTT 5 that takes no notice of no-local, as rumqttd 0.20: that shows by its first messages.

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
    recent: VecDeque<Sent>,
    hasher: RandomState,
    /// Whether anything comes back is still to be seen.
    doubt: Option<Doubt>,
}

/// How an upstream that was asked not to return our messages is found to do so.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    /// How many have come back in a row, each soon and in its order, with none left out.
    returned: u32,
    /// How many were sent.
    sent: u32,
}

/// A message that we sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Time,
    /// Topic and payload.
    whole: u64,
}

/// So many returned in a row are proof.
const PROOF: u32 = 3;
/// One comes back soon if it does within this time.
const SOON: Duration = Duration::from_secs(5);
/// So many sent without proof are proof of the contrary.
const TRUST: u32 = 64;

impl Echo {
    /// The most messages remembered: 16 KiB of them.
    pub const CAPACITY: usize = 1024;
    /// How long a message is remembered.
    pub const LIFETIME: Duration = Duration::from_secs(60);

    /// Remembers nothing.
    pub fn new() -> Echo {
        Echo::default()
    }

    /// Remembers nothing, towards an upstream that should return nothing: what comes back is taken in
    /// until it is clear that it is ours.
    pub fn in_doubt() -> Echo {
        Echo {
            doubt: Some(Doubt::default()),
            ..Echo::default()
        }
    }

    /// True once nothing can come back, as far as can be told.
    pub fn is_trusted(&self) -> bool {
        self.doubt.is_some_and(|doubt| doubt.sent > TRUST)
    }

    /// True if what comes back is dropped.
    pub fn is_sure(&self) -> bool {
        self.doubt.is_none()
    }

    /// Remembers a message sent upstream; `topic` is the remote one.
    pub fn sent(&mut self, topic: &str, payload: &[u8], now: Time) {
        self.forget(now);
        if let Some(doubt) = &mut self.doubt {
            doubt.sent += 1;
        }
        if self.recent.len() == Echo::CAPACITY {
            self.recent.pop_front();
        }
        self.recent.push_back(Sent {
            at: now,
            whole: self.hash(topic, payload),
        });
    }

    /// True if a message that came from upstream is one of ours; each is recognised once.
    pub fn is_ours(&mut self, topic: &str, payload: &[u8], now: Time) -> bool {
        self.forget(now);
        let wanted = self.hash(topic, payload);
        let Some(at) = self.recent.iter().position(|sent| sent.whole == wanted) else {
            return false;
        };
        let sent = self.recent.remove(at);
        let Some(doubt) = &mut self.doubt else {
            return true;
        };
        let is_soon = sent.is_some_and(|sent| now.since(sent.at) < SOON);
        doubt.returned = if at == 0 && is_soon {
            doubt.returned + 1
        } else {
            0
        };
        if doubt.returned >= PROOF {
            self.doubt = None;
        }
        self.is_sure()
    }

    fn forget(&mut self, now: Time) {
        while let Some(sent) = self.recent.front()
            && now.since(sent.at) >= Echo::LIFETIME
        {
            self.recent.pop_front();
        }
    }

    fn hash(&self, topic: &str, payload: &[u8]) -> u64 {
        self.hasher.hash_one((topic, payload))
    }
}
