//! Sending what waits in a session's queue.

use std::time::Duration;

use super::account::note_sent;
use super::sync::send_next;
use super::transmit::{Transmitted, transmit_queued};
use crate::bridge::{LinkKind, LocalEnd, LoopGuard};
use crate::broker::core::Core;
use crate::broker::queues::dead::{NOT_MAPPED, UPSTREAM_CLOSES, is_kept, set_aside};
use crate::broker::queues::drops::drop_entry;
use crate::broker::settings::Settings;
use crate::keys::SessionKey;
use crate::message::{Message, MessageId};
use crate::mqtt::{QoS, Reason};
use crate::session::Entry;
use crate::time::Time;

/// Why no more was sent.
enum Stop {
    /// There is no connection, or it takes no more.
    Blocked,
    /// No more goes before the peer answers.
    Full,
    /// The RAM part of the queue has nothing that may be sent. With `more` there may be something
    /// once the rest of it is read, or a commit is done.
    Empty { more: bool },
    /// This message could not be sent.
    Unsent(Entry, Transmitted),
    /// The upstream will never take this message.
    Dead(Entry, Reason),
}

/// Sends as much of a session's queue as window and outbox take, and asks the store for more.
pub(crate) fn pump(core: &mut Core, key: SessionKey, now: Time) {
    pump_queue(core, key, now);
    // There may be room for more of what is retained.
    core.router.walks.hasten(key);
}

fn pump_queue(core: &mut Core, key: SessionKey, now: Time) {
    loop {
        match send_ready(core, key, now) {
            Stop::Blocked => return,
            Stop::Full if refill(core, key) => {}
            Stop::Full => return,
            Stop::Unsent(entry, outcome) => {
                if let Some(reason) = outcome.drop_reason() {
                    drop_entry(core, key, &entry, reason, now);
                }
                taken_over(core, key, entry.id, now);
            }
            Stop::Dead(entry, reason) => set_aside(core, key, &entry, reason, now),
            Stop::Empty { more: true } if refill(core, key) => {}
            Stop::Empty { .. } if send_next(core, key, now) => {}
            Stop::Empty { more } => {
                core.router.leftovers.note_idle(key);
                if more {
                    await_commit(core, key);
                }
                note_empty(core, key, now);
                return;
            }
        }
    }
}

/// How long an empty queue keeps its memory.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// A session has nothing more to be sent: if that lasts, its memory is given back.
fn note_empty(core: &mut Core, key: SessionKey, now: Time) {
    let session = core.sessions.get_mut(key);
    if session.is_some_and(|session| session.outbound.has_emptied()) {
        if core.watches.emptied.is_empty() {
            core.watches.emptied_due = Some(now + KEPT_FOR);
        }
        core.watches.emptied.push(key);
    }
}

/// Gives back the memory of queues that have become empty, and are.
pub(crate) fn look_at_emptied(core: &mut Core, now: Time) {
    if core
        .watches
        .emptied_due
        .take_if(|due| *due <= now)
        .is_none()
    {
        return;
    }
    for key in std::mem::take(&mut core.watches.emptied) {
        let Some(session) = core.sessions.get_mut(key) else {
            continue;
        };
        session.outbound.look_again();
        if let Some(conn) = session.conn.and_then(|c| core.connections.get_mut(c)) {
            conn.shrink();
        }
    }
}

/// True if a message on its way to a link has to wait, because it is tried whether it goes round.
pub(crate) fn is_tried(loops: &mut LoopGuard, link: LinkKind, message: &Message) -> bool {
    if link == LinkKind::None || !loops.is_trying() {
        return false;
    }
    let content = (message.topic_bytes(), message.payload());
    loops.keeps(message.origin.client_id(), content, message.arrival)
}

/// Sends what was kept back because it may go round.
pub(crate) fn look_at_loops(core: &mut Core, now: Time) {
    if !core.loops.turn(now) {
        return;
    }
    let connections = core.connections.iter();
    let links = connections.filter(|(_, conn)| conn.link() > LinkKind::None);
    let sessions: Vec<_> = links.filter_map(|(_, conn)| conn.session()).collect();
    for key in sessions {
        pump(core, key, now);
    }
}

