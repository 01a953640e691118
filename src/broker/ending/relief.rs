//! What is done when next to no memory is left: whoever holds most goes, one after the other, so that
//! others can come in again.

use super::close::{close, finish};
use super::session::end_session;
use super::will::publish_will;
use crate::broker::connections::{Connection, Stage};
use crate::broker::core::Core;
use crate::broker::queues::report::size;
use crate::broker::sessions::{self, Session};
use crate::keys::{ConnId, SessionKey};
use crate::message::SessionId;
use crate::mqtt::Reason;
use crate::time::Time;

/// Who holds less than this, in bytes, is not what fills the memory.
const LEAST: usize = 8 * 1024;
/// Who holds less than this goes only where all of them together are what fills it.
const LEAST_OF_MANY: usize = 2 * 1024;
/// How many go at a time, at most.
const MOST: usize = 64;

/// A connection, a session or both, and what comes free when it goes.
#[derive(Clone, Copy, Debug)]
struct Holder {
    /// In bytes.
    frees: usize,
    conn: Option<ConnId>,
    session: Option<(SessionKey, SessionId)>,
    /// Its session goes, too: that is what holds most of it, and would hold it without a connection.
    ends: bool,
}

/// Lets those go who hold most, if nine tenths of `memory_limit` are taken, until it is a little less: a
/// connection, and the session with it if that holds more, be its client connected or not. What a
/// session that stays is owed on disk stays.
pub(crate) fn relieve(core: &mut Core, now: Time) {
    let Some(limit) = core.settings.memory_limit() else {
        return;
    };
    core.memory.look(Some(limit));
    if !core.memory.wants_relief(now) {
        return;
    }
    let excess = excess(core, limit);
    let all = holders(core);
    core.work
        .add((core.connections.len() + core.sessions.len()) / 8);
    let large: Vec<Holder> = all.iter().copied().filter(|h| h.frees >= LEAST).collect();
    let by_size = |h: &Holder| Some(h.frees as u64);
    let mut gone = let_go(core, (large, &by_size), excess, now);
    if gone == 0 {
        gone = close_nameless(core, now);
    }
    if gone == 0 {
        // Thousands of sessions without a client: the latest of them are the least likely to be missed.
        // What they are owed goes as well: else nobody could come in any more.
        let absent = all.iter().filter(|h| h.conn.is_none());
        let absent: Vec<Holder> = absent.map(|h| with_queue(core, *h)).collect();
        let latest = |h: &Holder| h.session.map(|(_, id)| id.0);
        gone = let_many_go(core, (absent, &latest), excess, now);
    }
    if gone == 0 {
        let small = all.into_iter().filter(|h| h.frees >= LEAST_OF_MANY);
        gone = let_many_go(core, (small.collect(), &by_size), excess, now);
    }
    core.counters.closed_for_memory += gone;
    core.memory.pause_relief(gone > 0, now);
}

/// How many bytes are to come free.
fn excess(core: &Core, limit: u64) -> usize {
    let bytes = core.memory.bytes().saturating_sub(limit / 20 * 17);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// All that may go.
fn holders(core: &Core) -> Vec<Holder> {
    let connections = core.connections.iter();
    let open = connections.filter(|(_, conn)| conn.stage() != Stage::Closing);
    let open = open.filter(|(_, conn)| !conn.is_upstream());
    let connected = open.map(|(c, conn)| connected(core, c, conn));
    let sessions = core.sessions.iter();
    let absent = sessions.filter(|(_, s)| s.conn.is_none() && !s.is_bridge() && !s.is_ended());
    // Not for what it is owed: that was promised.
    let absent = absent.map(|(key, session)| Holder {
        frees: session.held().saturating_sub(session.outbound.held())
            + sessions::held(session.origin())
            + core.router.walks.held(key),
        conn: None,
        session: Some((key, session.id)),
        ends: true,
    });
    connected.chain(absent).collect()
}

/// What comes free with an absent session, its queue included.
fn with_queue(core: &Core, holder: Holder) -> Holder {
    let session = holder.session.and_then(|(key, _)| core.sessions.get(key));
    Holder {
        frees: holder.frees + session.map_or(0, |session| session.outbound.held()),
        ..holder
    }
}

/// What comes free with a connection.
fn connected(core: &Core, c: ConnId, conn: &Connection) -> Holder {
    let key = conn.session();
    let found = key.and_then(|key| Some((key, core.sessions.get(key)?)));
    let session = found.map(|(_, session)| session);
    let queued = session.map_or(0, |session| session.outbound.held());
    let walks = key.map_or(0, |key| core.router.walks.held(key));
    let rest = session.map_or(0, Session::held).saturating_sub(queued) + walks;
    let goes = conn.held() + core.memory.half_packet(c) + queued;
    // One that does not outlive its connection goes in any case.
    let stays = session.is_some_and(Session::is_durable);
    let ends = stays && rest > goes && !session.is_some_and(Session::is_bridge);
    Holder {
        frees: goes + if stays && !ends { 0 } else { rest },
        conn: Some(c),
        session: found.map(|(key, session)| (key, session.id)),
        ends,
    }
}

/// Holders, and who of them goes first: with the most by this.
type Ranked<'a> = (Vec<Holder>, &'a dyn Fn(&Holder) -> Option<u64>);

