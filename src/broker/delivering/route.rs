//! Routing a message: who gets it, whether all of them can take it, and what its publisher may be
//! told when.

use std::rc::Rc;

use super::choose::choose;
use super::deliver::deliver;
use super::retain::retain;
use crate::broker::connections::Ticket;
use crate::broker::core::Core;
use crate::broker::plan::{Admission, Plan};
use crate::broker::queues::bounds::{admission, copies};
use crate::broker::queues::drops::drop_unrefused;
use crate::broker::routing::Receiver;
use crate::broker::sessions::DropReason;
use crate::impossible;
use crate::keys::{GroupKey, SessionKey};
use crate::lane::Lane;
use crate::message::Message;
use crate::mqtt::QoS;
use crate::route::Among;
use crate::time::Time;

/// What became of a routed message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Routed {
    /// Someone is subscribed.
    pub(crate) matched: bool,
    /// The ticket is opened later: the acknowledgement must wait for it.
    pub(crate) waits: bool,
}

/// A durable queue that must hold the message has no room and drops nothing to make some, or the
/// disk or the memory has none. The queue's session, and its lane; `None` for a message that is
/// only to be retained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full(pub(crate) Option<(SessionKey, Lane)>);

/// Routes a message to all who are subscribed and keeps it if it is retained. `from`: the
/// publisher's session, for no-local. `ticket` is kept if someone is owed the message durably, and
/// opened once the promise of an acknowledgement holds.
pub(crate) fn route(
    core: &mut Core,
    message: &Rc<Message>,
    from: Option<SessionKey>,
    ticket: Option<Ticket>,
    now: Time,
) -> Result<Routed, Full> {
    let mut receivers = std::mem::take(&mut core.scratch.receivers);
    let mut plans = std::mem::take(&mut core.scratch.plans);
    let mut groups = std::mem::take(&mut core.scratch.groups);
    let with = (&core.sessions, &core.settings);
    let matched = core
        .router
        .find_receivers(message, from, with, &mut receivers, &mut groups);
    if !groups.is_empty() {
        add_members(core, message, &mut groups, &mut receivers);
    }
    core.scratch.groups = groups;
    let planned = plan_all(core, message, &receivers, &mut plans);
    let routed = planned.map(|()| {
        let by_commit = message.retain && retain(core, message, now);
        let early = ticket.filter(|_| !by_commit);
        let mut waits = deliver(core, message, &mut receivers, &plans, early, now);
        if let Some(ticket) = ticket.filter(|_| by_commit) {
            core.ledger.after_commit(ticket, now);
            waits = true;
        }
        Routed { matched, waits }
    });
    receivers.clear();
    plans.clear();
    (core.scratch.receivers, core.scratch.plans) = (receivers, plans);
    routed
}

/// Routes a message that has no publisher to be told: where a queue refuses it, it is dropped and
/// counted.
pub(crate) fn route_unanswered(
    core: &mut Core,
    message: Message,
    from: Option<SessionKey>,
    now: Time,
) {
    let message = Rc::new(message);
    if let Err(Full(queue)) = route(core, &message, from, None, now) {
        drop_unrefused(core, queue, &message, now);
    }
}

/// Adds a member of each group to the list of receivers.
fn add_members(
    core: &mut Core,
    message: &Message,
    groups: &mut Vec<GroupKey>,
    receivers: &mut Vec<Receiver>,
) {
    while let Some(group) = groups.pop() {
        let chosen = choose(core, group, Among::All, message);
        if let Some((receiver, _)) = chosen {
            core.router.add_member(receiver, receivers);
        }
    }
}

/// Asks once for each receiver how the message can reach it.
///
/// # Errors
/// [`Full`] where one that must hold it cannot.
fn plan_all(
    core: &mut Core,
    message: &Message,
    receivers: &[Receiver],
    plans: &mut Vec<Plan>,
) -> Result<(), Full> {
    let limit = core.settings.general.memory_limit;
    if !core.memory.admits(message, limit) {
        return Err(Full(None));
    }
    let closed = core.ledger.is_closed();
    for receiver in receivers {
        plans.push(if receiver.stored {
            plan_stored(core, message, receiver, closed)?
        } else {
            Plan::Unstored
        });
    }
    let is_kept = message.retain && message.qos != QoS::AtMostOnce;
    if closed && is_kept {
        Err(Full(None))
    } else {
        Ok(())
    }
}

/// Asks whether a queue that the store has takes the message.
///
/// # Errors
/// [`Full`] where this receiver must hold the message and cannot.
fn plan_stored(core: &Core, message: &Message, to: &Receiver, closed: bool) -> Result<Plan, Full> {
    let is_waited_for = to.owed.qos != QoS::AtMostOnce;
    let Some(session) = core.sessions.get(to.session) else {
        impossible!("a receiver is gone");
        return Ok(Plan::Unstored);
    };
    let full = Full(Some((to.session, to.owed.lane)));
    if is_waited_for && closed {
        return Err(full);
    }
    // Nobody waits for a QoS 0 message to be stored, so nothing would slow it down.
    if !is_waited_for && (closed || core.ledger.store().is_congested()) {
        return Ok(Plan::Stored(Admission::Dropped(DropReason::QueueFull)));
    }
    let more = copies(1 + to.before, message.size());
    match admission(session, &core.settings, to.owed.lane, more) {
        Admission::Refused if is_waited_for => Err(full),
        admission => Ok(Plan::Stored(admission)),
    }
}
