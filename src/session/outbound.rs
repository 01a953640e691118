//! Messages on their way to the peer: the queue, the in-flight window and the QoS 1 and 2
//! handshakes.
//!
//! A message passes through up to four places, always in this order:
//!
//! ```text
//! cold (ids on disk) → reading (asked of the store) → ready (in RAM) → flights (sent)
//! ```
//!
//! A session that lives only as long as its connection uses `ready` and `flights` alone. A
//! durable one keeps at most [`READY_MESSAGES`] messages in RAM and the rest as ranges of ids;
//! offline it keeps ids only. The packet id of a message follows from its place in the session's
//! sequence, which is written with the message, so a message that is sent again after a crash
//! carries the packet id it had before.

mod acks;
mod places;

use std::rc::Rc;

use places::{Flight, Places, Stage, latest_seq};

use crate::message::{Message, MessageId};
use crate::mqtt::{PacketId, QoS};
use crate::store::{IdRanges, StateRecord};
use crate::time::Time;

/// How many messages a durable session holds in RAM beyond its window, at most.
pub const READY_MESSAGES: usize = 128;
/// How many bytes of messages a durable session holds in RAM beyond its window, about.
pub const READ_BYTES: usize = 32 * 1024;

/// One message on its way to one peer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The message.
    pub message: Rc<Message>,
    /// Its number in the store; `None` if it is owed only while the connection lasts.
    pub id: Option<MessageId>,
    /// Its place in the session's sequence: gives the packet id.
    pub seq: u64,
    /// The QoS to send it with.
    pub qos: QoS,
    /// The RETAIN flag to send.
    pub retain: bool,
    /// It was sent on an earlier connection.
    pub dup: bool,
    /// The bridge topic line it came by; 0 for none.
    pub mapping: u16,
    /// The subscription identifiers to send.
    pub sub_ids: Box<[u32]>,
}

impl Entry {
    /// The packet id it is sent with.
    pub fn packet_id(&self) -> PacketId {
        PacketId::of_sequence(self.seq)
    }
}

/// A message the peer has taken over: its payload is no longer needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acked {
    /// Its number in the store, if it was owed durably.
    pub id: Option<MessageId>,
}

/// The outbound half of a session. An idle one is small.
#[derive(Debug)]
pub struct Outbound {
    durable: bool,
    online: bool,
    window: u16,
    /// Tells the answer to the read under way from those of earlier connections.
    reads: u32,
    next_seq: u64,
    /// Every owed message up to and including this one was sent at least once.
    cursor: MessageId,
    /// Bytes owed, in all places.
    bytes: u64,
    /// Made with the first message.
    places: Option<Box<Places>>,
}

impl Outbound {
    /// An empty queue. `durable`: messages are in the store and survive the connection.
    pub fn new(durable: bool) -> Outbound {
        Outbound {
            durable,
            online: false,
            window: 0,
            reads: 0,
            next_seq: 0,
            cursor: MessageId(0),
            bytes: 0,
            places: None,
        }
    }

    /// A durable queue as the store has it: `owed` in order, with `bytes` of messages.
    pub fn restore(state: &StateRecord, owed: IdRanges, bytes: u64) -> Outbound {
        let released = state.releasing.iter().map(|(id, message)| Flight {
            seq: latest_seq(*id, state.next_seq),
            id: (message.0 != 0).then_some(*message),
            size: 0,
            qos: QoS::ExactlyOnce,
            stage: Stage::Released,
            sent: Time::ZERO,
        });
        let mut resend = state.sent.clone();
        resend.sort_unstable();
        let places = Places {
            flights: released.collect(),
            cold: owed,
            resend,
            ..Places::default()
        };
        let mut outbound = Outbound {
            next_seq: state.next_seq,
            cursor: state.cursor,
            bytes,
            places: Some(Box::new(places)),
            ..Outbound::new(true)
        };
        outbound.rest();
        outbound
    }

