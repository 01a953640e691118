//! What time ends: connections that are silent, sessions that nobody comes back for.

use std::time::Duration;

use super::close::{CLOSE_TIMEOUT, close, finish};
use super::session::{end_session, watch_session};
use super::will::publish_will;
use crate::broker::connections::Stage;
use crate::broker::core::Core;
use crate::broker::timers::Timer;
use crate::config::log_type::NOTICE;
use crate::keys::{ConnId, SessionKey};
use crate::mqtt::{ConnAck, Packet, Props, Reason};
use crate::time::Time;

/// How long a new connection may take to send its CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a login may take.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// When to look again at a connection that can't be told to be silent.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a peer may be silent: one and a half keep-alives.
pub(crate) fn silence(keep_alive: u16) -> Duration {
    Duration::from_millis(u64::from(keep_alive) * 1500)
}

/// Looks at connections and sessions whose time has come, for about `most` units of work: what is left is
/// due already. `has_input` as for [`check_connection`].
pub(crate) fn run_timers(
    core: &mut Core,
    most: usize,
    has_input: &dyn Fn(ConnId) -> bool,
    now: Time,
) {
    let end = core.work.done() + most as u64;
    while core.work.done() < end
        && let Some(timer) = core.timers.take(now)
    {
        core.work.add(1);
        match timer {
            Timer::Connection(c) => check_connection(core, c, has_input(c), now),
            Timer::Session(key) => check_session(core, key, now),
        }
    }
}

/// Waits for the CONNECT of a new connection.
pub(crate) fn await_connect(core: &mut Core, c: ConnId, now: Time) {
    core.timers.set_connection(c, Some(now + CONNECT_TIMEOUT));
}

/// Waits for the login of a connection, whose CONNECT has just come.
pub(crate) fn await_login(core: &mut Core, c: ConnId, now: Time) {
    core.timers.set_connection(c, Some(now + LOGIN_TIMEOUT));
}

/// A login takes too long: nobody looks at it.
fn give_login_up(core: &mut Core, c: ConnId, now: Time) {
    let name = core.name_of(c);
    let line = format_args!("{name} refused: nobody has looked at its login in time.");
    core.refusals.log("login in time", line, now);
    core.counters.refused += 1;
    let connack = ConnAck {
        session_present: false,
        reason: Reason::SERVER_UNAVAILABLE,
        props: Props::EMPTY,
    };
    core.connections.send(c, &Packet::ConnAck(connack));
    finish(core, c, now);
}

/// Ends a connection that has not sent its CONNECT in time, whose login is not looked at, or that has
/// sent nothing for one and a half
/// keep-alives [MQTT-3.1.2-22], or does not read its last bytes. `has_input`: the peer has sent what
/// nobody has taken in yet, so that it is not silent.
pub(crate) fn check_connection(core: &mut Core, c: ConnId, has_input: bool, now: Time) {
    let Some(conn) = core.connections.get(c) else {
        return;
    };
    match conn.stage() {
        Stage::Closing => {
            let due = conn.last_seen() + CLOSE_TIMEOUT;
            if now >= due {
                core.connections.clear_outbox(c);
            } else {
                core.timers.set_connection(c, Some(due));
            }
        }
        Stage::New if has_input => core.timers.set_connection(c, Some(now + LOOK_AGAIN)),
        Stage::New if now >= conn.last_seen() + CONNECT_TIMEOUT => {
            let (key, address) = (("silent", conn.address().ip()), conn.address().to_string());
            let line = format_args!("{address} sent no CONNECT in time.");
            core.refusals.log(key, line, now);
            finish(core, c, now);
        }
        Stage::New => await_connect(core, c, now),
        Stage::LoggingIn => {
            let due = conn.last_seen() + LOGIN_TIMEOUT;
            if now >= due {
                give_login_up(core, c, now);
            } else {
                core.timers.set_connection(c, Some(due));
            }
        }
        Stage::Connected => check_keep_alive(core, c, has_input, now),
    }
}

fn check_keep_alive(core: &mut Core, c: ConnId, has_input: bool, now: Time) {
    let Some(conn) = core.connections.get_mut(c) else {
        return;
    };
    if conn.keep_alive() == 0 || conn.is_upstream() {
        return;
    }
    let deadline = conn.last_seen() + silence(conn.keep_alive());
    // A connection that the broker does not read is not silent of its own will.
    if deadline > now || has_input || !conn.may_be_read() {
        let again = deadline.max(now + LOOK_AGAIN);
        core.timers.set_connection(c, Some(again));
        // Gives back what a busy time has left.
        conn.shrink();
        let session = conn.session().and_then(|key| core.sessions.get_mut(key));
        if let Some(session) = session {
            session.outbound.shrink();
        }
        return;
    }
    log::info!(
        target: NOTICE,
        "Client {} has exceeded timeout, disconnecting.",
        core.name_of(c)
    );
    close(core, c, Reason::KEEP_ALIVE_TIMEOUT, now);
}

/// The session that ends first if its client does not come back: client id, and when.
pub(crate) fn first_to_expire(core: &Core) -> Option<(&str, Time)> {
    let sessions = core.sessions.keys().into_iter();
    let absent = sessions.filter_map(|key| core.sessions.get(key));
    let absent = absent.filter(|s| s.conn.is_none() && !s.is_bridge() && !s.is_ended());
    let ends = absent.filter_map(|s| Some((s.client_id(), s.expires()?)));
    ends.min_by_key(|(_, at)| *at)
}

/// Publishes the delayed will of a session without a connection, and ends the session, once either
/// is due.
pub(crate) fn check_session(core: &mut Core, key: SessionKey, now: Time) {
    let Some(session) = core.sessions.get_mut(key) else {
        return;
    };
    if session.conn.is_some() || session.is_ended() {
        return;
    }
    let expires = session.expires().is_some_and(|end| end <= now);
    // The end of the session publishes the will at the latest [MQTT-3.1.2-8].
    let is_due = session.will_due().is_some_and(|at| at <= now || expires);
    if let Some(will) = session.will.take_if(|_| is_due) {
        publish_will(core, *will, key, now);
        core.sessions.unsave_identity(key);
        core.ledger.lazy(now);
    }
    if expires {
        if let Some(session) = core.sessions.get(key) {
            log::info!(target: NOTICE, "Expiring client {} due to timeout.", session.client_id());
        }
        core.counters.expired += 1;
        end_session(core, key, now);
    } else {
        watch_session(core, key, now);
    }
}
