//! Routing a message: who gets it, how, and what its publisher may be told when.
//!
//! Whoever can take a message gets it now; it never waits for another receiver that is full or
//! away.

use std::collections::HashSet;
use std::rc::Rc;

use super::choose::{choose, is_free};
use super::deliver::deliver;
use super::retain::{has_share, retain, tell_share};
use super::walk::{bring_later, overtake, send_ahead};
use crate::broker::connections::Ticket;
use crate::broker::core::Core;
use crate::broker::plan::{Admission, Plan};
use crate::broker::queues::bounds::{admission_now, copies};
use crate::broker::queues::report;
use crate::broker::routing::{Behind, Receiver, Remaining, Retention};
use crate::broker::sessions::DropReason;
use crate::keys::{ConnId, SessionKey};
use crate::lane::Lane;
use crate::message::Message;
use crate::mqtt::{QoS, Version};
use crate::route::{Among, Value};
use crate::time::Time;

/// So many messages that wait for room are looked at for a unit of work.
const PARKED: usize = 4;

/// What became of a routed message.
#[derive(Debug)]
pub(crate) struct Routed {
    /// Someone is subscribed.
    pub(crate) matched: bool,
    /// The place of the acknowledgement, if that must wait until it is opened.
    pub(crate) ticket: Option<Ticket>,
    /// What must be stored and finds no room. There is no ticket then; all others have the message.
    pub(crate) remaining: Remaining,
}

/// Lists who gets a message, a member of each group that is met among them. True if someone is subscribed.
/// `topic`: the message's, which is read out of it only once, because that takes a look at each byte. `from`:
/// the publisher's session, for no-local.
pub(super) fn find(
    core: &mut Core,
    (message, topic): (&Rc<Message>, &str),
    from: Option<SessionKey>,
    receivers: &mut Vec<Receiver>,
) -> bool {
    let with = (&core.sessions, &core.settings);
    let groups = &mut core.scratch.groups;
    let found = core
        .router
        .find_receivers((message, topic), from, with, receivers, groups);
    add_members(core, message, receivers);
    core.work.add(found.work());
    found.matched
}

/// Routes a message to those that were found, `matched` as [`find`] said, and keeps it if it is retained.
/// `waiting`: the connection whose acknowledgement has to wait if someone is owed the message durably, until
/// the promise holds. `behind`: where an earlier message of the publisher waits for room.
pub(super) fn route_found(
    core: &mut Core,
    (message, topic): (&Rc<Message>, &str),
    (from, receivers, matched): (Option<SessionKey>, &mut Vec<Receiver>, bool),
    (waiting, behind): (Option<ConnId>, &[Behind]),
    now: Time,
) -> Routed {
    let mut ahead = overtake(core, receivers, topic);
    let without = send_ahead(core, receivers, &mut ahead, now);
    core.memory.look(core.settings.memory_limit());
    let all_have_room = plan_all(core, message, receivers, behind, now);
    let (retention, by_commit) = keep(core, (message, topic), from, all_have_room, now);
    let whole = retention == Retention::Done && all_have_room;
    let waiting = waiting.filter(|_| whole);
    let early = waiting.filter(|_| !by_commit);
    let delivered = deliver(core, (message, topic), receivers, early, now);
    bring_later(core, (message, topic), &delivered.missed, &without);
    let late = waiting.filter(|_| by_commit);
    let late = late.and_then(|c| core.after_commit(c, now));
    Routed {
        matched,
        ticket: delivered.ticket.or(late),
        remaining: Remaining {
            receivers: delivered.remaining,
            retention,
        },
    }
}

/// Keeps a message that is to be retained, if there is room. Answers what is left to do about that, and
/// whether the acknowledgement has to wait for the commit that holds it.
pub(super) fn keep(
    core: &mut Core,
    (message, topic): (&Rc<Message>, &str),
    from: Option<SessionKey>,
    all_have_room: bool,
    now: Time,
) -> (Retention, bool) {
    if !message.retain {
        return (Retention::Done, false);
    }
    let mut retention = retention(core, message);
    let is_kept = retention != Retention::NoRoom;
    if !is_kept {
        count_unretained(core, (message, topic), from, now);
        if all_have_room && !is_told_reasons(core, from) {
            retention = Retention::Done;
        }
    }
    if core.connections.has_parked() {
        let looked_at = core.connections.forget_retention(topic);
        core.work.add(looked_at / PARKED);
    }
    (retention, is_kept && retain(core, message, now))
}

