//! The local end of a bridge: a session like any other, whose connection is an uplink.

use std::collections::HashSet;
use std::rc::Rc;

use super::former::take_former;
use super::{BridgeId, pacing};
use crate::bridge::{Limits, LinkKind, LocalEnd, Map, Numbering, Refusals, RetainedSync, Wire};
use crate::broker::connections::Connection;
use crate::broker::core::Core;
use crate::broker::delivering::revive::revive;
use crate::broker::ending::close::{close, detach, finish};
use crate::broker::ending::session::end_session;
use crate::broker::packets::connect::resume;
use crate::broker::packets::subscribe::subscribe;
use crate::broker::queues::bounds::{has_full_lane, note_policy, trim};
use crate::broker::queues::dead::trim_dead;
use crate::broker::queues::report::messages;
use crate::broker::sending::pump::pump;
use crate::broker::sending::put_back::probe;
use crate::broker::sessions::{NEVER, Role, Session, Subscribed};
use crate::config::BridgeTopic;
use crate::keys::{ConnId, SessionKey};
use crate::lane::{Lane, LineNo};
use crate::message::Origin;
use crate::mqtt::{PacketId, QoS, Reason, RetainHandling, Version};
use crate::route::SubOptions;
use crate::store::GivenUpRecord;
use crate::time::Time;

/// The local end of a bridge, as the configuration has it.
#[derive(Clone, Debug)]
pub struct BridgeSession<'a> {
    /// The name after `connection`.
    pub name: &'a str,
    /// `local_clientid`.
    pub client_id: &'a str,
    /// `local_username`.
    pub username: Option<&'a str>,
    /// False with `local_cleansession true`: nothing is queued while the uplink is down.
    pub durable: bool,
    /// The topic lines: what bounds their messages have.
    pub topics: &'a [BridgeTopic],
    /// The map that the lines make.
    pub map: &'a Rc<Map>,
}

/// Makes the local end of a bridge: from now on its queue fills, connected or not. Stored
/// subscriptions that the configuration no longer has are dropped. For a bridge that is there
/// already, and has no uplink at the moment, this is what its configuration says from now on.
pub(crate) fn add_bridge(core: &mut Core, spec: &BridgeSession<'_>, now: Time) -> BridgeId {
    let origin = Rc::new(Origin::new(spec.client_id, spec.username, None));
    let expiry = if spec.durable { NEVER } else { 0 };
    make_way(core, spec.client_id, now);
    let known = core.sessions.find(spec.client_id);
    let known = known.or_else(|| take_former(core, spec.name, &origin));
    let is_fit = |key: &SessionKey| {
        let session = core.sessions.get(*key);
        session.is_some_and(|session| session.is_durable() == spec.durable)
    };
    let key = match (known, known.filter(is_fit)) {
        (_, Some(key)) => key,
        (old, None) => {
            if let Some(old) = old {
                end_session(core, old, now);
            }
            core.sessions.open(Rc::clone(&origin), expiry, Version::V5)
        }
    };
    core.sessions.set_origin(key, &origin);
    core.loops.add_link(LinkKind::Sure, spec.client_id);
    let numbering = number_lines(core, key, spec.map);
    if let Some(session) = core.sessions.get_mut(key) {
        let known = session.bridge();
        let rate = known.map(|end| end.rate).unwrap_or_default();
        let refused = known.map_or(0, |end| end.refusals.count);
        let map = Rc::clone(spec.map);
        let known = session.bridge().map(|end| end.retained.clone());
        let mut retained = known.unwrap_or_else(|| RetainedSync::restore(None));
        let mut filters = map.local_filters();
        let is_new = filters.any(|(filter, _)| !session.subscriptions.has(filter));
        drop(filters);
        retained.configure(map.fingerprint(), is_new, now);
        let mut end = LocalEnd::new(spec.name, spec.topics, (map, numbering), rate, retained);
        if let Some(known) = session.bridge_mut() {
            end.subscribed = std::mem::take(&mut known.subscribed);
            end.given_up = std::mem::take(&mut known.given_up);
            end.told_offline = known.told_offline;
            end.has_overflowed = known.has_overflowed;
            end.activity = std::mem::take(&mut known.activity);
            end.volume = known.volume;
        }
        // By another configuration the upstream may answer otherwise.
        (end.refusals, end.refusals.count) = (Refusals::new(spec.client_id), refused);
        session.outbound.open_lanes();
        session.outbound.set_low(&end.low_lanes());
        session.set_role(Role::Bridge(Box::new(end)));
        session.expiry = expiry;
        session.will = None;
    }
    note_policy(core, key);
    let bridge = core.bridges.set(known, key);
    trim(core, key, usize::MAX, now);
    core.watches.purges.hasten(key, now);
    trim_dead(core, key, now);
    subscribe_bridge(core, key, spec.map);
    if spec.durable {
        core.sessions.unsave_identity(key);
        core.sessions.unsave_state(key);
        core.ledger.promise(now);
    }
    revive(core, key, now);
    bridge
}

