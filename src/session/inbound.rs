//! QoS 2 messages from the peer: which packet ids are between PUBLISH and PUBREL.

use crate::mqtt::PacketId;

/// What a QoS 2 PUBLISH turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// A new message: route it, then PUBREC.
    New,
    /// Already received: PUBREC only [MQTT-4.3.3-10].
    Known,
}

/// The packet ids whose QoS 2 message was received but not yet released (method A of 5.0
/// §4.3.3: the message is routed at once, the id kept until PUBREL).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inbound {
    /// Sorted; bounded by the number of packet ids.
    received: Vec<PacketId>,
}

impl Inbound {
    /// Restores the ids that were on disk.
    pub fn restore(mut received: Vec<PacketId>) -> Inbound {
        received.sort_unstable();
        received.dedup();
        Inbound { received }
    }

    /// Whether a QoS 2 PUBLISH under `id` is new. Does not change anything: the id is taken by
    /// [`Inbound::receive`] once the message has been accepted.
    pub fn look(&self, id: PacketId) -> Receipt {
        match self.received.binary_search(&id) {
            Ok(_) => Receipt::Known,
            Err(_) => Receipt::New,
        }
    }

    /// Takes `id` as received.
    pub fn receive(&mut self, id: PacketId) {
        if let Err(at) = self.received.binary_search(&id) {
            self.received.insert(at, id);
        }
    }

    /// PUBREL came in: forgets `id`. False if it was not known.
    pub fn release(&mut self, id: PacketId) -> bool {
        match self.received.binary_search(&id) {
            Ok(at) => {
                self.received.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// The ids that are held, sorted.
    pub fn received(&self) -> &[PacketId] {
        &self.received
    }
}
