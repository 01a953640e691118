//! A set of message ids: a bit each where they are dense.

use std::collections::BTreeMap;

/// Words of a page.
const WORDS: usize = 8;
/// Ids on a page.
const PAGE: u64 = 64 * WORDS as u64;

/// A set of ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    pages: BTreeMap<u64, [u64; WORDS]>,
    len: u64,
}

impl Bits {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Pages that it takes.
    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// What it takes, in bytes, about.
    pub(super) fn room(&self) -> usize {
        // The nodes of the tree are two thirds full.
        self.pages() * size_of::<(u64, [u64; WORDS])>() * 3 / 2
    }

    pub(super) fn insert(&mut self, id: u64) {
        let (word, bit) = place(id);
        let word = &mut self.pages.entry(id / PAGE).or_default()[word];
        self.len += u64::from(*word & bit == 0);
        *word |= bit;
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        let (word, bit) = place(id);
        let page = self.pages.get(&(id / PAGE));
        page.is_some_and(|page| page[word] & bit != 0)
    }

    /// Takes `id` out; false if it was not in.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let (word, bit) = place(id);
        let Some(page) = self.pages.get_mut(&(id / PAGE)) else {
            return false;
        };
        let was_in = page[word] & bit != 0;
        page[word] &= !bit;
        self.len -= u64::from(was_in);
        if was_in && *page == [0; WORDS] {
            self.pages.remove(&(id / PAGE));
        }
        was_in
    }

    /// Takes the lowest id.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let mut first = self.pages.first_entry()?;
        let (page, words) = (*first.key(), first.get_mut());
        let (at, word) = words.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let bit = u64::from(word.trailing_zeros());
        *word &= *word - 1;
        let at = u64::try_from(at).unwrap_or_default();
        if *words == [0; WORDS] {
            first.remove();
        }
        self.len -= 1;
        Some(page * PAGE + at * 64 + bit)
    }

    /// Adds all of `other`. Costs by the page, not by the id.
    pub(super) fn merge(&mut self, other: &Bits) {
        for (page, words) in &other.pages {
            let ours = self.pages.entry(*page).or_default();
            for (ours, word) in ours.iter_mut().zip(words) {
                self.len += u64::from((word & !*ours).count_ones());
                *ours |= word;
            }
        }
    }

    /// The ids, rising.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let words = |(page, words): (&u64, &'_ [u64; WORDS])| {
            let words = *words;
            let starts = (page * PAGE..).step_by(64);
            starts.zip(words)
        };
        let bits = |(start, word): (u64, u64)| {
            (0..64).filter_map(move |bit| (word >> bit & 1 == 1).then_some(start + bit))
        };
        self.pages.iter().flat_map(words).flat_map(bits)
    }
}

fn place(id: u64) -> (usize, u64) {
    ((id % PAGE / 64) as usize, 1 << (id % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(ops in prop::collection::vec((any::<bool>(), 0..2000u64), 0..200)) {
            let (mut bits, mut model) = (Bits::default(), BTreeSet::new());
            for (insert, id) in ops {
                if insert {
                    bits.insert(id);
                    model.insert(id);
                } else {
                    prop_assert_eq!(bits.remove(id), model.remove(&id));
                }
                prop_assert_eq!(bits.contains(id), insert);
                prop_assert_eq!(bits.len(), model.len() as u64);
            }
            prop_assert!(bits.iter().eq(model.iter().copied()));
            for id in model {
                bits.remove(id);
            }
            prop_assert!(bits.pages.is_empty());
        }
    }
}