/// Numbers the lines of `map` for the queue of a bridge: what waits stays with its line.
fn number_lines(core: &mut Core, key: SessionKey, map: &Map) -> Numbering {
    let to_come = core.lanes_to_come(key);
    let Some(session) = core.sessions.get_mut(key) else {
        return Numbering::default();
    };
    let known = session.bridge().map(|end| end.numbering().clone());
    let mut numbering = known.unwrap_or_default();
    let queue = &session.outbound;
    let is_used = |number: LineNo| {
        let lane = Lane::Bridge(number);
        queue.uses(lane) || to_come.contains(&lane)
    };
    let gone = numbering.configure(&map.line_ids(), is_used);
    let gone: Vec<Lane> = gone.into_iter().map(Lane::Bridge).collect();
    if let Some(drops) = session.drops_mut().filter(|_| !gone.is_empty()) {
        drops.forget_lines(&gone);
    }
    numbering
}

/// A client that uses the id of a new bridge has to go, with its session: what waits for it is not
/// for the upstream.
pub(super) fn make_way(core: &mut Core, client_id: &str, now: Time) {
    let Some(key) = core.sessions.find(client_id) else {
        return;
    };
    let Some(session) = core.sessions.get(key).filter(|s| !s.is_bridge()) else {
        return;
    };
    if let Some(conn) = session.conn {
        close(core, conn, Reason::SESSION_TAKEN_OVER, now);
    }
    if core.sessions.find(client_id) == Some(key) {
        end_session(core, key, now);
    }
}

/// Makes the subscriptions of a bridge those of its configuration.
fn subscribe_bridge(core: &mut Core, key: SessionKey, map: &Map) {
    let wanted: HashSet<&str> = map.local_filters().map(|(filter, _)| filter).collect();
    let is_stale = |s: &Subscribed| !wanted.contains(&*s.filter);
    let session = core.sessions.get_mut(key);
    let stale = session.map(|session| session.subscriptions.extract(is_stale));
    for subscribed in stale.unwrap_or_default() {
        core.router.unsubscribe(&subscribed.filter, key);
        unsave(core, key, &subscribed.filter);
    }
    for (filter, mapped) in map.local_filters() {
        let options = SubOptions {
            qos: mapped.qos,
            no_local: true,
            retain_as_published: true,
            sub_id: None,
            // Which line a message goes by is decided for each message.
            lane: Lane::Client,
        };
        // The upstream gets retained messages when it is brought up to date.
        let handling = RetainHandling::DontSend;
        subscribe(core, key, filter, options, handling);
    }
}

/// A subscription of a bridge has ended, which is to be written if the bridge is.
fn unsave(core: &mut Core, key: SessionKey, filter: &str) {
    if core.sessions.get(key).is_some_and(Session::is_durable) {
        core.sessions.unsave_filter(key, filter);
    }
}

/// Ends the sessions of bridges that the configuration no longer has; their queues would grow for
/// ever. To be called once all bridges are added.
pub(crate) fn drop_orphans(core: &mut Core, now: Time) {
    let is_orphan =
        |(key, session): &(SessionKey, &Session)| session.is_bridge() && !core.bridges.has(*key);
    let orphans = core.sessions.iter().filter(is_orphan);
    let orphans: Vec<SessionKey> = orphans.map(|(key, _)| key).collect();
    core.bridges.mark_known();
    for key in orphans {
        if let Some(session) = core.sessions.get(key) {
            let lost = session.outbound.len() + session.outbound.owed_by(Lane::Dead).messages;
            let name = session.client_id();
            log::warn!("Bridge {name} is no longer configured: {lost} queued messages dropped.");
        }
        end_session(core, key, now);
    }
}

/// The configuration no longer has this bridge, whose uplink has ended. It takes nothing in any more.
/// Messages that wait for it stay: the line may be missing by mistake, and a bridge that comes back
/// with its client id finds them. The next start drops them ([`drop_orphans`]).
pub(crate) fn remove_bridge(core: &mut Core, bridge: BridgeId, now: Time) {
    let Some(key) = core.bridges.remove(bridge) else {
        return;
    };
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let id = session.client_id();
    let left = session.outbound.len() + session.outbound.owed_by(Lane::Dead).messages;
    if left == 0 || !session.is_durable() {
        log::info!("Bridge {id} was removed; nothing waited for it.");
        return end_session(core, key, now);
    }
    log::warn!(
        "Bridge {id} was removed: {left} queued messages stay, in case it comes back. The next \
         start drops them."
    );
    for subscribed in std::mem::take(&mut session.subscriptions) {
        core.router.unsubscribe(&subscribed.filter, key);
        unsave(core, key, &subscribed.filter);
    }
    core.sessions.unsave_identity(key);
    core.ledger.promise(now);
}

