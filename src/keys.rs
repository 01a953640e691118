//! Keys of what comes and goes while the broker runs, and the tables they are keys of.
//!
//! A key is a place in a table and the generation of what lies there: a key that is kept too long
//! finds nothing, never the next user of the place.

mod numbers;

use std::fmt;
use std::marker::PhantomData;

pub(crate) use numbers::Numbers;
use thunderdome::{Arena, Index};

/// A key of a [`Table`].
pub trait Key: Copy {
    /// The key of what lies at `index`.
    fn from_index(index: Index) -> Self;
    /// Where what it is the key of lies.
    fn index(self) -> Index;
}

/// The key of what lies at a place of this generation; `None` for generation 0, which there is not.
pub(crate) fn key_of<K: Key>(slot: u32, generation: u32) -> Option<K> {
    Index::from_bits(u64::from(generation) << 32 | u64::from(slot)).map(K::from_index)
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Index);

        impl Key for $name {
            fn from_index(index: Index) -> $name {
                $name(index)
            }

            fn index(self) -> Index {
                self.0
            }
        }

        impl $name {
            /// The place in a table; used again, by another generation.
            pub fn slot(self) -> usize {
                self.0.slot() as usize
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}", self.0.slot(), self.0.generation())
            }
        }
    };
}

key! {
    /// A network connection.
    ConnId
}
key! {
    /// A session in memory. Its number in the store is a [`SessionId`](crate::message::SessionId).
    SessionKey
}
key! {
    /// A group of shared subscriptions.
    GroupKey
}

impl ConnId {
    /// Tells the connections apart that have the same place one after the other.
    pub fn generation(self) -> u32 {
        self.0.generation()
    }

    /// The key as a number whose upper half is not zero.
    pub fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The key that is this number; `None` if none is.
    pub fn from_bits(bits: u64) -> Option<ConnId> {
        Index::from_bits(bits).map(ConnId)
    }
}

/// What lies under generational keys of one kind.
pub struct Table<K, T> {
    arena: Arena<T>,
    keys: PhantomData<K>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Table<K, T> {
        Table {
            arena: Arena::new(),
            keys: PhantomData,
        }
    }
}

impl<K: Key, T> Table<K, T> {
    /// Puts `value` in and returns its key.
    pub fn insert(&mut self, value: T) -> K {
        K::from_index(self.arena.insert(value))
    }

    /// What `key` is the key of.
    pub fn get(&self, key: K) -> Option<&T> {
        self.arena.get(key.index())
    }

    /// What `key` is the key of.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.arena.get_mut(key.index())
    }

    /// What lies at a place, with its key.
    pub fn at_slot(&self, slot: u32) -> Option<(K, &T)> {
        let (index, value) = self.arena.get_by_slot(slot)?;
        Some((K::from_index(index), value))
    }

    /// No place in the table is as high as that.
    pub fn slots(&self) -> u32 {
        u32::try_from(self.arena.capacity()).unwrap_or(u32::MAX)
    }

    /// Takes out what `key` is the key of.
    pub fn remove(&mut self, key: K) -> Option<T> {
        self.arena.remove(key.index())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.arena.is_empty()
    }

    /// All, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.arena
            .iter()
            .map(|(index, value)| (K::from_index(index), value))
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.iter().map(|(key, _)| key)
    }

    /// All that lies here.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.arena.iter().map(|(_, value)| value)
    }
}

impl<K: Key + fmt::Debug, T: fmt::Debug> fmt::Debug for Table<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_kept_too_long_finds_nothing() {
        let mut table = Table::<ConnId, &str>::default();
        let old = table.insert("old");
        table.remove(old);
        let new = table.insert("new");
        assert_eq!(old.slot(), new.slot(), "the place is used again");
        assert_eq!((table.get(old), table.get(new)), (None, Some(&"new")));
        assert_eq!(table.remove(old), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_connection_is_a_number_and_back() {
        let mut table = Table::<ConnId, ()>::default();
        for _ in 0..3 {
            let key = table.insert(());
            assert!(key.to_bits() >> 32 > 0);
            assert_eq!(ConnId::from_bits(key.to_bits()), Some(key));
        }
        assert_eq!(ConnId::from_bits(0), None);
        assert_eq!(ConnId::from_bits(7), None);
    }
}
