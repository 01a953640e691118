//! A PUBLISH of an upstream that can't be a message.

use super::publish::{Verdict, act, had_before};
use crate::bridge::Unusable;
use crate::broker::core::Core;
use crate::broker::sessions::DropReason;
use crate::keys::ConnId;
use crate::mqtt::Delivery;
use crate::time::Time;

/// Acknowledges it as its QoS has it, and drops it. Without a packet id there is nothing to
/// acknowledge.
pub(crate) fn drop_unusable(core: &mut Core, c: ConnId, unusable: &Unusable<'_>, now: Time) {
    core.counters.publish_received += 1;
    let Some(conn) = core.connections.get_mut(c) else {
        return;
    };
    let Some(key) = conn.session() else {
        return;
    };
    conn.seen(now);
    if let Some((alias, topic)) = unusable.alias() {
        conn.change_alias(alias, topic);
    }
    let delivery = unusable.packet.delivery.unwrap_or(Delivery::AtMostOnce);
    if delivery.id().is_some() {
        conn.count_unacked();
    }
    let reason = if unusable.is_too_large {
        DropReason::TooLarge
    } else {
        DropReason::Malformed
    };
    let lost = Verdict::Lose(reason, unusable.packet.size as u64);
    let verdict = had_before(core, (c, key), delivery).unwrap_or(lost);
    act(core, (c, key), verdict, delivery, now);
}
