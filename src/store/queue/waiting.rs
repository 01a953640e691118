//! The messages of one lane that wait to be sent, in order.

use super::arrivals::Arrivals;
use super::bits::Bits;
use super::expiries::Expiries;
use super::ids::IdRanges;
use super::sizes::Sizes;
use crate::impossible;
use crate::time::Time;

/// Pages of holes, at most; beyond, the queue is made anew without its holes.
const MAX_HOLE_PAGES: usize = 8192;

/// When a message arrived, about, and from when on it is dropped.
pub(super) type Times = (Time, Option<Time>);

/// An ascending queue of message ids with their sizes and, roughly, their times of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    ids: IdRanges,
    sizes: Sizes,
    /// Ids that were taken out of the middle; the front is none of them.
    holes: Bits,
    bytes: u64,
    pub(super) arrivals: Arrivals,
    /// Made with the first message that expires; has some of the holes too.
    expiries: Option<Box<Expiries>>,
}

impl Waiting {
    pub(super) fn len(&self) -> u64 {
        self.ids.len() - self.holes.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn front(&self) -> Option<u64> {
        self.ids.front()
    }

    /// Appends a message; false if its id is not above all others.
    pub(super) fn push_back(&mut self, id: u64, size: u32, (arrival, expires): Times) -> bool {
        if !self.ids.push_back(id) {
            return false;
        }
        self.sizes.push_back(size);
        self.bytes += u64::from(size);
        self.arrivals.push_back(id, arrival);
        if let Some(due) = expires {
            let expiries = self.expiries.get_or_insert_default();
            expiries.push_back(id, size, due);
        }
        true
    }

    /// Puts a message back at the front; false if its id is not below all others.
    pub(super) fn push_front(&mut self, id: u64, size: u32, (arrival, expires): Times) -> bool {
        if !self.ids.push_front_range(id..id + 1) {
            return false;
        }
        self.sizes.push_front(size);
        self.bytes += u64::from(size);
        self.arrivals.push_front(id, arrival);
        if let Some(due) = expires {
            let expiries = self.expiries.get_or_insert_default();
            expiries.push_front(id, size, due);
        }
        true
    }

    /// Takes the message at the front: id, size, and when it expires.
    pub(super) fn pop_front(&mut self) -> Option<(u64, u32, Option<Time>)> {
        let id = self.ids.pop_front()?;
        let size = self.sizes.pop_front().unwrap_or_else(|| {
            impossible!("message {id} is queued without a size");
            0
        });
        let expires = self.expiries.as_mut().and_then(|e| e.pop(id));
        self.take_bytes(size.into());
        self.settle();
        Some((id, size, expires))
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.front() == Some(id) || (self.ids.contains(id) && !self.holes.contains(id))
    }

    /// Takes one message of `size` bytes, wherever it stands, and returns its size.
    pub(super) fn take(&mut self, id: u64, size: u32) -> Option<u32> {
        if self.front() == Some(id) {
            return self.pop_front().map(|(_, size, _)| size);
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
        self.limit_holes();
    }

    /// When the next message expires.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        self.expiries.as_ref()?.next()
    }

    /// Takes a message that expires at or before `now`, wherever it stands: id and size.
    pub(super) fn take_expired(&mut self, now: Time) -> Option<(u64, u32)> {
        loop {
            let (id, size) = self.expiries.as_mut()?.pop_due(now)?;
            if self.front() == Some(id) {
                self.ids.pop_front();
                self.sizes.pop_front();
            } else if self.holes.contains(id) {
                continue;
            } else {
                self.holes.insert(id);
            }
            self.take_bytes(size.into());
            self.settle();
            self.limit_holes();
            return Some((id, size));
        }
    }

    /// The ids, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.ids.iter().filter(|id| !self.holes.contains(*id))
    }

