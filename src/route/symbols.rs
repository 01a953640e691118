//! The names of levels, and their numbers.

use std::collections::HashMap;

use super::hash::LevelHash;
use crate::held::table;

/// A level's number, and how many edges carry it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) id: u32,
    pub(super) edges: u32,
}

/// The length of a name, which tells it from one with zeros behind it, and its bytes.
type Short = [u8; 16];

/// A name as it lies in a table, if it is short enough: most are.
fn short(name: &[u8]) -> Option<Short> {
    let mut short = Short::default();
    let (len, bytes) = short.split_first_mut()?;
    bytes.get_mut(..name.len())?.copy_from_slice(name);
    *len = u8::try_from(name.len()).ok()?;
    Some(short)
}

/// All names that are in use. They come from peers, hence a hash with a key.
#[derive(Debug)]
pub(super) struct Symbols {
    /// Their names lie in the table: an allocation for each would take more than the name.
    short: HashMap<Short, Symbol, LevelHash>,
    long: HashMap<Box<[u8]>, Symbol, LevelHash>,
    /// What the long names take, in bytes.
    names: usize,
}

/// Bytes on the heap for a long name.
fn name_size(name: &[u8]) -> usize {
    name.len().next_multiple_of(16) + 16
}

impl Symbols {
    pub(super) fn new() -> Symbols {
        Symbols {
            short: HashMap::with_hasher(LevelHash::new()),
            long: HashMap::with_hasher(LevelHash::new()),
            names: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&Symbol> {
        match short(name) {
            Some(name) => self.short.get(&name),
            None => self.long.get(name),
        }
    }

    pub(super) fn get_mut(&mut self, name: &[u8]) -> Option<&mut Symbol> {
        match short(name) {
            Some(name) => self.short.get_mut(&name),
            None => self.long.get_mut(name),
        }
    }

    /// Adds a name that is new.
    pub(super) fn insert(&mut self, name: &[u8], symbol: Symbol) {
        match short(name) {
            Some(name) => {
                self.short.insert(name, symbol);
            }
            None => {
                self.names += name_size(name);
                self.long.insert(name.into(), symbol);
            }
        }
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        match short(name) {
            Some(name) => {
                self.short.remove(&name);
            }
            None => {
                if self.long.remove(name).is_some() {
                    self.names -= name_size(name);
                }
            }
        }
    }

    /// What they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.names
            + table(self.short.capacity(), size_of::<(Short, Symbol)>())
            + table(self.long.capacity(), size_of::<(Box<[u8]>, Symbol)>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_at_each_length() {
        let mut symbols = Symbols::new();
        let mut names: Vec<Vec<u8>> = (0..40).map(|len| vec![b'x'; len]).collect();
        names.extend([&b"a"[..], b"a\0", b"\0", b"\0\0"].map(<[u8]>::to_vec));
        for (id, name) in (0..).zip(&names) {
            assert!(symbols.get(name).is_none());
            symbols.insert(name, Symbol { id, edges: 1 });
        }
        assert_eq!(symbols.len(), names.len());
        for (id, name) in (0..).zip(&names) {
            assert_eq!(symbols.get(name).unwrap().id, id);
            symbols.get_mut(name).unwrap().edges = 7;
            assert_eq!(symbols.get(name).unwrap().edges, 7);
        }
        for name in &names {
            symbols.remove(name);
            assert!(symbols.get(name).is_none());
        }
        assert_eq!((symbols.len(), symbols.names), (0, 0));
    }
}
