//! Every message that is dropped: counted for the broker, for its receiver and for the lane it
//! belonged to, and told in the log once.

use std::time::Duration;

use super::report;
use crate::bridge::LocalEnd;
use crate::broker::bridges::is_own;
use crate::broker::core::Core;
use crate::broker::routing::{Remaining, Retention};
use crate::broker::sessions::{DropReason, Session};
use crate::broker::timers::rounded_up;
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::message::Message;
use crate::mqtt::QoS;
use crate::session::{Done, Entry};
use crate::store::DropRecord;
use crate::time::Time;

/// An uplink that comes and goes is not told of more often than this.
const OUTAGES_TOLD: Duration = Duration::from_secs(600);

/// Counts `messages` with `bytes` that were dropped on their way to a session, and sees to it that
/// the operator hears of it.
pub(crate) fn drop_message(
    core: &mut Core,
    key: SessionKey,
    lane: Lane,
    reason: DropReason,
    (messages, bytes): (u64, u64),
    now: Time,
) {
    core.counters.count_dropped(reason, messages);
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let dropped = DropRecord {
        // The number of a share says nothing to anybody.
        lane: if lane.is_share() { Lane::Client } else { lane },
        reason: reason as u8,
        messages,
        bytes,
        first: now,
        last: now,
    };
    if reason.is_overflow() {
        note_overflow(session);
    }
    let counted = session.drops_or_new().count(&dropped);
    if counted.is_first && reason != DropReason::Offline {
        log::log!(
            reason.level(),
            "{}: {} ({}) dropped: {}. More of them are counted in $SYS.",
            session.name_of(dropped.lane),
            report::messages(messages),
            report::size(bytes),
            reason.words()
        );
    }
    if counted.is_news {
        core.watches.dropping.push_back(key);
    } else if !counted.was_saved {
        return;
    }
    look_soon(core, key, now);
}

/// A queue had no room for a message. Without a connection that of a bridge can't wait for more, though
/// smaller ones may still have room.
pub(super) fn note_overflow(session: &mut Session) {
    let is_away = session.conn.is_none();
    if let Some(end) = session.bridge_mut().filter(|_| is_away) {
        end.has_overflowed = true;
    }
}

/// A session's account has something to tell.
pub(super) fn watch_drops(core: &mut Core, key: SessionKey, now: Time) {
    let drops = core.sessions.get_mut(key).and_then(|s| s.drops_mut());
    if drops.is_some_and(|drops| drops.watch()) {
        core.watches.dropping.push_back(key);
        look_soon(core, key, now);
    }
}

fn look_soon(core: &mut Core, key: SessionKey, now: Time) {
    let at = look_at(core, key, now);
    note_due(core, at);
}

/// There is something to tell or to save at `at`.
fn note_due(core: &mut Core, at: Option<Time>) {
    let due = core.watches.drops_due.into_iter().chain(at);
    core.watches.drops_due = due.min();
}

/// A message that arrived between these moments did not get to an upstream: if it is still what its
/// topic retains, the upstream is to get that all the same.
pub(crate) fn note_lost(core: &mut Core, key: SessionKey, arrived: (Time, Time)) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let is_durable = session.is_durable();
    let end = session.bridge_mut();
    if end.is_some_and(|end| end.retained.lose(arrived)) && is_durable {
        // With the commit that deletes the message.
        core.sessions.unsave_state(key);
    }
}

/// A message left the queue unsent: the store need not keep it for this session.
pub(crate) fn drop_done(
    core: &mut Core,
    key: SessionKey,
    done: Done,
    reason: DropReason,
    now: Time,
) {
    if let (Some(id), Some(session)) = (done.id, core.sessions.get(key)) {
        // Where others are owed it too, the cursor tells that this one is not, in time.
        core.ledger.ack(id, session.id, now);
    }
    // What is a dead letter the upstream will never take.
    if done.lane != Lane::Dead {
        let (from, to) = done.arrived;
        note_lost(core, key, (from, to.min(now)));
    }
    drop_message(core, key, done.lane, reason, (1, done.size.into()), now);
}

/// Counts an entry of a queue that is not to be sent.
pub(crate) fn drop_entry(
    core: &mut Core,
    key: SessionKey,
    entry: &Entry,
    reason: DropReason,
    now: Time,
) {
    let lost = (1, entry.message.size().into());
    if entry.message.retain && reason != DropReason::TooLarge {
        note_lost(core, key, entry.done().arrived);
    }
    drop_message(core, key, entry.owed.lane, reason, lost, now);
}

/// What had no room for a message will not get it from its publisher. An upstream gets it all the
/// same if it is still what its topic retains.
pub(crate) fn give_up(core: &mut Core, message: &Message, remaining: &Remaining) {
    for receiver in remaining.receivers.iter().filter(|_| message.retain) {
        if core.sessions.get(receiver.session).is_some() {
            note_lost(core, receiver.session, (message.arrival, message.arrival));
        }
    }
}

