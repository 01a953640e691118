//! How much goes to an upstream at a time.

use std::time::Duration;

use super::BridgeId;
use crate::bridge::{Limited, Limits, Pace, Passage};
use crate::broker::core::Core;
use crate::broker::sending::pump::pump;
use crate::keys::{ConnId, SessionKey};
use crate::mqtt::Version;
use crate::time::Time;

/// QoS 1 and 2 messages under way to an MQTT 5 upstream that allows more, where the configuration says
/// nothing: usually, and on a link with a long delay.
const USUAL: u16 = 100;
const MOST: u16 = 1000;

/// How many messages may be under way to an upstream, usually and at most. Twenty, the default, would
/// fetter a link with a long round trip, and in MQTT 5 the upstream says what it takes. Before, it can't:
/// Mosquitto then cuts a resumed session with more than its own twenty. What the configuration says holds.
fn own_windows(core: &Core, version: Version) -> (u16, u16) {
    let own = core.settings.window();
    let is_said = core.settings.general.max_inflight_messages.is_some();
    if is_said || version < Version::V5 {
        (own, own)
    } else {
        (USUAL, MOST)
    }
}

/// The uplink of a bridge comes up: how many messages may be under way at first.
pub(super) fn begin(core: &mut Core, key: SessionKey, limits: &Limits, now: Time) -> u16 {
    let (usual, most) = own_windows(core, limits.version);
    let allowed = most.min(limits.receive_maximum);
    let pace = Pace::new((usual, allowed), limits.keep_alive, limits.delay, now);
    let messages = pace.windows().messages;
    let session = core.sessions.get_mut(key);
    if let Some(end) = session.and_then(|session| session.bridge_mut()) {
        end.pace = Some(pace);
    }
    messages
}

/// So many QoS 1 and 2 messages may be unacknowledged at once from now on.
pub(super) fn allow(core: &mut Core, c: ConnId, window: u16, now: Time) {
    let Some(conn) = core.connections.get(c) else {
        return;
    };
    let (Some(key), (_, most)) = (conn.session(), own_windows(core, conn.version())) else {
        return;
    };
    let session = core.sessions.get_mut(key);
    if let Some(pace) = session.and_then(|s| s.bridge_mut()?.pace.as_mut()) {
        pace.allow(most.min(window));
    }
    apply(core, key);
    pump(core, key, now);
}

/// The session sends as much as the pace of its link says.
pub(super) fn apply(core: &mut Core, key: SessionKey) {
    let own = core.settings.general.max_inflight_bytes;
    let Some(session) = core.sessions.get_mut(key) else {
        return;
    };
    let pace = session.bridge().and_then(|end| end.pace.as_ref());
    let Some(windows) = pace.map(Pace::windows) else {
        return;
    };
    let bounds = [own, windows.bytes].into_iter().filter(|bytes| *bytes > 0);
    session.outbound.limit_bytes(bounds.min().unwrap_or(0));
    session.outbound.set_window(windows.messages);
}

/// The upstream of a bridge was heard: measures how fast it takes what is sent.
pub(super) fn measure(core: &mut Core, bridge: BridgeId, now: Time) {
    let Some(key) = core.bridges.get(bridge) else {
        return;
    };
    let Some(session) = core.sessions.get_mut(key).filter(|s| s.conn.is_some()) else {
        return;
    };
    let (outbound, end) = session.outbound_and_end();
    let Some(end) = end else {
        return;
    };
    let Some(pace) = end.pace.as_mut().filter(|pace| pace.is_due(now)) else {
        return;
    };
    let before = pace.windows();
    let passage = Passage {
        sent: outbound.launched(),
        under_way: (outbound.inflight() as u64, outbound.bytes_in_flight()),
        places: outbound.places_in_flight(),
        waits: outbound.ready() > 0 || outbound.is_behind(),
    };
    pace.look(&passage, now);
    let limited = pace.take_limited();
    let has_changed = pace.windows() != before;
    if has_changed {
        apply(core, key);
        pump(core, key, now);
    }
    if let Some(limited) = limited {
        tell(core, key, limited);
    }
}

/// The log says what limits the link.
fn tell(core: &Core, key: SessionKey, limited: Limited) {
    let Some(session) = core.sessions.get(key) else {
        return;
    };
    let Some(name) = session.bridge().map(|end| &end.name) else {
        return;
    };
    let Limited { messages, round } = limited;
    let (_, own) = own_windows(core, session.version);
    let whose = if messages < own {
        "the upstream takes no more"
    } else if core.settings.general.max_inflight_messages.is_some() {
        "max_inflight_messages"
    } else {
        "the default of max_inflight_messages"
    };
    log::info!(
        "Bridge {name}: it sends {messages} messages at a time ({whose}), and they take {} ms: about {} a \
         second, however fast the link is, and more wait.",
        round.as_millis(),
        a_second(messages, round)
    );
}

fn a_second(messages: u16, round: Duration) -> u128 {
    u128::from(messages) * 1000 / round.as_millis().max(1)
}
