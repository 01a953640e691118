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
//! durable one keeps at most [`READY_MESSAGES`](super::places::READY_MESSAGES) messages in RAM and
//! the rest as ids and sizes (a [`Queue`]); offline it keeps those only. What was sent and not
//! acknowledged stays in flight over a lost connection: it goes first on the next, and is never
//! dropped. The packet id of a message follows from its place in the session's sequence, which is
//! written with the message, so a message that is sent again after a crash carries the packet id it
//! had before.
//!
//! What an upstream refuses goes the whole way back: see [`super::hold`].

mod again;
mod drops;
mod expired;
mod memory;
mod window;

use super::disowned::Disowned;
use super::entry::{Entry, payload};
use super::places::{Flight, Handshake, Hold, Places, latest_seq};
use crate::lane::Lane;
use crate::message::{MessageId, SessionId};
use crate::mqtt::{PacketId, QoS};
use crate::owed::Owed;
use crate::store::{Amount, Queue, Queued, StateRecord};
use crate::time::Time;

/// After so many messages it is counted anew what a queue takes; sooner while it is short.
const RECOUNT: u64 = 64;

/// The outbound half of a session. An idle one is small.
#[derive(Debug)]
pub struct Outbound {
    pub(super) durable: bool,
    pub(super) online: bool,
    pub(super) window: u16,
    /// Payload bytes in flight at which no more is sent; 0 is no limit.
    pub(super) window_bytes: u64,
    /// Tells the answer to the read under way from those of earlier connections.
    pub(super) reads: u16,
    /// How many QoS 2 messages may be in their handshake.
    pub(super) window_qos2: u16,
    pub(super) next_seq: u64,
    /// Every owed message up to and including this one was sent at least once, but for those of lanes
    /// with a cursor of their own ([`Hold`]).
    pub(super) cursor: MessageId,
    /// Made with the first message.
    pub(super) places: Option<Box<Places>>,
}

impl Outbound {
    /// An empty queue. `durable`: messages are in the store and survive the connection.
    pub fn new(durable: bool) -> Outbound {
        Outbound {
            durable,
            online: false,
            window: 0,
            window_bytes: 0,
            reads: 0,
            window_qos2: u16::MAX,
            next_seq: 0,
            cursor: MessageId(0),
            places: None,
        }
    }

    /// A durable queue as the store has it. `releasing`: those of the state's messages of that
    /// name that are stored.
    pub fn restore(
        session: SessionId,
        state: &StateRecord,
        owed: Queue,
        releasing: &[Queued],
    ) -> Outbound {
        let released = state.releasing.iter().map(|(id, message)| {
            let queued = releasing.iter().find(|queued| queued.id == *message);
            Flight {
                owed: Owed {
                    session,
                    lane: queued.map_or(Lane::Client, |queued| queued.lane),
                    seq: latest_seq(*id, state.next_seq),
                    qos: QoS::ExactlyOnce,
                    retain: false,
                    sub_ids: Box::default(),
                },
                id: (message.0 != 0).then_some(*message),
                size: queued.map_or(0, |queued| queued.size),
                payload: 0,
                arrival: queued.map_or(Time::ZERO, |queued| queued.arrival),
                expires: queued.and_then(|queued| queued.expires),
                handshake: Handshake::Released,
                sent: Time::ZERO,
                message: None,
                is_aside: false,
            }
        });
        // What was sent and not written before the crash is gone; its publisher sends it again.
        let mut resend: Vec<MessageId> = owed.sent().collect();
        resend.sort_unstable();
        let holds = state.lanes.iter().map(|(lane, cursor)| Hold {
            is_low: false,
            is_late: true,
            ..Hold::low(*lane, *cursor)
        });
        let mut outbound = Outbound {
            next_seq: state.next_seq,
            cursor: state.cursor,
            places: Some(Box::new(Places {
                owed: owed.total(),
                flights: released.collect(),
                // They may have been sent in any order.
                out_of_order: true,
                holds: holds.collect(),
                cold: owed,
                resend,
                ..Places::default()
            })),
            ..Outbound::new(true)
        };
        outbound.shrink();
        if let Some(places) = &mut outbound.places {
            places.recount();
            places.recount_cold();
        }
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
        record.sent = places
            .at(Handshake::Published)
            .filter_map(|f| f.id)
            .collect();
        record.sent.extend_from_slice(&places.resend);
        // What the peer refused, or had before it lost its session, and is to get again.
        let cold = places.cold.unsent_through(|lane| self.cursor_of(lane));
        let reading = places.reading.iter().map(|queued| (queued.lane, queued.id));
        let ready = places.ready.iter();
        let ready = ready.filter_map(|entry| Some((entry.owed.lane, entry.id?)));
        let in_ram = reading.chain(ready);
        let again = in_ram.filter(|(lane, id)| *id <= self.cursor_of(*lane));
        record.sent.extend(cold.chain(again.map(|(_, id)| id)));
        record.lanes = places
            .holds
            .iter()
            .map(|hold| (hold.lane, hold.cursor))
            .collect();
        record.sent.sort_unstable();
        record.sent.dedup();
        record.releasing = places
            .at(Handshake::Released)
            .map(|f| (PacketId::of_sequence(f.owed.seq), f.id.unwrap_or_default()))
            .collect();
        record
    }

