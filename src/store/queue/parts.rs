//! Taking much out of a queue at once: whole lanes, and what newer messages supersede.

use std::collections::VecDeque;

use super::bits::Bits;
use super::{LaneQueue, Queue, Queued};
use crate::lane::Lane;
use crate::message::MessageId;

/// The numbers of messages that were taken out of a queue; a bit each where they are dense.
#[derive(Clone, Debug, Default)]
pub struct Taken(Bits);

impl Taken {
    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// What they take in RAM, in bytes, about.
    pub fn held(&self) -> usize {
        self.0.room()
    }
}

impl Iterator for Taken {
    type Item = MessageId;

    fn next(&mut self) -> Option<MessageId> {
        self.0.pop().map(MessageId)
    }
}

impl Queue {
    /// Parts with the lanes that `goes` says, which become a queue of their own: both are owed what waits
    /// in them, and no more. Costs by the lane, not by the message.
    pub fn part_with(&mut self, goes: impl Fn(Lane) -> bool) -> Queue {
        let all = std::mem::take(self);
        let (gone, kept) = all.lanes.into_iter().partition(|queue| goes(queue.lane));
        let (sent_gone, sent_kept) = all.sent.into_iter().partition(|queued| goes(queued.lane));
        *self = Queue::of(kept, sent_kept, all.newest);
        Queue::of(gone, sent_gone, all.newest)
    }

    /// A queue of what waits in `lanes`, and what was `sent` before.
    fn of(lanes: Vec<LaneQueue>, sent: VecDeque<Queued>, newest: MessageId) -> Queue {
        let mut queue = Queue {
            sent,
            newest,
            ..Queue::default()
        };
        for LaneQueue { lane, waiting, .. } in lanes {
            let (messages, bytes) = (waiting.len(), waiting.bytes());
            let of_lane = queue.lane_mut(lane);
            of_lane.waiting = waiting;
            of_lane.owed.add(messages, bytes);
            queue.changed(lane);
        }
        for at in 0..queue.sent.len() {
            if let Some(Queued { lane, size, .. }) = queue.sent.get(at).copied() {
                queue.lane_mut(lane).owed.add(1, size.into());
            }
        }
        queue
    }

    /// Takes all messages of a lane that wait here and have a newer one on their topic, and tells
    /// their bytes. Those elsewhere must have been forgotten before.
    pub fn take_superseded(&mut self, lane: Lane) -> (Taken, u64) {
        let queue = self.lane_mut(lane);
        let Some(topics) = &mut queue.topics else {
            return (Taken::default(), 0);
        };
        let (ids, bytes) = topics.take_superseded();
        queue.waiting.punch_many(&ids, bytes);
        queue.owed.take(ids.len(), bytes);
        self.changed(lane);
        (Taken(ids), bytes)
    }
}