/// Does what is left to do about a message, as far as there is room by now; `behind` as for
/// [`route_found`]. Returns what still is to be done.
pub(crate) fn route_remaining(
    core: &mut Core,
    message: &Rc<Message>,
    remaining: Remaining,
    behind: &[Behind],
    now: Time,
) -> Remaining {
    let Remaining {
        mut receivers,
        retention: mut left,
    } = remaining;
    core.memory.look(core.settings.memory_limit());
    receivers.retain(|receiver| is_owed_still(core, receiver));
    plan_all(core, message, &mut receivers, behind, now);
    for receiver in &mut receivers {
        if receiver.plan == Plan::Copy && receiver.has_copy {
            receiver.plan = Plan::NoRoom;
        }
    }
    if left != Retention::Done {
        let now_left = retention(core, message);
        if left == Retention::NoRoom && now_left != Retention::NoRoom {
            retain(core, &arrive_now(message, now), now);
        }
        left = now_left;
    }
    let named = (message, message.topic());
    let delivered = deliver(core, named, &mut receivers, None, now);
    if delivered.remaining.is_empty() && left == Retention::NoRoom {
        left = Retention::Done;
    }
    Remaining {
        receivers: delivered.remaining,
        retention: left,
    }
}

/// True if the acknowledgement can tell a publisher that its message is not retained. One before MQTT 5
/// would wait for it without end, and an upstream would deliver the message again and again; what is
/// behind it would wait, too. So where nothing but memory to retain it is missing, it is acknowledged.
fn is_told_reasons(core: &Core, publisher: Option<SessionKey>) -> bool {
    let session = publisher.and_then(|key| core.sessions.get(key));
    session.is_some_and(|session| session.version == Version::V5 && !session.is_bridge())
}

/// Counts a message that is not retained, and tells why.
fn count_unretained(
    core: &mut Core,
    (message, topic): (&Rc<Message>, &str),
    from: Option<SessionKey>,
    now: Time,
) {
    if has_share(core, message, core.router.retained_at(topic)) {
        core.counters.refused_for_memory += 1;
        tell_unretained(core, topic, from, now);
    } else {
        tell_share(core, message, now);
    }
}

/// Tells that there is no memory to retain a message, if that was not told lately.
fn tell_unretained(core: &mut Core, topic: &str, publisher: Option<SessionKey>, now: Time) {
    if !core.memory.tells_unretained(now) {
        return;
    }
    let publisher = publisher.and_then(|key| core.sessions.get(key));
    let publisher = publisher.map(|session| session.name_of(Lane::Client));
    let publisher = publisher.as_deref().unwrap_or("a client that is gone");
    log::warn!(
        "{publisher}: there is no memory (memory_limit) to retain a message on {topic}, one of {} so far. \
         Subscribers get it, but it is not kept. Retained values take {} of at most half the limit.",
        core.counters.refused_for_memory,
        report::size(core.router.retained_bytes()),
    );
}

/// False if the session of a receiver has ended meanwhile. One that is only there for what it is to give to
/// others takes nothing more.
pub(super) fn is_owed_still(core: &mut Core, receiver: &Receiver) -> bool {
    let session = core.sessions.get(receiver.session);
    let is_there = session.is_some_and(|session| !session.is_ended());
    if !is_there && receiver.owed.lane.is_share() {
        // Which group it was for is not known any more.
        core.counters.count_dropped(DropReason::SessionEnded, 1);
    }
    is_there
}

/// A message to be retained that has waited for room takes its place among those that are retained
/// only now: what came before has gone up already.
fn arrive_now(message: &Message, now: Time) -> Rc<Message> {
    let mut message = message.clone();
    message.arrival = now;
    Rc::new(message)
}