    /// The ids that follow `passed`, ascending: what lies before costs by the run.
    pub(super) fn iter_after(&self, passed: u64) -> impl Iterator<Item = u64> {
        let from = passed.saturating_add(1);
        let rest = self.ids.runs().map(move |run| run.start.max(from)..run.end);
        rest.flatten().filter(|id| !self.holes.contains(*id))
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
            self.expiries.as_mut().and_then(|e| e.pop(front));
        }
        self.expiries.take_if(|expiries| expiries.is_empty());
        self.arrivals.forget(self.ids.front());
    }

    fn limit_holes(&mut self) {
        let is_half = self.holes.len() > self.ids.len() / 2;
        if is_half || self.holes.pages() > MAX_HOLE_PAGES {
            self.fill();
        }
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
        if let Some(expiries) = &mut self.expiries {
            expiries.retain(|id| !self.holes.contains(id));
        }
        (self.ids, self.sizes, self.holes) = (ids, sizes, Bits::default());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::queue::expiries::round_up;

    #[derive(Clone, Debug)]
    enum Op {
        /// So far behind the last, of this size, with this expiry; 0 is none.
        PushBack(u64, u32, u64),
        /// So many that were taken are put back.
        PutBack(usize),
        PopFront,
        /// The nth is taken out.
        Take(usize),
        Expire(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (1..1000u64, 0..3u32, 0..6u64).prop_map(|(gap, size, at)| Op::PushBack(gap, size, at)),
            1 => (0..5usize).prop_map(Op::PutBack),
            2 => Just(Op::PopFront),
            2 => (0..9usize).prop_map(Op::Take),
            1 => (0..6u64).prop_map(Op::Expire),
        ]
    }

    fn at(expiry: u64) -> Option<Time> {
        (expiry > 0).then(|| Time::from_secs(expiry))
    }

    proptest! {
        #[test]
        fn messages_expire_as_in_a_map(ops in prop::collection::vec(op(), 0..200)) {
            let (mut waiting, mut model) = (Waiting::default(), BTreeMap::new());
            let (mut last, mut popped) = (0, Vec::new());
            for op in ops {
                match op {
                    Op::PushBack(gap, size, expiry) => {
                        last += gap;
                        prop_assert!(waiting.push_back(last, size, (Time::ZERO, at(expiry))));
                        model.insert(last, (size, expiry));
                    }
                    Op::PutBack(count) => {
                        for _ in 0..count {
                            let Some((id, size, expiry)) = popped.pop() else { break };
                            prop_assert!(waiting.push_front(id, size, (Time::ZERO, at(expiry))));
                            model.insert(id, (size, expiry));
                        }
                    }
                    Op::PopFront => {
                        let first = model.pop_first();
                        let expected = first.map(|(id, (size, expiry))| (id, size, at(expiry)));
                        prop_assert_eq!(waiting.pop_front(), expected);
                        popped.extend(expected.map(|(id, size, at)| {
                            (id, size, at.map_or(0, Time::as_secs))
                        }));
                    }
                    Op::Take(nth) => {
                        if let Some((id, (size, _))) = model.iter().nth(nth).map(|(a, b)| (*a, *b)) {
                            prop_assert_eq!(waiting.take(id, size), Some(size));
                            model.remove(&id);
                        }
                    }
                    Op::Expire(now) => {
                        while let Some((id, size)) = waiting.take_expired(Time::from_secs(now)) {
                            let (known, expiry) = model.remove(&id).unwrap();
                            prop_assert!(known == size && (1..=now).contains(&expiry));
                        }
                        prop_assert!(!model.values().any(|(_, at)| (1..=now).contains(at)));
                    }
                }
                popped.retain(|(id, ..)| model.first_key_value().is_none_or(|(first, _)| id < first));
                prop_assert_eq!(waiting.len(), model.len() as u64);
                prop_assert_eq!(waiting.bytes(), model.values().map(|(n, _)| u64::from(*n)).sum::<u64>());
                prop_assert!(waiting.iter().eq(model.keys().copied()));
                let next = model.values().map(|(_, at)| *at).filter(|at| *at > 0).min();
                // What was taken out of the middle may be known for a while.
                let known = waiting.next_expiry().map(Time::as_secs);
                prop_assert!(next.is_none_or(|next| known.is_some_and(|known| known <= next)));
            }
        }
    }

    /// Messages of one queue among those of many, which expire in no order.
    #[test]
    fn a_queue_that_expires_bit_by_bit_stays_small() {
        let mut waiting = Waiting::default();
        let count = 60_000u64;
        for n in 0..count {
            let expiry = 1 + n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 100_000;
            let due = round_up(Time::ZERO, Time::from_secs(expiry));
            waiting.push_back(n * 1000, 1, (Time::ZERO, Some(due)));
        }
        let mut dropped = 0;
        while waiting.take_expired(Time::from_secs(40_000)).is_some() {
            dropped += 1;
            assert!(waiting.holes.pages() <= MAX_HOLE_PAGES);
        }
        assert_eq!(waiting.len(), count - dropped);
        assert!(dropped > count / 3 && waiting.next_expiry() > Some(Time::from_secs(40_000)));
    }
}