    /// The state to write; the inbound half adds its own.
    pub fn record(&self) -> StateRecord {
        let mut record = StateRecord {
            next_seq: self.next_seq,
            cursor: self.cursor,
            ..StateRecord::default()
        };
        let Some(places) = &self.places else {
            return record;
        };
        record.sent = places.at(Stage::Published).filter_map(|f| f.id).collect();
        record.sent.extend_from_slice(&places.resend);
        record.sent.sort_unstable();
        record.releasing = places
            .at(Stage::Released)
            .map(|f| (PacketId::of_sequence(f.seq), f.id.unwrap_or_default()))
            .collect();
        record
    }

    /// Gives back the memory of an empty queue.
    pub fn rest(&mut self) {
        self.places
            .take_if(|p| p.len() == 0 && p.flights.is_empty() && p.resend.is_empty());
    }

    fn places(&mut self) -> &mut Places {
        self.places.get_or_insert_default()
    }

    /// Takes the next place in the sequence; a packet id follows from it.
    pub fn next_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// The sequence goes on half a turn of packet ids further: away from those that the peer may
    /// have seen since this state was written.
    pub fn skip_ids(&mut self) {
        self.next_seq += 65_535 / 2;
    }

    /// Messages owed to the peer and not yet taken over by it.
    pub fn len(&self) -> u64 {
        self.places.as_ref().map_or(0, |p| p.len())
    }

    /// True when nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the messages owed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True while messages survive the connection.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// Messages waiting in RAM for the window to open.
    pub fn ready(&self) -> usize {
        self.places.as_ref().map_or(0, |p| p.ready.len())
    }

    /// Bytes of the messages waiting in RAM.
    pub fn ready_bytes(&self) -> usize {
        self.places.as_ref().map_or(0, |p| p.ready_bytes)
    }

    /// True while a QoS 0 message waits in RAM; later ones must not overtake it.
    pub fn holds_qos0(&self) -> bool {
        self.places.as_ref().is_some_and(|p| p.ready_qos0 > 0)
    }

    /// True while messages wait that are not in RAM.
    pub fn is_behind(&self) -> bool {
        let places = self.places.as_ref();
        places.is_some_and(|p| !p.cold.is_empty() || !p.reading.is_empty())
    }

    /// A connection is up. `window`: how many QoS 1 and 2 messages may be unacknowledged.
    /// Returns the packet ids whose PUBREL is to be sent again, in order [MQTT-4.4.0-1].
    pub fn connect(&mut self, window: u16, now: Time) -> Vec<PacketId> {
        self.online = true;
        self.window = window.max(1);
        let Some(places) = &mut self.places else {
            return Vec::new();
        };
        let flights = places.flights.iter_mut();
        flights
            .map(|flight| {
                flight.sent = now;
                PacketId::of_sequence(flight.seq)
            })
            .collect()
    }

    /// Changes how many QoS 1 and 2 messages may be unacknowledged.
    pub fn set_window(&mut self, window: u16) {
        self.window = window.max(1);
    }

    /// The peer has lost its half of the session [MQTT-3.2.2-5]: what it had not completed goes
    /// out again, as new. A message whose PUBREL got lost with the session would be lost too; one
    /// whose PUBCOMP got lost comes twice, which is the lesser evil.
    pub fn peer_forgot(&mut self) {
        let Some(places) = &mut self.places else {
            return;
        };
        places.resend.clear();
        let mut again: Vec<u64> = Vec::new();
        for flight in std::mem::take(&mut places.flights) {
            if let Some(id) = flight.id {
                self.bytes += u64::from(flight.size);
                again.push(id.0);
            }
        }
        let Some(last) = again.iter().max().copied() else {
            return;
        };
        again.extend(places.cold.take_front(u64::MAX, last + 1).iter());
        again.sort_unstable();
        let mut front = IdRanges::default();
        for id in again {
            front.push_back(id);
        }
        front.append(&mut places.cold);
        places.cold = front;
    }

