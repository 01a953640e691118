//! Where the topics of late were found in the tree: devices publish on the same few topics again and again,
//! and to find them anew is a tenth of what a message costs.

use std::cell::{Cell, OnceCell};

use crate::route::hash::LevelHash;

/// How many topics are remembered at most, each at the place that its hash says.
const PLACES: usize = 256;
/// The longest topic that is remembered, in bytes.
const LONGEST: usize = 62;
/// A topic with more nodes is not remembered.
const MOST: usize = 4;

/// The nodes where filters end that match a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nodes {
    count: u8,
    nodes: [u32; MOST],
}

impl Nodes {
    fn new(nodes: &[u32]) -> Option<Nodes> {
        let mut known = Nodes {
            count: u8::try_from(nodes.len()).ok()?,
            nodes: [0; MOST],
        };
        known.nodes.get_mut(..nodes.len())?.copy_from_slice(nodes);
        Some(known)
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u32] {
        self.nodes
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }
}

/// One topic.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Of which state of the tree this is true; 0 for none.
    state: u64,
    len: u8,
    topic: [u8; LONGEST],
    nodes: Nodes,
}

const EMPTY: Place = Place {
    state: 0,
    len: 0,
    topic: [0; LONGEST],
    nodes: Nodes {
        count: 0,
        nodes: [0; MOST],
    },
};

/// Some topics, and their nodes.
#[derive(Debug)]
pub(super) struct Recent {
    /// Made for the first topic.
    places: OnceCell<Box<[Cell<Place>]>>,
    hash: LevelHash,
    /// A number for what the tree is; another after each change.
    state: u64,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent {
            places: OnceCell::new(),
            hash: LevelHash::new(),
            state: 1,
        }
    }
}

impl Recent {
    /// The tree has changed: nothing is known of it any more.
    pub(super) fn forget(&mut self) {
        self.state += 1;
    }

    /// Gives the memory back, until there is a topic to remember.
    pub(super) fn give_back(&mut self) {
        self.places.take();
    }

    /// The nodes of `topic`, if they are remembered.
    #[inline]
    pub(super) fn find(&self, topic: &[u8]) -> Option<Nodes> {
        let place = self.place(topic)?.get();
        let is_it = place.state == self.state && place.topic.get(..place.len.into())? == topic;
        is_it.then_some(place.nodes)
    }

    /// Remembers where `topic` was found, if it is not too long, nor at too many nodes.
    pub(super) fn remember(&self, topic: &[u8], nodes: &[u32]) {
        let mut place = Place {
            state: self.state,
            ..EMPTY
        };
        let (Some(nodes), Some(room)) = (Nodes::new(nodes), place.topic.get_mut(..topic.len()))
        else {
            return;
        };
        room.copy_from_slice(topic);
        place.nodes = nodes;
        place.len = u8::try_from(topic.len()).unwrap_or_default();
        self.places
            .get_or_init(|| vec![Cell::new(EMPTY); PLACES].into());
        if let Some(at) = self.place(topic) {
            at.set(place);
        }
    }

    #[inline]
    fn place(&self, topic: &[u8]) -> Option<&Cell<Place>> {
        if topic.len() > LONGEST {
            return None;
        }
        let at = self.hash.of(topic) % PLACES as u64;
        self.places.get()?.get(usize::try_from(at).ok()?)
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.places.get().map_or(0, |places| size_of_val(&**places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_known_until_the_tree_changes() {
        let mut recent = Recent::default();
        assert!(recent.find(b"a").is_none());
        recent.remember(b"a", &[1, 2]);
        recent.remember(b"b", &[]);
        assert_eq!(recent.find(b"a").unwrap().as_slice(), [1, 2]);
        assert_eq!(recent.find(b"b").unwrap().as_slice(), [0; 0]);
        assert!(recent.find(b"").is_none());
        recent.forget();
        assert!(recent.find(b"a").is_none());
    }

    #[test]
    fn what_is_too_long_or_too_much_is_not_remembered() {
        let recent = Recent::default();
        let long = [b'x'; LONGEST + 1];
        recent.remember(&long, &[1]);
        recent.remember(b"a", &[1, 2, 3, 4, 5]);
        assert!(recent.find(&long).is_none() && recent.find(b"a").is_none());
        recent.remember(&long[1..], &[1]);
        assert_eq!(recent.find(&long[1..]).unwrap().as_slice(), [1]);
    }

    /// Two topics of one place take turns.
    #[test]
    fn a_place_has_one_topic() {
        let recent = Recent::default();
        let topics: Vec<String> = (0..2000).map(|n| format!("t/{n}")).collect();
        for (n, topic) in (0..).zip(&topics) {
            recent.remember(topic.as_bytes(), &[n]);
        }
        let known: Vec<_> = (0u32..)
            .zip(&topics)
            .filter_map(|(n, topic)| Some((n, recent.find(topic.as_bytes())?)))
            .collect();
        assert!(!known.is_empty() && known.len() <= PLACES);
        assert!(known.iter().all(|(n, nodes)| nodes.as_slice() == [*n]));
    }
}
