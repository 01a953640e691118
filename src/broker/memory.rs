//! `memory_limit`: how much the messages in memory may take.

use super::Broker;
use super::session::Session;
use crate::message::{self, Message};

impl Broker {
    /// Bytes of packets that have come in half.
    pub fn set_partial_bytes(&mut self, bytes: usize) {
        self.partial_bytes = bytes;
    }

    /// What `memory_limit` counts, in bytes: the messages in memory, half packets, and without
    /// persistence what is queued, since the store is memory then.
    pub fn memory(&self) -> u64 {
        (message::bytes_in_memory() + self.partial_bytes) as u64 + self.stored_bytes
    }

    /// Looks once a turn, not at each message, how much the store takes that is memory.
    pub(super) fn count_stored(&mut self) {
        let queued = |(_, session): (usize, &Session)| session.outbound.bytes();
        let counts = self.settings.memory_limit.is_some() && !self.settings.persistence;
        self.stored_bytes = match counts {
            true => self.sessions.iter().map(queued).sum(),
            false => 0,
        };
    }

    /// True if there is no memory to take in `message`. What makes room always goes, and so does
    /// what the broker itself has to say.
    pub(super) fn is_memory_full(&self, message: &Message) -> bool {
        let Some(limit) = self.settings.memory_limit else {
            return false;
        };
        let deletes = message.retain && message.payload().is_empty();
        if deletes || message.origin.client_id.is_empty() {
            return false;
        }
        let full = self.memory() > limit;
        if full && !self.memory_full.replace(full) {
            log::warn!("memory_limit is reached: messages are refused until there is room.");
        } else if !full && self.memory_full.replace(full) {
            log::info!("Messages are below memory_limit again.");
        }
        full
    }
}
