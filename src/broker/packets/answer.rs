//! The acknowledgement of a PUBLISH.

use crate::broker::connections::{Reply, Ticket};
use crate::broker::core::Core;
use crate::broker::sending::replies::reply_once;
use crate::keys::{ConnId, SessionKey};
use crate::mqtt::{Delivery, PacketId, Reason, Version};
use crate::time::Time;

/// The connection whose acknowledgement leaves when the message is delivered or on disk. `None` at
/// QoS 0, and for the PUBREC to a durable session, which promises the packet id too: only the commit
/// opens it.
pub(super) fn waiting(
    core: &Core,
    (c, key): (ConnId, SessionKey),
    delivery: Delivery,
) -> Option<ConnId> {
    let waits = match delivery {
        Delivery::AtMostOnce => false,
        Delivery::AtLeastOnce(..) => true,
        Delivery::ExactlyOnce(..) => !core.sessions.known(key).is_some_and(|s| s.is_durable()),
    };
    waits.then_some(c)
}

/// Acknowledges a message: now, or in the place that `ticket` has, once that is opened. `matched`:
/// someone is subscribed. QoS 2 takes its packet id.
pub(super) fn accept(
    core: &mut Core,
    (c, key): (ConnId, SessionKey),
    delivery: Delivery,
    (matched, ticket): (bool, Option<Ticket>),
    now: Time,
) {
    let reason = match delivery {
        // That nobody is subscribed only a server says (5.0 §3.4.2.1), and as Mosquitto, which routes
        // a QoS 2 message later, only with PUBACK.
        Delivery::AtLeastOnce(..) if !matched => {
            if core
                .connections
                .get(c)
                .is_some_and(|conn| conn.is_upstream())
            {
                Reason::SUCCESS
            } else {
                Reason::NO_MATCHING_SUBSCRIBERS
            }
        }
        _ => Reason::SUCCESS,
    };
    let Some(ack) = ack(delivery, reason) else {
        return;
    };
    if let Delivery::ExactlyOnce(id, _) = delivery {
        receive(core, (c, key), id, now);
        if core.sessions.get(key).is_some_and(|s| s.is_durable()) {
            core.sessions.unsave_ids(key);
            return reply_once(core, c, ack, false, now);
        }
    }
    match ticket {
        Some(ticket) => core.connections.fill(ticket, ack),
        None => drop(core.connections.reply(c, ack, true)),
    }
}

/// Takes the packet id of a QoS 2 message that was accepted.
pub(super) fn receive(core: &mut Core, (c, key): (ConnId, SessionKey), id: PacketId, now: Time) {
    let most = most_open(core, c);
    let Some(session) = core.sessions.get_mut(key) else {
        return;
    };
    if session.inbound.receive(id, most) {
        let name = session.client_id();
        core.refusals.log(
            (name, "open packet ids"),
            format_args!(
                "Client {name} has more than {most} QoS 2 messages without a PUBREL: the oldest \
                 packet ids are forgotten"
            ),
            now,
        );
    }
}

/// How many packet ids of QoS 2 messages a peer may have open: as many as it was told it may send at a
/// time, and before MQTT 5, where a client is told nothing, as many as Mosquitto queues beyond. Only
/// one that has lost its session, or never sends PUBREL, has more. What an upstream has open it has
/// by its own rules.
fn most_open(core: &Core, c: ConnId) -> usize {
    /// The default of Mosquitto's `max_queued_messages`.
    const UNTOLD: u16 = 1000;
    let Some(conn) = core.connections.get(c).filter(|conn| !conn.is_upstream()) else {
        return usize::MAX;
    };
    let window = core.settings.window();
    let most = match conn.version() {
        Version::V5 => window,
        Version::V31 | Version::V311 => window.saturating_add(UNTOLD),
    };
    most.into()
}

/// PUBACK or PUBREC, if the delivery wants one. Before MQTT 5 a failure can't be said: the message is
/// acknowledged all the same [MQTT-3.3.5-2].
pub(super) fn ack(delivery: Delivery, reason: Reason) -> Option<Reply> {
    match delivery {
        Delivery::AtMostOnce => None,
        Delivery::AtLeastOnce(id, _) => Some(Reply::PubAck(id, reason)),
        Delivery::ExactlyOnce(id, _) => Some(Reply::PubRec(id, reason)),
    }
}

pub(super) fn acknowledge(core: &mut Core, c: ConnId, delivery: Delivery, reason: Reason) {
    if let Some(ack) = ack(delivery, reason) {
        core.connections.reply(c, ack, true);
    }
}
