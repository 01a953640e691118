//! SUBSCRIBE and UNSUBSCRIBE.

pub(crate) mod pieces;

use std::num::NonZeroU32;

use crate::bridge::LinkKind;
use crate::broker::connections::{Connection, Reply, encoded};
use crate::broker::core::Core;
use crate::broker::delivering::walk::send_some;
use crate::broker::sending::replies::reply_once;
use crate::broker::sessions::{Changed, Subscribed, filter_bytes, levels};
use crate::broker::shares::leave::leave_group;
use crate::broker::shares::membership::{free_shares, join};
use crate::config::log_type::{SUBSCRIBE, UNSUBSCRIBE};
use crate::keys::{ConnId, SessionKey};
use crate::lane::Lane;
use crate::mqtt::{
    self, Packet, PacketId, Props, Reason, RetainHandling, SubAck, Subscribe, Subscription,
    UnsubAck, Unsubscribe, Version,
};
use crate::route::SubOptions;
use crate::time::Time;

/// Bytes of changed filters of one client that wait for a commit.
const UNSAVED: usize = 64 * 1024;
/// The same while `flash_budget` makes commits rarer.
const UNSAVED_OVER_BUDGET: usize = 4 * 1024;

/// Handles a SUBSCRIBE whose filters are whole, and few.
pub(crate) fn on_subscribe(core: &mut Core, c: ConnId, packet: &Subscribe<'_>, now: Time) {
    let Some(conn) = core.connections.get(c) else {
        return;
    };
    let (Some(key), version) = (conn.session(), conn.version()) else {
        return;
    };
    let sub_id = packet.props.subscription_ids().next();
    let sub_id = sub_id.and_then(NonZeroU32::new);
    let reasons = take_in(core, (c, key), (&packet.filters, 0), sub_id);
    tell_of_bound(core, key, &reasons, now);
    // The SUBACK is queued before the retained messages, which wait for it.
    let suback = suback(packet.id, reasons, version);
    let is_saved = is_saved(core, key);
    reply_once(core, c, suback, is_saved, now);
    slow_down(core, c, key);
    // Most subscriptions get all that is retained for them at once.
    send_some(core, key, now);
}

