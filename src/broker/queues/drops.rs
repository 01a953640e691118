//! Every message that is dropped: counted for the broker, for its receiver and for the lane it
//! belonged to, and told in the log once.

use super::report;
use crate::broker::core::Core;
use crate::broker::sessions::DropReason;
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::message::Message;
use crate::session::{Done, Entry};
use crate::store::DropRecord;
use crate::time::Time;

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
    let counted = session.drops.get_or_insert_default().count(&dropped);
    if counted.is_first {
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
        core.watches.dropping.push(key);
    } else if !counted.was_saved {
        return;
    }
    if let Some(at) = look_at(core, key, now) {
        core.timers.wake(at);
        let due = core.watches.drops_due;
        core.watches.drops_due = Some(due.map_or(at, |due| due.min(at)));
    }
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
    let (from, to) = done.arrived;
    note_lost(core, key, (from, to.min(now)));
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

/// A message met a queue that refuses it, and there is nobody to refuse it to. `queue`: whose, and
/// the lane; `None` for a message that is only to be retained.
pub(crate) fn drop_unrefused(
    core: &mut Core,
    queue: Option<(SessionKey, Lane)>,
    message: &Message,
    now: Time,
) {
    let reason = DropReason::QueueFull;
    match queue {
        Some((key, lane)) => {
            let lost = (1, message.size().into());
            drop_message(core, key, lane, reason, lost, now);
        }
        None => core.counters.count_dropped(reason, 1),
    }
}

/// Tells and saves what is due of the sessions that drop.
pub(crate) fn look_at_drops(core: &mut Core, now: Time) {
    if core.watches.drops_due.is_none_or(|due| due > now) {
        return;
    }
    let mut next: Option<Time> = None;
    for key in std::mem::take(&mut core.watches.dropping) {
        if let Some(at) = look_at(core, key, now) {
            core.watches.dropping.push(key);
            next = Some(next.map_or(at, |next| next.min(at)));
        }
    }
    if let Some(at) = next {
        core.timers.wake(at);
    }
    core.watches.drops_due = next;
}

/// Tells and saves what is due of one session. Returns when there is more.
fn look_at(core: &mut Core, key: SessionKey, now: Time) -> Option<Time> {
    let session = core.sessions.get_mut(key)?;
    let is_durable = session.is_durable();
    let drops = session.drops.as_mut()?;
    let (lines, save) = (drops.take_due(now), drops.take_save(now));
    let next = drops.next();
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
