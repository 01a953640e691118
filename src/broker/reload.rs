//! What changes while the broker runs: settings and access rules.

use std::rc::Rc;

use super::connections::Logins;
use super::core::Core;
use super::ending::close::close;
use super::packets::parked::retry_parked;
use super::queues::bounds::{note_policy, trim};
use super::queues::dead::trim_dead;
use crate::auth::Auth;
use crate::config::General;
use crate::keys::ConnId;
use crate::message::Origin;
use crate::mqtt::Reason;
use crate::time::Time;

/// Other settings from now on. What was agreed on with a client when it connected stays until it
/// connects again; bounds of queues hold at once. What concerns the store does not change.
pub(crate) fn set_general(core: &mut Core, general: &General, now: Time) {
    core.settings.general = general.clone();
    for key in core.sessions.keys() {
        note_policy(core, key);
        trim(core, key, now);
        trim_dead(core, key, now);
    }
    // Maybe there is room now.
    core.router.leftovers.look_at_all();
    retry_parked(core, now);
}

/// Puts other rules in force. Clients whose user is gone or has another password, and anonymous ones
/// that are no longer let in, are disconnected; what the others may publish and read changes at once.
pub(crate) fn set_auth(core: &mut Core, auth: Auth, now: Time) {
    let before = std::mem::replace(&mut core.settings.auth, auth);
    // What failed may be right by now.
    core.logins = Logins::default();
    core.connections.login_rules_changed();
    for c in core.connections.keys() {
        if !may_stay(core, c, &before, now) {
            close(core, c, Reason::NOT_AUTHORIZED, now);
        }
    }
}

/// Whether a client that is connected is admitted by rules that have taken the place of those `before`.
fn may_stay(core: &mut Core, c: ConnId, before: &Auth, now: Time) -> bool {
    let Some(conn) = core.connections.get(c) else {
        return true;
    };
    let listener = conn.listener().and_then(|at| core.settings.listener(at));
    let (Some(key), Some(listener)) = (conn.session(), listener) else {
        return true;
    };
    let (name, auth) = (Rc::clone(&listener.name), &core.settings.auth);
    let Some(session) = core.sessions.known(key) else {
        return true;
    };
    let stays = auth.still_admits(before, &name, session.origin().username());
    let listener = auth.per_listener().then_some(&*name);
    if session.origin().listener() != listener {
        let (client_id, username) = (session.client_id(), session.origin().username());
        let origin = Rc::new(Origin::new(client_id, username, listener));
        let is_durable = session.is_durable();
        core.sessions.set_origin(key, &origin);
        if is_durable {
            core.sessions.unsave_identity(key);
            core.ledger.lazy(now);
        }
    }
    stays
}
