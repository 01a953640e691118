//! A queue of message ids that takes room by the run, not by the id.

use std::collections::VecDeque;
use std::ops::Range;

/// An ascending queue of ids, held as runs: a million ids in a row take 16 bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdRanges {
    /// Not empty, ascending, with a gap between neighbours.
    runs: VecDeque<Range<u64>>,
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
        self.runs.front().map(|run| run.start)
    }

    /// The highest id.
    pub fn back(&self) -> Option<u64> {
        self.runs.back().map(|run| run.end - 1)
    }

    /// Appends `id`; `false`, and no change, if it isn't above [`IdRanges::back`].
    pub fn push_back(&mut self, id: u64) -> bool {
        self.push_back_range(id..id.saturating_add(1))
    }

    /// Appends the ids in `run`; `false`, and no change, if they aren't all above
    /// [`IdRanges::back`].
    pub fn push_back_range(&mut self, run: Range<u64>) -> bool {
        match self.runs.back_mut() {
            _ if run.is_empty() => return false,
            Some(last) if run.start < last.end => return false,
            Some(last) if run.start == last.end => last.end = run.end,
            _ => self.runs.push_back(run.clone()),
        }
        self.len += run.end - run.start;
        true
    }

    /// Moves all of `other`, whose ids must be above [`IdRanges::back`], to the end.
    pub fn append(&mut self, other: &mut IdRanges) {
        for run in std::mem::take(other).runs {
            self.push_back_range(run);
        }
    }

    /// Takes at most `n` ids from the front, none of them `below` or higher.
    pub fn take_front(&mut self, mut n: u64, below: u64) -> IdRanges {
        let mut taken = IdRanges::default();
        while let Some(run) = self.runs.front_mut() {
            let end = run.end.min(below).min(run.start.saturating_add(n));
            if end <= run.start {
                break;
            }
            taken.push_back_range(run.start..end);
            self.len -= end - run.start;
            n -= end - run.start;
            run.start = end;
            if run.is_empty() {
                self.runs.pop_front();
            }
        }
        taken
    }

    /// Puts the ids in `run` back at the front; `false`, and no change, if they aren't all below
    /// [`IdRanges::front`].
    pub fn push_front_range(&mut self, run: Range<u64>) -> bool {
        match self.runs.front_mut() {
            _ if run.is_empty() => return false,
            Some(first) if run.end > first.start => return false,
            Some(first) if run.end == first.start => first.start = run.start,
            _ => self.runs.push_front(run.clone()),
        }
        self.len += run.end - run.start;
        true
    }

    /// Takes the lowest id.
    pub fn pop_front(&mut self) -> Option<u64> {
        let first = self.runs.front_mut()?;
        let id = first.start;
        first.start += 1;
        if first.is_empty() {
            self.runs.pop_front();
        }
        self.len -= 1;
        Some(id)
    }

    /// Takes the `n` lowest ids, or all there are.
    pub fn pop_front_n(&mut self, mut n: u64) -> Vec<Range<u64>> {
        let mut taken = Vec::new();
        while n > 0
            && let Some(first) = self.runs.front_mut()
        {
            let end = first.end.min(first.start.saturating_add(n));
            let run = first.start..end;
            first.start = end;
            if first.is_empty() {
                self.runs.pop_front();
            }
            n -= run.end - run.start;
            self.len -= run.end - run.start;
            taken.push(run);
        }
        taken
    }

    /// The runs that hold the `n` lowest ids, which stay.
    pub fn front_n(&self, mut n: u64) -> Vec<Range<u64>> {
        let mut found = Vec::new();
        for run in &self.runs {
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
        let at = self.runs.partition_point(|run| run.end <= id);
        self.runs.get(at).is_some_and(|run| run.contains(&id))
    }

    /// Takes `id` out of the middle; `false` if it isn't held.
    pub fn remove(&mut self, id: u64) -> bool {
        let at = self.runs.partition_point(|run| run.end <= id);
        let Some(run) = self.runs.get_mut(at).filter(|run| run.contains(&id)) else {
            return false;
        };
        let after = id + 1..run.end;
        run.end = id;
        match (run.is_empty(), after.is_empty()) {
            (true, true) => drop(self.runs.remove(at)),
            (true, false) => *run = after,
            (false, true) => {}
            (false, false) => self.runs.insert(at + 1, after),
        }
        self.len -= 1;
        true
    }

    /// The runs, ascending.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = Range<u64>> {
        self.runs.iter().cloned()
    }

    /// The ids, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.runs().flatten()
    }
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
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..60u64).prop_map(Op::PushBack),
            (0..60u64, 0..6u64).prop_map(|(at, len)| Op::PushBackRange(at, len)),
            (0..60u64, 0..6u64).prop_map(|(at, len)| Op::PushFrontRange(at, len)),
            Just(Op::PopFront),
            (0..8u64).prop_map(Op::PopFrontN),
            (0..60u64).prop_map(Op::Remove),
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
    fn a_million_ids_in_a_row_are_one_run() {
        let mut ids = IdRanges::new();
        for id in 7..1_000_007 {
            assert!(ids.push_back(id));
        }
        assert_eq!(ids.len(), 1_000_000);
        assert_eq!(ids.runs().count(), 1);
    }
}
