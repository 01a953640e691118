//! The table of what members of shared subscriptions have left to the others of their groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use crate::keys::{GroupKey, SessionKey};
use crate::lane::{Lane, ShareNo};
use crate::message::MessageId;

/// Where messages lie that are for others: in the queue of this session, in the lane of this share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    pub(crate) session: SessionKey,
    pub(crate) share: ShareNo,
}

impl Place {
    /// All that a session can have.
    pub(super) fn all_of(session: SessionKey) -> RangeInclusive<Place> {
        let [first, last] = ShareNo::ENDS.map(|share| Place { session, share });
        first..=last
    }

    /// The lane of the session's queue.
    pub(crate) fn lane(self) -> Lane {
        Lane::Share(self.share)
    }
}

/// How far the messages of one place were looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Up to here they were; those that are left nobody could take.
    passed: MessageId,
    /// Up to here it makes no difference who comes.
    settled: MessageId,
}

/// What members of one group have left.
#[derive(Debug, Default)]
struct OfGroup {
    waiting: BTreeMap<Place, Progress>,
    /// Places with nothing that anybody could take.
    unwanted: BTreeMap<Place, Progress>,
    /// A read is under way.
    is_reading: bool,
}

/// A read under way.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) group: GroupKey,
    pub(crate) place: Place,
    pub(crate) ids: Vec<MessageId>,
}

/// All that was left.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    groups: HashMap<GroupKey, OfGroup>,
    /// The group of each place.
    places: BTreeMap<Place, GroupKey>,
    reads: HashMap<u32, Reading>,
    next_read: u32,
    /// Groups to look at before the turn ends, each once.
    due: BTreeSet<GroupKey>,
    /// Sessions that had sent all they had, whose groups are to be looked at before the turn ends.
    idle: BTreeSet<SessionKey>,
}

impl Leftovers {
    /// There is a new member: what nobody could take is looked at again.
    pub(crate) fn offer_again(&mut self, group: GroupKey) {
        if let Some(left) = self.groups.get_mut(&group) {
            for (place, progress) in std::mem::take(&mut left.unwanted) {
                let passed = progress.settled;
                left.waiting.insert(place, Progress { passed, ..progress });
            }
        }
    }

    /// Messages in `place` are for others.
    pub(crate) fn add(&mut self, group: GroupKey, place: Place) {
        self.places.insert(place, group);
        let left = self.groups.entry(group).or_default();
        let known = left.unwanted.remove(&place).unwrap_or_default();
        left.waiting.entry(place).or_insert(known);
        self.look_at(group);
    }

    /// There are none, or their owner is back.
    pub(crate) fn remove(&mut self, group: GroupKey, place: Place) {
        if self.places.get(&place) == Some(&group) {
            self.places.remove(&place);
        }
        if let Some(left) = self.groups.get_mut(&group) {
            left.waiting.remove(&place);
            left.unwanted.remove(&place);
            if left.waiting.is_empty() && left.unwanted.is_empty() {
                self.groups.remove(&group);
            }
        }
    }

    /// The next place of a group, and up to where it was looked at; `None` while a read of one is
    /// under way.
    pub(crate) fn next(&self, group: GroupKey) -> Option<(Place, MessageId)> {
        let left = self.groups.get(&group).filter(|left| !left.is_reading)?;
        let (place, progress) = left.waiting.first_key_value()?;
        Some((*place, progress.passed))
    }

    /// Nobody takes the message `id`: it is passed over, until there is a new member unless it is
    /// to stay with its session in any case.
    pub(crate) fn pass(&mut self, group: GroupKey, place: Place, id: MessageId, stays: bool) {
        let left = self.groups.get_mut(&group);
        if let Some(progress) = left.and_then(|left| left.waiting.get_mut(&place)) {
            if stays && progress.settled == progress.passed {
                progress.settled = id;
            }
            progress.passed = id;
        }
    }

    /// Nobody takes what is left in a place.
    pub(crate) fn set_unwanted(&mut self, group: GroupKey, place: Place) {
        if let Some(left) = self.groups.get_mut(&group)
            && let Some(progress) = left.waiting.remove(&place)
        {
            left.unwanted.insert(place, progress);
        }
    }

