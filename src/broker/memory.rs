//! `memory_limit`: how much the messages in memory may take.

use crate::message::{self, Message};

/// What counts beside the messages themselves.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Bytes of packets that have come in half.
    partial_bytes: usize,
    /// Bytes that are queued, where the store is memory.
    stored_bytes: u64,
    /// `memory_limit` is reached, and the log says so.
    is_full: bool,
}

impl Memory {
    pub(crate) fn set_partial_bytes(&mut self, bytes: usize) {
        self.partial_bytes = bytes;
    }

    pub(crate) fn set_stored_bytes(&mut self, bytes: u64) {
        self.stored_bytes = bytes;
    }

    /// What `memory_limit` counts, in bytes: the messages in memory, half packets, and without
    /// persistence what is queued, since the store is memory then.
    pub(crate) fn bytes(&self) -> u64 {
        (message::bytes_in_memory() + self.partial_bytes) as u64 + self.stored_bytes
    }

    /// True if there is room for `message` below `limit`. What makes room always goes, and so does
    /// what the broker itself has to say.
    pub(crate) fn admits(&mut self, message: &Message, limit: Option<u64>) -> bool {
        let Some(limit) = limit else {
            return true;
        };
        let deletes = message.retain && message.payload().is_empty();
        if deletes || message.origin.client_id().is_empty() {
            return true;
        }
        let full = self.bytes() > limit;
        match (full, std::mem::replace(&mut self.is_full, full)) {
            (true, false) => {
                log::warn!("memory_limit is reached: messages are refused until there is room.");
            }
            (false, true) => log::info!("Messages are below memory_limit again."),
            _ => {}
        }
        !full
    }
}
