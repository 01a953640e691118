//! Lanes of low priority: what waits in one is sent while nothing of the other lanes could be, as
//! RSMB's fifth field `low` of a `topic` line says. A lane that is paused holds none of them up.
//!
//! Such a lane has a cursor of its own as long as it is one, for the others overtake it. In RAM its
//! messages stand behind all others; none comes there while others wait to.

use super::entry::Entry;
use super::outbound::Outbound;
use super::places::{Hold, Places};
use crate::lane::Lane;
use crate::store::Amount;

impl Outbound {
    /// From now on these lanes are of low priority, and no others.
    pub fn set_low(&mut self, lanes: &[Lane]) {
        let has_low = self.low_lanes().next().is_some();
        if lanes.is_empty() && !has_low {
            return;
        }
        let cursor = self.cursor;
        let places = self.places();
        for hold in &mut places.holds {
            // It is as one that was paused: its cursor joins the common one once it has caught up.
            hold.is_late |= hold.is_low;
            hold.is_low = lanes.contains(&hold.lane);
        }
        for lane in lanes {
            if places.hold(*lane).is_none() {
                places.holds.push(Hold::low(*lane, cursor));
            }
        }
        places.sort_ready();
    }

    fn low_lanes(&self) -> impl Iterator<Item = Lane> {
        let holds = self.places.iter().flat_map(|places| &places.holds);
        holds.filter(|hold| hold.is_low).map(|hold| hold.lane)
    }

    /// Forgets all that waits. Only which lanes are of low priority stays.
    pub(super) fn empty(&mut self) {
        let low = self.low_lanes().map(|lane| Hold::low(lane, self.cursor));
        let holds: Vec<Hold> = low.collect();
        self.places = (!holds.is_empty()).then(|| {
            let mut places = Places {
                holds,
                ..Places::default()
            };
            places.recount();
            Box::new(places)
        });
    }
}

impl Places {
    /// True if a message lets those of other lanes go first. What was sent before goes in its order.
    pub(super) fn yields(&self, entry: &Entry) -> bool {
        !entry.dup && self.is_low_lane(entry.owed.lane)
    }

    fn is_low_lane(&self, lane: Lane) -> bool {
        self.hold(lane).is_some_and(|hold| hold.is_low)
    }

    /// The place in `ready` from which on all are of low priority.
    pub(super) fn first_low(&self) -> usize {
        let low = usize::try_from(self.ready_low.messages).unwrap_or(usize::MAX);
        self.ready.len().saturating_sub(low)
    }

    /// From where to where the messages stand in `ready` that have the priority of `entry`.
    pub(super) fn part_of(&self, entry: &Entry) -> (usize, usize) {
        if self.yields(entry) {
            (self.first_low(), self.ready.len())
        } else {
            (0, self.first_low())
        }
    }

    /// True if messages that are not of low priority are on their way to RAM, or could come there but
    /// for their number.
    pub(super) fn is_urgent(&self) -> bool {
        let mut reading = self.reading.iter();
        let shut = self.lanes_at_limit(|lane| self.under_way(lane));
        reading.any(|queued| !self.is_low_lane(queued.lane)) || self.is_cold_urgent(&shut)
    }

    /// True if messages that are not of low priority wait to come to RAM, those of lanes that are `shut`
    /// left out. False if no lane is of low priority.
    pub(super) fn is_cold_urgent(&self, shut: &[Lane]) -> bool {
        let is_open = |lane| !self.is_low_lane(lane) && !shut.contains(&lane);
        self.holds.iter().any(|hold| hold.is_low) && self.cold.first_unsent(is_open).is_some()
    }

    /// How many messages and bytes in `ready` count against its bounds. While others wait, those of low
    /// priority are not among them.
    pub(super) fn room_taken(&self) -> (usize, usize) {
        let (len, bytes) = (self.ready.len(), self.ready_bytes);
        if self.ready_low.messages == 0 || !self.is_urgent() {
            return (len, bytes);
        }
        let low = usize::try_from(self.ready_low.bytes).unwrap_or(usize::MAX);
        (self.first_low(), bytes.saturating_sub(low))
    }

    /// The place in `ready` of the oldest message that was never sent, of the lanes that `may` admits.
    pub(super) fn oldest_ready(&self, may: impl Fn(Lane) -> bool) -> Option<usize> {
        let fits = |e: &Entry| !e.dup && may(e.owed.lane);
        let first_low = self.first_low();
        let others = self.ready.iter().take(first_low).position(fits);
        let low = self.ready.iter().skip(first_low).position(fits);
        let low = low.map(|at| first_low + at);
        // Of those that arrived in the same moment the ones of low priority count as older.
        let arrival = |at: &usize| self.ready.get(*at).map(|entry| entry.message.arrival);
        low.into_iter().chain(others).min_by_key(arrival)
    }

    /// Puts `ready` in order again: other lanes are of low priority.
    fn sort_ready(&mut self) {
        self.ready_low = Amount::default();
        (self.ready_bytes, self.ready_qos0) = (0, 0);
        for entry in std::mem::take(&mut self.ready) {
            self.make_ready(entry);
        }
    }
}
