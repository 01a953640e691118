//! The peer's answers: PUBACK, PUBREC and PUBCOMP.

use std::collections::VecDeque;

use super::{Acked, Flight, Outbound, Stage};
use crate::mqtt::{PacketId, QoS};
use crate::time::Time;

impl Acked {
    fn of(flight: &Flight) -> Acked {
        Acked {
            id: flight.id,
            mapping: flight.mapping,
            size: flight.size,
        }
    }
}

impl Outbound {
    /// Which flight carries `id`. Acknowledgements come mostly in order, so the front is near.
    fn flight(&mut self, id: PacketId) -> Option<(&mut VecDeque<Flight>, usize)> {
        let flights = &mut self.places.as_mut()?.flights;
        let at = flights
            .iter()
            .position(|f| PacketId::of_sequence(f.seq) == id)?;
        Some((flights, at))
    }

    /// The QoS of the message under way with `id`.
    pub fn flying(&self, id: PacketId) -> Option<QoS> {
        let mut flights = self.places.as_ref()?.flights.iter();
        let flight = flights.find(|f| PacketId::of_sequence(f.seq) == id)?;
        Some(flight.qos)
    }

    /// PUBACK came in: the message is delivered. `None` if no QoS 1 message has this id;
    /// `lenient` also takes it for a QoS 2 message, which some brokers downgrade.
    pub fn puback(&mut self, id: PacketId, lenient: bool) -> Option<Acked> {
        let (flights, at) = self.flight(id)?;
        if flights[at].qos != QoS::AtLeastOnce && !lenient {
            return None;
        }
        let flight = flights.remove(at)?;
        self.forget(flight.mapping, flight.id, flight.size);
        Some(Acked::of(&flight))
    }

    /// PUBREC came in. With `failed` (a reason from 0x80 up) the message is done with
    /// [MQTT-4.3.3-4] and returned; else PUBREL is due. `None` if no QoS 2 message has this id.
    pub fn pubrec(&mut self, id: PacketId, failed: bool, now: Time) -> Option<Acked> {
        let (flights, at) = self.flight(id)?;
        let flight = &mut flights[at];
        if flight.qos != QoS::ExactlyOnce {
            return None;
        }
        let first = flight.stage == Stage::Published;
        let gone = Acked {
            id: flight.id.filter(|_| failed),
            ..Acked::of(flight)
        };
        let id = flight.id;
        flight.stage = Stage::Released;
        flight.sent = now;
        if failed {
            flights.remove(at);
        }
        if first {
            self.forget(gone.mapping, id, gone.size);
        }
        Some(gone)
    }

    /// PUBCOMP came in: the handshake is over, the message no longer needed. `None` if no
    /// released message has this id.
    pub fn pubcomp(&mut self, id: PacketId) -> Option<Acked> {
        let (flights, at) = self.flight(id)?;
        if flights[at].stage != Stage::Released {
            return None;
        }
        let flight = flights.remove(at)?;
        Some(Acked::of(&flight))
    }

    /// The moment the oldest unacknowledged packet was sent.
    pub fn oldest_sent(&self) -> Option<Time> {
        self.places.as_ref()?.flights.iter().map(|f| f.sent).min()
    }
}
