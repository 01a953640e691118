//! The acknowledgement of a PUBLISH.

use crate::broker::connections::{Reply, Ticket};
use crate::broker::core::Core;
use crate::broker::delivering::route::Routed;
use crate::broker::sending::replies::reply_once;
use crate::keys::{ConnId, SessionKey};
use crate::mqtt::{Delivery, QoS, Reason};
use crate::time::Time;

/// Reserves the place of an acknowledgement that leaves when a message is delivered or on disk. None
/// for the PUBREC to a durable session, which promises the packet id too: only the commit opens it.
pub(super) fn reserve(
    core: &mut Core,
    (c, key): (ConnId, SessionKey),
    delivery: Delivery,
) -> Option<Ticket> {
    let is_exact = delivery.qos() == QoS::ExactlyOnce;
    let promises_id = is_exact && core.sessions.known(key).is_some_and(|s| s.is_durable());
    if delivery == Delivery::AtMostOnce || promises_id {
        return None;
    }
    core.connections.reserve(c)
}

/// Acknowledges a message that was routed, by the `ticket` that was reserved for that if there is
/// one; QoS 2 takes its packet id.
pub(super) fn accept(
    core: &mut Core,
    (c, key): (ConnId, SessionKey),
    delivery: Delivery,
    (ticket, routed): (Option<Ticket>, &Routed),
    now: Time,
) {
    let reason = match delivery {
        // That nobody is subscribed only a server says (5.0 §3.4.2.1), and as Mosquitto, which routes
        // a QoS 2 message later, only with PUBACK.
        Delivery::AtLeastOnce(..) if !routed.matched => {
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
    if let Delivery::ExactlyOnce(id, _) = delivery
        && let Some(session) = core.sessions.get_mut(key)
    {
        session.inbound.receive(id);
        if session.is_durable() {
            core.sessions.unsave_state(key);
            return reply_once(core, c, ack, false, now);
        }
    }
    match ticket {
        Some(ticket) => core.connections.fill(ticket, ack, !routed.waits),
        None => drop(core.connections.reply(c, ack, true)),
    }
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
