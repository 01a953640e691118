//! The acknowledgement of a PUBLISH.

use crate::broker::connections::{Reply, Ticket};
use crate::broker::core::Core;
use crate::broker::sending::replies::reply_once;
use crate::keys::{ConnId, SessionKey};
use crate::mqtt::{Delivery, Reason};
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
        Some(ticket) => core.connections.fill(ticket, ack),
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
