//! The messages of one lane that wait to be sent, in order.

use std::collections::BTreeMap;

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
    arrivals: Arrivals,
    /// Made with the first message that expires; has some of the holes too.
    expiries: Option<Box<Expiries>>,
    /// What was put back and is not below all others: few, and gone first.
    back: BTreeMap<u64, (u32, Times)>,
}

impl Waiting {
    pub(super) fn len(&self) -> u64 {
        self.ids.len() - self.holes.len() + self.back.len() as u64
    }

    /// What it takes in memory beside itself, in bytes, about.
    pub(super) fn room(&self) -> usize {
        let expiries = self.expiries.as_ref().map_or(0, |expiries| expiries.room());
        let back = self.back.len() * size_of::<(u64, (u32, Times))>() * 3 / 2;
        self.ids.room()
            + self.sizes.room()
            + self.holes.room()
            + self.arrivals.room()
            + expiries
            + back
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
        let back = self.back.first_key_value().map(|(_, (_, (at, _)))| *at);
        let rest = self.ids.front();
        let rest = rest.and_then(|front| self.arrivals.oldest(front));
        back.into_iter().chain(rest).min()
    }

    /// The highest id that had arrived, with all before it, by `time`.
    pub(super) fn arrived_by(&self, time: Time) -> Option<u64> {
        let back = self.back.iter().take_while(|(_, (_, (at, _)))| *at <= time);
        let back = back.last().map(|(id, _)| *id);
        back.into_iter().chain(self.arrivals.through(time)).max()
    }

    /// The time that [`Waiting::arrived_by`] wants to be asked for to find something.
    pub(super) fn next_arrival(&self) -> Option<Time> {
        let back = self.back.first_key_value().map(|(_, (_, (at, _)))| *at);
        let rest = self.ids.front();
        let rest = rest.and_then(|front| self.arrivals.next(front));
        back.into_iter().chain(rest).min()
    }

    /// Puts a message back in its place; false if it is there already.
    pub(super) fn put_back(&mut self, id: u64, size: u32, times: Times) -> bool {
        if self.front().is_none_or(|front| id < front) && self.back.is_empty() {
            return self.push_front(id, size, times);
        }
        if self.contains(id) {
            return false;
        }
        self.bytes += u64::from(size);
        self.back.insert(id, (size, times));
        true
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
    fn push_front(&mut self, id: u64, size: u32, (arrival, expires): Times) -> bool {
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
        let ids = self.ids.front();
        if let Some(first) = self.back.first_entry()
            && ids.is_none_or(|id| *first.key() < id)
        {
            let (id, (size, (_, expires))) = first.remove_entry();
            self.take_bytes(size.into());
            return Some((id, size, expires));
        }
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
        let is_first = self.ids.front() == Some(id);
        is_first
            || self.back.contains_key(&id)
            || (self.ids.contains(id) && !self.holes.contains(id))
    }

    /// The size of a message that waits, looked for among all.
    pub(super) fn find_size(&self, id: u64) -> Option<u32> {
        if let Some((size, _)) = self.back.get(&id) {
            return Some(*size);
        }
        let mut sizes = self.ids.iter().zip(self.sizes.iter());
        let found = sizes.find(|(other, _)| *other == id && !self.holes.contains(id));
        found.map(|(_, size)| size)
    }

    /// Takes one message of `size` bytes, wherever it stands, and returns its size.
    pub(super) fn take(&mut self, id: u64, size: u32) -> Option<u32> {
        if let Some((size, _)) = self.back.remove(&id) {
            self.take_bytes(size.into());
            return Some(size);
        }
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
        for id in gone {
            if self.back.remove(&id).is_none() {
                self.holes.insert(id);
            }
        }
        self.take_bytes(bytes);
        self.settle();
        self.limit_holes();
    }

    /// As [`punch`](Waiting::punch), where many go.
    pub(super) fn punch_many(&mut self, gone: &Bits, bytes: u64) {
        let mut holes = gone.clone();
        self.back.retain(|id, _| !holes.remove(*id));
        self.holes.merge(&holes);
        self.take_bytes(bytes);
        // Before the front is looked for: it may be behind all the others.
        self.limit_holes();
        self.settle();
    }

    /// When the next message expires.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        let back = self.back.values().filter_map(|(_, (_, expires))| *expires);
        let rest = self.expiries.as_ref().and_then(|expiries| expiries.next());
        back.chain(rest).min()
    }

