//! What goes out once more, because the peer can't go on with it.

use super::Outbound;
use crate::session::places::Handshake;
use crate::store::Queued;

impl Outbound {
    /// The peer has lost its half of the session [MQTT-3.2.2-5]: what it had not completed goes
    /// out again, as new. A message whose PUBREL got lost with the session would be lost too; one
    /// whose PUBCOMP got lost comes twice, which is the lesser evil.
    pub fn peer_forgot(&mut self) {
        let Some(places) = &mut self.places else {
            return;
        };
        places.resend.clear();
        let mut again: Vec<Queued> = places.cold.take_sent().into();
        places.out_of_order = false;
        for flight in std::mem::take(&mut places.flights) {
            let Some(queued) = flight.queued() else {
                continue;
            };
            if flight.handshake == Handshake::Released {
                places.owed.add(1, queued.size.into());
                places.cold.owe(queued.lane, None, queued.size, None);
            }
            again.push(queued);
        }
        again.sort_unstable_by_key(|queued| queued.id);
        let again = again.into_iter().rev();
        again.for_each(|queued| places.cold.put_back(queued));
    }

    /// The peer takes no QoS 2, though a PUBREC has come in this session: no handshake can be ended
    /// with it. Those messages go out again, at a QoS that it takes; twice is better than never.
    /// Returns how many there are.
    pub fn take_back_released(&mut self) -> usize {
        let Some(places) = &mut self.places else {
            return 0;
        };
        let (released, flights) = std::mem::take(&mut places.flights)
            .into_iter()
            .partition(|flight| flight.handshake == Handshake::Released);
        places.flights = flights;
        let mut again: Vec<Queued> = places.cold.take_sent().into();
        let resent = again.len();
        for flight in Vec::from(released) {
            let Some(queued) = flight.queued() else {
                continue;
            };
            places.owed.add(1, queued.size.into());
            places.cold.owe(queued.lane, None, queued.size, None);
            places.resend.push(queued.id);
            again.push(queued);
        }
        places.resend.sort_unstable();
        places.resend.dedup();
        let count = again.len() - resent;
        again.sort_unstable_by_key(|queued| queued.id);
        again
            .into_iter()
            .for_each(|queued| places.cold.resend(queued));
        count
    }
}
