//! Which queued messages expire when.

use std::collections::{BTreeMap, VecDeque};

use super::ids::IdRanges;
use super::sizes::Sizes;
use crate::impossible;
use crate::time::Time;

/// A message is kept for at most this part of its whole time too long.
const PRECISION: u64 = 64;

/// The time from which on a message that arrived at `arrival` and expires at `expiry` is dropped:
/// its expiry, rounded up to whole seconds, and by at most a 64th of its whole time to longer steps.
/// So the times of a queue are few, whatever the expiries are.
pub(super) fn round_up(arrival: Time, expiry: Time) -> Time {
    let whole = expiry.since(arrival).as_secs();
    let step = 1 << (whole / PRECISION).max(1).ilog2();
    let secs = expiry.as_millis().div_ceil(1000);
    let secs = secs.checked_next_multiple_of(step).unwrap_or(secs);
    Time::from_millis(secs.saturating_mul(1000))
}

/// The messages that expire at one time, in queue order.
#[derive(Clone, Debug, Default)]
struct Bucket {
    due: Time,
    ids: IdRanges,
    sizes: Sizes,
}

impl Bucket {
    /// Takes the first message: id and size.
    fn pop_front(&mut self) -> Option<(u64, u32)> {
        let id = self.ids.pop_front()?;
        let size = self.sizes.pop_front().unwrap_or_else(|| {
            impossible!("message {id} expires, and has no size");
            0
        });
        Some((id, size))
    }
}

/// The messages of an ascending queue that expire, by the time at which they do. Those that were
/// published with one interval stand in runs, which take no room by the message; with intervals
/// that all differ a message takes two or three bytes, and its size once more.
#[derive(Clone, Debug)]
pub(super) struct Expiries {
    /// By time; none is empty.
    buckets: VecDeque<Bucket>,
    /// The time of the bucket that starts with a message.
    fronts: BTreeMap<u64, Time>,
}

impl Default for Expiries {
    fn default() -> Expiries {
        Expiries {
            // Many a queue has one message.
            buckets: VecDeque::with_capacity(1),
            fronts: BTreeMap::new(),
        }
    }
}

impl Expiries {
    /// The place of the bucket of a time, made if there is none.
    fn bucket(&mut self, due: Time) -> usize {
        let found = self.buckets.binary_search_by_key(&due, |bucket| bucket.due);
        found.unwrap_or_else(|at| {
            let bucket = Bucket {
                due,
                ..Bucket::default()
            };
            self.buckets.insert(at, bucket);
            at
        })
    }

    /// A message was appended to the queue.
    pub(super) fn push_back(&mut self, id: u64, size: u32, due: Time) {
        let at = self.bucket(due);
        let bucket = &mut self.buckets[at];
        if bucket.ids.is_empty() {
            self.fronts.insert(id, due);
        }
        if bucket.ids.push_back(id) {
            bucket.sizes.push_back(size);
        } else {
            impossible!(
                "message {id} expires, and is not newer than {:?}",
                bucket.ids.back()
            );
        }
    }

    /// A message was put back at the front of the queue.
    pub(super) fn push_front(&mut self, id: u64, size: u32, due: Time) {
        let at = self.bucket(due);
        let bucket = &mut self.buckets[at];
        let first = bucket.ids.front();
        if bucket.ids.push_front_range(id..id.saturating_add(1)) {
            bucket.sizes.push_front(size);
            first.and_then(|first| self.fronts.remove(&first));
            self.fronts.insert(id, due);
        } else {
            impossible!("message {id} expires, and is put back before {first:?}");
        }
    }

    /// The message at the front of the queue, `id`, has left it. Returns its time.
    pub(super) fn pop(&mut self, id: u64) -> Option<Time> {
        let due = *self.fronts.get(&id)?;
        let found = self.buckets.binary_search_by_key(&due, |bucket| bucket.due);
        self.pop_at(found.ok()?);
        Some(due)
    }

    /// Takes the first message of a bucket.
    fn pop_at(&mut self, at: usize) -> Option<(u64, u32)> {
        let bucket = self.buckets.get_mut(at)?;
        let (id, size) = bucket.pop_front()?;
        self.fronts.remove(&id);
        match bucket.ids.front() {
            Some(next) => {
                self.fronts.insert(next, bucket.due);
            }
            None => {
                self.buckets.remove(at);
            }
        }
        Some((id, size))
    }

