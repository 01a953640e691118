//! The end of a connection.

use std::time::Duration;

use super::session::{end_session, watch_session};
use super::will::publish_will;
use crate::broker::connections::{Attempt, Block, Stage};
use crate::broker::core::Core;
use crate::broker::delivering::walk::note_walks;
use crate::broker::queues::drops::give_up;
use crate::broker::shares::leave::go_offline;
use crate::config::log_type::NOTICE;
use crate::impossible;
use crate::keys::ConnId;
use crate::mqtt::{Disconnect, Packet, Props, Reason};
use crate::time::Time;

/// How long the last bytes to a peer may take.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends a connection on the broker's behalf: DISCONNECT with `reason` to an MQTT 5 peer, the session
/// detached with its will due, the socket closed after the last byte.
///
/// No packet carries a Reason String or User Property of the broker's own, whatever Request Problem
/// Information says [MQTT-3.1.2-29]: the code says it, the log says more, and the bytes are those
/// that Mosquitto sends.
pub(crate) fn close(core: &mut Core, c: ConnId, reason: Reason, now: Time) {
    let Some(conn) = core.connections.get(c) else {
        return;
    };
    if conn.stage() == Stage::Closing {
        return;
    }
    if conn.session().is_some() && core.settings.general.connection_messages {
        let name = core.name_of(c);
        log::log!(target: NOTICE, conn.level(), "Client {name} disconnected: {reason}");
    }
    if conn.can_say(reason) {
        let props = Props::EMPTY;
        let packet = Packet::Disconnect(Disconnect { reason, props });
        core.connections.send(c, &packet);
    }
    detach(core, c, true, now);
    finish(core, c, now);
}

/// Ends a connection whose peer broke the protocol, and says by what.
pub(crate) fn break_off(core: &mut Core, c: ConnId, what: &str, now: Time) {
    log::info!(target: NOTICE, "Closing {}: {what}", core.name_of(c));
    close(core, c, Reason::PROTOCOL_ERROR, now);
}

/// Nothing more is read from or queued for a connection; what is in its outbox goes out.
pub(crate) fn finish(core: &mut Core, c: ConnId, now: Time) {
    core.connections.finish(c, now);
    core.timers.set_connection(c, Some(now + CLOSE_TIMEOUT));
}

/// Closes the connections that a reply was too large for: their peers would wait for it for ever.
/// True if there was one.
pub(crate) fn close_unanswerable(core: &mut Core, now: Time) -> bool {
    if !core.connections.has_unanswerable() {
        return false;
    }
    let unanswerable = core.connections.take_unanswerable();
    for c in &unanswerable {
        let Some(conn) = core.connections.get(*c) else {
            continue;
        };
        log::info!(
            "{} takes packets of {} bytes at most, too few for a reply.",
            core.name_of(*c),
            conn.max_packet()
        );
        if !conn.is_greeted() {
            // Nothing goes before CONNACK [MQTT-3.2.0-1].
            core.connections.clear_outbox(*c);
        }
        close(core, *c, Reason::PACKET_TOO_LARGE, now);
    }
    true
}

/// Parts a connection from its session: the will becomes due if `with_will`, the queue falls back to
/// disk, a session that does not outlive its connection ends.
pub(crate) fn detach(core: &mut Core, c: ConnId, with_will: bool, now: Time) {
    let conn = core.connections.get_mut(c);
    let block = conn.as_ref().and_then(|conn| Block::of(conn.address()));
    let Some((key, parked)) =
        conn.and_then(|conn| Some((conn.take_session()?, conn.take_parked())))
    else {
        return;
    };
    for parked in parked {
        give_up(core, &parked.message, &parked.remaining);
    }
    let Some(session) = core.sessions.get_mut(key) else {
        return impossible!("a connection has a session that is gone");
    };
    session.conn = None;
    session.since = now;
    if let Some(block) = block
        && let Some(name) = session.origin().username()
    {
        core.logins.left(Attempt { block, name }, now);
    }
    let outstanding = session.outbound.oldest_in_ram();
    if let Some(end) = session.bridge_mut() {
        end.retained.disconnected(outstanding, now);
    }
    note_walks(core, key, now);
    go_offline(core, key, now);
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    if session.is_bridge() {
        if session.is_durable() {
            core.sessions.unsave_state(key);
        }
        return;
    }
    let (ends, had_will) = (session.expiry == 0, session.will.is_some());
    if !with_will {
        session.will = None;
    }
    // A delayed one stays with the session until it is due.
    let will = session.will.take_if(|will| will.delay == 0 || ends);
    if session.is_on_disk() || session.is_durable() || had_will {
        core.sessions.unsave_identity(key);
        core.ledger.lazy(now);
    }
    if let Some(will) = will {
        publish_will(core, *will, key, now);
    }
    if ends {
        end_session(core, key, now);
    } else {
        core.sessions.unsave_state(key);
        watch_session(core, key, now);
    }
}
