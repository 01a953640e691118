//! What a session is owed no more: there may be a hundred thousand messages, so whoever owes them is told
//! one by one.

use crate::held::{Charge, QUEUES};
use crate::lane::Lane;
use crate::message::MessageId;
use crate::store::{Queue, Taken};

/// The numbers of messages that a session is owed no more, each once, in no order to rely on.
#[derive(Debug)]
pub struct Disowned {
    /// Those that were on their way.
    sent: Vec<MessageId>,
    taken: Taken,
    queue: Queue,
    /// What the queue takes in RAM.
    _held: Charge<QUEUES>,
}

impl Disowned {
    /// Those in `sent`, and all in `queue`, which takes so many bytes in RAM.
    pub(super) fn new(sent: Vec<MessageId>, queue: Queue, bytes: usize) -> Disowned {
        Disowned {
            sent,
            taken: Taken::default(),
            queue,
            _held: Charge::new(bytes),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        let queue = &self.queue;
        let has_dead = queue.owed(Lane::Dead).messages > 0;
        self.sent.is_empty() && self.taken.is_empty() && queue.is_empty() && !has_dead
    }

    /// Those in `sent`, and those that were `taken` out of a queue.
    pub(super) fn taken(sent: Vec<MessageId>, taken: Taken) -> Disowned {
        Disowned {
            _held: Charge::new(taken.held()),
            sent,
            taken,
            queue: Queue::default(),
        }
    }
}

impl Iterator for Disowned {
    type Item = MessageId;

    fn next(&mut self) -> Option<MessageId> {
        let queue = &mut self.queue;
        let queued = || {
            let living = queue.pop_below(MessageId(u64::MAX), |_| true);
            living.or_else(|| queue.pop_dead()).map(|queued| queued.id)
        };
        let taken = &mut self.taken;
        let known = self.sent.pop().or_else(|| taken.next());
        known.or_else(queued)
    }
}