/// The uplink of a bridge is up: its session goes on. `None` once the broker is stopping.
pub(crate) fn attach(
    core: &mut Core,
    bridge: BridgeId,
    limits: &Limits,
    wire: Rc<Wire>,
    now: Time,
) -> Option<ConnId> {
    if core.is_shutting_down {
        return None;
    }
    let key = core.bridges.get(bridge)?;
    if let Some(old) = core.sessions.get(key)?.conn {
        detach(core, old, false, now);
        finish(core, old, now);
    }
    let own_max_packet = max_packet(core);
    let (upstream, takes_retained) = (wire.upstream(), wire.retain(true));
    let c = core
        .connections
        .add_upstream(key, limits, wire, own_max_packet, now);
    let session = core.sessions.get_mut(key)?;
    session.version = limits.version;
    session.conn = Some(c);
    session.outbound.limit_qos2(limits.max_qos2);
    let is_known = limits.session_present;
    let since = std::mem::replace(&mut session.since, now);
    let is_durable = session.is_durable();
    let end = session.bridge_mut();
    let is_new = end.is_some_and(|end| {
        (end.is_outage_new, end.has_overflowed) = (true, false);
        let retained = &mut end.retained;
        retained.connected(upstream, takes_retained, is_known, since)
    });
    if !limits.session_present {
        session.outbound.peer_forgot();
        session.inbound.clear();
        // What was sent may grow too old again.
        core.watches.purges.hasten(key, now);
    }
    let is_lowered = limits.max_qos < QoS::ExactlyOnce && end_handshakes(session);
    if (is_new || !is_known || is_lowered) && is_durable {
        // Else a packet id of the session that upstream forgot would hide a new message.
        core.sessions.unsave_state(key);
        core.sessions.unsave_ids(key);
        core.ledger.promise(now);
    }
    probe(core, key, true, now);
    let window = pacing::begin(core, key, limits, now);
    resume(core, (c, key), window, now);
    pacing::apply(core, key);
    Some(c)
}

/// The largest packet taken from an upstream that was told of no limit, in bytes. A larger one is
/// dropped; and one that the memory has no room for would end the broker, each time it comes.
fn max_packet(core: &Core) -> u32 {
    // It is there twice, while it comes in and as a message.
    const PART: u64 = 4;
    let memory = core.settings.memory_limit();
    let memory = memory.map_or(u32::MAX, |limit| {
        u32::try_from(limit / PART).unwrap_or(u32::MAX)
    });
    core.settings.max_packet().min(memory)
}

/// The upstream takes no QoS 2: what it, or one before it, has of the handshakes is of no use. True if
/// there were any.
fn end_handshakes(session: &mut Session) -> bool {
    let count = session.outbound.take_back_released() as u64;
    if count > 0 {
        log::info!(
            "Bridge {}: the upstream takes no QoS 2, so what it has answered with PUBREC is sent again \
             at a lower one: {}.",
            session.client_id(),
            messages(count)
        );
    }
    count > 0
}

/// The broker stops, and writes everything it has: so it knows what its upstreams have of that.
pub(crate) fn finish_bridges(core: &mut Core) {
    for key in core.bridges.keys().collect::<Vec<_>>() {
        let Some(session) = core.sessions.known_mut(key) else {
            continue;
        };
        let is_durable = session.is_durable();
        if let Some(end) = session.bridge_mut() {
            end.retained.finish();
        }
        if is_durable {
            core.sessions.unsave_state(key);
        }
    }
}

/// The next packet id of a bridge's session that no message under way has [MQTT-2.2.1-3]: its
/// SUBSCRIBEs share the sequence of its messages.
pub(crate) fn packet_id(core: &mut Core, bridge: BridgeId) -> Option<PacketId> {
    let key = core.bridges.get(bridge)?;
    let session = core.sessions.get_mut(key)?;
    loop {
        let id = PacketId::of_sequence(session.outbound.next_seq());
        if session.outbound.flying(id).is_none() {
            return Some(id);
        }
    }
}

/// The filters that the upstream's session for a bridge is subscribed to.
pub(crate) fn subscribed_upstream(core: &Core, bridge: BridgeId) -> Vec<Box<str>> {
    let session = core.bridges.get(bridge).and_then(|k| core.sessions.get(k));
    let end = session.and_then(Session::bridge);
    end.map(|end| end.subscribed.clone()).unwrap_or_default()
}

