//! Which member of a group of shared subscriptions gets a message (5.0 §4.8.2).

use crate::broker::connections::Connection;
use crate::broker::core::Core;
use crate::broker::plan::Admission;
use crate::broker::queues::bounds::{admission, copies};
use crate::broker::routing::Receiver;
use crate::broker::sessions::Session;
use crate::keys::{GroupKey, SessionKey};
use crate::lane::Lane;
use crate::message::Message;
use crate::mqtt::QoS;
use crate::route::{Among, Fitness, SubOptions};

/// Picks the member of a group that gets a message, and says how fit it is.
pub(crate) fn choose(
    core: &mut Core,
    group: GroupKey,
    among: Among,
    message: &Message,
) -> Option<(Receiver, Fitness)> {
    let mut groups = std::mem::take(&mut core.router.groups);
    let picked = groups.pick(group, among, |key, options| {
        fitness(core, key, options, message)
    });
    core.router.groups = groups;
    let (key, options, fitness) = picked?;
    let session = core.sessions.get(key)?;
    let receiver = Receiver::new((key, session), &options, message, &core.settings)?;
    Some((receiver, fitness))
}

/// How well a session could take a message now.
fn fitness(core: &Core, key: SessionKey, options: &SubOptions, message: &Message) -> Fitness {
    let Core {
        settings,
        connections,
        ledger,
        ..
    } = core;
    let Some(session) = core.sessions.known(key) else {
        return Fitness::Unfit;
    };
    if !settings.auth.open() && !settings.auth.may_read(&session.who(), message.topic()) {
        return Fitness::Unfit;
    }
    let is_acked = settings.outgoing_qos(options.qos, message) != QoS::AtMostOnce;
    let conn = session.conn.and_then(|c| connections.get(c));
    let is_kept = session.is_durable() && (is_acked || settings.general.queue_qos0_messages);
    // Whoever goes with its connection is no help while all of them end.
    if !is_kept && (conn.is_none() || core.is_shutting_down) {
        return Fitness::Unfit;
    }
    let is_full = match conn {
        Some(conn) if !is_acked => conn.is_behind(),
        Some(_) if !is_kept => !has_room(core, session, options.lane, message.size()),
        _ => ledger.is_closed() || !has_room(core, session, options.lane, message.size()),
    };
    match conn {
        _ if is_full => Fitness::Full,
        None => Fitness::Away,
        Some(conn) if is_free(session, conn) => Fitness::Free,
        Some(_) => Fitness::Busy(session.outbound.len()),
    }
}

/// True if the queue of a session has room for a message of `size` bytes.
fn has_room(core: &Core, session: &Session, lane: Lane, size: u32) -> bool {
    admission(core, session, lane, copies(1, size)) == Admission::Fits
}

/// True if a message for the session would leave at once.
pub(crate) fn is_free(session: &Session, conn: &Connection) -> bool {
    conn.takes_message() && session.outbound.is_free()
}

/// True if a connected member of a group could be sent something now.
pub(crate) fn has_free_member(core: &mut Core, group: GroupKey) -> bool {
    let mut groups = std::mem::take(&mut core.router.groups);
    let has_free = groups.has_free(group, |key| {
        let session = core.sessions.get(key);
        let conn = session.and_then(|s| core.connections.get(s.conn?));
        let member = session.zip(conn);
        member.is_some_and(|(s, c)| is_free(s, c) && has_room(core, s, Lane::Client, 0))
    });
    core.router.groups = groups;
    has_free
}
