//! How much each client has put among the retained messages.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::held::ALLOCATION;

/// What a client has retained: values that it was the last to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owned {
    /// How many.
    pub messages: u64,
    /// What they take in memory, in bytes.
    pub bytes: u64,
}

/// What each client has retained, by a hash of its id: two with one hash in 2^64 share a bound.
#[derive(Debug, Default)]
pub(super) struct Owners {
    of: HashMap<u64, Owned>,
    hasher: RandomState,
}

impl Owners {
    /// What a client has.
    pub(super) fn get(&self, client_id: &str) -> Owned {
        let hash = self.hasher.hash_one(client_id);
        self.of.get(&hash).copied().unwrap_or_default()
    }

    /// A client has one more, of so many bytes. The broker itself, without an id, is not counted.
    pub(super) fn add(&mut self, client_id: &str, bytes: usize) {
        if !client_id.is_empty() {
            let owned = self.of.entry(self.hasher.hash_one(client_id)).or_default();
            owned.messages += 1;
            owned.bytes += bytes as u64;
        }
    }

    /// One that a client had is gone.
    pub(super) fn take(&mut self, client_id: &str, bytes: usize) {
        let hash = self.hasher.hash_one(client_id);
        let Some(owned) = self.of.get_mut(&hash) else {
            return;
        };
        owned.messages = owned.messages.saturating_sub(1);
        owned.bytes = owned.bytes.saturating_sub(bytes as u64);
        if owned.messages == 0 {
            self.of.remove(&hash);
        }
        // A crowd that has gone leaves no table behind.
        if self.of.is_empty() || self.of.capacity() > 8 * self.of.len() + 64 {
            self.of.shrink_to(2 * self.of.len());
        }
    }

    /// What all that takes in memory, in bytes.
    pub(super) fn held(&self) -> usize {
        match self.of.capacity() {
            0 => 0,
            // An eighth of the table stays free, and each place has a byte beside it.
            places => places * (size_of::<(u64, Owned)>() + 1) * 8 / 7 + ALLOCATION,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_forgotten() {
        let mut owners = Owners::default();
        owners.add("", 7);
        assert_eq!((owners.get(""), owners.held()), (Owned::default(), 0));
        for n in 0..2_000 {
            owners.add(&n.to_string(), 7);
            owners.add(&n.to_string(), 3);
        }
        let both = Owned {
            messages: 2,
            bytes: 10,
        };
        assert_eq!(owners.get("5"), both);
        assert!(owners.held() > 2_000 * size_of::<Owned>());
        for n in 0..2_000 {
            owners.take(&n.to_string(), 3);
            owners.take(&n.to_string(), 7);
        }
        assert_eq!((owners.of.len(), owners.held()), (0, 0));
        owners.take("5", 1);
        assert_eq!(owners.get("5"), Owned::default());
    }
}
