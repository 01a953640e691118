//! What tests look at: the queue counted anew.

use super::outbound::Outbound;
use super::places::Handshake;
use crate::lane::Lane;
use crate::store::{Amount, Queued};

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
        assert_eq!(self.owed, owed);
        for lane in self.lanes() {
            let counted = lanes.remove(&lane).unwrap_or_default();
            assert_eq!(self.owed_by(lane), counted, "{lane:?}");
        }
        assert!(lanes.is_empty());
    }
}
