//! PUBACK, PUBREC, PUBREL and PUBCOMP: the acknowledgements of both directions.

use std::time::Duration;

use crate::broker::connections::Reply;
use crate::broker::core::Core;
use crate::broker::ending::close::break_off;
use crate::broker::queues::drops::drop_message;
use crate::broker::sending::pump::{pump, taken_over};
use crate::broker::sending::put_back::{accept, refuse};
use crate::broker::sending::replies::reply_once;
use crate::broker::sending::sync::{note_answer, note_brought};
use crate::broker::sessions::DropReason;
use crate::keys::{ConnId, SessionKey};
use crate::mqtt::{Ack, Reason};
use crate::session::Done;
use crate::store::Promise;
use crate::time::Time;

/// A full window of QoS 2 messages waits for its commit no longer than this: a long commit interval
/// would set the pace of a backlog. But for one that `flash_budget` has made long.
const WINDOW_WAIT: Duration = Duration::from_millis(20);

/// PUBREL: the publisher is done with a QoS 2 id. PUBCOMP promises that the id is free, so it waits
/// for the commit that clears it; else a reused id would look like a duplicate.
pub(crate) fn on_pubrel(core: &mut Core, c: ConnId, ack: &Ack<'_>, now: Time) {
    let Some(key) = core.session_of(c) else {
        return;
    };
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let is_known = session.inbound.release(ack.id);
    let is_durable = session.is_durable();
    if is_known && is_durable {
        core.sessions.unsave_ids(key);
    }
    // Also for an id that is not known: it may be a PUBREL sent again [MQTT-4.3.3-11].
    let reply = Reply::PubComp(ack.id);
    let is_saved = !is_durable || core.is_saved(key);
    reply_once(core, c, reply, is_saved, now);
}

/// PUBACK: the receiver has a QoS 1 message. An id that is not in flight is ignored, as Mosquitto
/// does: it may be late. One of a QoS 2 message is a protocol error.
pub(crate) fn on_puback(core: &mut Core, c: ConnId, ack: &Ack<'_>, now: Time) {
    let Some((key, is_lenient)) = receiver(core, c) else {
        return;
    };
    if !is_lenient && !ack.reason.answers_publish() {
        let what = format!("PUBACK with reason {}", ack.reason);
        return break_off(core, c, &what, now);
    }
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    // Only an upstream is sent messages beside its queue.
    let beside = is_lenient.then(|| session.outbound.flying_aside(ack.id));
    let beside = beside.flatten();
    if ack.reason.is_error()
        && is_lenient
        && let Some(done) = session.outbound.refusable(ack.id, false)
    {
        note_answer(core, key, &done);
        refuse(core, key, ack, done, now);
    } else if let Some(done) = session.outbound.puback(ack.id, is_lenient) {
        if is_lenient && !ack.reason.is_error() {
            accept(core, key, done, now);
        }
        note_answer(core, key, &done);
        let brought = beside.map(|message| note_brought(core, key, &message, ack.reason, now));
        if brought != Some(true) {
            count_refused(core, key, ack.reason, done, now);
        }
        taken_over(core, key, done.id, now);
        pump(core, key, now);
    } else if is_lenient {
        // Of a QoS 2 message that the upstream has, by its PUBREC: no more than the end.
        on_pubcomp(core, c, ack, now);
    } else if session.outbound.flying(ack.id).is_some() {
        let what = format!("PUBACK of the QoS 2 message {}", ack.id.get());
        break_off(core, c, &what, now);
    }
}

