//! What a queue takes in memory.

use super::{LaneQueue, Queue, Queued};
use crate::held::ALLOCATION;

impl Queue {
    /// What it takes in memory beside itself, in bytes, about: next to nothing by the message where they
    /// are alike. To ask costs in proportion to the lanes, and to the times at which messages expire.
    pub fn room(&self) -> usize {
        let lanes = self.lanes.iter().map(LaneQueue::room).sum::<usize>();
        self.sent.capacity() * size_of::<Queued>()
            + self.lanes.capacity() * size_of::<LaneQueue>()
            + lanes
            + ALLOCATION
    }
}

impl LaneQueue {
    fn room(&self) -> usize {
        let topics = self.topics.as_ref().map_or(0, |topics| topics.room());
        self.waiting.room() + topics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::Lane;
    use crate::message::MessageId;
    use crate::time::Time;

    /// A queue of as many messages, every `step`th number, of sizes that `size` says.
    fn queue(count: u64, step: u64, size: impl Fn(u64) -> u32) -> Queue {
        let mut queue = Queue::default();
        for n in 1..=count {
            let id = MessageId(n * step);
            queue.owe(Lane::Client, Some(id), size(n), None);
            queue.push_back(Queued {
                id,
                lane: Lane::Client,
                size: size(n),
                arrival: Time::from_secs(n / 10),
                expires: None,
            });
        }
        queue
    }

    #[test]
    fn messages_that_are_alike_take_next_to_nothing() {
        assert!(queue(100_000, 1, |_| 80).room() < 8_192);
        let mixed = queue(100_000, 1, |n| 50 + u32::try_from(n * n % 97).unwrap());
        let gaps = queue(100_000, 3, |n| 50 + u32::try_from(n * n % 97).unwrap());
        for (room, least, most) in [(mixed.room(), 1, 4), (gaps.room(), 3, 9)] {
            assert!((least * 90_000..most * 100_000).contains(&room), "{room}");
        }
    }

    /// With an index by topic it is that which counts, and it has a bound.
    #[test]
    fn topics_count_once_each() {
        let of = |topics: u64| {
            let mut queue = Queue::default();
            for n in 1..=200_000 {
                let id = MessageId(n);
                let topic = format!("t/{}", n % topics);
                queue.owe(Lane::Client, Some(id), 80, Some(&topic));
            }
            queue.room()
        };
        assert!(of(10) < 100_000, "{}", of(10));
        assert!(
            (1_000_000..8_000_000).contains(&of(150_000)),
            "{}",
            of(150_000)
        );
    }
}