    /// The connection is gone: a durable queue falls back to ids on disk.
    pub fn disconnect(&mut self) {
        self.online = false;
        self.reads = self.reads.wrapping_add(1);
        if !self.durable {
            (self.places, self.bytes) = (None, 0);
            return;
        }
        let Some(places) = &mut self.places else {
            return;
        };
        let mut front = IdRanges::default();
        for flight in places
            .flights
            .iter()
            .filter(|f| f.stage == Stage::Published)
        {
            if let Some(id) = flight.id {
                front.push_back(id.0);
                places.resend.push(id);
            }
        }
        places.resend.sort_unstable();
        places.resend.dedup();
        places.flights.retain(|f| f.stage == Stage::Released);
        for entry in std::mem::take(&mut places.ready) {
            match entry.id {
                Some(id) => {
                    front.push_back(id.0);
                }
                // Owed only while the connection lasts.
                None => self.bytes = self.bytes.saturating_sub(entry.message.size() as u64),
            }
        }
        (places.ready_bytes, places.ready_qos0) = (0, 0);
        front.append(&mut places.reading);
        front.append(&mut places.cold);
        places.cold = front;
        self.rest();
    }

    /// Queues a message. Whether it may be refused is the caller's business.
    pub fn push(&mut self, entry: Entry) {
        self.bytes += entry.message.size() as u64;
        let (durable, online) = (self.durable, self.online);
        let places = self.places();
        let room = places.ready.len() < READY_MESSAGES && places.ready_bytes < READ_BYTES;
        let in_ram = online && places.cold.is_empty() && places.reading.is_empty() && room;
        match entry.id {
            Some(id) if durable && !in_ram => {
                places.cold.push_back(id.0);
            }
            _ => places.make_ready(entry),
        }
    }

    /// The next message that may be sent now, already counted as in flight. `durable_below`:
    /// messages below this number are on disk; a durable QoS 2 message waits for that, because
    /// a second delivery after a crash must find its packet id again. `max_qos`: the highest the
    /// peer takes.
    pub fn next(&mut self, durable_below: MessageId, max_qos: QoS, now: Time) -> Option<Entry> {
        let window = usize::from(self.window);
        let places = self.places.as_mut()?;
        let head = places.ready.front_mut()?;
        let counted = head.qos == QoS::AtMostOnce;
        head.qos = head.qos.min(max_qos);
        if head.qos != QoS::AtMostOnce {
            if places.flights.len() >= window {
                return None;
            }
            // The id of a message one whole turn of the sequence older may still be taken.
            let oldest = places.flights.front().map_or(head.seq, |f| f.seq);
            if head.seq.saturating_sub(oldest) >= 65_535 {
                return None;
            }
            if head.qos == QoS::ExactlyOnce && head.id.is_some_and(|id| id >= durable_below) {
                return None;
            }
        }
        let entry = places.ready.pop_front()?;
        places.ready_bytes -= entry.message.size().min(places.ready_bytes);
        places.ready_qos0 -= usize::from(counted);
        self.launch(&entry, now);
        Some(entry)
    }

    /// Counts a message as sent: QoS 0 is done with it, QoS 1 and 2 are in flight.
    fn launch(&mut self, entry: &Entry, now: Time) {
        let size = entry.message.size() as u32;
        if let Some(id) = entry.id {
            self.cursor = self.cursor.max(id);
        }
        if entry.qos == QoS::AtMostOnce {
            self.forget(size);
        }
        let places = self.places();
        if let Some(Ok(at)) = entry.id.map(|id| places.resend.binary_search(&id)) {
            places.resend.remove(at);
        }
        if entry.qos != QoS::AtMostOnce {
            places.flights.push_back(Flight {
                seq: entry.seq,
                id: entry.id,
                size,
                qos: entry.qos,
                stage: Stage::Published,
                sent: now,
            });
        }
    }

