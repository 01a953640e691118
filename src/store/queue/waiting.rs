//! The messages of one lane that wait to be sent, in order.

use std::collections::BTreeMap;

use super::arrivals::Arrivals;
use super::bits::Bits;
use super::ids::IdRanges;
use super::sizes::Sizes;
use crate::impossible;
use crate::time::Time;

/// An ascending queue of message ids with their sizes and, roughly, their times of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    ids: IdRanges,
    sizes: Sizes,
    /// Ids that were taken out of the middle; the front is none of them.
    holes: Bits,
    bytes: u64,
    arrivals: Arrivals,
    /// What was put back and is not below all others: few, and gone first.
    back: BTreeMap<u64, (u32, Time)>,
}

impl Waiting {
    pub(super) fn len(&self) -> u64 {
        self.ids.len() - self.holes.len() + self.back.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn front(&self) -> Option<u64> {
        let back = self.back.first_key_value().map(|(id, _)| *id);
        back.into_iter().chain(self.ids.front()).min()
    }

    /// About when the oldest arrived.
    pub(super) fn oldest(&self) -> Option<Time> {
        let back = self.back.first_key_value().map(|(_, (_, at))| *at);
        let rest = self.ids.front();
        let rest = rest.and_then(|front| self.arrivals.oldest(front));
        back.into_iter().chain(rest).min()
    }

    /// The highest id that had arrived, with all before it, by `time`.
    pub(super) fn arrived_by(&self, time: Time) -> Option<u64> {
        let back = self.back.iter().take_while(|(_, (_, at))| *at <= time);
        let back = back.last().map(|(id, _)| *id);
        back.into_iter().chain(self.arrivals.through(time)).max()
    }

    /// The time that [`Waiting::arrived_by`] wants to be asked for to find something.
    pub(super) fn next_arrival(&self) -> Option<Time> {
        let back = self.back.first_key_value().map(|(_, (_, at))| *at);
        let rest = self.ids.front();
        let rest = rest.and_then(|front| self.arrivals.next(front));
        back.into_iter().chain(rest).min()
    }

    /// Puts a message back in its place; false if it is there already.
    pub(super) fn put_back(&mut self, id: u64, size: u32, arrival: Time) -> bool {
        if self.front().is_none_or(|front| id < front) && self.back.is_empty() {
            return self.push_front(id, size, arrival);
        }
        if self.contains(id) {
            return false;
        }
        self.bytes += u64::from(size);
        self.back.insert(id, (size, arrival));
        true
    }

    /// Appends a message; false if its id is not above all others.
    pub(super) fn push_back(&mut self, id: u64, size: u32, arrival: Time) -> bool {
        if !self.ids.push_back(id) {
            return false;
        }
        self.sizes.push_back(size);
        self.bytes += u64::from(size);
        self.arrivals.push_back(id, arrival);
        true
    }

    /// Puts a message back at the front; false if its id is not below all others.
    pub(super) fn push_front(&mut self, id: u64, size: u32, arrival: Time) -> bool {
        if !self.ids.push_front_range(id..id + 1) {
            return false;
        }
        self.sizes.push_front(size);
        self.bytes += u64::from(size);
        self.arrivals.push_front(id, arrival);
        true
    }

    /// Takes the message at the front: id and size.
    pub(super) fn pop_front(&mut self) -> Option<(u64, u32)> {
        let ids = self.ids.front();
        if let Some(first) = self.back.first_entry()
            && ids.is_none_or(|id| *first.key() < id)
        {
            let (id, (size, _)) = first.remove_entry();
            self.take_bytes(size.into());
            return Some((id, size));
        }
        let id = self.ids.pop_front()?;
        let size = self.sizes.pop_front().unwrap_or_else(|| {
            impossible!("message {id} is queued without a size");
            0
        });
        self.take_bytes(size.into());
        self.settle();
        Some((id, size))
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        let is_first = self.ids.front() == Some(id);
        is_first
            || self.back.contains_key(&id)
            || (self.ids.contains(id) && !self.holes.contains(id))
    }

    /// Takes one message of `size` bytes, wherever it stands, and returns its size.
    pub(super) fn take(&mut self, id: u64, size: u32) -> Option<u32> {
        if let Some((size, _)) = self.back.remove(&id) {
            self.take_bytes(size.into());
            return Some(size);
        }
        if self.front() == Some(id) {
            return self.pop_front().map(|(_, size)| size);
        }
        self.contains(id).then(|| {
            self.punch(std::iter::once(id), size.into());
            size
        })
    }

    /// Takes the messages `gone`, with `bytes` in all, out of the middle.
    pub(super) fn punch(&mut self, gone: impl Iterator<Item = u64>, bytes: u64) {
        gone.for_each(|id| self.holes.insert(id));
        self.take_bytes(bytes);
        self.settle();
        if self.holes.len() > self.ids.len() / 2 {
            self.fill();
        }
    }

    /// The ids, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let rest = self.ids.iter().filter(|id| !self.holes.contains(*id));
        merge(self.back.keys().copied(), rest)
    }

