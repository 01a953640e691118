//! Where messages are on their way to the peer.

use std::collections::VecDeque;
use std::rc::Rc;

use super::entry::{Done, Entry};
use crate::held::{Charge, QUEUES};
use crate::lane::Lane;
use crate::message::{Message, MessageId};
use crate::mqtt::{PacketId, QoS, Reason};
use crate::owed::Owed;
use crate::store::{Amount, Queue, Queued};
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
    pub expires: Option<Time>,
    pub handshake: Handshake,
    pub sent: Time,
    /// Kept if it is in RAM only, and may have to go to another member of a shared subscription or come
    /// back from an upstream that refuses it.
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
            expires: self.expires,
        })
    }
}

/// A lane with a cursor of its own: one that the peer took nothing of for a while, until it has caught
/// up with the others, or one of low priority.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub lane: Lane,
    /// It waits while anything of other lanes does.
    pub is_low: bool,
    /// Something of it was put back, and it has not caught up.
    pub is_late: bool,
    /// How many of its messages may be under way at once: none while it is paused, few while it
    /// probes. [`Hold::OPEN`] is no limit of its own.
    pub limit: u32,
    /// Every owed message of the lane up to and including this one was sent at least once: in place
    /// of [`super::Outbound`]'s cursor, which goes on with the other lanes.
    pub cursor: MessageId,
}

impl Hold {
    pub(super) const OPEN: u32 = u32::MAX;

    /// A lane of low priority of which all up to `cursor` was sent.
    pub(super) fn low(lane: Lane, cursor: MessageId) -> Hold {
        Hold {
            lane,
            is_low: true,
            is_late: false,
            limit: Hold::OPEN,
            cursor,
        }
    }
}

/// Where messages are on their way to the peer.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// What is owed, in all places; not the dead letters.
    pub owed: Amount,
    pub flights: VecDeque<Flight>,
    /// How many of them were released since the session's state was written last, at most.
    pub unwritten_releases: usize,
    /// How many were sent so far, and the bytes of their payloads.
    pub launched: (u64, u64),
    /// A flight stands behind one with a later place in the sequence, or did.
    pub out_of_order: bool,
    /// The lanes that are not like the others; hardly ever any.
    pub holds: Vec<Hold>,
    /// Messages that the peer will never take, to be handed over to the lane of dead letters when
    /// they come up, and why; sorted.
    pub condemned: Vec<(MessageId, Reason)>,
    /// Behind all others stand those of lanes of low priority.
    pub ready: VecDeque<Entry>,
    pub ready_bytes: usize,
    /// What of `ready` is of low priority.
    pub ready_low: Amount,
    /// How many of `ready` are QoS 0.
    pub ready_qos0: usize,
    /// Nothing in `ready` that was never sent expires before.
    pub ready_expires: Option<Time>,
    pub reading: VecDeque<Queued>,
    /// The rest; it also counts what is owed in each lane, in all places.
    pub cold: Queue,
    /// Sent on an earlier connection and still owed; sorted.
    pub resend: Vec<MessageId>,
    /// The session is on the list of those that may have memory to give back.
    pub is_listed: bool,
    /// What the entries take that are in RAM.
    pub held: Charge<QUEUES>,
    /// What `cold` takes, about.
    pub held_cold: Charge<QUEUES>,
}

impl Places {
    /// Counts anew what the entries take that are in RAM.
    pub(super) fn recount(&mut self) {
        let bytes = size_of::<Places>()
            + self.flights.capacity() * size_of::<Flight>()
            + self.ready.capacity() * size_of::<Entry>()
            + self.reading.capacity() * size_of::<Queued>()
            + self.resend.capacity() * size_of::<MessageId>();
        self.held.set(bytes);
    }

    /// Counts anew what the queue of those takes that are not in RAM.
    pub(super) fn recount_cold(&mut self) {
        self.held_cold.set(self.cold.room());
    }

    /// True if a message was sent on an earlier connection.
    pub(super) fn is_resent(&self, id: MessageId) -> bool {
        self.resend.binary_search(&id).is_ok()
    }

    /// Adds what waits in RAM, or is being read, of the lanes that `may` admits, and was never sent.
    pub(super) fn add_unsent(&self, amount: &mut Amount, may: impl Fn(Lane) -> bool) {
        for entry in self.ready.iter().filter(|e| !e.dup && may(e.owed.lane)) {
            amount.add(1, u64::from(entry.message.size()));
        }
        for queued in &self.reading {
            if may(queued.lane) && !self.is_resent(queued.id) {
                amount.add(1, queued.size.into());
            }
        }
    }

    /// Takes the flights that the peer has not answered.
    pub(super) fn take_published(&mut self) -> Vec<Flight> {
        let published = self.at(Handshake::Published).cloned().collect();
        self.flights.retain(|f| f.handshake == Handshake::Released);
        published
    }

    /// Puts messages back where they came from: of those that were sent before, `back` goes first.
    pub(super) fn put_back(&mut self, back: Vec<Queued>) {
        let later = self.cold.take_sent();
        let sent = back.iter().filter(|queued| self.is_resent(queued.id));
        for queued in sent.copied().chain(later).collect::<Vec<_>>() {
            self.cold.resend(queued);
        }
        for queued in back.into_iter().rev() {
            if !self.is_resent(queued.id) {
                self.cold.put_back(queued);
            }
        }
    }

