//! Messages that grow too old, and how fast the queues of bridges fill.

use std::time::Duration;

use super::drops::drop_done;
use super::report::tell_rate;
use crate::broker::core::Core;
use crate::broker::sessions::{DropReason, Session};
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::session::Entry;
use crate::time::Time;

/// How often to look for messages that are too old, at most.
const PURGE: Duration = Duration::from_secs(5);
/// How soon to look again when there were more than one look drops.
const PURGE_ON: Duration = Duration::from_secs(1);
/// How many of them one look drops, at most: devices wait meanwhile.
const PURGE_MESSAGES: usize = 10_000;

/// A message was queued: it counts for the rate, and may grow too old.
pub(crate) fn note_queued(core: &mut Core, key: SessionKey, lane: Lane, size: u32, now: Time) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let is_offline = session.conn.is_none() && session.is_durable();
    let Some(end) = session.bridge_mut() else {
        return;
    };
    let changed = end.rate.add(size.into(), now);
    let ttl = end.line(lane).and_then(|line| line.ttl);
    if let Some(at) = ttl.map(|ttl| now + ttl)
        && core.watches.purge_due.is_none_or(|due| due > at)
    {
        core.watches.purge_due = Some(at);
        core.timers.wake(at);
    }
    if changed {
        tell_rate(core, key, now);
        if is_offline {
            // With the message's own commit; an uplink that is up may need none.
            core.sessions.unsave_state(key);
        }
    }
}

/// Whether a message is too old to be sent: by its own expiry [MQTT-3.3.2-5], or for its line. One
/// that was sent before is sent again whatever its age [MQTT-4.4.0-1].
pub(crate) fn is_too_old(session: &Session, entry: &Entry, now: Time) -> bool {
    let line = session.bridge().and_then(|end| end.line(entry.owed.lane));
    let ttl = line.and_then(|line| line.ttl);
    let aged = ttl.is_some_and(|ttl| entry.message.arrival + ttl <= now);
    !entry.dup && (aged || entry.message.expired(now))
}

/// Drops what has grown too old for its line, from disk too.
pub(crate) fn purge(core: &mut Core, now: Time) {
    if core.watches.purge_due.is_none_or(|due| due > now) {
        return;
    }
    let (mut next, mut busy): (Option<Time>, bool) = (None, false);
    for key in core.bridges.keys().collect::<Vec<_>>() {
        let end = core.sessions.get(key).and_then(Session::bridge);
        let lines = end.into_iter().flat_map(|end| end.lines());
        let lines: Vec<(Lane, Duration)> = lines
            .filter_map(|(number, line)| Some((Lane::Bridge(number), line.ttl?)))
            .collect();
        for (lane, ttl) in lines {
            busy |= purge_lane(core, key, lane, ttl, now);
            let queue = core.sessions.get(key).map(|s| &s.outbound);
            let arrival = queue.and_then(|queue| queue.next_arrival(lane));
            let due = arrival.map(|arrival| arrival + ttl);
            next = next.into_iter().chain(due).min();
        }
    }
    let wait = if busy { PURGE_ON } else { PURGE };
    core.watches.purge_due = next.map(|at| at.max(now + wait));
    if let Some(at) = core.watches.purge_due {
        core.timers.wake(at);
    }
}

/// True if there is more to drop.
fn purge_lane(core: &mut Core, key: SessionKey, lane: Lane, ttl: Duration, now: Time) -> bool {
    for _ in 0..PURGE_MESSAGES {
        let session = core.sessions.get_mut(key);
        let dropped = session.and_then(|s| s.outbound.drop_arrived_by(lane, now - ttl));
        let Some(dropped) = dropped else {
            return false;
        };
        drop_done(core, key, dropped, DropReason::Expired, now);
    }
    true
}
