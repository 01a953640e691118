//! The addresses of a bridge: which one comes next, and which of them know the same session.

use std::collections::VecDeque;

/// How a connection that has worked was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bridge) enum Left {
    /// The line or the upstream was interrupted: it may be there again at once.
    Cut,
    /// The upstream is silent, or says that it goes.
    Gone,
}

/// A session that an upstream keeps for this bridge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Session {
    number: u64,
    /// The index of the address where it was first.
    first: usize,
}

/// The addresses of one bridge.
///
/// They are tried in rounds: each address once, without a wait in between. A connection that has worked
/// begins a round when it is lost, and one that was lost soon is no more than an attempt that failed.
#[derive(Debug)]
pub(in crate::bridge) struct Addresses {
    count: usize,
    /// `round_robin`.
    are_equal: bool,
    /// What this round still has, by index; the first is in use.
    order: VecDeque<usize>,
    /// A round is over, and the next one has not begun.
    is_round_over: bool,
    /// A whole round has failed since the last connection, or the primary is known to be there.
    is_patient: bool,
    /// The session that each was seen with last.
    sessions: Vec<Option<Session>>,
    /// Which of these the last connection had.
    session: Option<Session>,
    /// How many there were.
    numbers: u64,
}

impl Addresses {
    /// So many; the first is the primary unless they `are_equal`.
    pub(in crate::bridge) fn new(count: usize, are_equal: bool) -> Addresses {
        Addresses {
            count,
            are_equal,
            order: (0..count).collect(),
            is_round_over: false,
            is_patient: false,
            sessions: vec![None; count],
            session: None,
            numbers: 0,
        }
    }

    /// The index of the address in use, or the next to be tried.
    pub(in crate::bridge) fn current(&self) -> usize {
        self.order.front().copied().unwrap_or_default()
    }

    /// True if another address could take over.
    pub(in crate::bridge) fn has_others(&self) -> bool {
        self.count > 1
    }

    /// True where the address in use only stands in for the primary.
    pub(in crate::bridge) fn stands_in(&self) -> bool {
        !self.are_equal && self.current() != 0
    }

    /// True if an attempt is to take little time, because others wait. If none of a whole round has
    /// worked, the line may be that slow.
    pub(in crate::bridge) fn is_hurried(&self) -> bool {
        self.order.len() > 1 && !self.is_patient
    }

    /// True while the next round waits, after [`Addresses::failed`] at the last address of one or after
    /// [`Addresses::lost`].
    pub(in crate::bridge) fn is_round_over(&self) -> bool {
        self.is_round_over
    }

    /// The attempt has failed, or the connection was lost soon: the next address, if this round has one,
    /// else the first of the next round. True if that is it: it waits before.
    pub(in crate::bridge) fn failed(&mut self) -> bool {
        let last = self.current();
        self.order.pop_front();
        self.is_round_over = self.order.is_empty();
        if self.is_round_over {
            self.is_patient = true;
            let first = if self.are_equal { last + 1 } else { 0 };
            self.order = self.ring(first).collect();
        }
        self.is_round_over
    }

    /// A connection that has worked was lost: a round begins, at once unless it `waits`.
    pub(in crate::bridge) fn lost(&mut self, how: Left, waits: bool) {
        let last = self.current();
        let is_first = how == Left::Cut && !self.are_equal;
        self.order = self.ring(if is_first { last } else { last + 1 }).collect();
        self.is_round_over = waits;
    }

    /// This address is to be tried next, whatever comes then.
    pub(in crate::bridge) fn stay(&mut self, address: usize) {
        if self.is_round_over {
            self.order = self.ring(address).collect();
        } else {
            self.order.retain(|other| *other != address);
            self.order.push_front(address);
        }
    }

    /// Back to the primary; if it does not take the connection, here again.
    pub(in crate::bridge) fn go_back(&mut self) {
        self.lost(Left::Cut, false);
        self.stay(0);
        // The probe had all the time there is, and may have needed it.
        self.is_patient = true;
    }

