//! What a peer has sent that is not done: packets that are done in pieces, and those that wait for room.
//! While it is too much, nothing more is read from the peer.

use super::{Asked, Connection, Stage};

/// How many publishes of one connection may wait for room.
const PARKED_MESSAGES: usize = 128;
/// How many bytes of them.
const PARKED_BYTES: usize = 128 * 1024;

impl Connection {
    /// The filters of a packet are still to be taken, or are not with `None`.
    pub(in crate::broker::connections) fn set_asked(&mut self, asked: Option<Asked>) {
        self.extras().asked = asked.map(Box::new);
    }

    /// Takes the packet whose filters are still to be taken.
    pub(in crate::broker::connections) fn take_asked(&mut self) -> Option<Asked> {
        let asked = self.extras.as_mut()?.asked.take();
        asked.map(|asked| *asked)
    }

    /// How many filters of the peer's last packet are still to be taken.
    #[cfg(test)]
    pub(crate) fn filters_left(&self) -> usize {
        let asked = self
            .extras
            .as_ref()
            .and_then(|extras| extras.asked.as_ref());
        asked.map_or(0, |asked| asked.left())
    }

    /// True while filters of the peer's last packet are still to be taken.
    pub(crate) fn is_asking(&self) -> bool {
        let extras = self.extras.as_ref();
        extras.is_some_and(|extras| extras.asked.is_some())
    }

    /// A PUBLISH of the peer's is still on its way to its receivers, or not any more.
    pub(crate) fn set_spreads(&mut self, spreads: bool) {
        if spreads || self.extras.is_some() {
            self.extras().spreads = spreads;
        }
    }

    /// True while a PUBLISH of the peer's is on its way to its receivers.
    fn spreads(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.spreads)
    }

    /// True if so much waits for room that no more is to be read. Up to there it is, because the
    /// acknowledgements that make room may come from the same peer.
    fn is_parked_full(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| {
            extras.parked.len() >= PARKED_MESSAGES || extras.parked_bytes >= PARKED_BYTES
        })
    }

    /// False while the peer must not be read: the store is behind, a queue is full, its last packet is not
    /// done, or it does not read itself.
    pub(crate) fn may_be_read(&self) -> bool {
        let is_read = matches!(self.stage, Stage::New | Stage::Connected);
        let is_free = !self.is_parked_full() && !self.is_asking() && !self.spreads();
        is_read && !self.paused && is_free && !self.is_behind()
    }
}
