//! Where messages are on their way to the peer.

use std::collections::VecDeque;
use std::rc::Rc;

use super::entry::{Done, Entry};
use crate::lane::Lane;
use crate::message::{Message, MessageId};
use crate::mqtt::{PacketId, QoS};
use crate::owed::Owed;
use crate::store::{Queue, Queued};
use crate::time::Time;

/// How many messages a durable session holds in RAM beyond its window, at most.
pub(super) const READY_MESSAGES: usize = 128;
/// How many bytes of messages a durable session holds in RAM beyond its window, about.
pub const READ_BYTES: usize = 32 * 1024;

/// How far the handshake about a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handshake {
    /// PUBLISH sent; PUBACK or PUBREC is due.
    Published,
    /// PUBREC came; PUBREL is sent or waits for its commit; PUBCOMP is due.
    Released,
}

/// A message that was sent and not fully acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub owed: Owed,
    pub id: Option<MessageId>,
    pub size: u32,
    /// Bytes of its payload; 0 if it was sent before a restart.
    pub payload: u32,
    pub arrival: Time,
    pub handshake: Handshake,
    pub sent: Time,
    /// Kept if it may have to go to another member of a shared subscription and is in RAM only.
    pub message: Option<Rc<Message>>,
    /// It was sent beside the queue, and is not counted as owed.
    pub is_aside: bool,
}

impl Flight {
    /// What a queue keeps of it, if it is in the store.
    pub(super) fn queued(&self) -> Option<Queued> {
        Some(Queued {
            id: self.id?,
            lane: self.owed.lane,
            size: self.size,
            arrival: self.arrival,
        })
    }
}

/// Where messages are on their way to the peer.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub flights: VecDeque<Flight>,
    pub ready: VecDeque<Entry>,
    pub ready_bytes: usize,
    /// How many of `ready` are QoS 0.
    pub ready_qos0: usize,
    pub reading: VecDeque<Queued>,
    /// The rest; it also counts what is owed in each lane, in all places.
    pub cold: Queue,
    /// Sent on an earlier connection and still owed; sorted.
    pub resend: Vec<MessageId>,
}

impl Places {
    /// True if a message was sent on an earlier connection.
    pub(super) fn is_resent(&self, id: MessageId) -> bool {
        self.resend.binary_search(&id).is_ok()
    }

    /// Takes the flights that the peer has not answered.
    pub(super) fn take_published(&mut self) -> Vec<Flight> {
        let published = self.at(Handshake::Published).cloned().collect();
        self.flights.retain(|f| f.handshake == Handshake::Released);
        published
    }

    /// Puts messages back where they came from: `back` goes before all that waits.
    pub(super) fn put_back(&mut self, back: Vec<Queued>) {
        let later = self.cold.take_sent();
        let sent = back.iter().filter(|queued| self.is_resent(queued.id));
        for queued in sent.copied().chain(later).collect::<Vec<_>>() {
            self.cold.push_sent(queued);
        }
        for queued in back.into_iter().rev() {
            if !self.is_resent(queued.id) {
                self.cold.push_front(queued);
            }
        }
    }

    /// Takes a message out of `ready`.
    pub(super) fn take_ready(&mut self, at: usize) -> Option<Done> {
        let entry = self.ready.remove(at)?;
        self.count_out(&entry);
        Some(entry.done())
    }

    /// A message has left `ready`.
    pub(super) fn count_out(&mut self, entry: &Entry) {
        self.ready_bytes -= (entry.message.size() as usize).min(self.ready_bytes);
        self.ready_qos0 -= usize::from(entry.owed.qos == QoS::AtMostOnce);
    }

    /// A message is no longer one that was sent on an earlier connection and is to be sent again.
    pub(super) fn forget_resend(&mut self, id: MessageId) {
        if let Ok(at) = self.resend.binary_search(&id) {
            self.resend.remove(at);
        }
    }

    /// Takes the oldest message out of `reading` that was never sent, of the lanes that `may`
    /// admits. Its row, when it comes, is not taken in.
    pub(super) fn take_reading(&mut self, may: impl Fn(Lane) -> bool) -> Option<Queued> {
        let mut reading = self.reading.iter();
        let at = reading.position(|queued| may(queued.lane) && !self.is_resent(queued.id))?;
        self.reading.remove(at)
    }

    /// Takes a message out of `ready` or `reading`.
    pub(super) fn take_by_id(&mut self, id: MessageId) -> Option<Done> {
        if let Some(at) = self.ready.iter().position(|e| e.id == Some(id)) {
            return self.take_ready(at);
        }
        let at = self.reading.iter().position(|queued| queued.id == id)?;
        self.reading.remove(at).map(Done::from)
    }

    pub(super) fn make_ready(&mut self, entry: Entry) {
        self.ready_bytes += entry.message.size() as usize;
        self.ready_qos0 += usize::from(entry.owed.qos == QoS::AtMostOnce);
        self.ready.push_back(entry);
    }

    /// True if `ready` is to be filled up from what is not in RAM.
    pub(super) fn is_low(&self) -> bool {
        self.ready.len() < READY_MESSAGES / 2 && self.ready_bytes < READ_BYTES / 2
    }

    /// The payload bytes that the peer has not fully acknowledged.
    pub(super) fn bytes_in_flight(&self) -> u64 {
        self.flights.iter().map(|f| u64::from(f.payload)).sum()
    }

    /// The flights whose handshake is that far.
    pub(super) fn at(&self, handshake: Handshake) -> impl Iterator<Item = &Flight> {
        self.flights
            .iter()
            .filter(move |f| f.handshake == handshake)
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
