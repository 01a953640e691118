//! A queue of message ids that takes room by the run, not by the id.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;

/// Bytes a drained queue keeps for the next gaps.
const KEPT_BYTES: usize = 64;

/// An ascending queue of ids, held as runs: a million ids in a row take no room, a million with
/// gaps between them about two bytes each. Both ends are cheap; what is further in costs in
/// proportion to how many runs lie before it.
#[derive(Clone, Debug, Default)]
pub struct IdRanges {
    /// The first run; empty if the queue is.
    first: Range<u64>,
    /// The runs between the first and the last, each as two varints: how far it starts behind the
    /// end of the run before it, and its length.
    coded: VecDeque<u8>,
    /// Where the last coded run ends, while there is one.
    coded_end: u64,
    /// The last run; empty if there is only one.
    last: Range<u64>,
    len: u64,
}

impl IdRanges {
    /// An empty queue.
    pub fn new() -> IdRanges {
        IdRanges::default()
    }

    /// How many ids it holds.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The lowest id.
    pub fn front(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.first.start)
    }

    /// The highest id.
    pub fn back(&self) -> Option<u64> {
        let last = if self.last.is_empty() {
            &self.first
        } else {
            &self.last
        };
        (!self.is_empty()).then(|| last.end - 1)
    }

    /// Appends `id`; `false`, and no change, if it isn't above [`IdRanges::back`].
    pub fn push_back(&mut self, id: u64) -> bool {
        self.push_back_range(id..id.saturating_add(1))
    }

    /// Appends the ids in `run`; `false`, and no change, if they aren't all above
    /// [`IdRanges::back`].
    pub fn push_back_range(&mut self, run: Range<u64>) -> bool {
        if run.is_empty() || self.back().is_some_and(|back| run.start <= back) {
            return false;
        }
        self.len += run.end - run.start;
        let last = if self.last.is_empty() {
            &mut self.first
        } else {
            &mut self.last
        };
        if last.is_empty() {
            self.first = run;
        } else if last.end == run.start {
            last.end = run.end;
        } else {
            let before = mem::replace(&mut self.last, run);
            self.code_back(before);
        }
        true
    }

    /// Puts the ids in `run` back at the front; `false`, and no change, if they aren't all below
    /// [`IdRanges::front`].
    pub fn push_front_range(&mut self, run: Range<u64>) -> bool {
        if run.is_empty() || self.front().is_some_and(|front| run.end > front) {
            return false;
        }
        self.len += run.end - run.start;
        if self.first.is_empty() {
            self.first = run;
        } else if run.end == self.first.start {
            self.first.start = run.start;
        } else {
            let gap = self.first.start - run.end;
            let after = mem::replace(&mut self.first, run);
            self.code_front(gap, after);
        }
        true
    }

    /// Takes the lowest id.
    pub fn pop_front(&mut self) -> Option<u64> {
        let id = self.front()?;
        self.first.start += 1;
        self.len -= 1;
        self.refill();
        Some(id)
    }

    /// Takes the `n` lowest ids, or all there are.
    pub fn pop_front_n(&mut self, mut n: u64) -> Vec<Range<u64>> {
        let mut taken = Vec::new();
        while let Some(run) = self.take_run(n, u64::MAX) {
            n -= run.end - run.start;
            taken.push(run);
        }
        taken
    }

    /// Takes at most `n` ids from the front, all of them less than `below`.
    pub fn take_front(&mut self, mut n: u64, below: u64) -> IdRanges {
        let mut taken = IdRanges::default();
        while let Some(run) = self.take_run(n, below) {
            n -= run.end - run.start;
            taken.push_back_range(run);
        }
        taken
    }

    /// Moves all of `other`, whose ids must be above [`IdRanges::back`], to the end. Costs in
    /// proportion to the shorter of the two.
    pub fn append(&mut self, other: &mut IdRanges) {
        let mut other = mem::take(other);
        if self.coded.len() > other.coded.len() {
            while let Some(run) = other.take_run(u64::MAX, u64::MAX) {
                self.push_back_range(run);
            }
            return;
        }
        mem::swap(self, &mut other);
        let runs: Vec<_> = other.runs().collect();
        for run in runs.into_iter().rev() {
            self.push_front_range(run);
        }
    }

    /// The runs that hold the `n` lowest ids, which stay.
    pub fn front_n(&self, mut n: u64) -> Vec<Range<u64>> {
        let mut found = Vec::new();
        for run in self.runs() {
            if n == 0 {
                break;
            }
            let end = run.end.min(run.start.saturating_add(n));
            n -= end - run.start;
            found.push(run.start..end);
        }
        found
    }

    /// Whether it holds `id`.
    pub fn contains(&self, id: u64) -> bool {
        self.last.contains(&id)
            || self
                .runs()
                .take_while(|run| run.start <= id)
                .any(|run| run.contains(&id))
    }

    /// Takes `id` out of the middle; `false` if it isn't held.
    pub fn remove(&mut self, id: u64) -> bool {
        if !self.contains(id) {
            return false;
        }
        let mut before = Vec::new();
        while !self.first.contains(&id) {
            before.extend(self.pop_front_n(self.first.end - self.first.start));
        }
        let run = self.first.clone();
        self.pop_front_n(run.end - run.start);
        self.push_front_range(id + 1..run.end);
        self.push_front_range(run.start..id);
        for run in before.into_iter().rev() {
            self.push_front_range(run);
        }
        true
    }

    /// The runs, ascending.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        let mut bytes = self.coded.iter().copied();
        let mut end = self.first.end;
        let coded = std::iter::from_fn(move || {
            let start = end + take_varint(&mut bytes)?;
            end = start + take_varint(&mut bytes)?;
            Some(start..end)
        });
        let ends = |run: &Range<u64>| Some(run.clone()).filter(|run| !run.is_empty());
        ends(&self.first)
            .into_iter()
            .chain(coded)
            .chain(ends(&self.last))
    }

    /// The ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.runs().flatten()
    }

    /// What the coded runs take, in bytes.
    pub(super) fn room(&self) -> usize {
        self.coded.capacity()
    }

    /// Takes what the first run has of at most `n` ids less than `below`.
    fn take_run(&mut self, n: u64, below: u64) -> Option<Range<u64>> {
        let start = self.first.start;
        let end = self.first.end.min(below).min(start.saturating_add(n));
        if end <= start {
            return None;
        }
        self.first.start = end;
        self.len -= end - start;
        self.refill();
        Some(start..end)
    }

    /// Gives the second run the place of the first, if that is used up.
    fn refill(&mut self) {
        if !self.first.is_empty() {
            return;
        }
        let mut bytes = std::iter::from_fn(|| self.coded.pop_front());
        let coded = take_varint(&mut bytes).zip(take_varint(&mut bytes));
        self.first = match coded {
            Some((gap, len)) => {
                let start = self.first.end + gap;
                start..start + len
            }
            None => {
                // A long backlog that has drained gives its room back.
                self.coded.shrink_to(KEPT_BYTES);
                mem::take(&mut self.last)
            }
        };
    }

    /// Codes the run that was the last, if there was one.
    fn code_back(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        let before = if self.coded.is_empty() {
            self.first.end
        } else {
            self.coded_end
        };
        put_varint(run.start - before, |byte| self.coded.push_back(byte));
        put_varint(run.end - run.start, |byte| self.coded.push_back(byte));
        self.coded_end = run.end;
    }

    /// Codes the run that was the first, `gap` behind the new one; an only run becomes the last.
    fn code_front(&mut self, gap: u64, run: Range<u64>) {
        if self.last.is_empty() {
            self.last = run;
            return;
        }
        if self.coded.is_empty() {
            self.coded_end = run.end;
        }
        let mut bytes = Vec::new();
        put_varint(gap, |byte| bytes.push(byte));
        put_varint(run.end - run.start, |byte| bytes.push(byte));
        for byte in bytes.into_iter().rev() {
            self.coded.push_front(byte);
        }
    }
}