    /// A message is no longer owed.
    fn forget(&mut self, size: u32) {
        self.bytes = self.bytes.saturating_sub(u64::from(size));
    }

    /// The message that [`Outbound::next`] gave last cannot be sent (too large for the peer,
    /// expired, not mapped): it is done with.
    pub fn take_back(&mut self, entry: &Entry) {
        let flights = &mut self.places().flights;
        if entry.qos != QoS::AtMostOnce && flights.back().is_some_and(|f| f.seq == entry.seq) {
            flights.pop_back();
            self.forget(entry.message.size() as u32);
        }
    }

    /// The ids to ask the store for now, and the token of the question. `durable_below`:
    /// messages below this number are on disk.
    pub fn wants(&mut self, durable_below: MessageId) -> Option<(u32, IdRanges)> {
        let online = self.online;
        let places = self.places.as_mut()?;
        if !online || !places.is_low() || !places.reading.is_empty() {
            return None;
        }
        let most = READY_MESSAGES as u64;
        let ids = places.cold.take_front(most, durable_below.0);
        if ids.is_empty() {
            return None;
        }
        places.reading = ids.clone();
        Some((self.reads, ids))
    }

    /// The next message to take from the store's RAM, where those from `durable_below` on still
    /// are.
    pub fn wants_fresh(&mut self, durable_below: MessageId) -> Option<MessageId> {
        let online = self.online;
        let places = self.places.as_mut()?;
        let ready = online && places.is_low() && places.reading.is_empty();
        let next = places.cold.front().filter(|id| *id >= durable_below.0);
        next.filter(|_| ready).map(MessageId)
    }

    /// The answer to [`Outbound::wants_fresh`]; `None` if the store does not have it.
    pub fn fresh(&mut self, id: MessageId, entry: Option<Entry>) {
        let places = self.places();
        places.cold.take_front(1, id.0 + 1);
        if let Some(mut entry) = entry {
            entry.dup = places.resend.binary_search(&id).is_ok();
            places.make_ready(entry);
        }
    }

    /// True if `token` belongs to the read under way.
    pub fn expects(&self, token: u32) -> bool {
        let reading = self.places.as_ref().is_some_and(|p| !p.reading.is_empty());
        self.reads == token && reading
    }

    /// True while the next message could be sent but for the commit that it waits for.
    pub fn awaits_commit(&self, durable_below: MessageId) -> bool {
        let places = self.places.as_ref().filter(|_| self.online);
        let head = places.and_then(|p| p.ready.front());
        head.and_then(|entry| entry.id)
            .is_some_and(|id| id >= durable_below)
    }

    /// A message came from the store, in the order asked for. Messages that were asked for
    /// before it and did not come are lost; their ids are returned.
    pub fn read(&mut self, mut entry: Entry) -> IdRanges {
        let Some(id) = entry.id else {
            return IdRanges::default();
        };
        let places = self.places();
        let lost = places.reading.take_front(u64::MAX, id.0);
        if places.reading.front() == Some(id.0) {
            places.reading.pop_front();
            entry.dup = places.resend.binary_search(&id).is_ok();
            places.make_ready(entry);
        }
        lost
    }

    /// The answer is complete: everything below `through` was looked at, and what of it did not
    /// come is lost. The rest goes back to the front of the queue.
    pub fn read_done(&mut self, through: MessageId) -> IdRanges {
        let places = self.places();
        let lost = places.reading.take_front(u64::MAX, through.0);
        let mut rest = std::mem::take(&mut places.reading);
        rest.append(&mut places.cold);
        places.cold = rest;
        lost
    }

    /// All ids still owed, for a session that ends.
    pub fn owed(&mut self) -> IdRanges {
        self.disconnect();
        self.peer_forgot();
        self.places.take().map(|p| p.cold).unwrap_or_default()
    }
}
