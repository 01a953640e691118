//! What a client must remember from one connection to the next (5.0 §4.1).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::mqtt::{Delivery, PacketId, PropsBuf, Publish, QoS};

/// A message to publish.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outgoing {
    /// The topic name.
    pub topic: String,
    /// The application message.
    pub payload: Vec<u8>,
    /// The quality of service.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The PUBLISH properties (5.0).
    pub props: PropsBuf,
}

impl Outgoing {
    /// The PUBLISH of the message under `id`, which is unused at QoS 0.
    pub(super) fn packet(&self, id: PacketId, dup: bool) -> Publish<'_> {
        Publish {
            delivery: Delivery::new(self.qos, id, dup),
            retain: self.retain,
            topic: &self.topic,
            props: self.props.as_props(),
            payload: &self.payload,
        }
    }
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: PacketId,
    pub(super) message: Arc<Outgoing>,
    /// PUBREC came: the broker owns the message, PUBREL is what is sent again (5.0 §4.3.3).
    pub(super) released: bool,
}

/// The client's side of a session: unfinished publishes in their order, and the QoS 2 messages
/// received whose PUBREL is to come. Outlives the connections that [`Client`](super::Client)
/// makes with it.
#[derive(Debug, Default)]
pub struct Session {
    last_id: u64,
    flights: VecDeque<Flight>,
    received: BTreeSet<PacketId>,
}

impl Session {
    /// Publishes that are not finished.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter()
    }

    /// A packet id that no unfinished publish has.
    pub(super) fn free_id(&mut self) -> PacketId {
        loop {
            let id = PacketId::of_sequence(self.last_id);
            self.last_id += 1;
            if self.flights.iter().all(|flight| flight.id != id) {
                return id;
            }
        }
    }

    pub(super) fn sent(&mut self, id: PacketId, message: Arc<Outgoing>) {
        self.flights.push_back(Flight {
            id,
            message,
            released: false,
        });
    }

    /// PUBREC: from now on the publish is resumed with PUBREL [MQTT-4.3.3-4].
    pub(super) fn release(&mut self, id: PacketId) {
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == id) {
            flight.released = true;
        }
    }

    /// The publish `id` is over; `None` if it was before.
    pub(super) fn finish(&mut self, id: PacketId) -> Option<Arc<Outgoing>> {
        let at = self.flights.iter().position(|flight| flight.id == id)?;
        self.flights.remove(at).map(|flight| flight.message)
    }

    /// A QoS 2 PUBLISH came in; false if the message is already known [MQTT-4.3.3-10].
    pub(super) fn receive(&mut self, id: PacketId) -> bool {
        self.received.insert(id)
    }

    /// PUBREL came in: the id may carry another message [MQTT-4.3.3-12].
    pub(super) fn released(&mut self, id: PacketId) {
        self.received.remove(&id);
    }

    /// The broker has no session (any more) [MQTT-3.2.2-5]: what it received for good is over,
    /// the rest is published anew.
    pub(super) fn broker_forgot(&mut self) {
        self.received.clear();
        self.flights.retain(|flight| !flight.released);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    #[test]
    fn ids_in_use_are_passed_over() {
        let mut session = Session::default();
        let first = session.free_id();
        session.sent(first, Arc::default());
        session.last_id = 65_535;
        assert_ne!(
            session.free_id(),
            first,
            "the sequence is round, but the id is in use"
        );
        assert!(session.finish(first).is_some());
        assert!(session.finish(first).is_none());
    }

    #[test]
    fn a_second_publish_with_the_id_is_no_second_message() {
        let mut session = Session::default();
        assert!(session.receive(id(7)));
        assert!(!session.receive(id(7)));
        session.released(id(7));
        assert!(session.receive(id(7)));
    }

    #[test]
    fn without_a_session_only_what_the_broker_never_took_is_left() {
        let mut session = Session::default();
        for n in [1, 2] {
            session.sent(id(n), Arc::default());
        }
        session.release(id(1));
        session.receive(id(9));
        session.broker_forgot();
        assert_eq!(session.flights().map(|f| f.id).collect::<Vec<_>>(), [id(2)]);
        assert!(session.receive(id(9)));
    }
}
