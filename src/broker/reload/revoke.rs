//! What `auth_socket` has granted is taken back.

use std::path::Path;

use crate::auth::Revocation;
use crate::broker::core::Core;
use crate::broker::ending::close::close;
use crate::broker::sessions::who;
use crate::keys::{ConnId, SessionKey};
use crate::mqtt::Reason;
use crate::time::Time;

/// To look at so many clients costs a unit of work.
const LOOKS: usize = 16;
/// What closing a connection costs, about.
const CLOSE: usize = 8;

/// The program behind the `auth_socket` of this path has taken back what it granted. From now on those
/// clients may do nothing, and are disconnected in pieces ([`go_on`]); one that is away is asked about
/// when it comes back. Their wills are not published.
pub(crate) fn revoke(core: &mut Core, path: &Path, revocation: &Revocation, now: Time) {
    let clients = core.settings.auth.revoke(revocation);
    core.work.add(1 + clients.len() / LOOKS);
    for client_id in clients {
        let Some(key) = core.sessions.find(&client_id) else {
            core.settings.auth.leave(&client_id);
            continue;
        };
        let Some(session) = core.sessions.get(key) else {
            continue;
        };
        let (origin, conn) = (session.origin(), session.conn);
        let (own, replaced) = (origin.username(), core.settings.auth.replaced(&client_id));
        let is_meant = revocation.is_about(&client_id, own)
            || replaced.is_some() && revocation.is_about(&client_id, replaced);
        if !is_meant || !core.settings.auth.asks(origin.listener(), path) {
            continue;
        }
        drop_will(core, key, now);
        match conn {
            Some(c) => {
                core.settings.auth.void(&client_id);
                core.watches.revoked.push(c);
            }
            None => core.settings.auth.leave(&client_id),
        }
    }
}

/// A client that may do nothing any more publishes no will either.
fn drop_will(core: &mut Core, key: SessionKey, now: Time) {
    let session = core.sessions.get_mut(key);
    if session.is_some_and(|session| session.will.take().is_some()) {
        core.sessions.unsave_identity(key);
        core.ledger.lazy(now);
    }
}

/// Disconnects those whose grants are void, until so many units of work are done.
pub(super) fn go_on(core: &mut Core, end: u64, now: Time) {
    while core.work.done() < end
        && let Some(c) = core.watches.revoked.pop()
    {
        core.work.add(1);
        disconnect(core, c, now);
    }
}

fn disconnect(core: &mut Core, c: ConnId, now: Time) {
    let conn = core.connections.get(c);
    let Some(key) = conn.and_then(|conn| conn.session()) else {
        return;
    };
    core.work.add(CLOSE);
    close(core, c, Reason::NOT_AUTHORIZED, now);
    let Some(session) = core.sessions.get(key) else {
        return;
    };
    // What waits for it is for its next login.
    if core.settings.auth.is_void(&who(session.origin())) {
        core.settings.auth.leave(session.client_id());
    }
}
