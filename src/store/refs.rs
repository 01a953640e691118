//! How many sessions are still owed each message.

use std::collections::BTreeMap;

use crate::impossible;

/// Ids on one page.
const PAGE: usize = 256;
/// A count of this and more lives in the side map.
const MANY: u8 = u8::MAX;

/// Reference counts by message id: a byte each in the dense case.
#[derive(Clone, Debug, Default)]
pub struct Refs {
    pages: BTreeMap<u64, Box<Page>>,
    many: BTreeMap<u64, u32>,
    len: u64,
}

#[derive(Clone, Debug)]
struct Page {
    counts: [u8; PAGE],
    /// How many of the counts aren't zero.
    live: u16,
}

impl Refs {
    /// No references.
    pub fn new() -> Refs {
        Refs::default()
    }

    /// How many ids have a count above zero.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if no id is referenced.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The count of `id`.
    pub fn get(&self, id: u64) -> u32 {
        match self.small(id) {
            MANY => self.many.get(&id).copied().unwrap_or_else(|| {
                impossible!("the count of message {id} is missing");
                MANY.into()
            }),
            count => count.into(),
        }
    }

    /// Raises the count of `id` by `n`.
    pub fn add(&mut self, id: u64, n: usize) {
        let sum = u32::try_from(n).ok();
        let sum = sum.and_then(|n| self.get(id).checked_add(n));
        let sum = sum.unwrap_or_else(|| {
            impossible!("message {id} is owed to {n} more sessions than there can be");
            u32::MAX
        });
        if n > 0 {
            self.set(id, sum);
        }
    }

    /// Lowers the count of `id` by one; `true` if that was the last reference, `false` also if
    /// there was none.
    pub fn release(&mut self, id: u64) -> bool {
        let count = self.get(id);
        if count > 0 {
            self.set(id, count - 1);
        }
        count == 1
    }

    fn small(&self, id: u64) -> u8 {
        self.pages
            .get(&page_of(id))
            .map_or(0, |page| page.counts[slot(id)])
    }

    fn set(&mut self, id: u64, count: u32) {
        let small = u8::try_from(count).unwrap_or(MANY);
        if small == MANY {
            self.many.insert(id, count);
        } else {
            self.many.remove(&id);
        }
        let page = self.pages.entry(page_of(id)).or_insert_with(|| {
            Box::new(Page {
                counts: [0; PAGE],
                live: 0,
            })
        });
        let old = std::mem::replace(&mut page.counts[slot(id)], small);
        match (old, small) {
            (0, 1..) => {
                page.live += 1;
                self.len += 1;
            }
            (1.., 0) => {
                page.live -= 1;
                self.len -= 1;
            }
            _ => {}
        }
        if page.live == 0 {
            self.pages.remove(&page_of(id));
        }
    }
}

fn page_of(id: u64) -> u64 {
    id / PAGE as u64
}

/// The place of `id` on its page.
fn slot(id: u64) -> usize {
    let [low, ..] = id.to_le_bytes();
    low.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_map(
            ops in prop::collection::vec((0..600u64, 0..4u8, 0..300usize), 0..200)
        ) {
            let mut refs = Refs::new();
            let mut model: BTreeMap<u64, u32> = BTreeMap::new();
            for (id, op, n) in ops {
                // A few ids, so that they meet again.
                let id = id % 7 * 97;
                if op == 0 {
                    refs.add(id, n);
                    if n > 0 {
                        *model.entry(id).or_default() += n as u32;
                    }
                } else {
                    for _ in 0..n {
                        let last = model.get(&id) == Some(&1);
                        match model.get_mut(&id) {
                            Some(1) => drop(model.remove(&id)),
                            Some(count) => *count -= 1,
                            None => {}
                        }
                        prop_assert_eq!(refs.release(id), last);
                    }
                }
                prop_assert_eq!(refs.len(), model.len() as u64);
                for id in (0..7).map(|id| id * 97) {
                    prop_assert_eq!(refs.get(id), model.get(&id).copied().unwrap_or(0));
                }
            }
            for id in model.keys().copied().collect::<Vec<_>>() {
                while !refs.release(id) {}
            }
            prop_assert!(refs.is_empty() && refs.pages.is_empty() && refs.many.is_empty());
        }
    }

    #[test]
    fn counts_cross_the_byte() {
        let mut refs = Refs::new();
        refs.add(5, 254);
        refs.add(5, 1);
        refs.add(5, 1);
        assert_eq!(refs.get(5), 256);
        assert!(!refs.release(5) && !refs.release(5));
        assert_eq!(refs.get(5), 254);
    }
}
