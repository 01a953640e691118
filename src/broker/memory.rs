//! `memory_limit`: how much may be held of what peers can make grow.

use crate::held::{self, Charge, HALF_PACKETS, STORE};
use crate::message::Message;

/// What counts that is told from outside, and how much is taken in all.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Packets that have come in half.
    half_packets: Charge<HALF_PACKETS>,
    /// The store, where it is memory.
    stored: Charge<STORE>,
    /// How much is taken.
    state: Tightness,
    /// The same, as the log has it.
    told: Tightness,
}

/// How much of `memory_limit` is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Tightness {
    /// Not three quarters, or there is no limit.
    #[default]
    None,
    /// More than that.
    Tight,
    /// All.
    Full,
}

impl Memory {
    pub(crate) fn set_partial_bytes(&mut self, bytes: usize) {
        self.half_packets.set(bytes);
    }

    pub(crate) fn set_stored_bytes(&mut self, bytes: u64) {
        self.stored
            .set(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// What `memory_limit` counts, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        held::all()
    }

    /// Looks how much of `limit` is taken, and tells when that has changed.
    pub(crate) fn look(&mut self, limit: Option<u64>) {
        self.state = self.tightness(limit);
        let mut now = self.state;
        if now < self.told {
            // Some way back, or the log would tell of each message around the limit.
            let eased = limit.map(|limit| limit / 8 * 7);
            now = self.tightness(eased).min(self.told);
        }
        let before = std::mem::replace(&mut self.told, now);
        if before == now {
            return;
        }
        match now {
            Tightness::Full => log::warn!(
                "memory_limit is reached: until there is room, messages are not retained, and no \
                 queue in memory grows."
            ),
            Tightness::Tight => log::warn!(
                "Three quarters of memory_limit are taken: queues in memory grow no more, and \
                 queue_overflow says what goes."
            ),
            Tightness::None => log::info!("Messages are below three quarters of memory_limit."),
        }
    }

    /// How much of `limit` is taken.
    pub(crate) fn tightness(&self, limit: Option<u64>) -> Tightness {
        match limit {
            Some(limit) if self.bytes() > limit => Tightness::Full,
            Some(limit) if self.bytes() > limit / 4 * 3 => Tightness::Tight,
            _ => Tightness::None,
        }
    }

    /// True if `limit` was reached at the last [`look`](Memory::look).
    pub(crate) fn is_full(&self) -> bool {
        self.state == Tightness::Full
    }

    /// True if there was room for `message` at the last [`look`](Memory::look). What makes room
    /// always goes, and so does what the broker itself has to say.
    pub(crate) fn admits(&self, message: &Message) -> bool {
        let deletes = message.retain && message.payload().is_empty();
        !self.is_full() || deletes || message.origin.client_id().is_empty()
    }
}
