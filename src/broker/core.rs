//! The parts that the broker is made of.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use super::bridges::Bridges;
use super::connections::{Connections, Logins, RefusalLog, Ticket};
use super::counters::Counters;
use super::ledger::Ledger;
use super::memory::{Memory, Tightness};
use super::pieces::{Portions, Round};
use super::routing::{FanOuts, Receiver, Router};
use super::sessions::Sessions;
use super::settings::Settings;
use super::talkers::Talkers;
use super::timers::{Purges, Timers};
use super::work::Work;
use crate::auth::Auth;
use crate::bridge::LoopGuard;
use crate::keys::{ConnId, GroupKey, SessionKey};
use crate::lane::Lane;
use crate::message::{MessageId, Origin};
use crate::mqtt::PropsBuf;
use crate::time::Time;

/// The parts. Each owns its fields; what concerns several of them is a function in a room of its
/// own that takes them all.
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) connections: Connections,
    pub(crate) sessions: Sessions,
    pub(crate) bridges: Bridges,
    pub(crate) router: Router,
    /// Messages that go to their receivers in pieces.
    pub(crate) fan_outs: FanOuts,
    pub(crate) ledger: Ledger,
    pub(crate) timers: Timers,
    pub(crate) memory: Memory,
    pub(crate) counters: Counters,
    pub(crate) work: Work,
    /// Whose step of the work that goes on in pieces was the last.
    pub(crate) round: Round,
    pub(crate) portions: Portions,
    pub(crate) refusals: RefusalLog,
    pub(crate) logins: Logins,
    pub(crate) watches: Watches,
    pub(crate) talkers: Talkers,
    pub(crate) scratch: Scratch,
    /// What goes round over several brokers.
    pub(crate) loops: LoopGuard,
    /// The origin of the broker's own messages.
    pub(crate) own: Rc<Origin>,
    pub(crate) is_shutting_down: bool,
}

/// What is looked at from time to time.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// Sessions whose drops are to be told or saved.
    pub(crate) dropping: VecDeque<SessionKey>,
    /// When to look at them.
    pub(crate) drops_due: Option<Time>,
    /// How many of them are still to be looked at, the first of the list first.
    pub(crate) drops_left: usize,
    /// Sessions whose queue has become empty, with memory to give back if it still is.
    pub(crate) emptied: Vec<SessionKey>,
    /// When to look at them.
    pub(crate) emptied_due: Option<Time>,
    /// When to look for messages that have grown too old.
    pub(crate) purges: Purges,
    /// When to look for room for parked messages.
    pub(crate) parked_due: Option<Time>,
    /// Sessions whose queues may have other bounds since the configuration was read again.
    pub(crate) bounded_anew: Vec<SessionKey>,
    /// Connections that other rules may not let in any more.
    pub(crate) judged_anew: Vec<ConnId>,
    /// The rules that let those in.
    pub(crate) judged_before: Option<Auth>,
    /// Connections of clients whose grants are void.
    pub(crate) revoked: Vec<ConnId>,
    /// When to go on with bringing upstreams up to date.
    pub(crate) sync_due: Option<Time>,
    /// When to look at the earliest for cleared topics of which all upstreams were told.
    pub(crate) prune_at: Time,
    /// When to look at what upstreams refuse.
    pub(crate) refusals_due: Option<Time>,
    /// The dead letters that are being sent again.
    pub(crate) revivals: Vec<Revival>,
}

/// The dead letters of a bridge that are looked at.
#[derive(Debug)]
pub(crate) struct Revival {
    pub(crate) key: SessionKey,
    /// Those up to here were looked at.
    pub(crate) passed: MessageId,
    /// Those beyond have come since: the upstream has just refused them.
    pub(crate) through: MessageId,
    /// The piece that was asked for.
    pub(crate) ids: Vec<MessageId>,
    /// All are to be looked at once more: the configuration has changed meanwhile.
    pub(crate) again: bool,
    pub(crate) sent: u64,
}

impl Watches {
    /// Upstreams are to be looked at again at `at`.
    pub(crate) fn look_again(&mut self, at: Time) {
        self.sync_due = Some(self.sync_due.map_or(at, |due| due.min(at)));
    }

    /// There is something to do about what an upstream refuses at `at`.
    pub(crate) fn look_at_refusals(&mut self, at: Option<Time>) {
        let due = self.refusals_due.into_iter().chain(at);
        self.refusals_due = due.min();
    }

