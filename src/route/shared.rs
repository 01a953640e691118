//! Shared subscriptions (5.0 §4.8.2): groups of sessions of which one gets each message.
//!
//! A group is one subscriber in the [`Trie`](super::Trie), and picks a member for each message. Who may have it is the caller's to say; whose turn it is, the group's.

use std::collections::HashMap;
use std::hash::Hash;

use super::SubOptions;
use crate::impossible;
use crate::keys::{GroupKey, Table};

/// Members that are looked at for one message, of those connected and of the others, at most.
const PROBES: usize = 32;

/// How well a member could take a message now. The first is best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fitness {
    /// It may be sent at once.
    Free,
    /// It is connected and has this many messages before it.
    Busy(u64),
    /// It is away; the message would be kept for it.
    Away,
    /// Its queue is full.
    Full,
    /// It may not have it.
    Unfit,
}

/// Which members may be picked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Among {
    /// Those that are connected.
    Connected,
    /// Those, and the others if none of them can take the message.
    All,
}

#[derive(Clone, Copy, Debug)]
struct Member<M> {
    key: M,
    options: SubOptions,
}

/// The members of one `$share/NAME/FILTER`.
#[derive(Debug)]
struct Group<M> {
    name: Box<str>,
    /// Those that are connected come first.
    members: Vec<Member<M>>,
    connected: usize,
    /// Where each member stands.
    places: HashMap<M, usize>,
    /// Whose turn it is, among those connected and among the others.
    turns: [usize; 2],
}

impl<M: Copy + Eq + Hash> Group<M> {
    fn new(name: &str) -> Group<M> {
        Group {
            name: name.into(),
            members: Vec::new(),
            connected: 0,
            places: HashMap::new(),
            turns: [0; 2],
        }
    }

