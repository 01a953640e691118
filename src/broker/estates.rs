//! The table of what members of shared subscriptions have left to the others of their groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::message::{MessageId, SessionId};

/// Tells the reads of this module from those of queues, in their tokens.
const READ: u64 = 1 << 63;

/// Messages of one session that came by one line: its index and the line.
pub(super) type Place = (usize, u16);

/// Where messages wait for other members of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estate {
    pub session: SessionId,
    /// Up to here they were looked at; those that are left nobody could take.
    pub passed: MessageId,
    /// Up to here it makes no difference who comes.
    firm: MessageId,
}

/// The estates of one group.
#[derive(Debug, Default)]
struct Heritage {
    waiting: BTreeMap<Place, Estate>,
    /// Those with nothing that anybody could take.
    spent: BTreeMap<Place, Estate>,
    /// A read is under way.
    reading: bool,
}

/// A read under way.
#[derive(Debug)]
pub(super) struct Reading {
    pub group: u32,
    pub place: Place,
    pub session: SessionId,
    pub ids: Vec<MessageId>,
}

/// All estates.
#[derive(Debug, Default)]
pub(super) struct Estates {
    groups: HashMap<u32, Heritage>,
    reads: HashMap<u32, Reading>,
    next_read: u32,
    /// Groups to look at before the turn ends, each once.
    due: BTreeSet<u32>,
    /// Sessions that had sent all they had, to ask their groups before the turn ends.
    asking: BTreeSet<usize>,
}

impl Estates {
    /// There is a new member: what nobody could take is looked at again.
    pub fn revive(&mut self, group: u32) {
        if let Some(heritage) = self.groups.get_mut(&group) {
            for (place, estate) in std::mem::take(&mut heritage.spent) {
                let passed = estate.firm;
                heritage.waiting.insert(place, Estate { passed, ..estate });
            }
        }
    }

    /// Messages in `place`, which belong to `session`, are for others.
    pub fn add(&mut self, group: u32, place: Place, session: SessionId) {
        let heritage = self.groups.entry(group).or_default();
        let spent = heritage.spent.remove(&place);
        let spent = spent.filter(|estate| estate.session == session);
        let estate = spent.unwrap_or(Estate {
            session,
            passed: MessageId(0),
            firm: MessageId(0),
        });
        heritage.waiting.entry(place).or_insert(estate);
        self.look_at(group);
    }

    /// There are none, or their owner is back.
    pub fn remove(&mut self, group: u32, place: Place) {
        if let Some(heritage) = self.groups.get_mut(&group) {
            heritage.waiting.remove(&place);
            heritage.spent.remove(&place);
            if heritage.waiting.is_empty() && heritage.spent.is_empty() {
                self.groups.remove(&group);
            }
        }
    }

    /// The next estate of a group, unless a read of one is under way.
    pub fn next(&self, group: u32) -> Option<(Place, Estate)> {
        let heritage = self.groups.get(&group).filter(|h| !h.reading)?;
        let (place, estate) = heritage.waiting.first_key_value()?;
        Some((*place, *estate))
    }

    /// Nobody takes the message `id`: it is passed over, until there is a new member unless it is
    /// to stay with its session in any case.
    pub fn pass(&mut self, group: u32, place: Place, id: MessageId, stays: bool) {
        let heritage = self.groups.get_mut(&group);
        if let Some(estate) = heritage.and_then(|h| h.waiting.get_mut(&place)) {
            if stays && estate.firm == estate.passed {
                estate.firm = id;
            }
            estate.passed = id;
        }
    }

    /// Nobody takes what is left of an estate.
    pub fn spend(&mut self, group: u32, place: Place) {
        if let Some(heritage) = self.groups.get_mut(&group)
            && let Some(estate) = heritage.waiting.remove(&place)
        {
            heritage.spent.insert(place, estate);
        }
    }

    /// Notes a read; its token.
    pub fn read(&mut self, reading: Reading) -> u64 {
        if let Some(heritage) = self.groups.get_mut(&reading.group) {
            heritage.reading = true;
        }
        self.next_read = self.next_read.wrapping_add(1);
        self.reads.insert(self.next_read, reading);
        READ | u64::from(self.next_read)
    }

    /// The read `token` is done.
    pub fn read_done(&mut self, token: u64) -> Option<Reading> {
        let reading = self.reads.remove(&(token as u32))?;
        if let Some(heritage) = self.groups.get_mut(&reading.group) {
            heritage.reading = false;
        }
        Some(reading)
    }

    /// True if `token` is that of a read here.
    pub fn is_read(token: u64) -> bool {
        token & READ != 0
    }

    /// A group is to be looked at before the turn ends, if it has what somebody could take.
    pub fn look_at(&mut self, group: u32) {
        let heritage = self.groups.get(&group);
        if heritage.is_some_and(|heritage| !heritage.waiting.is_empty()) {
            self.due.insert(group);
        }
    }

    /// All are: there may be room again.
    pub fn look_at_all(&mut self) {
        self.due.extend(self.groups.keys());
    }

    /// A group to look at.
    pub fn take_due(&mut self) -> Option<u32> {
        self.due.pop_first()
    }

    /// A session has sent all it had: its groups are to be looked at before the turn ends. Not at
    /// once: it may have a thousand, and come here with each message of a burst.
    pub fn ask(&mut self, session: usize) {
        if !self.groups.is_empty() {
            self.asking.insert(session);
        }
    }

    /// A session that asked.
    pub fn take_asking(&mut self) -> Option<usize> {
        self.asking.pop_first()
    }

    /// True if what lies in `place` is still that session's, for others.
    pub fn owns(&self, group: u32, place: Place, session: SessionId) -> bool {
        let heritage = self.groups.get(&group);
        let estate = heritage.and_then(|h| h.waiting.get(&place));
        estate.is_some_and(|estate| estate.session == session)
    }

    /// A group is gone. Returns where its estates are, and whose.
    pub fn end(&mut self, group: u32) -> Vec<(Place, SessionId)> {
        let heritage = self.groups.remove(&group).unwrap_or_default();
        let estates = heritage.waiting.into_iter().chain(heritage.spent);
        estates
            .map(|(place, estate)| (place, estate.session))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often a burst comes by, a turn looks at a group once, and only for what waits.
    #[test]
    fn a_group_is_looked_at_once_a_turn() {
        let mut estates = Estates::default();
        estates.ask(7);
        assert_eq!(estates.take_asking(), None, "there is nothing to have");
        let place = (1, 0x8000);
        for _ in 0..3 {
            estates.add(5, place, SessionId(1));
            estates.look_at(5);
            estates.ask(7);
        }
        assert_eq!(estates.take_due(), Some(5));
        assert_eq!(estates.take_due(), None);
        assert_eq!(estates.take_asking(), Some(7));
        assert_eq!(estates.take_asking(), None);
        estates.look_at(5);
        assert_eq!(estates.take_due(), Some(5), "in the next turn again");
        estates.spend(5, place);
        estates.look_at(5);
        assert_eq!(estates.take_due(), None, "nobody takes what is left");
    }
}