/// The first of them, in their order: no more can go at a time, and there may be tens of thousands.
fn first((mut holders, rank): Ranked<'_>) -> Vec<Holder> {
    let key = |holder: &Holder| std::cmp::Reverse(rank(holder));
    if holders.len() > MOST {
        holders.select_nth_unstable_by_key(MOST, key);
        holders.truncate(MOST);
    }
    holders.sort_unstable_by_key(key);
    holders
}

/// As [`let_go`], if they are what fills the memory: else it would not help.
fn let_many_go(core: &mut Core, holders: Ranked<'_>, excess: usize, now: Time) -> u64 {
    let all: usize = holders.0.iter().map(|holder| holder.frees).sum();
    if all < excess {
        return 0;
    }
    let_go(core, holders, excess, now)
}

/// Lets the first of `holders` go, until `excess` bytes are free; how many.
fn let_go(core: &mut Core, holders: Ranked<'_>, mut excess: usize, now: Time) -> u64 {
    let mut gone = 0;
    for holder in first(holders) {
        if excess == 0 {
            break;
        }
        tell(core, holder);
        give_up(core, holder, now);
        excess = excess.saturating_sub(holder.frees);
        gone += 1;
    }
    gone
}

/// Says who goes, and what it held.
fn tell(core: &Core, holder: Holder) {
    let key = holder.session.map(|(key, _)| key);
    let id = key.and_then(|key| core.sessions.get(key));
    let id = id.map_or("", Session::client_id);
    let bytes = size(holder.frees as u64);
    let why = format_args!("next to no memory is left (memory_limit), and it holds most: {bytes}");
    match holder.conn.map(|c| core.name_of(c)) {
        Some(name) if holder.ends => {
            log::warn!("Closing {name} and ending its session, subscriptions and queue: {why}.");
        }
        Some(name) => log::warn!("Closing {name}: {why}."),
        None => log::warn!(
            "Ending the session of {id}, which is not connected, subscriptions and queue: {why}."
        ),
    }
}

/// Closes a connection, ends a session. A peer that does not read would keep its output for as long as
/// it likes, so that goes; it is not told why then, for half a packet may have left.
fn give_up(core: &mut Core, holder: Holder, now: Time) {
    let key = holder.session.map(|(key, _)| key);
    if let Some(key) = key.filter(|_| holder.ends)
        && let Some(session) = core.sessions.get_mut(key)
    {
        // It ends with its connection.
        session.expiry = 0;
    }
    let Some(c) = holder.conn else {
        return key.map_or((), |key| end_absent(core, key, now));
    };
    let conn = core.connections.get(c);
    let is_behind = conn.is_some_and(|conn| conn.waiting() > 0);
    close(core, c, Reason::QUOTA_EXCEEDED, now);
    if is_behind {
        core.connections.clear_outbox(c);
    }
}

/// Ends a session without a connection; its will is due then [MQTT-3.1.2-8].
fn end_absent(core: &mut Core, key: SessionKey, now: Time) {
    let session = core.sessions.get_mut(key);
    if let Some(will) = session.and_then(|session| session.will.take()) {
        publish_will(core, *will, key, now);
    }
    end_session(core, key, now);
}

/// Closes some connections that have sent no CONNECT, though they have had the time; how many there
/// were.
fn close_nameless(core: &mut Core, now: Time) -> u64 {
    const TIME: std::time::Duration = std::time::Duration::from_secs(1);
    let nameless = core.connections.iter();
    let nameless = nameless.filter(|(_, conn)| conn.stage() == Stage::New);
    let nameless = nameless.filter(|(_, conn)| conn.last_seen() + TIME <= now);
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