/// A message met queues that refuse it, and there is nobody to refuse it to.
pub(crate) fn drop_unrefused(core: &mut Core, remaining: &Remaining, message: &Message, now: Time) {
    let reason = DropReason::QueueFull;
    give_up(core, message, remaining);
    for receiver in remaining.receivers.iter().filter(|r| !r.has_copy) {
        let lost = (1, message.size().into());
        drop_message(
            core,
            receiver.session,
            receiver.owed.lane,
            reason,
            lost,
            now,
        );
    }
    if remaining.retention == Retention::NoRoom {
        core.counters.count_dropped(reason, 1);
    }
}

/// A message met a session without a connection, and no queue that takes it. For a bridge it is
/// counted, and the first of an outage is told with the cure; a client that is away is not owed it,
/// as in Mosquitto. What is retained goes up when the uplink is back, unless it is replaced before.
pub(crate) fn drop_offline(
    core: &mut Core,
    key: SessionKey,
    lane: Lane,
    (message, qos): (&Message, QoS),
    now: Time,
) {
    let Some(session) = core.sessions.get(key).filter(|s| s.is_bridge()) else {
        return;
    };
    let is_late_only = message.retain && is_synced(session, message);
    tell_offline(core, key, lane, qos, now);
    if is_late_only {
        return;
    }
    let lost = (1, message.size().into());
    drop_message(core, key, lane, DropReason::Offline, lost, now);
}

/// Whether the upstream of a bridge is brought up to date with this message, if it is retained.
pub(crate) fn is_synced(session: &Session, message: &Message) -> bool {
    let takes = |end: &LocalEnd| {
        end.retained.is_on() && end.lane(message.topic_bytes(), message.qos).is_some()
    };
    !is_own(session, &message.origin) && session.bridge().is_some_and(takes)
}

/// Tells once an outage what becomes of messages that no queue takes, and what to do about it.
fn tell_offline(core: &mut Core, key: SessionKey, lane: Lane, qos: QoS, now: Time) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let is_durable = session.is_durable();
    let Some(end) = session.bridge_mut() else {
        return;
    };
    let is_told_of = end.told_offline.is_some_and(|at| at + OUTAGES_TOLD > now);
    if !end.is_outage_new || is_told_of {
        return;
    }
    (end.is_outage_new, end.told_offline) = (false, Some(now));
    let name = session.name_of(lane);
    if is_durable && qos == QoS::AtMostOnce {
        log::warn!(
            "{name}: while the uplink is down, messages of QoS 0 are dropped; $SYS counts them. \
             qos0=keep on the topic line, or queue_qos0_messages true, queues them."
        );
    } else {
        log::warn!(
            "{name}: while the uplink is down, all messages are dropped; $SYS counts them. \
             local_cleansession false queues those of QoS 1 and 2."
        );
    }
}

/// When there is something to tell or to save; at the start of time while that goes on.
pub(crate) fn telling_due(core: &Core) -> Option<Time> {
    let goes_on = (core.watches.drops_left > 0).then_some(Time::ZERO);
    goes_on.or(core.watches.drops_due.map(rounded_up))
}

/// Tells and saves what is due of the sessions that drop, for about `most` units of work.
pub(crate) fn look_at_drops(core: &mut Core, most: usize, now: Time) {
    // A line for the log costs more than a look, and there is hardly ever one without the other.
    const LOOK: usize = 4;
    if core.watches.drops_due.take_if(|due| *due <= now).is_some() {
        core.watches.drops_left = core.watches.dropping.len();
    }
    for _ in 0..most.div_ceil(LOOK).min(core.watches.drops_left) {
        core.watches.drops_left -= 1;
        let Some(key) = core.watches.dropping.pop_front() else {
            core.watches.drops_left = 0;
            return;
        };
        core.work.add(LOOK);
        let next = look_at(core, key, now);
        if next.is_some() {
            core.watches.dropping.push_back(key);
        }
        note_due(core, next);
    }
}

/// Tells and saves what is due of one session. Returns when there is more.
fn look_at(core: &mut Core, key: SessionKey, now: Time) -> Option<Time> {
    let session = core.sessions.get_mut(key)?;
    let is_durable = session.is_durable();
    let drops = session.drops_mut()?;
    let (lines, save) = (drops.take_due(now), drops.take_save(now));
    let refused = drops.take_refused(now);
    let next = drops.next();
    if let Some(refused) = &refused {
        log::warn!(
            "{}: {} more refused, the last of {}: the queue is full, and queue_overflow is refuse.",
            session.name_of(Lane::Client),
            report::messages(refused.untold),
            refused.publisher
        );
    }
    for (record, (messages, bytes)) in lines {
        let reason = DropReason::ALL.get(usize::from(record.reason));
        log::warn!(
            "{}: {messages} more dropped ({}): {}.",
            session.name_of(record.lane),
            report::size(bytes),
            reason.map_or("for an unknown reason", |reason| reason.words())
        );
    }
    if save && is_durable {
        core.sessions.unsave_state(key);
        core.ledger.lazy(now);
    }
    next
}
