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
use crate::keys::SessionKey;
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
    let matched = find_receivers(core, message, from, &mut receivers);
    let planned = plan_all(core, message, &receivers, &mut plans);
    let routed = planned.map(|()| {
        let has_waited = message.retain && message.arrival < now;
        let arrived = has_waited.then(|| arrive_now(message, now));
        let message = arrived.as_ref().unwrap_or(message);
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

/// A message to be retained that has waited for room takes its place here only now: what came before
/// has gone up already.
fn arrive_now(message: &Message, now: Time) -> Rc<Message> {
    let mut message = message.clone();
    message.arrival = now;
    Rc::new(message)
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

/// Lists the sessions a message goes to, each once, and a member of each group besides. True if
/// there is a matching subscription at all.
fn find_receivers(
    core: &mut Core,
    message: &Message,
    from: Option<SessionKey>,
    receivers: &mut Vec<Receiver>,
) -> bool {
    let mut groups = std::mem::take(&mut core.scratch.groups);
    let with = (&core.sessions, &core.settings);
    let matched = core
        .router
        .find_receivers(message, from, with, receivers, &mut groups);
    while let Some(group) = groups.pop() {
        let chosen = choose(core, group, Among::All, message);
        if let Some((receiver, _)) = chosen {
            core.router.add_member(receiver, receivers);
        }
    }
    core.scratch.groups = groups;
    matched
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
        plans.push(plan(core, message, receiver, closed)?);
    }
    let is_kept = message.retain && message.qos != QoS::AtMostOnce;
    if closed && is_kept {
        Err(Full(None))
    } else {
        Ok(())
    }
}

/// # Errors
/// [`Full`] where this receiver must hold the message and cannot.
fn plan(core: &Core, message: &Message, to: &Receiver, closed: bool) -> Result<Plan, Full> {
    let is_waited_for = to.owed.qos != QoS::AtMostOnce;
    if !to.stored {
        return Ok(if is_waited_for {
            Plan::InRam
        } else {
            Plan::AtOnce
        });
    }
    let Some(session) = core.sessions.get(to.session) else {
        impossible!("a receiver is gone");
        return Ok(Plan::AtOnce);
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