    /// Takes a message that expires at or before `now`, wherever it stands: id and size.
    pub(super) fn take_expired(&mut self, now: Time) -> Option<(u64, u32)> {
        let mut back = self.back.iter();
        let due = back.find(|(_, (_, (_, expires)))| expires.is_some_and(|at| at <= now));
        if let Some((id, (size, _))) = due.map(|(id, known)| (*id, *known)) {
            self.back.remove(&id);
            self.take_bytes(size.into());
            return Some((id, size));
        }
        loop {
            let (id, size) = self.expiries.as_mut()?.pop_due(now)?;
            if self.ids.front() == Some(id) {
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
        let mut holes = self.holes.iter().peekable();
        for (id, size) in self.ids.iter().zip(self.sizes.iter()) {
            if holes.next_if_eq(&id).is_none() {
                ids.push_back(id);
                sizes.push_back(size);
            }
        }
        drop(holes);
        if let Some(expiries) = &mut self.expiries {
            expiries.retain(|id| !self.holes.contains(id));
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
    use crate::store::queue::expiries::round_up;

    #[derive(Clone, Debug)]
    enum Op {
        /// So far behind the last, of this size, with this expiry; 0 is none.
        PushBack(u64, u32, u64),
        /// The nth of those that have gone comes back.
        PutBack(usize),
        PopFront,
        /// The nth is taken out.
        Take(usize),
        Expire(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (1..1000u64, 0..3u32, 0..6u64).prop_map(|(gap, size, at)| Op::PushBack(gap, size, at)),
            3 => (0..6usize).prop_map(Op::PutBack),
            3 => Just(Op::PopFront),
            2 => (0..9usize).prop_map(Op::Take),
            1 => (0..6u64).prop_map(Op::Expire),
        ]
    }

    /// When a message arrived and when it expires.
    fn times(id: u64, expiry: u64) -> Times {
        let expires = (expiry > 0).then(|| Time::from_secs(expiry));
        (Time::from_secs(1000 + 100 * id), expires)
    }

    proptest! {
        /// Whatever goes, comes back and expires: the ids and sizes are those of a map.
        #[test]
        fn messages_wait_as_in_a_map(ops in prop::collection::vec(op(), 0..200)) {
            let (mut waiting, mut model) = (Waiting::default(), BTreeMap::new());
            let (mut last, mut gone) = (0, Vec::new());
            for op in ops {
                match op {
                    Op::PushBack(gap, size, expiry) => {
                        last += gap;
                        prop_assert!(waiting.push_back(last, size, times(last, expiry)));
                        model.insert(last, (size, expiry));
                    }
                    Op::PutBack(nth) if nth < gone.len() => {
                        let (id, (size, expiry)) = gone.remove(nth);
                        prop_assert!(waiting.put_back(id, size, times(id, expiry)));
                        prop_assert!(!waiting.put_back(id, size, times(id, expiry)));
                        model.insert(id, (size, expiry));
                    }
                    Op::PutBack(_) => {}
                    Op::PopFront => {
                        let first = model.pop_first();
                        let expected = first.map(|(id, (size, at))| (id, size, times(id, at).1));
                        prop_assert_eq!(waiting.pop_front(), expected);
                        gone.extend(first);
                    }
                    Op::Take(nth) => {
                        let taken = model.iter().nth(nth).map(|(id, known)| (*id, *known));
                        if let Some((id, (size, _))) = taken {
                            prop_assert_eq!(waiting.find_size(id), Some(size));
                            prop_assert_eq!(waiting.take(id, size), Some(size));
                            prop_assert_eq!(waiting.find_size(id), None);
                            prop_assert!(!waiting.contains(id));
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
                prop_assert_eq!(waiting.len(), model.len() as u64);
                prop_assert_eq!(waiting.front(), model.keys().next().copied());
                prop_assert_eq!(waiting.bytes(), model.values().map(|(n, _)| u64::from(*n)).sum::<u64>());
                prop_assert!(waiting.iter().eq(model.keys().copied()));
                prop_assert!(waiting.iter_after(900).eq(model.range(901..).map(|(id, _)| *id)));
                prop_assert_eq!(waiting.oldest().is_some(), !model.is_empty());
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
