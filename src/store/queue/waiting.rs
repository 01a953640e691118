//! The messages of one lane that wait to be sent, in order.

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
    pub(super) arrivals: Arrivals,
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
        self.front() == Some(id) || (self.ids.contains(id) && !self.holes.contains(id))
    }

    /// Takes one message of `size` bytes, wherever it stands, and returns its size.
    pub(super) fn take(&mut self, id: u64, size: u32) -> Option<u32> {
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
