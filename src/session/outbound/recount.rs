//! What tests look at: the queue counted anew.

use super::{Outbound, Stage};
use crate::store::{Amount, Held};

impl Outbound {
    /// Everything owed, in the order in which it goes out; those that were sent first.
    pub fn all(&self) -> Vec<Held> {
        let Some(places) = &self.places else {
            return Vec::new();
        };
        let mut all: Vec<Held> = places
            .at(Stage::Published)
            .filter_map(|f| f.held())
            .collect();
        all.extend(places.ready.iter().filter_map(|e| e.held()));
        all.extend(&places.reading);
        let mut cold = places.cold.clone();
        all.extend(std::iter::from_fn(|| {
            cold.pop_below(crate::message::MessageId(u64::MAX))
        }));
        all
    }

    /// Checks that what is counted is what is there.
    pub fn check(&self) {
        let mut owed = Amount::default();
        let mut lines = std::collections::BTreeMap::<u16, Amount>::new();
        for held in self.all() {
            owed.add(1, held.size.into());
            lines
                .entry(held.mapping)
                .or_default()
                .add(1, held.size.into());
        }
        assert_eq!(self.owed, owed);
        for mapping in self.mappings() {
            let line = lines.remove(&mapping).unwrap_or_default();
            assert_eq!(self.owed_by(mapping), line, "line {mapping}");
        }
        assert!(lines.is_empty());
    }
}