    /// The CONNACK of the address in use accepts. `present`: it has a session for this bridge. True if
    /// that is the one of the last connection.
    ///
    /// Nodes of a cluster share it. Brokers that have nothing to do with each other may each keep one: such
    /// an older one knows nothing of what was sent and acknowledged elsewhere since.
    pub(in crate::bridge) fn accepted(&mut self, present: bool) -> bool {
        self.is_patient = false;
        let address = self.current();
        let known = self.sessions.get(address).copied().flatten();
        let (session, is_same) = match (known, self.session) {
            (Some(known), Some(last)) if present => (known, known == last),
            (None, Some(last)) if present => (last, true),
            _ => (self.open(address, known), present),
        };
        if let Some(place) = self.sessions.get_mut(address) {
            *place = Some(session);
        }
        self.session = Some(session);
        is_same
    }

    /// Takes over what `old` knows of the sessions. `known`: for each address, its index there; `None` if
    /// it was none of those.
    pub(in crate::bridge) fn take_over(&mut self, old: &Addresses, known: &[Option<usize>]) {
        let session_at = |place: &Option<usize>| old.sessions.get((*place)?).copied().flatten();
        let moved = |session: Session| {
            let mut places = known.iter();
            let first = places.position(|place| *place == Some(session.first));
            // Where that address is gone, another one stands for those that share the session.
            let mut places = known.iter();
            let first =
                first.or_else(|| places.position(|place| session_at(place) == Some(session)));
            Session {
                first: first.unwrap_or_default(),
                ..session
            }
        };
        self.sessions = known
            .iter()
            .map(|place| session_at(place).map(moved))
            .collect();
        self.session = old.session.map(moved);
        self.numbers = old.numbers;
    }

    /// Which session each address was seen with last, for the store: an address, and the number of its
    /// group. Those of one group share a session, the first of them had it first, and group 0 is that of
    /// the last connection. None at all where there is no other.
    pub(in crate::bridge) fn groups(&self) -> Vec<(usize, u32)> {
        let Some(last) = self.session else {
            return Vec::new();
        };
        let seen = self.sessions.iter().enumerate();
        let mut seen: Vec<_> = seen
            .filter_map(|(at, session)| Some((at, (*session)?)))
            .collect();
        seen.sort_by_key(|(at, session)| *at != session.first);
        let mut numbers = vec![last.number];
        let mut groups = Vec::new();
        for (at, session) in seen {
            if !numbers.contains(&session.number) {
                numbers.push(session.number);
            }
            let group = (0..)
                .zip(&numbers)
                .find(|(_, number)| **number == session.number);
            groups.extend(group.map(|(group, _)| (at, group)));
        }
        if numbers.len() > 1 {
            groups
        } else {
            Vec::new()
        }
    }

    /// Takes in what [`Addresses::groups`] gave before a restart: the numbers of the groups, in that order.
    /// `known`: for each address, its place among them.
    pub(in crate::bridge) fn restore(&mut self, groups: &[u32], known: &[Option<usize>]) {
        if groups.is_empty() {
            return;
        }
        let session = |group: u32| Session {
            number: group.into(),
            first: groups
                .iter()
                .position(|other| *other == group)
                .unwrap_or_default(),
        };
        let old = Addresses {
            sessions: groups.iter().map(|group| Some(session(*group))).collect(),
            session: Some(session(0)),
            numbers: groups.iter().copied().max().map_or(0, u64::from),
            ..Addresses::new(groups.len(), self.are_equal)
        };
        self.take_over(&old, known);
    }

    /// A session that begins at this address. Where the last one was shared, so is this.
    fn open(&mut self, address: usize, known: Option<Session>) -> Session {
        self.numbers += 1;
        let new = Session {
            number: self.numbers,
            first: address,
        };
        if known.is_some() && known == self.session {
            let shared = self.sessions.iter_mut().filter(|place| **place == known);
            shared.for_each(|place| *place = Some(new));
        }
        new
    }

    /// The index of the address where the session of the last connection was first: it stands for all
    /// that share it.
    pub(in crate::bridge) fn first_of_session(&self) -> usize {
        self.session.map_or(self.current(), |session| session.first)
    }

    /// All addresses, from this one on.
    fn ring(&self, first: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.count;
        (first..first + count).map(move |at| at % count)
    }
}