pub(super) fn put_varint(mut n: u64, mut put: impl FnMut(u8)) {
    while n >= 0x80 {
        put((n & 0x7F) as u8 | 0x80);
        n >>= 7;
    }
    put((n & 0x7F) as u8);
}

pub(super) fn take_varint(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.next()?;
        n |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(n)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        PushBack(u64),
        PushBackRange(u64, u64),
        PushFrontRange(u64, u64),
        PopFront,
        PopFrontN(u64),
        Remove(u64),
        TakeFront(u64, u64),
        Append(Vec<u64>),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..60u64).prop_map(Op::PushBack),
            (0..60u64, 0..6u64).prop_map(|(at, len)| Op::PushBackRange(at, len)),
            (0..60u64, 0..6u64).prop_map(|(at, len)| Op::PushFrontRange(at, len)),
            Just(Op::PopFront),
            (0..8u64).prop_map(Op::PopFrontN),
            (0..60u64).prop_map(Op::Remove),
            (0..8u64, 0..60u64).prop_map(|(n, below)| Op::TakeFront(n, below)),
            prop::collection::vec(1..4u64, 0..12).prop_map(Op::Append),
        ]
    }

    fn push(model: &mut BTreeSet<u64>, run: Range<u64>, front: bool) -> bool {
        let fits = match (front, model.first(), model.last()) {
            (true, Some(&first), _) => run.end <= first,
            (false, _, Some(&last)) => run.start > last,
            _ => true,
        };
        if !fits || run.is_empty() {
            return false;
        }
        model.extend(run);
        true
    }

    fn pop(model: &mut BTreeSet<u64>, n: u64) -> Vec<u64> {
        (0..n).map_while(|_| model.pop_first()).collect()
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(ops in prop::collection::vec(op(), 0..80)) {
            let mut ids = IdRanges::new();
            let mut model = BTreeSet::new();
            for op in ops {
                match op {
                    Op::PushBack(id) => {
                        prop_assert_eq!(ids.push_back(id), push(&mut model, id..id + 1, false));
                    }
                    Op::PushBackRange(at, len) => {
                        let run = at..at + len;
                        prop_assert_eq!(
                            ids.push_back_range(run.clone()),
                            push(&mut model, run, false)
                        );
                    }
                    Op::PushFrontRange(at, len) => {
                        let run = at..at + len;
                        prop_assert_eq!(
                            ids.push_front_range(run.clone()),
                            push(&mut model, run, true)
                        );
                    }
                    Op::PopFront => prop_assert_eq!(ids.pop_front(), model.pop_first()),
                    Op::PopFrontN(n) => {
                        let peeked = ids.front_n(n);
                        let taken = ids.pop_front_n(n);
                        prop_assert_eq!(&peeked, &taken);
                        prop_assert_eq!(
                            taken.into_iter().flatten().collect::<Vec<_>>(),
                            pop(&mut model, n)
                        );
                    }
                    Op::TakeFront(n, below) => {
                        let few = model.iter().copied().take(n as usize);
                        let few: Vec<_> = few.take_while(|&id| id < below).collect();
                        prop_assert!(ids.take_front(n, below).iter().eq(few.iter().copied()));
                        model.retain(|id| !few.contains(id));
                    }
                    Op::Append(steps) => {
                        let mut other = IdRanges::new();
                        let mut next = model.last().copied().unwrap_or(0);
                        for step in steps {
                            next += step;
                            model.insert(next);
                            other.push_back(next);
                        }
                        ids.append(&mut other);
                        prop_assert!(other.is_empty());
                    }
                    Op::Remove(id) => prop_assert_eq!(ids.remove(id), model.remove(&id)),
                }
                prop_assert_eq!(ids.len(), model.len() as u64);
                prop_assert_eq!(ids.front(), model.first().copied());
                prop_assert_eq!(ids.back(), model.last().copied());
                prop_assert!(ids.iter().eq(model.iter().copied()));
                prop_assert!((0..66).all(|id| ids.contains(id) == model.contains(&id)));
                // Neighbouring runs coalesce, whatever the way they came.
                let runs: Vec<_> = ids.runs().collect();
                prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }

    #[test]
    fn a_million_ids_with_gaps_take_two_bytes_each() {
        let mut ids = IdRanges::new();
        for id in 1..=1_000_000 {
            assert!(ids.push_back(id * 10));
        }
        assert_eq!(ids.len(), 1_000_000);
        assert_eq!(ids.coded.len(), 2 * 999_998);
        assert!((1..=1_000_000).all(|id| ids.pop_front() == Some(id * 10)));
        assert!(ids.is_empty());
    }

    #[test]
    fn gaps_of_any_width_come_back() {
        let all = [0, 1, 3, 200, 70_000, 1 << 40, u64::MAX - 1];
        let mut ids = IdRanges::new();
        assert!(all.iter().all(|&id| ids.push_back(id)));
        assert!(ids.iter().eq(all));
        let mut back = IdRanges::new();
        let downwards = all.iter().rev();
        assert!(
            downwards
                .copied()
                .all(|id| back.push_front_range(id..id + 1))
        );
        assert!(back.iter().eq(all));
    }

    #[test]
    fn a_million_ids_in_a_row_are_one_run() {
        let mut ids = IdRanges::new();
        for id in 7..1_000_007 {
            assert!(ids.push_back(id));
        }
        assert_eq!(ids.len(), 1_000_000);
        assert_eq!(ids.runs().count(), 1);
    }
}
