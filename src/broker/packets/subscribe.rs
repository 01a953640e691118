//! SUBSCRIBE and UNSUBSCRIBE.

use std::num::NonZeroU32;

use crate::broker::connections::{Reply, encoded};
use crate::broker::core::Core;
use crate::broker::delivering::retain::send_retained;
use crate::broker::sending::pump::pump;
use crate::broker::sending::replies::reply_once;
use crate::broker::sessions::{Changed, Subscribed};
use crate::broker::shares::leave::leave_group;
use crate::broker::shares::membership::{MAX_SHARES, join};
use crate::config::log_type::{SUBSCRIBE, UNSUBSCRIBE};
use crate::keys::{ConnId, SessionKey};
use crate::lane::Lane;
use crate::mqtt::{
    self, Packet, Props, Reason, RetainHandling, SubAck, Subscribe, Subscription, UnsubAck,
    Unsubscribe, Version,
};
use crate::route::SubOptions;
use crate::time::Time;

/// Filters that one client may be subscribed to. Each costs memory here and in the router, and room on
/// disk.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 10_000;

/// Bytes of changed filters of one client that wait for a commit.
const UNSAVED: usize = 64 * 1024;
/// The same while `flash_budget` makes commits rarer.
const UNSAVED_OVER_BUDGET: usize = 4 * 1024;

/// Handles a SUBSCRIBE whose filters are whole.
pub(crate) fn on_subscribe(core: &mut Core, c: ConnId, packet: &Subscribe<'_>, now: Time) {
    let Some(conn) = core.connections.get(c) else {
        return;
    };
    let is_bridge = conn.is_bridge_client();
    let (Some(key), version) = (conn.session(), conn.version()) else {
        return;
    };
    let sub_id = packet.props.subscription_ids().next();
    let sub_id = sub_id.and_then(NonZeroU32::new);
    let mut room = room_for(core, key, packet);
    let filters = packet.filters.iter();
    let granted: Vec<Reason> = filters
        .map(|wanted| grant(core, key, wanted, &mut room))
        .collect();
    let grants = packet.filters.iter().zip(granted.iter().copied());
    let grants = grants.filter(|(_, reason)| !reason.is_error());
    let grants: Vec<_> = grants
        .map(|(wanted, reason)| (wanted, reason, options(wanted, sub_id, is_bridge)))
        .collect();
    // The SUBACK is queued before the retained messages, which wait for it.
    let suback = Packet::SubAck(SubAck {
        id: packet.id,
        props: Props::EMPTY,
        reasons: granted,
    });
    // What the session has on disk like this needs no commit.
    let promises = grants
        .iter()
        .any(|(wanted, _, options)| changes(core, key, wanted, options));
    let is_durable = core.sessions.get(key).is_some_and(|s| s.is_durable());
    let is_saved = !is_durable || (!promises && core.is_saved(key));
    let suback = Reply::Barrier(encoded(&suback, version));
    reply_once(core, c, suback, is_saved, now);
    for (wanted, reason, options) in grants {
        let what = format_args!("{} {}", reason.0, wanted.filter);
        tell(core, SUBSCRIBE, key, what);
        let handling = wanted.retain_handling;
        subscribe(core, key, wanted.filter, options, handling, now);
    }
    slow_down(core, c, key);
    pump(core, key, now);
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

/// Whether a session is not subscribed like this yet.
fn changes(core: &Core, key: SessionKey, wanted: &Subscription<'_>, options: &SubOptions) -> bool {
    let Some(session) = core.sessions.known(key) else {
        return false;
    };
    let at = session.find(wanted.filter).ok();
    let known = at.and_then(|at| session.subscriptions.get(at));
    known.is_none_or(|known| {
        // The lane of a shared one is given by the session.
        let lane = known.options.lane;
        known.retain_handling != wanted.retain_handling
            || known.options != SubOptions { lane, ..*options }
    })
}

/// A line for `log_type subscribe` or `unsubscribe`, in Mosquitto's form.
fn tell(core: &Core, target: &str, key: SessionKey, what: std::fmt::Arguments<'_>) {
    if let Some(session) = core.sessions.get(key) {
        log::info!(target: target, "{} {what}", session.client_id());
    }
}

/// How many more filters a session may subscribe to, and how many shared ones.
fn room_for(core: &Core, key: SessionKey, packet: &Subscribe<'_>) -> (usize, usize) {
    let Some(session) = core.sessions.known(key) else {
        return (0, 0);
    };
    let all = MAX_SUBSCRIPTIONS.saturating_sub(session.subscriptions.len());
    let shared = MAX_SHARES.saturating_sub(session.shares().len());
    // Each needs a number, and those of shares that it has left may still owe something.
    let mut filters = packet.filters.iter();
    let is_share = filters.any(|wanted| mqtt::share(wanted.filter).is_some());
    let numbers = is_share.then(|| session.free_shares().take(shared).count());
    (all, numbers.unwrap_or_default())
}

/// The reason code for one filter: the QoS granted, or why not. A filter that the session does not
/// have yet takes one of `room`.
fn grant(
    core: &Core,
    key: SessionKey,
    wanted: &Subscription<'_>,
    (all, shared): &mut (usize, usize),
) -> Reason {
    let Some(session) = core.sessions.known(key) else {
        return Reason::UNSPECIFIED;
    };
    let share = mqtt::share(wanted.filter);
    if session.find(wanted.filter).is_err() {
        let shares = usize::from(share.is_some());
        match (all.checked_sub(1), shared.checked_sub(shares)) {
            (Some(all_left), Some(shared_left)) => (*all, *shared) = (all_left, shared_left),
            _ => return Reason::QUOTA_EXCEEDED,
        }
    }
    let filter = share.map_or(wanted.filter, |(_, filter)| filter);
    let is_allowed = core.settings.auth.may_subscribe(&session.who(), filter);
    if !is_allowed && session.version != Version::V31 {
        return Reason::NOT_AUTHORIZED;
    }
    Reason(wanted.qos as u8)
}

/// Adds or replaces a subscription [MQTT-3.8.4-3] and queues the retained messages that belong to it
/// [MQTT-3.3.1-9].
pub(crate) fn subscribe(
    core: &mut Core,
    key: SessionKey,
    filter: &str,
    mut options: SubOptions,
    retain_handling: RetainHandling,
    now: Time,
) {
    let is_bridge = core.sessions.get(key).is_some_and(|s| s.is_bridge());
    let is_share = mqtt::share(filter).is_some() && !is_bridge;
    if is_share {
        join(core, key, filter, &mut options);
    }
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let changed = session.set_subscription(Subscribed {
        filter: filter.into(),
        options,
        retain_handling,
    });
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
        send_retained(core, key, filter, &options, now);
    }
}

