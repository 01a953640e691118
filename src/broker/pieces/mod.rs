//! Work that a peer can make as large as it likes, and that therefore goes on in pieces: some each
//! turn, so that no turn is long, and the turns follow each other until nothing is left.
//!
//! Each [`Kind`] keeps its own cursor, with whoever owns what it goes through, so that it stays right
//! whatever happens between two pieces: walks through what is retained the key of a topic, timers
//! their seconds, filters of sessions that have ended a list, a SUBSCRIBE the codes of those it has taken. [`due`] says when a kind has something to
//! do, and [`step`] does some of it. At the end of a turn the kinds that have something to do take steps
//! in turn, until the turn's share of work is done: one that has much to do keeps none from going on.

mod portions;
mod round;

pub(crate) use portions::Portions;
pub(crate) use round::Round;

use super::core::Core;
use super::delivering::{retain, walk};
use super::ending::{expire, session};
use super::packets::{parked, publish, subscribe};
use super::queues::{age, drops};
use super::reload;
use super::shares::{hand_out, leave};
use super::timers::rounded_up;
use crate::keys::ConnId;
use crate::time::Time;

/// How many units of work a turn does of all kinds together, about.
const TURN: u64 = 1_000;

/// How many units of work one kind does before the others have their step, about.
const STEP: usize = 100;

/// What goes on in pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Connections and sessions whose time has come are looked at.
    Timers,
    /// SUBSCRIBE and UNSUBSCRIBE packets of many filters go on.
    Asked,
    /// Messages go to their many receivers.
    FanOuts,
    /// Filters of sessions that have ended leave the tree.
    Filters,
    /// Retained messages expire.
    Retained,
    /// Subscribers get what is retained.
    Walks,
    /// Messages in queues grow too old.
    Ages,
    /// PUBLISH packets that wait for room are tried again.
    Parked,
    /// The operator is told of what was dropped.
    Drops,
    /// The store is told of what sessions that have ended are owed no more.
    Disowned,
    /// What members of groups have left in RAM goes to others.
    LeftInRam,
    /// What members of groups have left in the store goes to others.
    Leftovers,
    /// Other rules and settings apply to who is there already.
    Reload,
    /// Subscriptions move to another tree, because most of the memory of this one is unused.
    Tree,
}

impl Kind {
    const ALL: [Kind; 14] = [
        Kind::Timers,
        Kind::Asked,
        Kind::FanOuts,
        Kind::Filters,
        Kind::Retained,
        Kind::Walks,
        Kind::Ages,
        Kind::Parked,
        Kind::Drops,
        Kind::Disowned,
        Kind::LeftInRam,
        Kind::Leftovers,
        Kind::Reload,
        Kind::Tree,
    ];
}

/// When a kind has something to do; at the start of time where that is at once.
fn due(core: &Core, kind: Kind) -> Option<Time> {
    let at_once = |is: bool| is.then_some(Time::ZERO);
    match kind {
        Kind::Timers => core.timers.next(),
        Kind::Asked => at_once(core.connections.has_asked()).filter(|_| !is_held(core)),
        Kind::FanOuts => at_once(core.fan_outs.is_due()).filter(|_| !is_held(core)),
        Kind::Filters => at_once(core.router.has_gone()),
        Kind::Retained => core.router.next_expiry().map(rounded_up),
        Kind::Walks => at_once(core.router.walks.has_due()),
        Kind::Ages => core.watches.purges.next(),
        Kind::Parked => parked::retry_due(core),
        Kind::Drops => drops::telling_due(core),
        Kind::Disowned => at_once(core.ledger.has_disowned()),
        Kind::LeftInRam => at_once(core.router.has_left_in_ram()),
        Kind::Leftovers => at_once(hand_out::is_due(core)),
        Kind::Reload => at_once(reload::goes_on(core)),
        Kind::Tree => at_once(core.router.is_to_move()),
    }
}

/// True while a test holds back what packets have left to do.
fn is_held(core: &Core) -> bool {
    #[cfg(test)]
    return core.portions.are_held;
    #[cfg(not(test))]
    {
        let _ = core;
        false
    }
}

/// Does some of what a kind has to do at `now`: about `most` units of work, and a little more where
/// something can't be divided.
fn step(core: &mut Core, kind: Kind, most: usize, has_input: &dyn Fn(ConnId) -> bool, now: Time) {
    match kind {
        Kind::Timers => expire::run_timers(core, most, has_input, now),
        Kind::Asked => subscribe::pieces::go_on(core, most, now),
        Kind::FanOuts => publish::pieces::go_on(core, most, now),
        Kind::Filters => leave::clear_out(core, most),
        Kind::Retained => retain::expire_retained(core, most, now),
        Kind::Walks => walk::go_on(core, most, now),
        Kind::Ages => age::purge(core, most, now),
        Kind::Parked => parked::retry_parked(core, most, now),
        Kind::Drops => drops::look_at_drops(core, most, now),
        Kind::Disowned => session::disown_some(core, most, now),
        Kind::LeftInRam => leave::give_what_is_left(core, most, now),
        Kind::Leftovers => hand_out::hand_out_some(core, most, now),
        Kind::Reload => reload::go_on(core, most, now),
        Kind::Tree => {
            let done = core.router.move_some(&core.sessions, most);
            core.work.add(done);
        }
    }
}

/// When there is something to do.
pub(crate) fn next(core: &Core) -> Option<Time> {
    let all = Kind::ALL.iter().filter_map(|kind| due(core, *kind));
    all.min()
}

/// Does what is to be done at `now`, until the turn's share is done. `has_input`: the peer of a
/// connection has sent what nobody has taken in yet, so that it is not silent.
pub(crate) fn go_on(core: &mut Core, has_input: &dyn Fn(ConnId) -> bool, now: Time) {
    let end = core.work.done() + TURN;
    let mut idle = 0;
    while idle < Kind::ALL.len() && core.work.done() < end {
        let Some(kind) = Kind::ALL.get(core.round.next(Kind::ALL.len())).copied() else {
            return;
        };
        if due(core, kind).is_some_and(|at| at <= now) {
            // A look costs, too: no turn goes on for ever, whatever is due again and again.
            core.work.add(1);
            step(core, kind, STEP, has_input, now);
            idle = 0;
        } else {
            idle += 1;
        }
    }
}

/// Does some of what a test has held back, about `most` units of work.
#[cfg(test)]
pub(crate) fn go_on_held(core: &mut Core, most: usize, now: Time) {
    for kind in [Kind::Asked, Kind::FanOuts] {
        step(core, kind, most, &|_| false, now);
    }
}
