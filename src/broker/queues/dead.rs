//! Dead letters: messages that the upstream of a bridge will never take. They lie in a lane of their
//! own, within a bound of their own, until the configuration is read again.

use super::age::note_expiry;
use super::drops::{drop_done, drop_entry};
use super::report::size;
use crate::broker::core::Core;
use crate::broker::sessions::DropReason;
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::mqtt::{QoS, Reason};
use crate::owed::Owed;
use crate::session::Entry;
use crate::time::Time;

/// Stands for: no topic line takes the message any more. No upstream says that of one that it refuses.
pub(crate) const NOT_MAPPED: Reason = Reason::NO_MATCHING_SUBSCRIBERS;

/// Stands for: the upstream closes the connection on the message. No upstream says that of one that it
/// refuses.
pub(crate) const UPSTREAM_CLOSES: Reason = Reason::NO_SUBSCRIPTION_EXISTED;

/// Sets aside a message that `Outbound::next` gave and the upstream will never take.
pub(crate) fn set_aside(
    core: &mut Core,
    key: SessionKey,
    entry: &Entry,
    reason: Reason,
    now: Time,
) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    session.outbound.not_sent(entry);
    let Some(id) = entry.id.filter(|_| session.is_durable()) else {
        return drop_entry(core, key, entry, DropReason::Refused, now);
    };
    let message = &entry.message;
    let owed = Owed {
        lane: Lane::Dead,
        ..entry.owed.clone()
    };
    let from = (id, session.id);
    let dead = core.ledger.hand_over(from, message, owed, now);
    session.outbound.push_dead(dead, entry);
    // Others may be owed the message too: then only the cursor tells that this one is through with
    // it, and must do so in the commit that has the dead letter.
    core.sessions.unsave_state(key);
    core.ledger.promise(now);
    note_expiry(core, key);
    tell(core, key, entry, reason, now);
    trim_dead(core, key, now);
}

/// Tells the log, though not of each if there are many.
fn tell(core: &mut Core, key: SessionKey, entry: &Entry, reason: Reason, now: Time) {
    let session = core.sessions.get_mut(key);
    let Some(end) = session.and_then(|session| session.bridge_mut()) else {
        return;
    };
    if end.refusals.set_aside(now) {
        let message = &entry.message;
        let why = match reason {
            NOT_MAPPED => "no topic line takes it any more".to_owned(),
            UPSTREAM_CLOSES => "the upstream closes the connection on it".to_owned(),
            reason => format!("the upstream will never take it, {reason}"),
        };
        log::warn!(
            "Bridge {}: a message on {} (QoS {}, {}) is set aside as a dead letter: {why}.",
            end.name,
            message.topic(),
            entry.owed.qos as u8,
            size(message.size().into())
        );
    }
    let next = end.refusals.next();
    core.watches.look_at_refusals(next);
}

/// Drops the oldest dead letters of a bridge beyond their bound.
pub(crate) fn trim_dead(core: &mut Core, key: SessionKey, now: Time) {
    let general = &core.settings.general;
    let (messages, bytes) = (general.max_dead_letters, general.max_dead_letter_bytes);
    while let Some(session) = core.sessions.get_mut(key) {
        let dead = session.outbound.owed_by(Lane::Dead);
        let is_over =
            (messages > 0 && dead.messages > messages) || (bytes > 0 && dead.bytes > bytes);
        if !is_over {
            return;
        }
        let Some(dropped) = session.outbound.drop_dead() else {
            return crate::impossible!("{dead:?} are dead letters, and there is none");
        };
        drop_done(core, key, dropped, DropReason::DeadLetters, now);
    }
}

/// Whether a message that is too large for an upstream is to be set aside.
pub(crate) fn is_kept(entry: &Entry) -> bool {
    entry.id.is_some() && entry.owed.qos != QoS::AtMostOnce
}
