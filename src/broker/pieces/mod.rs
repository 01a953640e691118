//! Work that a peer can make as large as it likes, and that therefore goes on in pieces: some each
//! turn, so that no turn is long, and the turns follow each other until nothing is left.
//!
//! Each [`Kind`] keeps its own cursor, with whoever owns what it goes through, so that it stays right
//! whatever happens between two pieces: walks through what is retained the key of a topic, timers
//! their seconds, filters of sessions that have ended a list. [`due`] says when a kind has something to
//! do, and [`step`] does some of it. At the end of a turn the kinds that have something to do take steps
//! in turn, until the turn's share of work is done: one that has much to do keeps none from going on.

mod round;

pub(crate) use round::Round;

use super::core::Core;
use super::delivering::{retain, walk};
use super::ending::expire;
use super::queues::age;
use super::shares::leave;
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
    /// Filters of sessions that have ended leave the tree.
    Filters,
    /// Retained messages expire.
    Retained,
    /// Subscribers get what is retained.
    Walks,
    /// Messages in queues grow too old.
    Ages,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Timers,
        Kind::Filters,
        Kind::Retained,
        Kind::Walks,
        Kind::Ages,
    ];
}

/// When a kind has something to do; at the start of time where that is at once.
fn due(core: &Core, kind: Kind) -> Option<Time> {
    let at_once = |is: bool| is.then_some(Time::ZERO);
    match kind {
        Kind::Timers => core.timers.next(),
        Kind::Filters => at_once(core.router.has_gone()),
        Kind::Retained => core.router.next_expiry().map(rounded_up),
        Kind::Walks => at_once(core.router.walks.has_due()),
        Kind::Ages => core.watches.purges.next(),
    }
}

/// Does some of what a kind has to do at `now`: about `most` units of work, and a little more where
/// something can't be divided.
fn step(core: &mut Core, kind: Kind, most: usize, has_input: &dyn Fn(ConnId) -> bool, now: Time) {
    match kind {
        Kind::Timers => expire::run_timers(core, most, has_input, now),
        Kind::Filters => leave::clear_out(core, most),
        Kind::Retained => retain::expire_retained(core, most, now),
        Kind::Walks => walk::go_on(core, most, now),
        Kind::Ages => age::purge(core, most, now),
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

/// The broker stops: what would be lost with its memory is done now.
pub(crate) fn finish(core: &mut Core, now: Time) {
    walk::finish(core, now);
}
