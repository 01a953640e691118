//! What is done when next to no memory is left: whoever holds most is closed, one after the other.

use super::close::{close, finish};
use crate::broker::connections::Stage;
use crate::broker::core::Core;
use crate::broker::queues::report::size;
use crate::broker::sessions::Session;
use crate::keys::ConnId;
use crate::mqtt::Reason;
use crate::time::Time;

/// Who holds less than this, in bytes, is not closed: it is not what fills the memory.
const LEAST: usize = 8 * 1024;
/// How many are closed in one turn, at most.
const MOST: usize = 64;

/// Closes those who hold most, if nine tenths of `memory_limit` are taken, until it is a little less;
/// if nobody holds much, those who have not even said who they are. What a durable session is owed on
/// disk stays.
pub(crate) fn relieve(core: &mut Core, now: Time) {
    let Some(limit) = core.settings.memory_limit() else {
        return;
    };
    core.memory.look(Some(limit));
    if !core.memory.wants_relief(now) {
        return;
    }
    let mut holders: Vec<(usize, ConnId)> = core
        .connections
        .iter()
        .filter(|(_, conn)| conn.stage() != Stage::Closing && !conn.is_upstream())
        .map(|(c, _)| (held(core, c), c))
        .filter(|(held, _)| *held >= LEAST)
        .collect();
    core.work.add(core.connections.len() / 8);
    holders.sort_unstable_by(|a, b| b.cmp(a));
    let mut left = core.memory.bytes();
    let mut closed = 0;
    for (held, c) in holders.into_iter().take(MOST) {
        if left <= limit / 20 * 17 {
            break;
        }
        log::warn!(
            "Closing {}: next to no memory is left (memory_limit), and it holds most: {}.",
            core.name_of(c),
            size(held as u64)
        );
        give_up(core, c, now);
        left = left.saturating_sub(held as u64);
        closed += 1;
    }
    if closed == 0 {
        closed = close_nameless(core, now);
    }
    core.counters.closed_for_memory += closed;
    if closed == 0 {
        core.memory.pause_relief(now);
    }
}

/// What a connection and its session hold that may grow, in bytes.
fn held(core: &Core, c: ConnId) -> usize {
    let Some(conn) = core.connections.get(c) else {
        return 0;
    };
    let session = conn.session().and_then(|key| core.sessions.get(key));
    let walks = conn.session().map_or(0, |key| core.router.walks.held(key));
    conn.held() + core.memory.half_packet(c) + session.map_or(0, Session::held) + walks
}

/// Closes a connection. A peer that does not read would keep its output for as long as it likes, so
/// that goes; it is not told why then, for half a packet may have left.
fn give_up(core: &mut Core, c: ConnId, now: Time) {
    let is_behind = core
        .connections
        .get(c)
        .is_some_and(|conn| conn.waiting() > 0);
    close(core, c, Reason::QUOTA_EXCEEDED, now);
    if is_behind {
        core.connections.clear_outbox(c);
    }
}

/// Closes some connections that have sent no CONNECT yet; how many there were.
fn close_nameless(core: &mut Core, now: Time) -> u64 {
    let nameless = core.connections.iter();
    let nameless = nameless.filter(|(_, conn)| conn.stage() == Stage::New);
    let nameless: Vec<ConnId> = nameless.map(|(c, _)| c).take(MOST).collect();
    if let Some(first) = nameless.first() {
        log::warn!(
            "Closing {} that have sent no CONNECT: next to no memory is left (memory_limit). The first \
             is from {}.",
            nameless.len(),
            core.name_of(*first)
        );
    }
    for c in &nameless {
        finish(core, *c, now);
    }
    nameless.len() as u64
}
