//! `memory_limit`: how much the messages in memory may take.

use std::time::Duration;

use crate::message::{self, Message};
use crate::time::Time;

/// How often what is queued is counted, at most, where the store is memory.
const COUNT_EVERY: Duration = Duration::from_millis(20);

/// What counts beside the messages themselves.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Bytes of packets that have come in half.
    partial_bytes: usize,
    /// Bytes that are queued, where the store is memory.
    stored_bytes: u64,
    /// When they are to be counted anew.
    count_at: Time,
    /// `memory_limit` is reached, and the log says so.
    is_full: bool,
}

impl Memory {
    pub(crate) fn set_partial_bytes(&mut self, bytes: usize) {
        self.partial_bytes = bytes;
    }

    /// True if what is queued is to be counted now: that takes a look at every session.
    pub(crate) fn wants_stored(&mut self, now: Time) -> bool {
        let is_due = self.count_at <= now;
        if is_due {
            self.count_at = now + COUNT_EVERY;
        }
        is_due
    }

    pub(crate) fn set_stored_bytes(&mut self, bytes: u64) {
        self.stored_bytes = bytes;
    }

    /// What `memory_limit` counts, in bytes: the messages in memory, half packets, and without
    /// persistence what is queued, since the store is memory then.
    pub(crate) fn bytes(&self) -> u64 {
        (message::bytes_in_memory() + self.partial_bytes) as u64 + self.stored_bytes
    }

    /// Looks whether `limit` is reached, and tells once.
    pub(crate) fn look(&mut self, limit: Option<u64>) {
        let is_full = limit.is_some_and(|limit| self.bytes() > limit);
        match (is_full, std::mem::replace(&mut self.is_full, is_full)) {
            (true, false) => log::warn!(
                "memory_limit is reached: until there is room, messages are not retained, and \
                 without persistence none are stored."
            ),
            (false, true) => log::info!("Messages are below memory_limit again."),
            _ => {}
        }
    }

    /// True if there was room for `message` at the last [`look`](Memory::look). What makes room
    /// always goes, and so does what the broker itself has to say.
    pub(crate) fn admits(&self, message: &Message) -> bool {
        let deletes = message.retain && message.payload().is_empty();
        !self.is_full || deletes || message.origin.client_id().is_empty()
    }

    /// True if so much of `limit` is taken that queues in RAM may not grow.
    pub(crate) fn is_tight(&self, limit: Option<u64>) -> bool {
        limit.is_some_and(|limit| self.bytes() > limit / 4 * 3)
    }
}
