//! A bridge that gets another client id while the broker runs.

use std::rc::Rc;

use super::BridgeId;
use super::attach::{make_way, remove_bridge};
use crate::broker::core::Core;
use crate::broker::queues::report::messages;
use crate::message::Origin;
use crate::time::Time;

/// The session of a bridge, whose uplink has ended, has this client id from now on, with its queue. Where
/// another bridge has left a queue under that id, the bridge goes on with that one, and its own stays
/// behind, as that of a bridge that is removed.
pub(crate) fn rename_bridge(core: &mut Core, bridge: BridgeId, client_id: &str, now: Time) {
    let key = core.bridges.get(bridge);
    let Some((key, session)) = key.and_then(|key| Some((key, core.sessions.get(key)?))) else {
        return;
    };
    if session.client_id() == client_id {
        return;
    }
    let (old, waiting) = (session.client_id().to_owned(), session.outbound.len());
    let is_durable = session.is_durable();
    let origin = Rc::new(Origin::new(client_id, None, None));
    make_way(core, client_id, now);
    if core.sessions.find(client_id).is_some() {
        return remove_bridge(core, bridge, now);
    }
    log::info!(
        "Bridge {client_id}: this is its client id instead of {old}; what waits goes along, {}.",
        messages(waiting)
    );
    core.sessions.rename(key, &origin);
    if is_durable {
        core.sessions.unsave_identity(key);
        core.ledger.promise(now);
    }
}
