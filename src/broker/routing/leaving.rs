//! Members that have left a group: what waits for them in RAM and was not sent yet goes to others, but
//! in pieces.

use std::collections::BTreeMap;

use super::Place;
use crate::keys::{GroupKey, SessionKey};

/// Which parts in groups have ended whose messages were not all offered to others yet.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// By their places: the group, and up to which place of the queue its others were asked.
    parts: BTreeMap<Place, (GroupKey, usize)>,
}

impl Leaving {
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The messages at `place` are for the others of `group`, from place `at` of the queue on.
    pub(crate) fn add(&mut self, place: Place, group: GroupKey, at: usize) {
        self.parts.insert(place, (group, at));
    }

    /// True while messages at `place` are still to be offered: no other group may have its number.
    pub(crate) fn uses(&self, place: Place) -> bool {
        self.parts.contains_key(&place)
    }

    /// The next part, the group, and from which place of the queue on others are to be asked.
    pub(crate) fn take(&mut self) -> Option<(Place, GroupKey, usize)> {
        let (place, (group, at)) = self.parts.pop_first()?;
        Some((place, group, at))
    }

    /// Takes all parts of a session, which ends.
    pub(crate) fn take_of(&mut self, session: SessionKey) -> Vec<(Place, GroupKey)> {
        let own = self.parts.range(Place::all_of(session));
        let own: Vec<_> = own.map(|(place, (group, _))| (*place, *group)).collect();
        for (place, _) in &own {
            self.parts.remove(place);
        }
        own
    }
}
