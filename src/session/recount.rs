//! What tests look at: the queue counted anew.

use super::outbound::Outbound;
use super::places::Handshake;
use crate::lane::Lane;
use crate::store::{Amount, Queued};
use crate::time::Time;

impl Outbound {
    /// Everything owed, in the order in which it goes out; those that were sent first, dead letters
    /// last.
    pub fn all(&self) -> Vec<Queued> {
        let Some(places) = &self.places else {
            return Vec::new();
        };
        let mut all: Vec<Queued> = places
            .at(Handshake::Published)
            .filter_map(|f| f.queued())
            .collect();
        all.extend(places.ready.iter().filter_map(|e| e.queued()));
        all.extend(&places.reading);
        let mut cold = places.cold.clone();
        all.extend(std::iter::from_fn(|| {
            cold.pop_below(crate::message::MessageId(u64::MAX), |_| true)
                .or_else(|| cold.pop_dead())
        }));
        all
    }

    /// True if a message waits that was to be dropped by `now`, unless it is being read.
    pub fn is_overdue(&self, now: Time) -> bool {
        let places = self.places.iter();
        let next = places.flat_map(|p| p.ready_expires.into_iter().chain(p.cold.next_expiry()));
        next.min().is_some_and(|at| at <= now)
    }

    /// Checks that what is counted is what is there.
    pub fn check(&self) {
        let mut owed = Amount::default();
        let mut lanes = std::collections::BTreeMap::<Lane, Amount>::new();
        for queued in self.all() {
            if queued.lane != Lane::Dead {
                owed.add(1, queued.size.into());
            }
            lanes
                .entry(queued.lane)
                .or_default()
                .add(1, queued.size.into());
        }
        assert_eq!(self.owed(), owed);
        for lane in self.lanes() {
            let counted = lanes.remove(&lane).unwrap_or_default();
            assert_eq!(self.owed_by(lane), counted, "{lane:?}");
        }
        assert!(lanes.is_empty());
    }
}