    /// The ids that follow `passed`, ascending: what lies before costs by the run.
    pub(super) fn iter_after(&self, passed: u64) -> impl Iterator<Item = u64> {
        let from = passed.saturating_add(1);
        let rest = self.ids.runs().map(move |run| run.start.max(from)..run.end);
        let rest = rest.flatten().filter(|id| !self.holes.contains(*id));
        merge(self.back.range(from..).map(|(id, _)| *id), rest)
    }

    fn take_bytes(&mut self, bytes: u64) {
        self.bytes = self.bytes.checked_sub(bytes).unwrap_or_else(|| {
            impossible!("{bytes} of {} queued bytes leave", self.bytes);
            0
        });
    }

    /// Makes the front one that is no hole.
    fn settle(&mut self) {
        while let Some(front) = self.ids.front()
            && self.holes.len() > 0
            && self.holes.remove(front)
        {
            self.ids.pop_front();
            self.sizes.pop_front();
        }
        self.arrivals.forget(self.ids.front());
    }

    /// Makes the queue anew without its holes.
    fn fill(&mut self) {
        let (mut ids, mut sizes) = (IdRanges::new(), Sizes::default());
        for (id, size) in self.ids.iter().zip(self.sizes.iter()) {
            if !self.holes.contains(id) {
                ids.push_back(id);
                sizes.push_back(size);
            }
        }
        (self.ids, self.sizes, self.holes) = (ids, sizes, Bits::default());
    }
}

/// Two ascending sequences as one.
fn merge(a: impl Iterator<Item = u64>, b: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if x < y => a.next(),
        (Some(_), None) => a.next(),
        _ => b.next(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Push(u32),
        Pop,
        /// The nth of those that have gone comes back.
        PutBack(usize),
        /// The nth goes.
        Take(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => (0..4u32).prop_map(Op::Push),
            3 => Just(Op::Pop),
            3 => (0..6usize).prop_map(Op::PutBack),
            1 => (0..6usize).prop_map(Op::Take),
        ]
    }

    proptest! {
        /// Whatever goes and comes back: the ids and sizes are those of a map.
        #[test]
        fn what_comes_back_stands_in_its_place(ops in prop::collection::vec(op(), 0..80)) {
            let mut waiting = Waiting::default();
            let (mut model, mut gone) = (BTreeMap::new(), Vec::new());
            let at = |id: u64| Time::from_secs(1000 + 100 * id);
            let mut next = 0;
            for op in ops {
                match op {
                    Op::Push(size) => {
                        next += 1;
                        prop_assert!(waiting.push_back(next, size, at(next)));
                        model.insert(next, size);
                    }
                    Op::Pop => {
                        let first = model.pop_first();
                        prop_assert_eq!(waiting.pop_front(), first);
                        gone.extend(first);
                    }
                    Op::PutBack(nth) if nth < gone.len() => {
                        let (id, size) = gone.remove(nth);
                        prop_assert!(waiting.put_back(id, size, at(id)));
                        prop_assert!(!waiting.put_back(id, size, at(id)));
                        model.insert(id, size);
                    }
                    Op::Take(nth) => {
                        let taken = model.keys().nth(nth).copied();
                        let size = taken.and_then(|id| model.remove(&id));
                        if let (Some(id), Some(size)) = (taken, size) {
                            prop_assert_eq!(waiting.take(id, size), Some(size));
                            prop_assert!(!waiting.contains(id));
                        }
                    }
                    Op::PutBack(_) => {}
                }
                prop_assert!(waiting.iter().eq(model.keys().copied()));
                prop_assert!(waiting.iter_after(3).eq(model.range(4..).map(|(id, _)| *id)));
                prop_assert_eq!(waiting.front(), model.keys().next().copied());
                prop_assert_eq!(waiting.len(), model.len() as u64);
                let bytes: u64 = model.values().map(|size| u64::from(*size)).sum();
                prop_assert_eq!(waiting.bytes(), bytes);
                prop_assert_eq!(waiting.oldest().is_some(), !model.is_empty());
            }
        }
    }
}