    pub(super) fn places(&mut self) -> &mut Places {
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

    /// Messages owed to the peer and not yet taken over by it. Dead letters are not among them.
    pub fn len(&self) -> u64 {
        self.owed().messages
    }

    /// What is owed, in all places; not the dead letters.
    pub fn owed(&self) -> Amount {
        self.places.as_ref().map_or(Amount::default(), |p| p.owed)
    }

    /// True when nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the messages owed.
    pub fn bytes(&self) -> u64 {
        self.owed().bytes
    }

    /// What is owed in one lane.
    pub fn owed_by(&self, lane: Lane) -> Amount {
        let places = self.places.as_ref();
        places.map_or(Amount::default(), |p| p.cold.owed(lane))
    }

    /// True while something belongs to a lane: it is owed, or the peer has it and its handshake goes on.
    pub fn uses(&self, lane: Lane) -> bool {
        let flights = self.places.iter().flat_map(|places| &places.flights);
        self.owed_by(lane).messages > 0 || flights.into_iter().any(|f| f.owed.lane == lane)
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
                PacketId::of_sequence(flight.owed.seq)
            })
            .collect()
    }

    /// The connection is gone: a durable queue falls back to ids on disk.
    pub fn disconnect(&mut self) {
        self.online = false;
        self.reads = self.reads.wrapping_add(1);
        if !self.durable {
            self.empty();
            return;
        }
        let Some(places) = &mut self.places else {
            return;
        };
        let mut back = Vec::new();
        for flight in places.take_published() {
            let Some(queued) = flight.queued() else {
                if !flight.is_aside {
                    // Owed only while the connection lasted.
                    places.owed.take(1, flight.size.into());
                    places.cold.forget(flight.owed.lane, None, flight.size);
                }
                continue;
            };
            back.push(queued);
            places.resend.push(queued.id);
        }
        places.resend.sort_unstable();
        places.resend.dedup();
        for entry in std::mem::take(&mut places.ready) {
            match entry.queued() {
                Some(queued) => back.push(queued),
                None => {
                    // Owed only while the connection lasts.
                    let size = entry.message.size();
                    places.owed.take(1, size.into());
                    places.cold.forget(entry.owed.lane, None, size);
                }
            }
        }
        (places.ready_bytes, places.ready_qos0) = (0, 0);
        places.ready_low = Amount::default();
        places.ready_expires = None;
        back.extend(std::mem::take(&mut places.reading));
        places.put_back(back);
        places.recount();
        places.recount_cold();
        self.shrink();
    }

    /// Queues a message. Whether it may be refused is the caller's business. `by_topic`: a newer
    /// message on its topic may supersede it. False if it stands behind one that must wait: then
    /// nothing can be sent that could not before.
    pub fn push(&mut self, entry: Entry, by_topic: bool) -> bool {
        let size = entry.message.size();
        let (is_counted, durable, online) =
            (self.counts(entry.owed.lane), self.durable, self.online);
        let places = self.places();
        places.owed.add(1, size.into());
        let messages = places.owed.messages;
        let may_go = !places.is_blocked();
        if is_counted {
            let topic = by_topic.then(|| entry.message.topic());
            places.cold.owe(entry.owed.lane, entry.id, size, topic);
        }
        let lane = entry.owed.lane;
        let goes_to_ram = |places: &Places| {
            if !online || !places.has_room() || !places.reading.is_empty() {
                return false;
            }
            let shut = places.shut_lanes();
            let is_next = places.cold.front_of(|lane| !shut.contains(&lane)).is_none();
            is_next && !shut.contains(&lane)
        };
        match entry.queued().filter(|_| durable) {
            Some(queued) if !goes_to_ram(places) => {
                places.cold.push_back(queued);
                if messages.is_power_of_two() || messages.is_multiple_of(RECOUNT) {
                    places.recount_cold();
                }
            }
            _ => places.make_ready(entry),
        }
        may_go
    }

    /// True if what is owed in a lane is counted by itself. A queue in RAM has no bounds by lane;
    /// but `$SYS` tells what the lines of a bridge owe, and a share's number that still owes
    /// something must not be given again.
    fn counts(&self, lane: Lane) -> bool {
        self.durable || lane != Lane::Client
    }

    /// Takes the next message that may be sent now out of the queue; [`Outbound::sent`] or
    /// [`Outbound::not_sent`] must be told of it. `durable_below`: messages below this number are
    /// on disk; a durable QoS 2 message waits for that, because a second delivery after a crash
    /// must find its packet id again. `qos_of` says at which QoS a message goes; one that was queued
    /// at QoS 0 stays there.
    pub fn next(
        &mut self,
        durable_below: MessageId,
        qos_of: impl Fn(&Entry) -> QoS,
    ) -> Option<Entry> {
        let full = self.is_window_full();
        let places = self.places.as_mut()?;
        if full && places.ready_qos0 == 0 {
            return None;
        }
        let at = places.first_ready(durable_below)?;
        if at >= places.first_low() && places.is_urgent() {
            return None;
        }
        let head = places.ready.get(at)?;
        if full && head.owed.qos != QoS::AtMostOnce {
            return None;
        }
        let qos = qos_of(head);
        if qos != QoS::AtMostOnce {
            if places.is_id_taken(head.owed.seq) {
                return None;
            }
            let is_exact = qos == QoS::ExactlyOnce;
            if is_exact && self.window_qos2 != u16::MAX {
                let flights = places.flights.iter();
                let exact = flights.filter(|f| f.owed.qos == QoS::ExactlyOnce);
                if exact.count() >= usize::from(self.window_qos2) {
                    return None;
                }
            }
            if is_exact && head.id.is_some_and(|id| id >= durable_below) {
                return None;
            }
        }
        let mut entry = places.ready.remove(at)?;
        places.count_out(&entry);
        entry.owed.qos = qos;
        Some(entry)
    }

    /// The message that [`Outbound::next`] gave was sent: at QoS 0 it is done with, at QoS 1 and 2
    /// in flight.
    pub fn sent(&mut self, entry: Entry, now: Time) {
        self.pass(&entry);
        let Entry {
            message, id, owed, ..
        } = entry;
        let size = message.size();
        if owed.qos == QoS::AtMostOnce {
            return self.forget(owed.lane, id, size);
        }
        // Only of a session that lives in RAM may the message have to go to another member, or come
        // back from an upstream that refuses it.
        let is_shared = owed.lane.is_share() && owed.qos == QoS::AtLeastOnce;
        let kept = (is_shared || owed.lane.line().is_some()) && !self.durable;
        let is_counted = self.counts(owed.lane);
        let places = self.places();
        if is_counted {
            places.cold.start(owed.lane, id, size);
        }
        places.launch(Flight {
            id,
            size,
            payload: payload(&message),
            arrival: message.arrival,
            expires: Queued::expires(message.arrival, message.expiry),
            handshake: Handshake::Published,
            sent: now,
            message: kept.then_some(message),
            is_aside: false,
            owed,
        });
    }

    /// A message was sent without having been queued, because the queue [is free](Outbound::is_free).
    pub fn sent_at_once(&mut self, entry: Entry, now: Time) {
        let (lane, size) = (entry.owed.lane, entry.message.size());
        self.places().owed.add(1, size.into());
        if self.counts(lane) {
            self.places().cold.owe(lane, entry.id, size, None);
        }
        self.sent(entry, now);
    }

    /// The message that [`Outbound::next`] gave cannot be sent (too large for the peer, expired,
    /// not mapped): it is done with.
    pub fn not_sent(&mut self, entry: &Entry) {
        self.pass(entry);
        self.forget(entry.owed.lane, entry.id, entry.message.size());
    }

    /// The session has gone beyond this message: it is not to be sent as new any more.
    fn pass(&mut self, entry: &Entry) {
        let Some(id) = entry.id else {
            return;
        };
        self.places().forget_resend(id);
        self.move_cursor(entry.owed.lane, id);
    }

    /// A message is no longer owed.
    pub(super) fn forget(&mut self, lane: Lane, id: Option<MessageId>, size: u32) {
        if lane != Lane::Dead {
            self.places().owed.take(1, size.into());
        }
        self.take_condemned(id);
        if self.counts(lane) {
            self.places().cold.forget(lane, id, size);
        }
    }

    /// Everything still owed, for a session that ends.
    pub fn into_owed(mut self) -> Disowned {
        self.disconnect();
        self.peer_forgot();
        let places = self.places.take().map(|places| *places);
        let bytes = places.as_ref().map_or(0, |p| p.held_cold.bytes());
        let cold = places.map(|places| places.cold).unwrap_or_default();
        Disowned::new(Vec::new(), cold, bytes)
    }
}
