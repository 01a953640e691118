//! The messages of one lane that wait on disk, in order.

use super::arrivals::Arrivals;
use super::bits::Bits;
use super::sizes::Sizes;
use crate::store::ids::IdRanges;
use crate::time::Time;

/// An ascending queue of message ids with their sizes and, roughly, their times of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    ids: IdRanges,
    sizes: Sizes,
    /// Ids that were taken out of the middle; the front is none of them.
    holes: Bits,
    bytes: u64,
    pub arrivals: Arrivals,
}

impl Waiting {
    pub fn len(&self) -> u64 {
        self.ids.len() - self.holes.len()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn front(&self) -> Option<u64> {
        self.ids.front()
    }

    /// Appends a message; false if its id is not above all others.
    pub fn push_back(&mut self, id: u64, size: u32, arrival: Time) -> bool {
        if !self.ids.push_back(id) {
            return false;
        }
        self.sizes.push_back(size);
        self.bytes += u64::from(size);
        self.arrivals.push_back(id, arrival);
        true
    }

    /// Puts a message back at the front; false if its id is not below all others.
    pub fn push_front(&mut self, id: u64, size: u32, arrival: Time) -> bool {
        if !self.ids.push_front_range(id..id + 1) {
            return false;
        }
        self.sizes.push_front(size);
        self.bytes += u64::from(size);
        self.arrivals.push_front(id, arrival);
        true
    }

    /// Takes the message at the front: id and size.
    pub fn pop_front(&mut self) -> Option<(u64, u32)> {
        let id = self.ids.pop_front()?;
        let size = self.sizes.pop_front().unwrap_or_default();
        self.bytes -= u64::from(size).min(self.bytes);
        self.settle();
        Some((id, size))
    }

    pub fn contains(&self, id: u64) -> bool {
        self.front() == Some(id) || (self.ids.contains(id) && !self.holes.contains(id))
    }

    /// Takes one message of `size` bytes, wherever it stands, and returns its size.
    pub fn take(&mut self, id: u64, size: u32) -> Option<u32> {
        if self.front() == Some(id) {
            return self.pop_front().map(|(_, size)| size);
        }
        self.contains(id).then(|| {
            self.punch(std::iter::once(id), size.into());
            size
        })
    }

    /// Takes the messages `gone`, with `bytes` in all, out of the middle.
    pub fn punch(&mut self, gone: impl Iterator<Item = u64>, bytes: u64) {
        gone.for_each(|id| self.holes.insert(id));
        self.bytes -= bytes.min(self.bytes);
        self.settle();
        if self.holes.len() > self.ids.len() / 2 {
            self.fill();
        }
    }

    /// The ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.ids.iter().filter(|id| !self.holes.contains(*id))
    }

    /// The ids that follow `passed`, ascending: what lies before costs by the run.
    pub fn iter_after(&self, passed: u64) -> impl Iterator<Item = u64> {
        let from = passed.saturating_add(1);
        let rest = self.ids.runs().map(move |run| run.start.max(from)..run.end);
        rest.flatten().filter(|id| !self.holes.contains(*id))
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