/// Handles an UNSUBSCRIBE whose filters are whole.
pub(crate) fn on_unsubscribe(core: &mut Core, c: ConnId, packet: &Unsubscribe<'_>, now: Time) {
    let Some(conn) = core.connections.get(c) else {
        return;
    };
    let (Some(key), version) = (conn.session(), conn.version()) else {
        return;
    };
    let filters = packet.filters.iter();
    let reasons: Vec<Reason> = filters
        .map(|filter| {
            tell(core, UNSUBSCRIBE, key, format_args!("{filter}"));
            unsubscribe(core, key, filter, now)
        })
        .collect();
    let unsuback = Packet::UnsubAck(UnsubAck {
        id: packet.id,
        props: Props::EMPTY,
        reasons,
    });
    let is_durable = core.sessions.get(key).is_some_and(|s| s.is_durable());
    // A repeated one must not be answered before the first is on disk.
    let is_saved = !is_durable || core.is_saved(key);
    let unsuback = Reply::Encoded(encoded(&unsuback, version));
    reply_once(core, c, unsuback, is_saved, now);
    slow_down(core, c, key);
}

fn unsubscribe(core: &mut Core, key: SessionKey, filter: &str, now: Time) -> Reason {
    let Some(session) = core.sessions.known_mut(key) else {
        return Reason::UNSPECIFIED;
    };
    let Ok(at) = session.find(filter) else {
        return Reason::NO_SUBSCRIPTION_EXISTED;
    };
    let lane = session.subscriptions.remove(at).options.lane;
    if session.is_durable() {
        core.sessions.unsave_filter(key, filter);
    }
    match lane {
        Lane::Share(_) => leave_group(core, key, filter, lane, now),
        Lane::Client | Lane::Bridge(_) | Lane::Dead => core.router.unsubscribe(filter, key),
    }
    Reason::SUCCESS
}