/// Adds a member of each group that was found to the list of receivers.
fn add_members(core: &mut Core, message: &Message, receivers: &mut Vec<Receiver>) {
    while let Some(group) = core.scratch.groups.pop() {
        let chosen = choose(core, group, Among::All, message);
        if let Some((receiver, _)) = chosen {
            core.router.add_member(receiver, receivers);
        }
    }
}

/// What stands in the way of retaining a message, if it is to be retained.
fn retention(core: &Core, message: &Rc<Message>) -> Retention {
    if !message.retain {
        return Retention::Done;
    }
    let old = core.router.retained_at(message.topic());
    if !has_memory(core, message, old) || !has_share(core, message, old) {
        Retention::NoRoom
    } else if message.qos != QoS::AtMostOnce && core.ledger.is_closed() {
        Retention::Unpromised
    } else {
        Retention::Done
    }
}

/// True if there is memory to retain a message where `old` is.
fn has_memory(core: &Core, message: &Message, old: Option<Value<'_>>) -> bool {
    let bounds = (core.router.retained_bytes(), core.settings.memory_limit());
    core.memory
        .admits(message, old.map(|old| old.size()), bounds)
}

/// Asks once for each receiver how the message can reach it. A session gets all that it is to store
/// of a message, or nothing yet. True if all that must hold it have room.
pub(super) fn plan_all(
    core: &mut Core,
    message: &Message,
    receivers: &mut [Receiver],
    behind: &[Behind],
    now: Time,
) -> bool {
    let (mut stored, mut all_have_room) = (0, true);
    for receiver in &mut *receivers {
        if receiver.stored {
            receiver.plan = plan_stored(core, message, receiver, behind, now);
            all_have_room &= !receiver.plan.lacks_room();
            stored += 1;
        }
    }
    // One that need not be stored costs a quarter of one that must.
    core.work.add(stored + (receivers.len() - stored) / 4);
    if !all_have_room {
        leave_out_full(receivers);
    }
    all_have_room
}

/// Whoever has no room for one copy of a message gets none of those that are to be stored.
fn leave_out_full(receivers: &mut [Receiver]) {
    let full: HashSet<SessionKey> = receivers
        .iter()
        .filter(|receiver| receiver.plan.lacks_room())
        .map(|receiver| receiver.session)
        .collect();
    for receiver in receivers {
        if matches!(receiver.plan, Plan::Stored(_)) && full.contains(&receiver.session) {
            receiver.plan = Plan::NoRoom;
        }
    }
}

/// Whether a queue that the store has takes the message.
fn plan_stored(
    core: &mut Core,
    message: &Message,
    to: &Receiver,
    behind: &[Behind],
    now: Time,
) -> Plan {
    // What was published at QoS 0 nobody waits for, at whatever QoS it goes on.
    let is_waited_for = message.qos != QoS::AtMostOnce && to.owed.qos != QoS::AtMostOnce;
    let is_closed = core.ledger.is_closed();
    // Nobody waits for a QoS 0 message to be stored, so nothing would slow it down.
    if !is_waited_for && (is_closed || core.ledger.store().is_congested()) {
        return Plan::Stored(Admission::Dropped(DropReason::QueueFull));
    }
    let (key, lane) = (to.session, to.owed.lane);
    let behind = behind.iter().find(|b| b.session == key && b.lane == lane);
    if is_waited_for && is_closed {
        // At QoS 2 the copy that is promised later would be a second delivery.
        let may = to.owed.qos == QoS::AtLeastOnce && behind.is_none_or(|b| b.has_copy);
        return if may && is_reading(core, key) {
            Plan::Copy
        } else {
            Plan::NoRoom
        };
    }
    if is_waited_for && behind.is_some() {
        return Plan::NoRoom;
    }
    let more = copies(1 + to.before, message.size());
    match admission_now(core, key, lane, more, now) {
        Admission::Refused if is_waited_for => Plan::NoRoom,
        admission => Plan::Stored(admission),
    }
}

/// True if a session is connected, and what it gets would leave at once.
fn is_reading(core: &Core, key: SessionKey) -> bool {
    let session = core.sessions.get(key);
    let known = session.and_then(|s| Some((s, core.connections.get(s.conn?)?)));
    known.is_some_and(|(session, conn)| is_free(session, conn))
}
