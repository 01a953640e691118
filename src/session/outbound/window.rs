//! How much may be under way to the peer at a time.

use super::Outbound;

impl Outbound {
    /// QoS 1 and 2 messages that the peer has not acknowledged to the end.
    pub fn inflight(&self) -> usize {
        self.places.as_ref().map_or(0, |p| p.flights.len())
    }

    /// True if no more may be sent before the peer answers, or an answer is on disk.
    pub fn is_window_full(&self) -> bool {
        let Some(places) = &self.places else {
            return false;
        };
        let bytes = self.window_bytes;
        let heavy = bytes > 0 && places.bytes_in_flight() >= bytes;
        heavy || places.flights.len() >= usize::from(self.window)
    }

    /// True if a new message could be sent at once: none waits before it.
    pub fn is_free(&self) -> bool {
        let Some(places) = &self.places else {
            return self.online;
        };
        let nothing_waits = places.ready.is_empty() && !self.is_behind();
        let has_id = !places.is_id_taken(self.next_seq);
        self.online && nothing_waits && has_id && !self.is_window_full()
    }

    /// Bounds the payload bytes of what may be unacknowledged: no more is sent once that many
    /// are, so one message may always go. 0 is no limit.
    pub fn limit_bytes(&mut self, bytes: u64) {
        self.window_bytes = bytes;
    }

    /// Bounds how many QoS 2 messages may be between PUBLISH and PUBCOMP.
    pub fn limit_qos2(&mut self, window: u16) {
        self.window_qos2 = window.max(1);
    }

    /// How many QoS 1 and 2 messages were sent so far, and the bytes of their payloads.
    pub fn launched(&self) -> (u64, u64) {
        self.places.as_ref().map_or((0, 0), |p| p.launched)
    }

    /// The payload bytes of those that are not acknowledged to the end.
    pub fn bytes_in_flight(&self) -> u64 {
        self.places.as_ref().map_or(0, |p| p.bytes_in_flight())
    }

    /// The first and the last place in the sequence of those.
    pub fn places_in_flight(&self) -> Option<(u64, u64)> {
        let flights = || self.places.iter().flat_map(|places| &places.flights);
        let first = flights().map(|flight| flight.owed.seq).min()?;
        let last = flights().map(|flight| flight.owed.seq).max()?;
        Some((first, last))
    }

    /// How many QoS 1 and 2 messages may be unacknowledged, and as [`limit_bytes`](Outbound::limit_bytes) has
    /// it, their bytes.
    pub fn window(&self) -> (u16, u64) {
        (self.window, self.window_bytes)
    }

    /// Changes how many QoS 1 and 2 messages may be unacknowledged.
    pub fn set_window(&mut self, window: u16) {
        self.window = window.max(1);
    }
}
