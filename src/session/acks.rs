//! The peer's answers: PUBACK, PUBREC and PUBCOMP.

use std::collections::VecDeque;

use super::entry::{Done, Entry};
use super::outbound::Outbound;
use super::places::{Flight, Handshake};
use crate::message::MessageId;
use crate::mqtt::{PacketId, QoS};
use crate::time::Time;

impl Flight {
    pub(super) fn done(&self) -> Done {
        Done {
            id: self.id,
            seq: Some(self.owed.seq),
            lane: self.owed.lane,
            size: self.size,
            payload: self.payload,
            arrived: (self.arrival, self.arrival),
            sent: Some(self.sent),
            is_aside: self.is_aside,
        }
    }
}

/// Takes a flight out. It is mostly the first.
fn take(flights: &mut VecDeque<Flight>, at: usize) -> Option<Flight> {
    if at == 0 {
        return flights.pop_front();
    }
    flights.remove(at)
}

impl Outbound {
    /// Which flight carries `id`. Acknowledgements come mostly in order, so the front is near.
    fn flight(&mut self, id: PacketId) -> Option<(&mut VecDeque<Flight>, usize)> {
        let flights = &mut self.places.as_mut()?.flights;
        let at = flights
            .iter()
            .position(|f| PacketId::of_sequence(f.owed.seq) == id)?;
        Some((flights, at))
    }

    /// The messages that were sent and have no answer, and the QoS they were sent at.
    pub fn unanswered(&self) -> impl Iterator<Item = (Done, QoS)> {
        let places = self.places.iter();
        let flights = places.flat_map(|places| places.at(Handshake::Published));
        flights.map(|flight| (flight.done(), flight.owed.qos))
    }

    /// The QoS 2 messages whose PUBREL has no answer.
    pub fn released(&self) -> impl Iterator<Item = Done> {
        let places = self.places.iter();
        let flights = places.flat_map(|places| places.at(Handshake::Released));
        flights.map(Flight::done)
    }

    /// The QoS of the message under way with `id`.
    pub fn flying(&self, id: PacketId) -> Option<QoS> {
        let mut flights = self.places.as_ref()?.flights.iter();
        let flight = flights.find(|f| PacketId::of_sequence(f.owed.seq) == id)?;
        Some(flight.owed.qos)
    }

    /// PUBACK came in: the message is delivered. `None` if no QoS 1 message has this id;
    /// `lenient` also takes it for a QoS 2 message, which some brokers downgrade, if no PUBREC came.
    pub fn puback(&mut self, id: PacketId, lenient: bool) -> Option<Done> {
        let (flights, at) = self.flight(id)?;
        let is_downgraded = lenient && flights[at].handshake == Handshake::Published;
        if flights[at].owed.qos != QoS::AtLeastOnce && !is_downgraded {
            return None;
        }
        let flight = take(flights, at)?;
        if !flight.is_aside {
            self.forget(flight.owed.lane, flight.id, flight.size);
        }
        Some(flight.done())
    }

    /// PUBREC came in. With `failed` (a reason from 0x80 up) the message is done with
    /// [MQTT-4.3.3-4] and returned; else PUBREL is due. `None` if no QoS 2 message has this id.
    pub fn pubrec(&mut self, id: PacketId, failed: bool, now: Time) -> Option<Done> {
        let (flights, at) = self.flight(id)?;
        let flight = &mut flights[at];
        if flight.owed.qos != QoS::ExactlyOnce {
            return None;
        }
        let first = flight.handshake == Handshake::Published;
        let gone = Done {
            id: flight.id.filter(|_| failed),
            sent: first.then_some(flight.sent),
            ..flight.done()
        };
        let id = flight.id;
        flight.handshake = Handshake::Released;
        flight.sent = now;
        if failed {
            flights.remove(at);
        }
        if first {
            self.forget(gone.lane, id, gone.size);
            self.places().unwritten_releases += usize::from(self.durable && !failed);
        }
        Some(gone)
    }

    /// True if nothing moves before the session's state is written: all messages under way wait for that
    /// with their PUBREL, and one is on disk, so below `durable_below`, that only they hold back.
    pub fn is_held_by_releases(&self, durable_below: MessageId) -> bool {
        let Some(places) = &self.places else {
            return false;
        };
        let head = places.first_ready(durable_below);
        let head = head.and_then(|at| places.ready.get(at));
        let is_held = |entry: &Entry| entry.id.is_none_or(|id| id < durable_below);
        places.unwritten_releases >= places.flights.len()
            && !places.flights.is_empty()
            && head.is_some_and(is_held)
    }

    /// True if some messages under way wait with their PUBREL for the session's state to be written, and
    /// others don't.
    pub fn awaits_more_releases(&self) -> bool {
        let places = self.places.as_ref();
        places.is_some_and(|p| (1..p.flights.len()).contains(&p.unwritten_releases))
    }

    /// The session's state is in a commit.
    pub fn note_written(&mut self) {
        if let Some(places) = &mut self.places {
            places.unwritten_releases = 0;
        }
    }

    /// PUBCOMP came in: the handshake is over, the message no longer needed. `None` if no
    /// released message has this id.
    pub fn pubcomp(&mut self, id: PacketId) -> Option<Done> {
        let (flights, at) = self.flight(id)?;
        if flights[at].handshake != Handshake::Released {
            return None;
        }
        let flight = take(flights, at)?;
        Some(flight.done())
    }

    /// How many answers of the peer are awaited, where that is easily known: where no QoS 2 handshake
    /// is at the ends of what is under way.
    pub fn awaited(&self) -> usize {
        let Some(places) = &self.places else {
            return 0;
        };
        let ends = [places.flights.front(), places.flights.back()];
        let mut ends = ends.into_iter().flatten();
        if ends.any(|flight| flight.owed.qos == QoS::ExactlyOnce) {
            return 0;
        }
        places.flights.len()
    }

    /// The moment the oldest unacknowledged packet was sent.
    pub fn oldest_sent(&self) -> Option<Time> {
        let (sent, _) = self.oldest_unacknowledged(true)?;
        Some(sent)
    }

    /// The moment the oldest unacknowledged packet was sent, and the place of its message in the
    /// sequence. Without `releases` PUBREL is no such packet: some have not left yet.
    pub fn oldest_unacknowledged(&self, releases: bool) -> Option<(Time, u64)> {
        let flights = self.places.as_ref()?.flights.iter();
        let flights = flights.filter(|f| releases || f.handshake != Handshake::Released);
        flights.map(|flight| (flight.sent, flight.owed.seq)).min()
    }
}