/// PUBREC: the receiver has a QoS 2 message. PUBREL leaves once the release is on disk. A message that
/// an upstream refuses stays ([`refuse`]).
pub(crate) fn on_pubrec(core: &mut Core, c: ConnId, ack: &Ack<'_>, now: Time) {
    let Some((key, is_lenient)) = receiver(core, c) else {
        return;
    };
    if !is_lenient && !ack.reason.answers_publish() {
        let what = format!("PUBREC with reason {}", ack.reason);
        return break_off(core, c, &what, now);
    }
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let is_refused = ack.reason.is_error();
    if is_refused
        && is_lenient
        && let Some(done) = session.outbound.refusable(ack.id, true)
    {
        note_answer(core, key, &done);
        return refuse(core, key, ack, done, now);
    }
    let Some(done) = session.outbound.pubrec(ack.id, is_refused, now) else {
        if !is_lenient && session.outbound.flying(ack.id).is_some() {
            let what = format!("PUBREC of the QoS 1 message {}", ack.id.get());
            break_off(core, c, &what, now);
        } else if !is_refused {
            // Not known: it may be a PUBREC sent again, which has its answer all the same.
            reply_once(core, c, Reply::PubRel(ack.id), true, now);
        }
        return;
    };
    let is_durable = session.is_durable();
    if is_lenient && !is_refused {
        accept(core, key, done, now);
    }
    note_answer(core, key, &done);
    count_refused(core, key, ack.reason, done, now);
    taken_over(core, key, done.id, now);
    if is_refused {
        return pump(core, key, now);
    }
    if is_durable {
        core.sessions.unsave_state(key);
    }
    let is_saved = !is_durable || core.is_saved(key);
    reply_once(core, c, Reply::PubRel(ack.id), is_saved, now);
    // Without a promise PUBREL has left already.
    let waits = !is_saved && core.settings.promise().0 == Promise::Committed;
    if waits && !core.ledger.is_over_budget() {
        hasten(core, (key, is_lenient), done, now);
    }
}

/// Has the commit that holds a release come sooner where messages wait for it. Once all that are under
/// way to an upstream wait for it as well, nothing else moves: then it comes soon, for each window has
/// one commit, soon or late. But half of what the upstream has taken to answer makes no great difference
/// to what passes, and meanwhile another commit may come. Clients, of whom there may be many, share
/// the commits of [`WINDOW_WAIT`]: with one for each the flash would wear out.
fn hasten(core: &mut Core, (key, is_upstream): (SessionKey, bool), done: Done, now: Time) {
    let below = core.ledger.store().durable_below();
    let Some(outbound) = core.sessions.get(key).map(|session| &session.outbound) else {
        return;
    };
    if is_upstream && outbound.is_held_by_releases(below) {
        let took = done.sent.map_or(WINDOW_WAIT, |sent| now.since(sent));
        core.ledger.hasten(took / 2, WINDOW_WAIT, now);
    } else if outbound.is_window_full() {
        core.ledger.hasten(WINDOW_WAIT, WINDOW_WAIT, now);
    }
}

/// A message that its receiver has refused is done with [MQTT-4.3.3-4]: dropped, and counted. What an
/// upstream refuses is not.
fn count_refused(core: &mut Core, key: SessionKey, reason: Reason, done: Done, now: Time) {
    if !reason.is_error() {
        return;
    }
    if let Some(session) = core.sessions.get(key) {
        log::debug!("{} refused a message: {reason}", session.client_id());
    }
    let lost = (1, done.size.into());
    drop_message(core, key, done.lane, DropReason::Refused, lost, now);
}

/// PUBCOMP: a QoS 2 handshake is over. That may reach the disk late. Before PUBREL, or for a QoS 1
/// message, it is a protocol error.
pub(crate) fn on_pubcomp(core: &mut Core, c: ConnId, ack: &Ack<'_>, now: Time) {
    let Some((key, is_lenient)) = receiver(core, c) else {
        return;
    };
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    if let Some(done) = session.outbound.pubcomp(ack.id) {
        if session.is_durable() {
            core.sessions.unsave_state(key);
            core.ledger.lazy(now);
        }
        taken_over(core, key, done.id, now);
        pump(core, key, now);
    } else if !is_lenient && session.outbound.flying(ack.id).is_some() {
        let what = format!("PUBCOMP of message {} before PUBREC", ack.id.get());
        break_off(core, c, &what, now);
    }
}

/// The session of a connection, and whether it is an upstream broker, some of which answer QoS 2
/// with PUBACK.
fn receiver(core: &Core, c: ConnId) -> Option<(SessionKey, bool)> {
    let conn = core.connections.get(c)?;
    Some((conn.session()?, conn.is_upstream()))
}