    /// Notes a read; its number.
    pub(crate) fn read(&mut self, reading: Reading) -> u32 {
        if let Some(left) = self.groups.get_mut(&reading.group) {
            left.is_reading = true;
        }
        self.next_read = self.next_read.wrapping_add(1);
        self.reads.insert(self.next_read, reading);
        self.next_read
    }

    /// The read `number` is done.
    pub(crate) fn read_done(&mut self, number: u32) -> Option<Reading> {
        let reading = self.reads.remove(&number)?;
        if let Some(left) = self.groups.get_mut(&reading.group) {
            left.is_reading = false;
        }
        Some(reading)
    }

    /// A group is to be looked at before the turn ends, if it has what somebody could take.
    pub(crate) fn look_at(&mut self, group: GroupKey) {
        let left = self.groups.get(&group);
        if left.is_some_and(|left| !left.waiting.is_empty()) {
            self.due.insert(group);
        }
    }

    /// All are: there may be room again.
    pub(crate) fn look_at_all(&mut self) {
        self.due.extend(self.groups.keys());
    }

    /// True if a group is to be looked at, or that of a session.
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty() || !self.idle.is_empty()
    }

    /// A group to look at.
    pub(crate) fn take_due(&mut self) -> Option<GroupKey> {
        self.due.pop_first()
    }

    /// A session has sent all it had: its groups are to be looked at before the turn ends. Not at
    /// once: it may have a thousand, and come here with each message of a burst.
    pub(crate) fn note_idle(&mut self, session: SessionKey) {
        if !self.groups.is_empty() {
            self.idle.insert(session);
        }
    }

    /// A session that had sent all it had.
    pub(crate) fn take_idle(&mut self) -> Option<SessionKey> {
        self.idle.pop_first()
    }

    /// True if what lies in `place` is for others.
    pub(crate) fn has(&self, group: GroupKey, place: Place) -> bool {
        let left = self.groups.get(&group);
        left.is_some_and(|left| left.waiting.contains_key(&place))
    }

    /// A group is gone. Returns where something was left.
    pub(crate) fn end(&mut self, group: GroupKey) -> Vec<Place> {
        let left = self.groups.remove(&group).unwrap_or_default();
        let places = left.waiting.into_keys().chain(left.unwanted.into_keys());
        let places: Vec<Place> = places.collect();
        for place in &places {
            self.places.remove(place);
        }
        places
    }

    /// A place gets another group: nothing that lies there is left to the one before.
    pub(crate) fn vacate(&mut self, place: Place) {
        if let Some(group) = self.places.get(&place) {
            self.remove(*group, place);
        }
    }

    /// Takes out all places of a session, which ends, and tells whose they are.
    pub(crate) fn take_of(&mut self, session: SessionKey) -> Vec<(Place, GroupKey)> {
        let own = self.places.range(Place::all_of(session));
        let own: Vec<_> = own.map(|(place, group)| (*place, *group)).collect();
        for (place, group) in &own {
            self.remove(*group, *place);
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Table;

    /// However often a burst comes by, a turn looks at a group once, and only for what waits.
    #[test]
    fn a_group_is_looked_at_once_a_turn() {
        let group = Table::<GroupKey, ()>::default().insert(());
        let session = Table::<SessionKey, ()>::default().insert(());
        let place = Place {
            session,
            share: ShareNo::new(0).unwrap(),
        };
        let mut left = Leftovers::default();
        left.note_idle(session);
        assert_eq!(left.take_idle(), None, "there is nothing to have");
        for _ in 0..3 {
            left.add(group, place);
            left.look_at(group);
            left.note_idle(session);
        }
        assert_eq!(left.take_due(), Some(group));
        assert_eq!(left.take_due(), None);
        assert_eq!(left.take_idle(), Some(session));
        assert_eq!(left.take_idle(), None);
        left.look_at(group);
        assert_eq!(left.take_due(), Some(group), "in the next turn again");
        left.set_unwanted(group, place);
        left.look_at(group);
        assert_eq!(left.take_due(), None, "nobody takes what is left");
    }
}