/// Sends what is in RAM.
fn send_ready(core: &mut Core, key: SessionKey, now: Time) -> Stop {
    let Core {
        sessions,
        connections,
        ledger,
        settings,
        counters,
        scratch,
        loops,
        router,
        memory,
        ..
    } = core;
    let Some(session) = sessions.get_mut(key) else {
        // A stalled one may have ended.
        return Stop::Blocked;
    };
    let Some(mut writer) = session.conn.and_then(|c| connections.writer(c)) else {
        return Stop::Blocked;
    };
    let (below, max_qos) = (
        ledger.store().durable_below(),
        writer.connection().max_qos(),
    );
    let mut state_changed = false;
    let stop = loop {
        let conn = writer.connection();
        let is_enough = |bound| conn.waiting() >= bound;
        if !conn.takes_message() || memory.outbox_bound().is_some_and(is_enough) {
            break Stop::Blocked;
        }
        let (outbound, end) = session.outbound_and_end();
        let qos_of = |entry: &Entry| waiting_qos(end.as_deref(), entry, settings).min(max_qos);
        let Some(mut entry) = outbound.next(below, qos_of) else {
            if session.outbound.is_window_full() && session.outbound.ready() > 0 {
                break Stop::Full;
            }
            // The queue of a session that lives in RAM has no other part, but what it took over
            // from a member of a group has a row, whose commit it may have to wait for.
            let more = session.is_durable() || session.outbound.awaits_commit(below);
            break Stop::Empty { more };
        };
        if is_tried(loops, writer.connection().link(), &entry.message) {
            session.outbound.unsend(entry);
            break Stop::Blocked;
        }
        if let Some(reason) = session.outbound.take_condemned(entry.id) {
            break Stop::Dead(entry, reason);
        }
        // A newer value may be there already: this one was refused once, and others were not.
        entry.owed.retain &= !session.outbound.is_held(entry.owed.lane)
            || !entry.message.retain
            || router.retains(&entry.message);
        let with = (&*settings, &mut *counters, &mut *scratch, &mut *loops);
        let outcome = transmit_queued(&mut writer, session, &entry, with, now);
        if let (Some(reason), true, Some(id)) = (
            never(outcome),
            session.is_bridge() && is_kept(&entry),
            entry.id,
        ) {
            session.outbound.condemn(id, reason);
            session.outbound.unsend(entry);
            continue;
        }
        if outcome != Transmitted::Sent {
            session.outbound.not_sent(&entry);
            break Stop::Unsent(entry, outcome);
        }
        // Nobody acknowledges QoS 0: it is done with.
        let is_acked = entry.owed.qos != QoS::AtMostOnce;
        let (done, payload) = (
            entry.id.filter(|_| !is_acked),
            entry.message.payload().len(),
        );
        session.outbound.sent(entry, now);
        if !is_acked {
            note_sent(session, payload, now);
        }
        state_changed |= done.is_some_and(|id| ledger.ack(id, session.id, now));
    };
    if state_changed {
        sessions.unsave_state(key);
    }
    stop
}

/// The QoS at which a message that waits goes out. On a bridge its `topic` line says so, as the
/// configuration has it by now: what is queued follows it down, and up as far as the message was
/// published. Only what was queued at QoS 0 stays there, for it has no packet id.
fn waiting_qos(end: Option<&LocalEnd>, entry: &Entry, settings: &Settings) -> QoS {
    let (owed, message) = (&entry.owed, &entry.message);
    let line = match (end, owed.qos) {
        (None, _) | (_, QoS::AtMostOnce) => return owed.qos,
        (Some(end), _) => end.waiting_qos(owed.lane, message.topic_bytes()),
    };
    match (line, message.qos) {
        (None, _) => owed.qos,
        // It was queued because the line keeps QoS 0, at the QoS of the line.
        (Some(line), QoS::AtMostOnce) => line,
        (Some(line), _) => settings.outgoing_qos(line, message),
    }
}

/// Why a message that was not sent to an upstream is set aside, if it is to be.
fn never(outcome: Transmitted) -> Option<Reason> {
    match outcome {
        Transmitted::TooLarge => Some(Reason::PACKET_TOO_LARGE),
        Transmitted::NotMapped => Some(NOT_MAPPED),
        Transmitted::Forbidden => Some(UPSTREAM_CLOSES),
        Transmitted::Sent | Transmitted::TooOld | Transmitted::Denied => None,
    }
}

/// A receiver has taken a message over, or is not to get it.
pub(crate) fn taken_over(core: &mut Core, key: SessionKey, id: Option<MessageId>, now: Time) {
    let (Some(id), Some(session)) = (id, core.sessions.get(key)) else {
        return;
    };
    if core.ledger.ack(id, session.id, now) {
        core.sessions.unsave_state(key);
    }
}

/// Notes that a session goes on after the next commit, if that is what it waits for.
fn await_commit(core: &mut Core, key: SessionKey) {
    let below = core.ledger.store().durable_below();
    let session = core.sessions.get(key);
    if session.is_some_and(|s| s.outbound.awaits_commit(below)) {
        core.sessions.stall(key);
    }
}

/// Fills up the RAM part of a queue: from the messages that still wait for their commit, or by
/// asking the storage thread. True if there is something new to send.
fn refill(core: &mut Core, key: SessionKey) -> bool {
    let on_disk_below = core.ledger.store().on_disk_below();
    let Some(session) = core.sessions.known_mut(key) else {
        return false;
    };
    if !session.outbound.is_low() {
        return false;
    }
    let owner = session.id;
    // What another session has in memory need not be read.
    let known = session.outbound.take_known(on_disk_below, |id| {
        let (message, owed) = core.ledger.take_known(id, owner)?;
        Some(Entry::new(message, Some(id), owed))
    });
    if session.outbound.is_next_below(on_disk_below) {
        if core.ledger.may_read(key)
            && let Some((question, ids)) = session.outbound.wants(on_disk_below)
        {
            let bytes = session.outbound.reading_bytes();
            core.ledger.read_queue(key, question, &ids, bytes);
        }
        return known;
    }
    let store = core.ledger.store();
    let fresh = session.outbound.fill(on_disk_below, |id| {
        let (message, owed) = store.in_memory(id, owner)?;
        Some(Entry::new(message.clone(), Some(id), owed.clone()))
    });
    known || fresh
}