/// Subscribes a session to some filters of a packet, before which so many others of the packet were taken.
/// Answers what is granted for each, or why not.
fn take_in(
    core: &mut Core,
    (c, key): (ConnId, SessionKey),
    (filters, before): (&[Subscription<'_>], usize),
    sub_id: Option<NonZeroU32>,
) -> Vec<Reason> {
    let conn = core.connections.get(c);
    let is_bridge = conn.is_some_and(|conn| conn.is_bridge_client());
    if filters.iter().any(|wanted| wanted.no_local) {
        note_link(core, (c, key));
    }
    let work = filters.iter().map(|wanted| work(wanted.filter));
    core.work.add(work.sum());
    let mut room = room_for(core, (c, key), (filters, before));
    let reasons: Vec<Reason> = filters
        .iter()
        .map(|wanted| grant(core, key, wanted, &mut room))
        .collect();
    let granted = filters.iter().zip(&reasons);
    for (wanted, reason) in granted.filter(|(_, reason)| !reason.is_error()) {
        let what = format_args!("{} {}", reason.0, wanted.filter);
        tell(core, SUBSCRIBE, key, what);
        let (options, handling) = (options(wanted, sub_id, is_bridge), wanted.retain_handling);
        subscribe(core, key, wanted.filter, options, handling);
    }
    core.work.add(core.router.take_crowding());
    reasons
}

/// A client that wants nothing back of what it publishes may be a bridge of another broker.
fn note_link(core: &mut Core, (c, key): (ConnId, SessionKey)) {
    let conn = core.connections.get_mut(c);
    if conn.is_some_and(Connection::seems_link)
        && let Some(session) = core.sessions.get(key)
    {
        core.loops.add_link(LinkKind::Likely, session.client_id());
    }
}

fn suback(id: PacketId, reasons: Vec<Reason>, version: Version) -> Reply {
    let suback = Packet::SubAck(SubAck {
        id,
        props: Props::EMPTY,
        reasons,
    });
    Reply::Barrier(encoded(&suback, version))
}

/// True if the answer about the filters of a session need not wait for a commit: what it has on disk like
/// this needs none, and one that ends with its connection is not there. A packet that is repeated must not be
/// answered before the first is on disk.
fn is_saved(core: &Core, key: SessionKey) -> bool {
    let is_durable = core.sessions.get(key).is_some_and(|s| s.is_durable());
    !is_durable || core.is_saved(key)
}

/// What a filter costs to put in or take out, in units of work.
fn work(filter: &str) -> usize {
    1 + levels(filter) / 2
}

/// A client that has changed so many subscriptions that the next commit has enough of them is not read
/// before that is done.
fn slow_down(core: &mut Core, c: ConnId, key: SessionKey) {
    let most = if core.ledger.is_over_budget() {
        UNSAVED_OVER_BUDGET
    } else {
        UNSAVED
    };
    if core.sessions.unsaved_filter_bytes(key) >= most {
        core.connections.pause(c);
    }
}

/// What a client asks for with one filter.
fn options(wanted: &Subscription<'_>, sub_id: Option<NonZeroU32>, is_bridge: bool) -> SubOptions {
    SubOptions {
        qos: wanted.qos,
        // A bridge that says so before MQTT 5 gets what it would ask for in MQTT 5.
        no_local: wanted.no_local || is_bridge,
        retain_as_published: wanted.retain_as_published || is_bridge,
        sub_id,
        lane: Lane::Client,
    }
}

/// A line for `log_type subscribe` or `unsubscribe`, in Mosquitto's form.
fn tell(core: &Core, target: &str, key: SessionKey, what: std::fmt::Arguments<'_>) {
    if let Some(session) = core.sessions.get(key) {
        log::info!(target: target, "{} {what}", session.client_id());
    }
}

/// Says that filters were refused because there were too many, or because they had too many levels.
fn tell_of_bound(core: &mut Core, key: SessionKey, granted: &[Reason], now: Time) {
    let refused = granted.iter().filter(|r| **r == Reason::QUOTA_EXCEEDED);
    let (count, session) = (refused.count(), core.sessions.get(key));
    if let (1.., Some(session)) = (count, session) {
        let line = format_args!(
            "Client {}: {count} subscriptions refused: max_filters_per_packet, \
             max_shared_subscriptions, memory_limit or the most that a client may have is reached.",
            session.client_id()
        );
        core.refusals
            .log((session.client_id(), "filters"), line, now);
    }
    let deep = granted
        .iter()
        .filter(|r| **r == Reason::TOPIC_FILTER_INVALID);
    if let (count @ 1.., Some(session)) = (deep.count(), session) {
        let line = format_args!(
            "Client {}: {count} subscriptions refused: more levels than max_topic_levels.",
            session.client_id()
        );
        core.refusals
            .log((session.client_id(), "levels"), line, now);
    }
}

/// What a session may still subscribe to.
#[derive(Clone, Copy, Default)]
struct Room {
    /// Filters of the same packet, be they known or not.
    packet: usize,
    filters: usize,
    /// Of these, shared ones.
    shares: usize,
    /// The levels of all of them.
    levels: usize,
    /// What all of them take, in bytes.
    bytes: usize,
}

impl Room {
    /// What is left with one more filter; `None` if there is no room for it.
    fn with(self, filter: &str, is_share: bool) -> Option<Room> {
        Some(Room {
            packet: self.packet,
            filters: self.filters.checked_sub(1)?,
            shares: self.shares.checked_sub(usize::from(is_share))?,
            levels: self.levels.checked_sub(levels(filter))?,
            bytes: self.bytes,
        })
    }
}

/// What a session may still subscribe to: as many filters and levels as a client may have, and what
/// memory there is for them; with a packet that has `before` filters before those that are wanted.
fn room_for(
    core: &mut Core,
    (c, key): (ConnId, SessionKey),
    (wanted, before): (&[Subscription<'_>], usize),
) -> Room {
    let own = core.sessions.known(key).map(|s| s.subscriptions.bytes());
    let bytes = core.filter_room(c, own.unwrap_or_default());
    let Some(session) = core.sessions.known(key) else {
        return Room::default();
    };
    let (general, subscriptions) = (&core.settings.general, &session.subscriptions);
    let max_shares = general.doors.max_shared_subscriptions;
    let shared = usize::from(max_shares).saturating_sub(session.shares().len());
    // Each needs a number, and those of shares that it has left may still owe something.
    let is_share = |wanted: &&Subscription<'_>| mqtt::share(wanted.filter).is_some();
    let shares = wanted.iter().filter(is_share).count().min(shared);
    let numbers = (shares > 0).then(|| free_shares(core, key).take(shares).count());
    Room {
        packet: left(general.doors.max_filters_per_packet.into(), before),
        filters: left(general.max_subscriptions, subscriptions.len()),
        shares: numbers.unwrap_or_default(),
        levels: left(general.max_subscription_levels, subscriptions.levels()),
        bytes,
    }
}

/// What is left of `max`, where 0 is no limit.
fn left(max: u32, used: usize) -> usize {
    match max {
        0 => usize::MAX,
        max => (max as usize).saturating_sub(used),
    }
}

/// The reason code for one filter: the QoS granted, or why not. A filter that the session does not
/// have yet takes some of `room`.
fn grant(core: &mut Core, key: SessionKey, wanted: &Subscription<'_>, room: &mut Room) -> Reason {
    let Some(session) = core.sessions.known(key) else {
        return Reason::UNSPECIFIED;
    };
    let share = mqtt::share(wanted.filter);
    let filter = share.map_or(wanted.filter, |(_, filter)| filter);
    match room.packet.checked_sub(1) {
        Some(left) => room.packet = left,
        None => return Reason::QUOTA_EXCEEDED,
    }
    let is_new = !session.subscriptions.has(wanted.filter);
    if is_new {
        let most = core.settings.general.max_topic_levels;
        if levels(filter) > usize::from(most) {
            return Reason::TOPIC_FILTER_INVALID;
        }
        match room.with(wanted.filter, share.is_some()) {
            Some(left) => *room = left,
            None => return Reason::QUOTA_EXCEEDED,
        }
    }
    let is_allowed = core.settings.auth.may_subscribe(&session.who(), filter);
    if !is_allowed && session.version != Version::V31 {
        return Reason::NOT_AUTHORIZED;
    }
    if is_new {
        // What the packet adds is held only after all of it was looked at.
        match room.bytes.checked_sub(filter_bytes(wanted.filter)) {
            Some(left) => room.bytes = left,
            None => {
                core.counters.refused_for_memory += 1;
                return Reason::QUOTA_EXCEEDED;
            }
        }
    }
    Reason(wanted.qos as u8)
}

/// Adds or replaces a subscription [MQTT-3.8.4-3] and begins the walk through the retained messages that
/// belong to it [MQTT-3.3.1-9]. A filter that stands in a packet twice has one.
pub(crate) fn subscribe(
    core: &mut Core,
    key: SessionKey,
    filter: &str,
    mut options: SubOptions,
    retain_handling: RetainHandling,
) {
    let is_bridge = core.sessions.get(key).is_some_and(|s| s.is_bridge());
    let is_share = mqtt::share(filter).is_some() && !is_bridge;
    if is_share {
        join(core, key, filter, &mut options);
    }
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let subscribed = Subscribed::new(filter, options, retain_handling);
    let changed = session.subscriptions.set(subscribed);
    if changed != Changed::Nothing && session.is_durable() {
        core.sessions.unsave_filter(key, filter);
    }
    if is_share {
        // No retained messages (5.0 §4.8.2).
        return;
    }
    core.router.subscribe(filter, key, options);
    let wants_retained = match retain_handling {
        RetainHandling::Send => true,
        RetainHandling::SendIfNew => changed == Changed::New,
        RetainHandling::DontSend => false,
    };
    if wants_retained {
        core.router.walks.begin(key, filter, options);
    }
}

/// Handles an UNSUBSCRIBE whose filters are whole, and few.
pub(crate) fn on_unsubscribe(core: &mut Core, c: ConnId, packet: &Unsubscribe<'_>, now: Time) {
    let Some(conn) = core.connections.get(c) else {
        return;
    };
    let (Some(key), version) = (conn.session(), conn.version()) else {
        return;
    };
    let reasons = take_out(core, key, packet.filters.iter().copied());
    let unsuback = unsuback(packet.id, reasons, version);
    let is_saved = is_saved(core, key);
    reply_once(core, c, unsuback, is_saved, now);
    slow_down(core, c, key);
}

/// Ends the subscriptions of a session to some filters. Answers a reason code for each.
fn take_out<'f>(
    core: &mut Core,
    key: SessionKey,
    filters: impl Iterator<Item = &'f str>,
) -> Vec<Reason> {
    let reasons = filters.map(|filter| {
        core.work.add(work(filter));
        tell(core, UNSUBSCRIBE, key, format_args!("{filter}"));
        unsubscribe(core, key, filter)
    });
    let reasons = reasons.collect();
    core.work.add(core.router.take_crowding());
    reasons
}

fn unsuback(id: PacketId, reasons: Vec<Reason>, version: Version) -> Reply {
    let unsuback = Packet::UnsubAck(UnsubAck {
        id,
        props: Props::EMPTY,
        reasons,
    });
    Reply::Encoded(encoded(&unsuback, version))
}

fn unsubscribe(core: &mut Core, key: SessionKey, filter: &str) -> Reason {
    let Some(session) = core.sessions.known_mut(key) else {
        return Reason::UNSPECIFIED;
    };
    let Some(gone) = session.subscriptions.remove(filter) else {
        return Reason::NO_SUBSCRIPTION_EXISTED;
    };
    let lane = gone.options().lane;
    if session.is_durable() {
        core.sessions.unsave_filter(key, filter);
    }
    match lane {
        Lane::Share(_) => leave_group(core, key, filter, lane),
        Lane::Client | Lane::Bridge(_) | Lane::Dead => core.router.unsubscribe(filter, key),
    }
    Reason::SUCCESS
}