    /// Takes a message that expires at or before `now`: id and size.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(u64, u32)> {
        self.next().filter(|due| *due <= now)?;
        self.pop_at(0)
    }

    /// When the next message expires.
    pub(super) fn next(&self) -> Option<Time> {
        self.buckets.front().map(|bucket| bucket.due)
    }

    /// True if no message does.
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Forgets the messages that `keep` does not admit.
    pub(super) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        let old = std::mem::take(self);
        for bucket in old.buckets {
            let mut kept = Bucket {
                due: bucket.due,
                ..Bucket::default()
            };
            for (id, size) in bucket.ids.iter().zip(bucket.sizes.iter()) {
                if keep(id) {
                    kept.ids.push_back(id);
                    kept.sizes.push_back(size);
                }
            }
            if let Some(first) = kept.ids.front() {
                self.fronts.insert(first, kept.due);
                self.buckets.push_back(kept);
            }
        }
    }

    /// What it takes, in bytes: about, for the map.
    pub(super) fn room(&self) -> usize {
        let buckets = self.buckets.iter();
        let coded = buckets.map(|bucket| bucket.ids.room() + bucket.sizes.room());
        coded.sum::<usize>()
            + self.buckets.capacity() * size_of::<Bucket>()
            + self.fronts.len() * 32
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const YEAR: u64 = 365 * 86_400;

    #[test]
    fn a_time_is_rounded_up_and_little() {
        for secs in [0, 1, 10, 127, 128, 3600, 86_400, YEAR, u64::from(u32::MAX)] {
            for millis in [0, 1, 999] {
                let arrival = Time::from_millis(1_764_460_800_000 + millis);
                let expiry = arrival + Duration::from_secs(secs);
                let due = round_up(arrival, expiry);
                assert!(due >= expiry, "never too early");
                let late = due.since(expiry);
                let most = Duration::from_secs((secs / PRECISION).max(1));
                assert!(late <= most, "{secs} s: {late:?}");
            }
        }
        let end = Time::from_millis(u64::MAX);
        assert_eq!(round_up(Time::ZERO, end), end);
    }

    /// `count` messages, one in `spacing` milliseconds; `interval` gives the expiry of each in
    /// seconds. What has expired is dropped.
    fn fill(expiries: &mut Expiries, spacing: u64, count: u64, interval: impl Fn(u64) -> u64) {
        for id in 0..count {
            let arrival = Time::from_millis(id * spacing);
            let expiry = arrival + Duration::from_secs(interval(id));
            let size = 200 + (id.wrapping_mul(2_654_435_761) % 7000) as u32;
            expiries.push_back(id, size, round_up(arrival, expiry));
            while expiries.pop_due(arrival).is_some() {}
        }
    }

    fn random(id: u64, most: u64) -> u64 {
        1 + id.wrapping_mul(0x9E37_79B9_7F4A_7C15) % most
    }

    #[test]
    fn a_million_expiries_take_little_room() {
        let count = 1_000_000;
        for interval in [3600, YEAR] {
            let mut expiries = Expiries::default();
            for id in 0..count {
                let arrival = Time::from_millis(id * 100);
                let due = round_up(arrival, arrival + Duration::from_secs(interval));
                expiries.push_back(id, 200, due);
                if id >= interval * 10 {
                    expiries.pop(id - interval * 10);
                }
            }
            let room = expiries.room();
            assert!(room < 64 * 1024, "one interval of {interval} s: {room}");
        }
        for most in [3600, u64::from(u32::MAX)] {
            let mut expiries = Expiries::default();
            fill(&mut expiries, 1, 1_000_000, |id| random(id, most));
            let room = expiries.room();
            // With the sizes, which all differ too.
            assert!(room < 10_000_000, "up to {most} s: {room}");
        }
    }

    /// What a link that is up sends at once leaves nothing behind, however late it expires.
    #[test]
    fn what_has_left_takes_no_room() {
        let mut expiries = Expiries::default();
        for id in 0..100_000 {
            let due = Time::from_secs(random(id, YEAR));
            expiries.push_back(id, 200, due);
            expiries.push_back(id + 1_000_000, 200, due);
            assert_eq!(expiries.pop(id), Some(due));
            assert_eq!(expiries.pop(id + 1_000_000), Some(due));
            expiries.retain(|_| true);
        }
        assert!(expiries.is_empty() && expiries.fronts.is_empty());
        assert!(expiries.room() < 1024, "{}", expiries.room());
    }

    #[test]
    fn what_expires_first_comes_first() {
        let mut expiries = Expiries::default();
        fill(&mut expiries, 1, 10_000, |id| random(id, 5000));
        let mut last = Time::ZERO;
        while let Some(due) = expiries.next() {
            assert!(due >= last);
            assert_eq!(expiries.pop_due(due - Duration::from_millis(1)), None);
            assert!(expiries.pop_due(due).is_some());
            last = due;
        }
        assert!(expiries.is_empty() && expiries.fronts.is_empty());
    }
}
