//! What was under way on an uplink when it ended, and the message that its upstream closes on.

use super::BridgeId;
use crate::bridge::{Unanswered, UnderWay};
use crate::broker::core::Core;
use crate::broker::queues::dead::UPSTREAM_CLOSES;
use crate::mqtt::QoS;
use crate::session::Done;

/// The messages of a bridge that are under way and have no answer.
pub(crate) fn under_way(core: &Core, bridge: BridgeId) -> UnderWay {
    let session = core.bridges.get(bridge).and_then(|k| core.sessions.get(k));
    let Some(outbound) = session.map(|session| &session.outbound) else {
        return UnderWay::default();
    };
    let known = |(done, qos): (Done, QoS)| {
        Some(Unanswered {
            seq: done.seq?,
            id: done.id,
            qos,
        })
    };
    let released = outbound.released().map(|done| (done, QoS::ExactlyOnce));
    let mut released = released.filter_map(known).peekable();
    let mut published = outbound.unanswered().filter_map(known).peekable();
    let first = published.peek().or(released.peek()).cloned();
    let released = released.count();
    UnderWay {
        count: published.count() + released,
        released,
        first,
    }
}

/// The upstream closes the connection on this message: it is set aside when it comes up again.
pub(crate) fn condemn(core: &mut Core, bridge: BridgeId, message: &Unanswered) {
    let key = core.bridges.get(bridge);
    let session = key.and_then(|key| core.sessions.get_mut(key));
    // One that lives in RAM is gone with its connection.
    if let (Some(session), Some(id)) = (session, message.id) {
        session.outbound.condemn(id, UPSTREAM_CLOSES);
    }
}
