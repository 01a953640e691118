//! How much each client has put among the retained messages.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use crate::held::table;
use crate::message::Origin;

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
    /// How many retained messages have the same names of their publisher, by where those lie.
    names: HashMap<*const Origin, u32>,
    /// What all those names take.
    name_bytes: usize,
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

    /// A retained message has these names, and keeps them when their session is gone.
    pub(super) fn hold(&mut self, origin: &Rc<Origin>) {
        let messages = self.names.entry(Rc::as_ptr(origin)).or_default();
        *messages += 1;
        if *messages == 1 {
            self.name_bytes += origin.held();
        }
    }

    /// A retained message that had these names is gone.
    pub(super) fn release(&mut self, origin: &Rc<Origin>) {
        let name = Rc::as_ptr(origin);
        let Some(messages) = self.names.get_mut(&name) else {
            return;
        };
        *messages -= 1;
        if *messages == 0 {
            self.names.remove(&name);
            self.name_bytes -= origin.held();
            if self.names.is_empty() || self.names.capacity() > 8 * self.names.len() + 64 {
                self.names.shrink_to(2 * self.names.len());
            }
        }
    }

    /// What all that takes in memory, in bytes.
    pub(super) fn held(&self) -> usize {
        table(self.of.capacity(), size_of::<(u64, Owned)>())
            + table(self.names.capacity(), size_of::<(*const Origin, u32)>())
            + self.name_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_once_as_long_as_something_has_them() {
        let mut owners = Owners::default();
        let long = "u".repeat(60_000);
        let origins = ["a", "b"].map(|id| Rc::new(Origin::new(id, Some(&long), None)));
        for origin in origins.iter().chain(&origins) {
            owners.hold(origin);
        }
        let held = owners.held();
        assert!((120_000..125_000).contains(&held), "{held}");
        owners.release(&origins[0]);
        assert_eq!(owners.held(), held);
        owners.release(&origins[0]);
        assert!((60_000..65_000).contains(&owners.held()));
        for _ in 0..3 {
            owners.release(&origins[1]);
        }
        assert_eq!(owners.held(), 0);
    }

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