/// Keeps what the upstream's session for a bridge is subscribed to, on disk if the bridge has
/// anything there. Soon: one that is no longer there must not be unsubscribed after a crash.
pub(crate) fn keep_subscribed_upstream(
    core: &mut Core,
    bridge: BridgeId,
    filters: Vec<Box<str>>,
    now: Time,
) {
    let Some(key) = core.bridges.get(bridge) else {
        return;
    };
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let is_durable = session.is_durable();
    let Some(end) = session.bridge_mut() else {
        return;
    };
    if end.subscribed == filters {
        return;
    }
    end.subscribed = filters;
    if is_durable {
        core.sessions.unsave_identity(key);
        core.ledger.promise(now);
    }
}

/// What a bridge does without towards its upstreams, as its link has it kept.
pub(crate) fn given_up(core: &Core, bridge: BridgeId) -> (u64, Vec<GivenUpRecord>) {
    let session = core.bridges.get(bridge).and_then(|k| core.sessions.get(k));
    let end = session.and_then(Session::bridge);
    end.map(|end| end.given_up.clone()).unwrap_or_default()
}

/// Keeps what a bridge does without towards its upstreams, on disk if the bridge has anything there.
pub(crate) fn keep_given_up(
    core: &mut Core,
    bridge: BridgeId,
    given_up: (u64, Vec<GivenUpRecord>),
    now: Time,
) {
    let Some(key) = core.bridges.get(bridge) else {
        return;
    };
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let is_durable = session.is_durable();
    if let Some(end) = session.bridge_mut() {
        end.given_up = given_up;
    }
    if is_durable {
        core.sessions.unsave_identity(key);
        core.ledger.promise(now);
    }
}

/// Counts bytes that went over the socket of an uplink. They are written with the rows of the session,
/// which are seldom written for them alone.
pub(crate) fn count_volume(core: &mut Core, bridge: BridgeId, bytes: u64, now: Time) {
    let Some(key) = core.bridges.get(bridge) else {
        return;
    };
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let is_durable = session.is_durable();
    let is_due = session
        .bridge_mut()
        .is_some_and(|end| end.volume.add(bytes, now));
    if is_due && is_durable {
        core.sessions.unsave_state(key);
        core.ledger.lazy(now);
    }
}

/// Since when the oldest unacknowledged message of a bridge has been on its way, and its place in the
/// session's sequence.
pub(crate) fn oldest_sent(core: &Core, bridge: BridgeId) -> Option<(Time, u64)> {
    let session = core.sessions.get(core.bridges.get(bridge)?)?;
    // While a PUBREL waits for our own commit the upstream owes no PUBCOMP.
    let conn = core.connections.get(session.conn?);
    let releases = !conn.is_some_and(Connection::has_waiting_release);
    session.outbound.oldest_unacknowledged(releases)
}

/// The upstream has answered what was sent to it at `at`: all before that has arrived.
pub(crate) fn answered(core: &mut Core, c: ConnId, at: Time, now: Time) {
    let Some(key) = core.session_of(c) else {
        return;
    };
    let session = core.sessions.get_mut(key);
    if let Some(end) = session.and_then(Session::bridge_mut) {
        end.retained.answered(at);
        pump(core, key, now);
    }
}

/// Messages and bytes a bridge still owes its upstream.
pub(crate) fn backlog(core: &Core, bridge: BridgeId) -> (u64, u64) {
    let key = core.bridges.get(bridge);
    let session = key.and_then(|key| core.sessions.get(key));
    session.map_or((0, 0), |s| (s.outbound.len(), s.outbound.bytes()))
}

/// Messages of a bridge's backlog that are not under way.
pub(crate) fn unsent(core: &Core, bridge: BridgeId) -> u64 {
    let key = core.bridges.get(bridge);
    let session = key.and_then(|key| core.sessions.get(key));
    session.map_or(0, |s| {
        s.outbound
            .len()
            .saturating_sub(s.outbound.inflight() as u64)
    })
}

/// True if the queue of a bridge has no room for another message, or that of one of its lines, or had none
/// for one that came since the last connection.
pub(crate) fn is_full(core: &Core, bridge: BridgeId) -> bool {
    let key = core.bridges.get(bridge);
    let session = key.and_then(|key| core.sessions.get(key));
    session.is_some_and(|session| {
        let has_overflowed = session.bridge().is_some_and(|end| end.has_overflowed);
        has_overflowed && !session.outbound.is_empty() || has_full_lane(core, session)
    })
}
