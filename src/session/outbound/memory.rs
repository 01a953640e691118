//! What a queue takes in RAM, and when it gives that back.

use super::Outbound;
use crate::lane::Lane;

impl Outbound {
    /// What the queue takes in RAM, in bytes: its entries, the messages that wait there, and those that
    /// are kept until they are acknowledged. A message that waits for several counts for each.
    pub fn held(&self) -> usize {
        let Some(places) = &self.places else {
            return 0;
        };
        let kept = places.flights.iter().filter(|f| f.message.is_some());
        let kept = kept.map(|f| f.size as usize).sum::<usize>();
        places.held() + places.ready_bytes + kept
    }

    /// Gives back the memory of an empty queue.
    pub fn shrink(&mut self) {
        let empty = self.is_empty() && self.owed_by(Lane::Dead).messages == 0;
        let places = self.places.as_ref();
        if !places.is_some_and(|p| empty && p.flights.is_empty() && p.resend.is_empty()) {
            return;
        }
        // Nothing is unsent in any lane.
        for hold in self.places.iter().flat_map(|places| &places.holds) {
            self.cursor = self.cursor.max(hold.cursor);
        }
        self.empty();
    }

    /// True if the queue has just become empty and still has its memory: [`Outbound::look_again`] is
    /// to be called in a while. Not at once: messages that come one by one would each allocate.
    pub fn has_emptied(&mut self) -> bool {
        let is_empty = self.is_empty();
        let places = self.places.as_mut();
        let places = places.filter(|places| is_empty && places.flights.is_empty());
        places.is_some_and(|places| !std::mem::replace(&mut places.is_listed, true))
    }

    /// True if there is memory for messages.
    #[cfg(test)]
    pub(crate) fn keeps_memory(&self) -> bool {
        self.places.is_some()
    }

    /// Gives back the memory of a queue that [`Outbound::has_emptied`], if it is empty now.
    pub fn look_again(&mut self) {
        if let Some(places) = &mut self.places {
            places.is_listed = false;
        }
        self.shrink();
    }
}
