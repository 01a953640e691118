//! A PUBLISH that has no room in a queue that must hold it. Everybody else has the message; what
//! waits, or is refused, is the acknowledgement.

use std::rc::Rc;
use std::time::Duration;

use super::answer::{accept, acknowledge, waiting};
use crate::broker::connections::Parked;
use crate::broker::core::Core;
use crate::broker::delivering::route::route_remaining;
use crate::broker::queues::drops::{drop_message, drop_unrefused, give_up};
use crate::broker::queues::refused::note_refused;
use crate::broker::routing::{Behind, Remaining};
use crate::broker::sessions::DropReason;
use crate::keys::{ConnId, SessionKey};
use crate::message::Message;
use crate::mqtt::{Delivery, Reason, Version};
use crate::time::Time;

/// How soon to try again to find room for a PUBLISH that waits for it, once all that wait were looked
/// at.
const RETRY: Duration = Duration::from_millis(200);

/// Where messages of this connection wait for room.
pub(super) fn behind(core: &Core, c: ConnId) -> Vec<Behind> {
    let mut behind = Vec::new();
    for parked in core.connections.get(c).into_iter().flat_map(|c| c.parked()) {
        Behind::note(&mut behind, &parked.remaining);
    }
    behind
}

/// True if a message waits for room that the peer now sends again.
pub(super) fn waits_already(core: &Core, c: ConnId, delivery: Delivery) -> bool {
    let conn = core.connections.get(c).filter(|conn| conn.has_parked());
    conn.is_some_and(|conn| {
        let mut parked = conn.parked();
        delivery.id().is_some() && parked.any(|parked| parked.delivery.id() == delivery.id())
    })
}

/// A queue must hold the message and can't: an MQTT 5 publisher is told; the acknowledgement of an
/// older one, or of the upstream of a bridge, waits until there is room.
pub(super) fn no_room(
    core: &mut Core,
    c: ConnId,
    (message, delivery): (Rc<Message>, Delivery),
    remaining: Remaining,
    now: Time,
) {
    if delivery == Delivery::AtMostOnce {
        return drop_unrefused(core, &remaining, &message, now);
    }
    note_refused(core, c, &remaining, now);
    let Some(conn) = core.connections.get(c) else {
        return;
    };
    core.counters.refused_full += 1;
    if conn.version() == Version::V5 && !conn.is_upstream() {
        give_up(core, &message, &remaining);
        return acknowledge(core, c, delivery, Reason::QUOTA_EXCEEDED);
    }
    log::debug!("no room for {}: its publisher waits", message.topic());
    let parked = Parked {
        message,
        delivery,
        remaining,
    };
    core.connections.park(c, parked);
    retry_later(core, now);
}

fn retry_later(core: &mut Core, now: Time) {
    if core.watches.parked_due.is_none() {
        core.watches.parked_due = Some(now + RETRY);
    }
}

/// When parked messages are to be tried again; at the start of time while that goes on.
pub(crate) fn retry_due(core: &Core) -> Option<Time> {
    let goes_on = core.connections.retried().map(|_| Time::ZERO);
    goes_on.or(core.watches.parked_due)
}

/// Tries the parked messages again, each connection's in order, for about `most` units of work.
pub(crate) fn retry_parked(core: &mut Core, most: usize, now: Time) {
    if core.watches.parked_due.take_if(|due| *due <= now).is_some() {
        core.connections.begin_retry();
    }
    let end = core.work.done() + most as u64;
    while core.work.done() < end
        && let Some(c) = core.connections.retried()
    {
        core.work.add(1);
        if let Some((parked, behind)) = core.connections.next_parked() {
            let waits = retry(core, c, parked, &behind, now);
            core.connections.tried(waits, behind);
        }
    }
    if core.connections.retried().is_none() && core.connections.has_parked() {
        retry_later(core, now);
    }
}

/// There may be room by now: parked messages are to be tried again at the end of the turn.
pub(crate) fn retry_soon(core: &mut Core) {
    core.connections.begin_retry();
}

/// Tries one of a connection's, which is returned if it waits on. One that finds room is acknowledged,
/// although an earlier one may wait on: whom the full queue does not concern is not held up.
fn retry(
    core: &mut Core,
    c: ConnId,
    mut parked: Parked,
    behind: &[Behind],
    now: Time,
) -> Option<Parked> {
    let key = core.session_of(c)?;
    core.work.add(parked.remaining.receivers.len());
    if parked.message.expired(now) {
        drop_expired(core, &parked, now);
    } else {
        parked.remaining = route_remaining(core, &parked.message, parked.remaining, behind, now);
        if !parked.remaining.is_empty() {
            return Some(parked);
        }
    }
    accept_late(core, (c, key), parked.delivery, now);
    None
}

/// A message has expired before there was room for it [MQTT-3.3.2-5].
fn drop_expired(core: &mut Core, parked: &Parked, now: Time) {
    let lost = (1, parked.message.size().into());
    for receiver in &parked.remaining.receivers {
        let (key, lane) = (receiver.session, receiver.owed.lane);
        if core.sessions.get(key).is_some() {
            drop_message(core, key, lane, DropReason::Expired, lost, now);
        }
    }
}

/// Acknowledges a message that has found room in all queues: once all of them are on disk.
fn accept_late(core: &mut Core, (c, key): (ConnId, SessionKey), delivery: Delivery, now: Time) {
    let waiting = waiting(core, (c, key), delivery);
    let ticket = waiting.and_then(|c| core.after_commit(c, now));
    accept(core, (c, key), delivery, (true, ticket), now);
}
