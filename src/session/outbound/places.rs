//! Where messages are on their way to the peer.

use std::collections::VecDeque;

use super::{Entry, READ_BYTES, READY_MESSAGES};
use crate::message::MessageId;
use crate::mqtt::{PacketId, QoS};
use crate::store::IdRanges;
use crate::time::Time;

/// Where a message waits for the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// PUBLISH sent; PUBACK or PUBREC is due.
    Published,
    /// PUBREC came; PUBREL is sent or waits for its commit; PUBCOMP is due.
    Released,
}

/// A message that was sent and not fully acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub seq: u64,
    pub id: Option<MessageId>,
    pub size: u32,
    pub qos: QoS,
    pub stage: Stage,
    pub sent: Time,
}

/// Where messages are on their way to the peer.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub flights: VecDeque<Flight>,
    pub ready: VecDeque<Entry>,
    pub ready_bytes: usize,
    /// How many of `ready` are QoS 0.
    pub ready_qos0: usize,
    pub reading: IdRanges,
    pub cold: IdRanges,
    /// Sent on an earlier connection and still owed; sorted.
    pub resend: Vec<MessageId>,
}

impl Places {
    /// Messages that the peer has not taken over.
    pub fn len(&self) -> u64 {
        let published = self.flights.iter().filter(|f| f.stage == Stage::Published);
        published.count() as u64 + self.ready.len() as u64 + self.reading.len() + self.cold.len()
    }

    pub fn make_ready(&mut self, entry: Entry) {
        self.ready_bytes += entry.message.size();
        self.ready_qos0 += usize::from(entry.qos == QoS::AtMostOnce);
        self.ready.push_back(entry);
    }

    /// True if `ready` is to be filled up from what is not in RAM.
    pub fn is_low(&self) -> bool {
        self.ready.len() < READY_MESSAGES / 2 && self.ready_bytes < READ_BYTES / 2
    }

    /// The flights at one stage.
    pub fn at(&self, stage: Stage) -> impl Iterator<Item = &Flight> {
        self.flights.iter().filter(move |f| f.stage == stage)
    }
}

/// The latest place before `next` in a sequence that gives the packet id `id`.
pub(super) fn latest_seq(id: PacketId, next: u64) -> u64 {
    let turn = 65_535;
    let offset = u64::from(id.get()) - 1;
    let base = next.saturating_sub(1) / turn * turn;
    if base + offset < next {
        base + offset
    } else {
        (base + offset).saturating_sub(turn)
    }
}