    /// When to look at the first of what has a time of its own here and need not be exact.
    pub(crate) fn look_due(&self) -> Option<Time> {
        let all = [self.refusals_due, self.emptied_due];
        all.into_iter().flatten().min()
    }
}

/// Work space that is kept, so that a message does not allocate.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) receivers: Vec<Receiver>,
    /// Those of them that are owed the message through the store.
    pub(crate) stored: Vec<Receiver>,
    pub(crate) groups: Vec<GroupKey>,
    pub(crate) props: PropsBuf,
    /// Properties that go on to receivers.
    pub(crate) forwarded: Vec<u8>,
    /// The topic of the PUBLISH that is looked at.
    pub(crate) topic: String,
    /// The topic of a message as an upstream knows it.
    pub(crate) outward: String,
}

impl Scratch {
    /// What is kept for properties, in bytes.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.forwarded.capacity() + self.props.capacity()
    }
}

impl Core {
    /// A connection's name for logs: client id and address.
    pub(crate) fn name_of(&self, c: ConnId) -> String {
        let Some(conn) = self.connections.get(c) else {
            return String::new();
        };
        match conn.session().and_then(|key| self.sessions.get(key)) {
            Some(session) => format!("{} ({})", session.client_id(), conn.address()),
            None => conn.address().to_string(),
        }
    }

    /// Reserves the next place among the replies to `c` for one that may leave once everything said
    /// to the store up to now is on disk.
    pub(crate) fn after_commit(&mut self, c: ConnId, now: Time) -> Option<Ticket> {
        let ticket = self.connections.reserve(c)?;
        self.ledger.after_commit(ticket, now);
        Some(ticket)
    }

    /// True if too little memory is left for what a connection asks for anew, which is counted. What
    /// `is_small` goes until next to none is left: a client that comes back must be able to. From the box
    /// itself more goes, and what is small always: the operator is to see what takes the memory.
    pub(crate) fn is_short_of_memory(&mut self, c: ConnId, is_small: bool) -> bool {
        self.memory.look(self.settings.memory_limit());
        let is_short = match self.memory.state() {
            Tightness::None => false,
            Tightness::Tight => !is_small && !self.is_near(c),
            Tightness::Full => !(is_small && self.is_near(c)),
        };
        self.counters.refused_for_memory += u64::from(is_short);
        is_short
    }

    /// True if a connection comes from the box itself.
    fn is_near(&self, c: ConnId) -> bool {
        let conn = self.connections.get(c);
        conn.is_some_and(|conn| conn.address().is_local())
    }

    /// How many bytes of new filters a session may take that has `own` of them: of `memory_limit` an
    /// eighth, and of what is free half, since more than the filters comes with them. A few go until
    /// next to nothing is left.
    pub(crate) fn filter_room(&mut self, c: ConnId, own: usize) -> usize {
        const FEW: usize = 4 * 1024;
        let Some(limit) = self.settings.memory_limit() else {
            return usize::MAX;
        };
        self.memory.look(Some(limit));
        if self.memory.state() == Tightness::Full {
            // `footbridge status` is needed most then.
            return if self.is_near(c) {
                FEW.saturating_sub(own)
            } else {
                0
            };
        }
        let bound = if self.is_near(c) {
            limit / 10 * 9
        } else {
            limit / 4 * 3
        };
        let free = bound.saturating_sub(self.memory.bytes()) / 2;
        let tree = (limit / 2).saturating_sub(self.router.tree_bytes() as u64);
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let share = bytes(limit / 8).max(FEW).saturating_sub(own);
        bytes(free.min(tree))
            .max(FEW.saturating_sub(own))
            .min(share)
    }

    /// The session of a connection.
    pub(crate) fn session_of(&self, c: ConnId) -> Option<SessionKey> {
        self.connections.get(c)?.session()
    }

    /// The lanes of a session that messages are still to come to, which wait for room or go to their
    /// receivers in pieces: nothing else may get the number of such a lane.
    pub(crate) fn lanes_to_come(&self, key: SessionKey) -> HashSet<Lane> {
        let parked = self.connections.all_parked();
        let parked = parked.flat_map(|parked| &parked.remaining.receivers);
        let all = parked.chain(self.fan_outs.receivers());
        let its = all.filter(|receiver| receiver.session == key);
        its.map(|receiver| receiver.owed.lane).collect()
    }

    /// True if everything about a session is on disk.
    pub(crate) fn is_saved(&self, key: SessionKey) -> bool {
        let done = self.ledger.store().done();
        self.sessions.get(key).is_some_and(|s| s.is_saved(done))
    }
}
