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
#[derive(Clone, Debug, Default)]
pub struct Inbound {
    /// Sorted; bounded by the number of packet ids. Made with the first.
    #[expect(clippy::box_collection, reason = "thousands of sessions have none")]
    received: Option<Box<Vec<PacketId>>>,
}

impl Inbound {
    /// Restores the ids that were on disk.
    pub fn restore(mut received: Vec<PacketId>) -> Inbound {
        received.sort_unstable();
        received.dedup();
        Inbound {
            received: (!received.is_empty()).then(|| Box::new(received)),
        }
    }

    /// Whether a QoS 2 PUBLISH under `id` is new. Does not change anything: the id is taken by
    /// [`Inbound::receive`] once the message has been accepted.
    pub fn look(&self, id: PacketId) -> Receipt {
        match self.received().binary_search(&id) {
            Ok(_) => Receipt::Known,
            Err(_) => Receipt::New,
        }
    }

    /// Takes `id` as received.
    pub fn receive(&mut self, id: PacketId) {
        let received = self.received.get_or_insert_default();
        if let Err(at) = received.binary_search(&id) {
            received.insert(at, id);
        }
    }

    /// PUBREL came in: forgets `id`. False if it was not known.
    pub fn release(&mut self, id: PacketId) -> bool {
        let Some(received) = &mut self.received else {
            return false;
        };
        let found = received.binary_search(&id);
        if let Ok(at) = found {
            received.remove(at);
        }
        found.is_ok()
    }

    /// The ids that are held, sorted.
    pub fn received(&self) -> &[PacketId] {
        self.received.as_deref().map_or(&[], Vec::as_slice)
    }
}
