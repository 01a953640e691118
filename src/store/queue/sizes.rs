//! The sizes of queued messages, in queue order.

use std::collections::VecDeque;
use std::mem;

use super::ids::{put_varint, take_varint};
use crate::impossible;

/// Bytes a drained queue keeps for the next sizes.
const KEPT_BYTES: usize = 64;

/// So many messages of one size, one after another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Run {
    size: u32,
    count: u64,
}

/// A queue of sizes, held as runs of equal ones: telemetry, whose messages are much alike, takes
/// next to no room; sizes that all differ take two bytes each up to 8 KB.
#[derive(Clone, Debug, Default)]
pub(super) struct Sizes {
    /// The first run; empty if the queue is.
    first: Run,
    /// The runs in between: the size twice, plus one if a second varint, the count less two,
    /// follows.
    coded: VecDeque<u8>,
    /// The last run; empty if there is only one.
    last: Run,
}

impl Sizes {
    pub(super) fn push_back(&mut self, size: u32) {
        let last = match self.last.count {
            0 => &mut self.first,
            _ => &mut self.last,
        };
        if last.count == 0 || last.size == size {
            *last = Run {
                size,
                count: last.count + 1,
            };
            return;
        }
        let before = mem::replace(&mut self.last, Run { size, count: 1 });
        if before.count > 0 {
            encode(before, |byte| self.coded.push_back(byte));
        }
    }

    pub(super) fn push_front(&mut self, size: u32) {
        if self.first.count == 0 || self.first.size == size {
            self.first = Run {
                size,
                count: self.first.count + 1,
            };
            return;
        }
        let after = mem::replace(&mut self.first, Run { size, count: 1 });
        if self.last.count == 0 {
            self.last = after;
            return;
        }
        let mut bytes = Vec::new();
        encode(after, |byte| bytes.push(byte));
        for byte in bytes.into_iter().rev() {
            self.coded.push_front(byte);
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<u32> {
        let size = self.first.size;
        self.first.count = self.first.count.checked_sub(1)?;
        if self.first.count == 0 {
            self.first = match decode(&mut std::iter::from_fn(|| self.coded.pop_front())) {
                Some(run) => run,
                None => {
                    // A long backlog that has drained gives its room back.
                    self.coded.shrink_to(KEPT_BYTES);
                    mem::take(&mut self.last)
                }
            };
        }
        Some(size)
    }

    /// What the coded runs take, in bytes.
    pub(super) fn room(&self) -> usize {
        self.coded.capacity()
    }

    /// The sizes in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let mut bytes = self.coded.iter().copied();
        let coded = std::iter::from_fn(move || decode(&mut bytes));
        std::iter::once(self.first)
            .chain(coded)
            .chain(std::iter::once(self.last))
            .flat_map(|run| (0..run.count).map(move |_| run.size))
    }
}

fn encode(run: Run, mut put: impl FnMut(u8)) {
    let many = run.count > 1;
    put_varint(u64::from(run.size) << 1 | u64::from(many), &mut put);
    if many {
        put_varint(run.count - 2, &mut put);
    }
}

fn decode(bytes: &mut impl Iterator<Item = u8>) -> Option<Run> {
    let head = take_varint(bytes)?;
    let count = match head & 1 {
        0 => 1,
        _ => take_varint(bytes)? + 2,
    };
    Some(Run {
        size: u32::try_from(head >> 1).unwrap_or_else(|_| {
            impossible!("a size of {} that was of 32 bits", head >> 1);
            u32::MAX
        }),
        count,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_deque(
            ops in prop::collection::vec((0..4u8, prop_oneof![0..3u32, any::<u32>()]), 0..200)
        ) {
            let mut sizes = Sizes::default();
            let mut model = VecDeque::new();
            for (op, size) in ops {
                match op {
                    0 | 1 => {
                        sizes.push_back(size);
                        model.push_back(size);
                    }
                    2 => {
                        sizes.push_front(size);
                        model.push_front(size);
                    }
                    _ => prop_assert_eq!(sizes.pop_front(), model.pop_front()),
                }
                prop_assert!(sizes.iter().eq(model.iter().copied()));
            }
        }
    }

    #[test]
    fn a_million_sizes_take_little_room() {
        let (mut equal, mut mixed) = (Sizes::default(), Sizes::default());
        for n in 0..1_000_000u32 {
            equal.push_back(200);
            mixed.push_back(200 + n.wrapping_mul(2_654_435_761) % 7000);
        }
        assert_eq!(equal.coded.len(), 0);
        assert!(mixed.coded.len() <= 2_000_000, "{}", mixed.coded.len());
    }
}
