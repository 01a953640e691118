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

use std::collections::VecDeque;
use std::rc::Rc;

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

/// Where a message waits for the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// PUBLISH sent; PUBACK or PUBREC is due.
    Published,
    /// PUBREC came; PUBREL is sent or waits for its commit; PUBCOMP is due.
    Released,
}

/// A message that was sent and not fully acknowledged.
#[derive(Clone, Debug)]
struct Flight {
    seq: u64,
    id: Option<MessageId>,
    size: u32,
    qos: QoS,
    stage: Stage,
    sent: Time,
}

/// A message the peer has taken over: its payload is no longer needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acked {
    /// Its number in the store, if it was owed durably.
    pub id: Option<MessageId>,
}

/// The outbound half of a session.
#[derive(Debug)]
pub struct Outbound {
    durable: bool,
    online: bool,
    window: u16,
    next_seq: u64,
    flights: VecDeque<Flight>,
    ready: VecDeque<Entry>,
    ready_bytes: usize,
    reading: IdRanges,
    /// Tells the answer to the read under way from those of earlier connections.
    reads: u32,
    cold: IdRanges,
    /// Sent on an earlier connection and still owed; sorted.
    resend: Vec<MessageId>,
    /// Every owed message up to and including this one was sent at least once.
    cursor: MessageId,
    /// Bytes owed, in all places.
    bytes: u64,
}