    /// Adds a member, or changes its options. True if it is new.
    fn set(&mut self, key: M, options: SubOptions) -> bool {
        let place = self.places.get(&key).copied();
        match place.and_then(|at| self.members.get_mut(at)) {
            Some(member) => {
                member.options = options;
                false
            }
            None => {
                self.places.insert(key, self.members.len());
                self.members.push(Member { key, options });
                true
            }
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.members.swap(a, b);
        for at in [a, b] {
            if let Some(member) = self.members.get(at) {
                self.places.insert(member.key, at);
            }
        }
    }

    fn set_connected(&mut self, key: M, connected: bool) {
        let Some(&at) = self.places.get(&key) else {
            return;
        };
        match (at < self.connected, connected) {
            (false, true) => {
                self.swap(at, self.connected);
                self.connected += 1;
            }
            (true, false) => {
                self.connected -= 1;
                self.swap(at, self.connected);
            }
            _ => {}
        }
    }

    fn remove(&mut self, key: M) -> bool {
        self.set_connected(key, false);
        let Some(at) = self.places.get(&key).copied() else {
            return false;
        };
        let last = self.members.len() - 1;
        self.swap(at, last);
        self.members.pop();
        self.places.remove(&key);
        true
    }

    /// The best of the next few members, connected ones or the others; it goes on behind the one
    /// that was chosen. A free one ends the search.
    fn best(
        &mut self,
        connected: bool,
        fitness: &mut impl FnMut(M, &SubOptions) -> Fitness,
    ) -> Option<(Fitness, Member<M>)> {
        let members = if connected {
            self.members.get(..self.connected)?
        } else {
            self.members.get(self.connected..)?
        };
        let turn = &mut self.turns[usize::from(!connected)];
        let start = *turn;
        let mut best: Option<(Fitness, Member<M>)> = None;
        for probe in 0..members.len().min(PROBES) {
            let at = (start + probe) % members.len();
            let member = members.get(at)?;
            let found = fitness(member.key, &member.options);
            if best.is_none_or(|(known, _)| found < known) {
                best = Some((found, *member));
                *turn = at + 1;
            }
            if matches!(found, Fitness::Free | Fitness::Away) {
                break;
            }
        }
        best
    }
}

/// All groups of shared subscriptions. `M` is who is a member.
#[derive(Debug)]
pub struct Groups<M> {
    groups: Table<GroupKey, Group<M>>,
    by_name: HashMap<Box<str>, GroupKey>,
    members: usize,
}

impl<M> Default for Groups<M> {
    fn default() -> Groups<M> {
        Groups {
            groups: Table::default(),
            by_name: HashMap::new(),
            members: 0,
        }
    }
}

impl<M: Copy + Eq + Hash> Groups<M> {
    /// How many members all groups have.
    pub fn members(&self) -> usize {
        self.members
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// True without any group.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The group named `name`, a whole `$share/NAME/FILTER`.
    pub fn find(&self, name: &str) -> Option<GroupKey> {
        self.by_name.get(name).copied()
    }

    /// The name of a group, a whole `$share/NAME/FILTER`; `None` if it is gone.
    pub fn name(&self, group: GroupKey) -> Option<&str> {
        Some(&self.groups.get(group)?.name)
    }

    /// The options of a member of a group.
    pub fn options(&self, group: GroupKey, key: M) -> Option<SubOptions> {
        let group = self.groups.get(group)?;
        let member = group.members.get(*group.places.get(&key)?)?;
        Some(member.options)
    }

    /// Makes `key` a member of the group `name`, a whole `$share/NAME/FILTER`, or changes its
    /// options. Returns the group, and true if it is new.
    pub fn join(&mut self, name: &str, key: M, options: SubOptions) -> (GroupKey, bool) {
        let known = self.find(name);
        let id = known.unwrap_or_else(|| {
            let id = self.groups.insert(Group::new(name));
            self.by_name.insert(name.into(), id);
            id
        });
        match self.groups.get_mut(id) {
            Some(group) => self.members += usize::from(group.set(key, options)),
            None => impossible!("a group of shared subscriptions is known by name only"),
        }
        (id, known.is_none())
    }

    /// Ends a membership. Returns true if the group went with it, its last.
    pub fn leave(&mut self, group: GroupKey, key: M) -> bool {
        let Some(found) = self.groups.get_mut(group) else {
            return false;
        };
        self.members -= usize::from(found.remove(key));
        if !found.members.is_empty() {
            return false;
        }
        if let Some(gone) = self.groups.remove(group) {
            self.by_name.remove(&gone.name);
        }
        true
    }

    /// Notes that a member has a connection now, or none.
    pub fn set_connected(&mut self, group: GroupKey, key: M, connected: bool) {
        if let Some(group) = self.groups.get_mut(group) {
            group.set_connected(key, connected);
        }
    }

    /// Picks the member for a message, in turn among the fittest: of those connected if one of
    /// them can take it. `fitness` is asked about a bounded number of them. A member that is full
    /// is picked only if no other can take the message.
    pub fn pick(
        &mut self,
        group: GroupKey,
        among: Among,
        mut fitness: impl FnMut(M, &SubOptions) -> Fitness,
    ) -> Option<(M, SubOptions, Fitness)> {
        let group = self.groups.get_mut(group)?;
        let mut best = group.best(true, &mut fitness);
        if among == Among::All && best.is_none_or(|(found, _)| found > Fitness::Away) {
            let away = group.best(false, &mut fitness);
            best = best.into_iter().chain(away).min_by_key(|(found, _)| *found);
        }
        let (found, member) = best.filter(|(found, _)| *found != Fitness::Unfit)?;
        Some((member.key, member.options, found))
    }

    /// True if one of the connected members that would be asked next is free. If none is, others
    /// are next.
    pub fn has_free(&mut self, group: GroupKey, mut is_free: impl FnMut(M) -> bool) -> bool {
        let Some(group) = self.groups.get_mut(group) else {
            return false;
        };
        let connected = group.members.get(..group.connected).unwrap_or_default();
        let start = group.turns[0] % connected.len().max(1);
        let turn = connected.iter().cycle().skip(start);
        let mut next = turn.take(connected.len().min(PROBES));
        let found = next.any(|member| is_free(member.key));
        if !found {
            group.turns[0] = start + PROBES;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::{Lane, ShareNo};

    const NAME: &str = "$share/g/a/+";

    fn options(share: u16) -> SubOptions {
        SubOptions {
            lane: ShareNo::new(share).map_or(Lane::Client, Lane::Share),
            ..SubOptions::default()
        }
    }

    /// A group of connected members 0 to n - 1.
    fn group(n: u32) -> (Groups<u32>, GroupKey) {
        let mut groups = Groups::default();
        for key in 0..n {
            let (id, _) = groups.join(NAME, key, options(0));
            groups.set_connected(id, key, true);
        }
        let id = groups.find(NAME).unwrap();
        (groups, id)
    }

    fn picked(
        groups: &mut Groups<u32>,
        id: GroupKey,
        fitness: impl Fn(u32) -> Fitness,
    ) -> Option<u32> {
        let picked = groups.pick(id, Among::All, |key, _| fitness(key));
        picked.map(|(key, ..)| key)
    }

    #[test]
    fn free_members_take_turns() {
        let (mut groups, id) = group(3);
        let mut counts = [0; 3];
        for _ in 0..300 {
            let key = picked(&mut groups, id, |_| Fitness::Free).unwrap();
            counts[key as usize] += 1;
        }
        assert_eq!(counts, [100; 3]);
    }

    #[test]
    fn a_slow_member_is_passed_over() {
        let (mut groups, id) = group(3);
        let slow = |key| match key {
            1 => Fitness::Busy(9),
            _ => Fitness::Free,
        };
        let mut counts = [0; 3];
        for _ in 0..300 {
            counts[picked(&mut groups, id, slow).unwrap() as usize] += 1;
        }
        assert_eq!((counts[1], counts.iter().sum::<i32>()), (0, 300));
        assert!(counts[0] >= 100 && counts[2] >= 100, "{counts:?}");
    }

    #[test]
    fn the_shortest_queue_then_those_away_then_a_full_one() {
        let (mut groups, id) = group(4);
        let queues = |key: u32| Fitness::Busy(u64::from(10 - key));
        assert_eq!(picked(&mut groups, id, queues), Some(3));
        groups.set_connected(id, 3, false);
        let full = |key| match key {
            3 => Fitness::Away,
            0 => Fitness::Unfit,
            _ => Fitness::Full,
        };
        assert_eq!(picked(&mut groups, id, full), Some(3));
        groups.leave(id, 3);
        let full = picked(&mut groups, id, full);
        assert!(matches!(full, Some(1 | 2)), "{full:?}");
        assert_eq!(picked(&mut groups, id, |_| Fitness::Unfit), None);
    }

    #[test]
    fn a_group_goes_with_its_last_member() {
        let (mut groups, id) = group(3);
        assert_eq!(groups.join(NAME, 1, options(0)), (id, false), "replaced");
        assert_eq!(groups.members(), 3);
        assert!(!groups.leave(id, 0) && !groups.leave(id, 0));
        assert!(!groups.leave(id, 2));
        assert_eq!(picked(&mut groups, id, |_| Fitness::Free), Some(1));
        assert!(groups.leave(id, 1));
        assert_eq!((groups.len(), groups.members()), (0, 0));
        assert_eq!(groups.find(NAME), None);
        assert_eq!(picked(&mut groups, id, |_| Fitness::Free), None);
    }

    /// Ten thousand members cost a message no ten thousand steps, whatever state they are in.
    #[test]
    fn a_large_group_is_probed_not_scanned() {
        let (mut groups, id) = group(10_000);
        for key in 0..5_000 {
            groups.set_connected(id, key, false);
        }
        let mut asked = 0;
        let picked = groups.pick(id, Among::All, |_, _| {
            asked += 1;
            Fitness::Full
        });
        assert!(picked.is_some() && asked <= 2 * PROBES, "{asked}");
        asked = 0;
        let free = groups.has_free(id, |_| {
            asked += 1;
            false
        });
        assert!(!free && asked <= PROBES, "{asked}");
        let found = (0..5_000 / PROBES + 1).any(|_| groups.has_free(id, |key| key == 7_000));
        assert!(found, "one that is free is found in time");
        for key in (0..10_000).rev() {
            groups.leave(id, key);
        }
        assert!(groups.is_empty());
    }
}