    /// How many messages of a lane are under way, or in RAM to be next.
    pub(super) fn under_way(&self, lane: Lane) -> u32 {
        let ready = self.ready.iter().filter(|e| !e.dup && e.owed.lane == lane);
        let reading = self.reading.iter().filter(|queued| queued.lane == lane);
        let count = ready.count() + reading.count();
        self.unanswered(lane)
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// How many messages of a lane were sent and have no answer.
    pub(super) fn unanswered(&self, lane: Lane) -> u32 {
        let flights = self.at(Handshake::Published);
        let count = flights.filter(|f| f.owed.lane == lane).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The lanes of which no more may come to RAM for now.
    pub(super) fn shut_lanes(&self) -> Vec<Lane> {
        let mut shut = self.lanes_at_limit(|lane| self.under_way(lane));
        if self.is_cold_urgent(&shut) {
            let low = self.holds.iter().filter(|hold| hold.is_low);
            shut.extend(low.map(|hold| hold.lane));
        }
        shut
    }

    /// The lanes of which there are as many as may be, or more, by `count`.
    pub(super) fn lanes_at_limit(&self, count: impl Fn(Lane) -> u32) -> Vec<Lane> {
        if self.holds.is_empty() {
            return Vec::new();
        }
        let limited = self.holds.iter().filter(|hold| hold.limit != Hold::OPEN);
        // Of a paused lane nothing has to be counted.
        let shut = limited.filter(|hold| hold.limit == 0 || count(hold.lane) >= hold.limit);
        shut.map(|hold| hold.lane).collect()
    }

    /// The place in `ready` of the first message that its lane lets go. What is handed over to another
    /// lane waits for its row, which must be there: so long the messages behind it go first.
    /// `durable_below`: messages below this number are on disk.
    pub(super) fn first_ready(&self, durable_below: MessageId) -> Option<usize> {
        if self.ready.is_empty() {
            return None;
        }
        let shut = self.lanes_at_limit(|lane| self.unanswered(lane));
        if shut.is_empty() && self.condemned.is_empty() {
            return Some(0);
        }
        let may_go = |entry: &Entry| {
            let is_free = entry.dup || entry.owed.qos == QoS::AtMostOnce;
            let moves = |id| id >= durable_below && self.is_condemned(id);
            (is_free || !shut.contains(&entry.owed.lane)) && !entry.id.is_some_and(moves)
        };
        self.ready.iter().position(may_go)
    }

    /// True if a message under way has the packet id of this place in the sequence.
    pub(super) fn is_id_taken(&self, seq: u64) -> bool {
        let is_late = self.flights.back().is_some_and(|f| seq < f.owed.seq);
        if self.out_of_order || is_late {
            let id = PacketId::of_sequence(seq);
            let mut flights = self.flights.iter();
            return flights.any(|f| PacketId::of_sequence(f.owed.seq) == id);
        }
        // The id of a message one whole turn of the sequence older may still be taken.
        let oldest = self.flights.front().map_or(seq, |f| f.owed.seq);
        seq.saturating_sub(oldest) >= 65_535
    }

    /// Puts a message among those under way.
    pub(super) fn launch(&mut self, flight: Flight) {
        match self.flights.back() {
            None => self.out_of_order = false,
            Some(last) => self.out_of_order |= flight.owed.seq < last.owed.seq,
        }
        self.take_off(flight);
    }

    /// A message was sent.
    pub(super) fn take_off(&mut self, flight: Flight) {
        self.launched.0 += 1;
        self.launched.1 += u64::from(flight.payload);
        self.flights.push_back(flight);
        self.recount();
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
        if self.yields(entry) {
            self.ready_low.take(1, entry.message.size().into());
        }
        self.ready_qos0 -= usize::from(entry.owed.qos == QoS::AtMostOnce);
        self.ready_expires.take_if(|_| self.ready.is_empty());
        let (len, room) = (self.ready.len(), self.ready.capacity());
        if room > READY_MESSAGES && len < room / 4 {
            self.ready.shrink_to(2 * len);
            self.recount();
        }
    }

    /// The bytes that all of it takes in RAM, the messages themselves left out.
    pub(super) fn held(&self) -> usize {
        self.held.bytes() + self.held_cold.bytes()
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
        let (_, at) = self.part_of(&entry);
        self.count_in(&entry);
        self.ready.insert(at, entry);
        self.recount();
    }

    /// A message comes to `ready`.
    pub(super) fn count_in(&mut self, entry: &Entry) {
        self.ready_bytes += entry.message.size() as usize;
        if self.yields(entry) {
            self.ready_low.add(1, entry.message.size().into());
        }
        self.ready_qos0 += usize::from(entry.owed.qos == QoS::AtMostOnce);
        let known = self.ready_expires.into_iter();
        self.ready_expires = known.chain(entry.expiry()).min();
    }

    /// True if `ready` takes another message.
    pub(super) fn has_room(&self) -> bool {
        let (messages, bytes) = self.room_taken();
        messages < READY_MESSAGES && bytes < READ_BYTES
    }

    /// True if a message waits in `ready`, and whatever comes behind it waits as well.
    pub(super) fn is_blocked(&self) -> bool {
        !self.ready.is_empty() && self.holds.is_empty() && self.condemned.is_empty()
    }

    /// True if `ready` is to be filled up from what is not in RAM.
    pub(super) fn is_low(&self) -> bool {
        let (messages, bytes) = self.room_taken();
        messages < READY_MESSAGES / 2 && bytes < READ_BYTES / 2
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