impl Outbound {
    /// An empty queue. `durable`: messages are in the store and survive the connection.
    pub fn new(durable: bool) -> Outbound {
        Outbound {
            durable,
            online: false,
            window: 0,
            next_seq: 0,
            flights: VecDeque::new(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            reading: IdRanges::default(),
            reads: 0,
            cold: IdRanges::default(),
            resend: Vec::new(),
            cursor: MessageId(0),
            bytes: 0,
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
        Outbound {
            next_seq: state.next_seq,
            flights: released.collect(),
            cold: owed,
            resend,
            cursor: state.cursor,
            bytes,
            ..Outbound::new(true)
        }
    }

    /// The state to write; the inbound half adds its own.
    pub fn record(&self) -> StateRecord {
        let published = |f: &&Flight| f.stage == Stage::Published;
        let mut sent: Vec<MessageId> = self
            .flights
            .iter()
            .filter(published)
            .filter_map(|f| f.id)
            .collect();
        sent.extend_from_slice(&self.resend);
        sent.sort_unstable();
        StateRecord {
            next_seq: self.next_seq,
            cursor: self.cursor,
            low_cursor: MessageId(0),
            sent,
            releasing: self
                .flights
                .iter()
                .filter(|f| f.stage == Stage::Released)
                .map(|f| (PacketId::of_sequence(f.seq), f.id.unwrap_or_default()))
                .collect(),
            received: Vec::new(),
        }
    }

    /// Takes the next place in the sequence; a packet id follows from it.
    pub fn next_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// Messages owed to the peer and not yet taken over by it.
    pub fn len(&self) -> u64 {
        let published = self
            .flights
            .iter()
            .filter(|f| f.stage == Stage::Published)
            .count();
        published as u64 + self.ready.len() as u64 + self.reading.len() + self.cold.len()
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
        self.ready.len()
    }

    /// Bytes of the messages waiting in RAM.
    pub fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// A connection is up. `window`: how many QoS 1 and 2 messages may be unacknowledged.
    /// Returns the packet ids whose PUBREL is to be sent again, in order [MQTT-4.4.0-1].
    pub fn connect(&mut self, window: u16, now: Time) -> Vec<PacketId> {
        self.online = true;
        self.window = window.max(1);
        self.flights.iter_mut().for_each(|f| f.sent = now);
        self.flights
            .iter()
            .map(|f| PacketId::of_sequence(f.seq))
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
        self.resend.clear();
        let mut again: Vec<u64> = Vec::new();
        for flight in std::mem::take(&mut self.flights) {
            if let Some(id) = flight.id {
                self.bytes += u64::from(flight.size);
                again.push(id.0);
            }
        }
        let Some(last) = again.iter().max().copied() else {
            return;
        };
        again.extend(self.cold.take_front(u64::MAX, last + 1).iter());
        again.sort_unstable();
        let mut front = IdRanges::default();
        for id in again {
            front.push_back(id);
        }
        front.append(&mut self.cold);
        self.cold = front;
    }

    /// The connection is gone: a durable queue falls back to ids on disk.
    pub fn disconnect(&mut self) {
        self.online = false;
        if !self.durable {
            *self = Outbound {
                next_seq: self.next_seq,
                ..Outbound::new(false)
            };
            return;
        }
        let mut front = IdRanges::default();
        for flight in self.flights.iter().filter(|f| f.stage == Stage::Published) {
            if let Some(id) = flight.id {
                front.push_back(id.0);
                self.resend.push(id);
            }
        }
        self.resend.sort_unstable();
        self.resend.dedup();
        self.flights.retain(|f| f.stage == Stage::Released);
        self.flights.shrink_to_fit();
        front.append(&mut self.reading_and_ready());
        front.append(&mut self.cold);
        self.cold = front;
        self.reads = self.reads.wrapping_add(1);
    }

    /// Empties `ready` and `reading` into ids, in order.
    fn reading_and_ready(&mut self) -> IdRanges {
        let mut ids = IdRanges::default();
        for entry in std::mem::take(&mut self.ready) {
            match entry.id {
                Some(id) => {
                    ids.push_back(id.0);
                }
                None => self.forget(entry.message.size() as u32),
            }
        }
        self.ready_bytes = 0;
        ids.append(&mut self.reading);
        ids
    }

    /// Queues a message. Whether it may be refused is the caller's business.
    pub fn push(&mut self, entry: Entry) {
        let size = entry.message.size();
        self.bytes += size as u64;
        let room = self.ready.len() < READY_MESSAGES && self.ready_bytes < READ_BYTES;
        let in_ram = self.online && self.cold.is_empty() && self.reading.is_empty() && room;
        match entry.id {
            Some(id) if self.durable && !in_ram => {
                self.cold.push_back(id.0);
            }
            _ => {
                self.ready_bytes += size;
                self.ready.push_back(entry);
            }
        }
    }

    /// The next message that may be sent now, already counted as in flight. `durable_below`:
    /// messages below this number are on disk; a durable QoS 2 message waits for that, because
    /// a second delivery after a crash must find its packet id again. `max_qos`: the highest the
    /// peer takes.
    pub fn next(&mut self, durable_below: MessageId, max_qos: QoS, now: Time) -> Option<Entry> {
        let head = self.ready.front_mut()?;
        head.qos = head.qos.min(max_qos);
        if head.qos != QoS::AtMostOnce {
            if self.flights.len() >= usize::from(self.window) {
                return None;
            }
            // The id of a message one whole turn of the sequence older may still be taken.
            let oldest = self.flights.front().map_or(head.seq, |f| f.seq);
            if head.seq.saturating_sub(oldest) >= 65_535 {
                return None;
            }
            if head.qos == QoS::ExactlyOnce && head.id.is_some_and(|id| id >= durable_below) {
                return None;
            }
        }
        let entry = self.ready.pop_front()?;
        self.ready_bytes -= entry.message.size().min(self.ready_bytes);
        self.launch(&entry, now);
        Some(entry)
    }

    /// Counts a message as sent: QoS 0 is done with it, QoS 1 and 2 are in flight.
    fn launch(&mut self, entry: &Entry, now: Time) {
        if let Some(id) = entry.id {
            self.cursor = self.cursor.max(id);
            if let Ok(at) = self.resend.binary_search(&id) {
                self.resend.remove(at);
            }
        }
        if entry.qos == QoS::AtMostOnce {
            self.forget(entry.message.size() as u32);
            return;
        }
        self.flights.push_back(Flight {
            seq: entry.seq,
            id: entry.id,
            size: entry.message.size() as u32,
            qos: entry.qos,
            stage: Stage::Published,
            sent: now,
        });
    }

    /// A message is no longer owed.
    fn forget(&mut self, size: u32) {
        self.bytes = self.bytes.saturating_sub(u64::from(size));
    }

    /// The message that [`Outbound::next`] gave last cannot be sent (too large for the peer,
    /// expired, not mapped): it is done with.
    pub fn take_back(&mut self, entry: &Entry) {
        if entry.qos != QoS::AtMostOnce && self.flights.back().is_some_and(|f| f.seq == entry.seq) {
            self.flights.pop_back();
            self.forget(entry.message.size() as u32);
        }
    }

    /// Which flight carries `id`. Acknowledgements come mostly in order, so the front is near.
    fn flight(&self, id: PacketId) -> Option<usize> {
        self.flights
            .iter()
            .position(|f| PacketId::of_sequence(f.seq) == id)
    }

    /// PUBACK came in: the message is delivered. `None` if no QoS 1 message has this id;
    /// `lenient` also takes it for a QoS 2 message, which some brokers downgrade.
    pub fn puback(&mut self, id: PacketId, lenient: bool) -> Option<Acked> {
        let at = self.flight(id)?;
        if self.flights[at].qos != QoS::AtLeastOnce && !lenient {
            return None;
        }
        let flight = self.flights.remove(at)?;
        self.forget(flight.size);
        Some(Acked { id: flight.id })
    }

    /// PUBREC came in. With `failed` (a reason from 0x80 up) the message is done with
    /// [MQTT-4.3.3-4] and returned; else PUBREL is due. `None` if no QoS 2 message has this id.
    pub fn pubrec(&mut self, id: PacketId, failed: bool, now: Time) -> Option<Acked> {
        let at = self.flight(id)?;
        let flight = &mut self.flights[at];
        if flight.qos != QoS::ExactlyOnce {
            return None;
        }
        let (size, first) = (flight.size, flight.stage == Stage::Published);
        let gone = Acked {
            id: flight.id.filter(|_| failed),
        };
        flight.stage = Stage::Released;
        flight.sent = now;
        if failed {
            self.flights.remove(at);
        }
        if first {
            self.forget(size);
        }
        Some(gone)
    }

    /// PUBCOMP came in: the handshake is over, the message no longer needed. `None` if no
    /// released message has this id.
    pub fn pubcomp(&mut self, id: PacketId) -> Option<Acked> {
        let at = self.flight(id)?;
        if self.flights[at].stage != Stage::Released {
            return None;
        }
        let flight = self.flights.remove(at)?;
        Some(Acked { id: flight.id })
    }

    /// The moment the oldest unacknowledged packet was sent.
    pub fn oldest_sent(&self) -> Option<Time> {
        self.flights.iter().map(|f| f.sent).min()
    }

    /// The ids to ask the store for now, and the token of the question. `readable_below`:
    /// messages below this number are on disk or on their way there.
    pub fn wants(&mut self, readable_below: MessageId) -> Option<(u32, IdRanges)> {
        let low = self.ready.len() < READY_MESSAGES / 2 && self.ready_bytes < READ_BYTES / 2;
        if !self.online || !low || !self.reading.is_empty() {
            return None;
        }
        let ids = self
            .cold
            .take_front(READY_MESSAGES as u64, readable_below.0);
        if ids.is_empty() {
            return None;
        }
        self.reading = ids.clone();
        Some((self.reads, ids))
    }

    /// True if `token` belongs to the read under way.
    pub fn expects(&self, token: u32) -> bool {
        self.reads == token && !self.reading.is_empty()
    }

    /// True while something is queued that only a commit can bring nearer: a QoS 2 message, or
    /// ids that cannot be read yet.
    pub fn waits(&self) -> bool {
        let window = self.flights.len() < usize::from(self.window);
        self.online && self.reading.is_empty() && window && !self.is_drained()
    }

    fn is_drained(&self) -> bool {
        self.ready.is_empty() && self.cold.is_empty()
    }

    /// A message came from the store, in the order asked for. Messages that were asked for
    /// before it and did not come are lost; their ids are returned.
    pub fn read(&mut self, mut entry: Entry) -> IdRanges {
        let Some(id) = entry.id else {
            return IdRanges::default();
        };
        let lost = self.reading.take_front(u64::MAX, id.0);
        if self.reading.front() == Some(id.0) {
            self.reading.pop_front();
            entry.dup = self.resend.binary_search(&id).is_ok();
            self.ready_bytes += entry.message.size();
            self.ready.push_back(entry);
        }
        lost
    }

    /// The answer is complete: everything below `through` was looked at, and what of it did not
    /// come is lost. The rest goes back to the front of the queue.
    pub fn read_done(&mut self, through: MessageId) -> IdRanges {
        let lost = self.reading.take_front(u64::MAX, through.0);
        let mut rest = std::mem::take(&mut self.reading);
        rest.append(&mut self.cold);
        self.cold = rest;
        lost
    }

    /// All ids still owed, for a session that ends.
    pub fn owed(&mut self) -> IdRanges {
        self.disconnect();
        self.peer_forgot();
        std::mem::take(&mut self.cold)
    }
}

/// The latest place before `next` in a sequence that gives the packet id `id`.
fn latest_seq(id: PacketId, next: u64) -> u64 {
    let turn = 65_535;
    let offset = u64::from(id.get()) - 1;
    let base = next.saturating_sub(1) / turn * turn;
    if base + offset < next {
        base + offset
    } else {
        (base + offset).saturating_sub(turn)
    }
}
