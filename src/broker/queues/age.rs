//! Messages that grow too old, by their own expiry [MQTT-3.3.2-5] or for their line, and how fast the
//! queues of bridges fill.
//!
//! A queue knows when its next message expires, and about when its messages arrived: a reload may
//! give a line another time to live, so that can't be counted as an expiry. The queues are looked at
//! when that is due, and before one refuses or drops a message for lack of room.

use std::collections::BTreeMap;
use std::time::Duration;

use super::drops::{drop_done, drop_message};
use super::report::tell_rate;
use crate::broker::core::Core;
use crate::broker::sessions::{DropReason, Session};
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::session::Entry;
use crate::store::Amount;
use crate::time::Time;

/// How often to look for messages that are too old for their line, at most.
const PURGE: Duration = Duration::from_secs(5);
/// How soon to look again for one that had expired and could not be dropped.
const RETRY: Duration = Duration::from_secs(1);
/// How many expired ones are dropped at a time to make room for a message.
const PIECE: usize = 64;

/// A message was queued: it counts for the rate, and may grow too old for its line.
pub(crate) fn note_queued(core: &mut Core, key: SessionKey, lane: Lane, size: u32, now: Time) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let is_offline = session.conn.is_none() && session.is_durable();
    let owed = session.outbound.owed();
    let Some(end) = session.bridge_mut() else {
        return;
    };
    let changed = end.rate.add(size.into(), now);
    end.activity.note_owed(owed, now);
    if let Some(ttl) = end.line(lane).and_then(|line| line.ttl) {
        core.watches.purges.hasten(key, now + ttl);
    }
    if changed {
        tell_rate(core, key, now);
        if is_offline {
            // With the message's own commit; an uplink that is up may need none.
            core.sessions.unsave_state(key);
        }
    }
}

/// Messages that expire may have been queued: the queue is looked at when the first does.
pub(crate) fn note_expiry(core: &mut Core, key: SessionKey) {
    let session = core.sessions.get(key);
    if let Some(at) = session.and_then(|s| s.outbound.next_expiry()) {
        core.watches.purges.hasten(key, at);
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

/// Drops what has grown too old, from disk too, of the queues that are to be looked at, for about
/// `most` units of work.
pub(crate) fn purge(core: &mut Core, most: usize, now: Time) {
    let mut left = most;
    while left > 0
        && let Some(key) = core.watches.purges.take(now)
    {
        let mut dropped = purge_lines(core, key, left, now);
        dropped += expire(core, key, left - dropped, now);
        let next = if dropped >= left {
            // At once: not with the next full second.
            Some(Time::from_secs(now.as_secs()))
        } else {
            next_purge(core, key, now)
        };
        core.watches.purges.set(key, next);
        // A look counts as well: there may be many queues.
        core.work.add(dropped + 1);
        left = left.saturating_sub(dropped + 1);
    }
}

/// When a queue is to be looked at next.
fn next_purge(core: &Core, key: SessionKey, now: Time) -> Option<Time> {
    let session = core.sessions.get(key)?;
    let expiry = session.outbound.next_expiry();
    let lines = lines(session).filter_map(|(lane, ttl)| {
        let arrival = session.outbound.next_arrival(lane)?;
        Some((arrival + ttl).max(now + PURGE))
    });
    // It can't be dropped while it is being read.
    let expiry = expiry.map(|at| if at <= now { now + RETRY } else { at });
    lines.chain(expiry).min()
}

/// The lanes of a bridge that have a time to live.
fn lines(session: &Session) -> impl Iterator<Item = (Lane, Duration)> {
    let lines = session.bridge().into_iter().flat_map(|end| end.lines());
    lines.filter_map(|(number, line)| Some((Lane::Bridge(number), line.ttl?)))
}

/// Drops at most `limit` messages that are too old for their line. Returns how many there were.
fn purge_lines(core: &mut Core, key: SessionKey, limit: usize, now: Time) -> usize {
    let session = core.sessions.get(key);
    let lines: Vec<(Lane, Duration)> = session.into_iter().flat_map(lines).collect();
    let mut count = 0;
    for (lane, ttl) in lines {
        while count < limit
            && let Some(session) = core.sessions.get_mut(key)
            && let Some(dropped) = session.outbound.drop_arrived_by(lane, now - ttl)
        {
            drop_done(core, key, dropped, DropReason::Expired, now);
            count += 1;
        }
    }
    count
}

/// Drops at most `limit` messages that have expired. Returns how many there were.
fn expire(core: &mut Core, key: SessionKey, limit: usize, now: Time) -> usize {
    let Some(session) = core.sessions.get_mut(key) else {
        return 0;
    };
    let dropped = session.outbound.drop_expired(now, limit);
    let owner = session.id;
    if !dropped.is_empty() && session.is_ended() {
        core.sessions.mark_spent(key);
    }
    let mut lost = BTreeMap::<Lane, Amount>::new();
    for done in &dropped {
        if let Some(id) = done.id {
            core.ledger.ack(id, owner, now);
        }
        lost.entry(done.lane).or_default().add(1, done.size.into());
    }
    for (lane, lost) in lost {
        let lost = (lost.messages, lost.bytes);
        drop_message(core, key, lane, DropReason::Expired, lost, now);
    }
    dropped.len()
}

/// Drops what has expired of a queue, while `is_short` of room.
pub(super) fn expire_while(
    core: &mut Core,
    key: SessionKey,
    now: Time,
    is_short: impl Fn(&Core) -> bool,
) {
    let has_expired = |core: &Core| {
        let next = core
            .sessions
            .get(key)
            .and_then(|s| s.outbound.next_expiry());
        next.is_some_and(|at| at <= now)
    };
    while is_short(core) && has_expired(core) && expire(core, key, PIECE, now) > 0 {}
}
