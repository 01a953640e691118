//! DISCONNECT (5.0 §3.14).

use crate::broker::core::Core;
use crate::broker::ending::close::{break_off, detach, finish};
use crate::config::log_type::NOTICE;
use crate::keys::ConnId;
use crate::mqtt::{Disconnect, Reason};
use crate::time::Time;

/// The peer ends its connection: without its will if it says so.
pub(crate) fn on_disconnect(core: &mut Core, c: ConnId, packet: &Disconnect<'_>, now: Time) {
    let Some(session) = core
        .session_of(c)
        .and_then(|key| core.sessions.get_mut(key))
    else {
        return;
    };
    if let Some(asked) = packet.props.session_expiry() {
        if session.expiry == 0 && asked > 0 {
            let what = "DISCONNECT with an expiry for a session that CONNECT gave none";
            return break_off(core, c, what, now);
        }
        session.expiry = core.settings.cap_expiry(asked);
    }
    if core.settings.general.connection_messages {
        log::info!(target: NOTICE, "Client {} disconnected.", core.name_of(c));
    }
    detach(core, c, packet.reason != Reason::SUCCESS, now);
    finish(core, c, now);
}
