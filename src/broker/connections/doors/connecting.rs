//! The connections that have not sent their CONNECT yet, by where they come from.

use core::cmp::Reverse;
use core::hash::Hash;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::keys::ConnId;

/// The connections that wait for their CONNECT, each from a source `S`. What is asked and done here
/// costs the logarithm of how many there are.
#[derive(Debug)]
pub(super) struct Connecting<S> {
    /// The number of the next that comes.
    next: u64,
    /// Where each comes from, and its number.
    from: HashMap<ConnId, (S, u64)>,
    /// The same by source, the oldest first.
    order: BTreeMap<(S, u64), ConnId>,
    /// The sources that have some: how many, and the number of the oldest. The last has most.
    crowds: BTreeSet<(u32, Reverse<u64>, S)>,
    /// What `crowds` has of each source.
    crowd_of: HashMap<S, (u32, u64)>,
}

impl<S> Default for Connecting<S> {
    fn default() -> Connecting<S> {
        Connecting {
            next: 0,
            from: HashMap::new(),
            order: BTreeMap::new(),
            crowds: BTreeSet::new(),
            crowd_of: HashMap::new(),
        }
    }
}

impl<S: Copy + Ord + Hash> Connecting<S> {
    /// One has come.
    pub(super) fn add(&mut self, c: ConnId, source: S) {
        self.remove(c);
        self.next += 1;
        self.from.insert(c, (source, self.next));
        self.order.insert((source, self.next), c);
        self.recount(source, self.count_of(source) + 1);
    }

    /// One waits no more, if it does.
    pub(super) fn remove(&mut self, c: ConnId) {
        let Some((source, number)) = self.from.remove(&c) else {
            return;
        };
        self.order.remove(&(source, number));
        self.recount(source, self.count_of(source).saturating_sub(1));
        // A crowd that has gone leaves no table behind.
        if self.from.capacity() > 8 * self.from.len() + 64 {
            self.from.shrink_to(2 * self.from.len());
            self.crowd_of.shrink_to(2 * self.crowd_of.len());
        }
    }

    /// A source has `count` of them.
    fn recount(&mut self, source: S, count: u32) {
        if let Some((count, oldest)) = self.crowd_of.remove(&source) {
            self.crowds.remove(&(count, Reverse(oldest), source));
        }
        if let Some((oldest, _)) = self.first_of(source) {
            self.crowds.insert((count, Reverse(oldest), source));
            self.crowd_of.insert(source, (count, oldest));
        }
    }

    /// The number of the oldest of a source, and its key.
    fn first_of(&self, source: S) -> Option<(u64, ConnId)> {
        let mut all = self.order.range((source, 0)..=(source, u64::MAX));
        all.next().map(|((_, number), c)| (*number, *c))
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.from.len()).unwrap_or(u32::MAX)
    }

    /// How many a source has.
    pub(super) fn count_of(&self, source: S) -> u32 {
        self.crowd_of.get(&source).map_or(0, |(count, _)| *count)
    }

    /// The one of a source that has waited longest.
    pub(super) fn oldest_of(&self, source: S) -> Option<ConnId> {
        self.first_of(source).map(|(_, c)| c)
    }

    /// The oldest of the source that has most, or would have most with one more of `newcomer`. Where
    /// several have as many, the one whose oldest is older.
    pub(super) fn oldest_of_most(&self, newcomer: Option<S>) -> Option<ConnId> {
        let (most, _, source) = self.crowds.last()?;
        let own = newcomer.filter(|source| self.count_of(*source) == *most);
        self.oldest_of(own.unwrap_or(*source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Table;

    /// Against a plain list, whatever comes and goes in whatever order.
    #[test]
    fn the_oldest_of_the_source_that_has_most() {
        let mut table = Table::<ConnId, ()>::default();
        let mut connecting = Connecting::<u8>::default();
        let mut list: Vec<(ConnId, u8)> = Vec::new();
        let mut seed = 7u32;
        let mut draw = |most: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % most
        };
        for round in 0..5_000 {
            if draw(100) < 45 && !list.is_empty() {
                let (gone, _) = list.remove(draw(list.len()));
                connecting.remove(gone);
                connecting.remove(gone);
                table.remove(gone);
            } else {
                let source = u8::try_from(draw(9)).unwrap();
                let c = table.insert(());
                connecting.add(c, source);
                list.push((c, source));
            }
            let of = |source| list.iter().filter(move |(_, of)| *of == source);
            let most = (0..9).map(|source| of(source).count()).max().unwrap();
            let first = list.iter().find(|(_, of_it)| of(*of_it).count() == most);
            assert_eq!(
                connecting.oldest_of_most(None),
                first.map(|(c, _)| *c),
                "{round}"
            );
            for source in 0..9 {
                let counts_most = of(source).count() == most;
                let own = of(source).next().filter(|_| counts_most).or(first);
                let found = connecting.oldest_of_most(Some(source));
                assert_eq!(found, own.map(|(c, _)| *c), "{round}");
                assert_eq!(connecting.count_of(source) as usize, of(source).count());
                assert_eq!(
                    connecting.oldest_of(source),
                    of(source).next().map(|(c, _)| *c)
                );
            }
            assert_eq!(connecting.len() as usize, list.len());
            if list.len() > 300 {
                list.drain(..).for_each(|(c, _)| connecting.remove(c));
            }
        }
        list.drain(..).for_each(|(c, _)| connecting.remove(c));
        assert!(connecting.order.is_empty() && connecting.crowds.is_empty());
        assert!(connecting.from.capacity() < 200 && connecting.crowd_of.is_empty());
    }
}
