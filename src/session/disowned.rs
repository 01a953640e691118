//! What a session is owed no more: there may be a hundred thousand messages, so whoever owes them is told
//! one by one.

use crate::held::{Charge, QUEUES};
use crate::message::MessageId;
use crate::store::Queue;

/// The numbers of messages that a session is owed no more, each once, in no order to rely on.
#[derive(Debug)]
pub struct Disowned {
    /// Those that were on their way.
    sent: Vec<MessageId>,
    queue: Queue,
    /// What the queue takes in RAM.
    _held: Charge<QUEUES>,
}

impl Disowned {
    /// Those in `sent`, and all in `queue`, which takes so many bytes in RAM.
    pub(super) fn new(sent: Vec<MessageId>, queue: Queue, bytes: usize) -> Disowned {
        Disowned {
            sent,
            queue,
            _held: Charge::new(bytes),
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
        self.sent.pop().or_else(queued)
    }
}
