//! How much waits somewhere.

use crate::impossible;

/// So many messages with so many bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amount {
    /// Messages.
    pub messages: u64,
    /// Bytes of them, as [`Message::size`](crate::message::Message::size) counts.
    pub bytes: u64,
}

/// What a message takes in a queue beside topic, properties and payload, in bytes, about: its entry in
/// memory, or its row's head on disk.
const ENTRY_BYTES: u64 = 64;

impl Amount {
    /// What they take in a queue, in bytes: what bounds in bytes count.
    pub fn weight(self) -> u64 {
        let entries = self.messages.saturating_mul(ENTRY_BYTES);
        self.bytes.saturating_add(entries)
    }

    /// Counts `messages` with `bytes` in.
    pub fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }

    /// Counts `messages` with `bytes` out.
    pub fn take(&mut self, messages: u64, bytes: u64) {
        let left = self.messages.checked_sub(messages);
        let Some((messages, bytes)) = left.zip(self.bytes.checked_sub(bytes)) else {
            impossible!("{messages} messages of {bytes} bytes leave {self:?}");
            *self = Amount::default();
            return;
        };
        *self = Amount { messages, bytes };
    }
}
