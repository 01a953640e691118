//! What changes while the broker runs: settings and access rules.

pub(crate) mod revoke;

use std::rc::Rc;

use super::connections::Logins;
use super::core::Core;
use super::ending::close::close;
use super::packets::parked::retry_soon;
use super::queues::bounds::{note_policy, trim};
use super::queues::dead::trim_dead;
use crate::auth::Auth;
use crate::config::General;
use crate::keys::ConnId;
use crate::message::Origin;
use crate::mqtt::Reason;
use crate::time::Time;

/// Other settings from now on. What was agreed on with a client when it connected stays until it
/// connects again; bounds of queues hold for what comes at once, and what they hold beyond them goes in
/// pieces ([`go_on`]). What concerns the store does not change.
pub(crate) fn set_general(core: &mut Core, general: &General) {
    core.settings.general = general.clone();
    core.watches.bounded_anew = core.sessions.keys();
    // Maybe there is room now.
    core.router.leftovers.look_at_all();
    retry_soon(core);
}

/// Puts other rules in force: what clients may publish and read changes at once. Those whose user is
/// gone or has another password, and anonymous ones that are no longer let in, are disconnected, in
/// pieces ([`go_on`]).
pub(crate) fn set_auth(core: &mut Core, mut auth: Auth, now: Time) {
    // Those who are still to be judged by the rules that go were let in by the ones before.
    judge(core, usize::MAX, now);
    auth.inherit(&mut core.settings.auth);
    core.watches.judged_before = Some(std::mem::replace(&mut core.settings.auth, auth));
    // What failed may be right by now.
    core.logins = Logins::default();
    core.connections.login_rules_changed();
    // Whose login is under way is let in by the new rules.
    let known = core.connections.iter();
    let known = known.filter(|(_, conn)| conn.session().is_some());
    core.watches.judged_anew = known.map(|(c, _)| c).collect();
}

/// True if there is something for [`go_on`].
pub(crate) fn goes_on(core: &Core) -> bool {
    let watches = &core.watches;
    let judged = !watches.judged_anew.is_empty() || !watches.revoked.is_empty();
    judged || !watches.bounded_anew.is_empty()
}

/// Looks at connections and sessions, to which other rules or settings apply by now, for about `most`
/// units of work.
pub(crate) fn go_on(core: &mut Core, most: usize, now: Time) {
    let end = core.work.done() + most as u64;
    judge(core, most, now);
    revoke::go_on(core, end, now);
    while core.work.done() < end
        && let Some(key) = core.watches.bounded_anew.pop()
    {
        core.work.add(1);
        if core.sessions.get(key).is_none() {
            // It has ended meanwhile.
            continue;
        }
        note_policy(core, key);
        let left = end.saturating_sub(core.work.done());
        let most = usize::try_from(left).unwrap_or(usize::MAX).max(1);
        if trim(core, key, most, now) {
            trim_dead(core, key, now);
        } else {
            core.watches.bounded_anew.push(key);
        }
    }
}

/// Disconnects those whom the rules in force don't let in, for about `most` units of work.
fn judge(core: &mut Core, most: usize, now: Time) {
    // What closing a connection costs, about.
    const CLOSE: usize = 8;
    let end = core.work.done().saturating_add(most as u64);
    let Some(before) = core.watches.judged_before.take() else {
        return;
    };
    while core.work.done() < end
        && let Some(c) = core.watches.judged_anew.pop()
    {
        core.work.add(1);
        if !may_stay(core, c, &before, now) {
            core.work.add(CLOSE);
            close(core, c, Reason::NOT_AUTHORIZED, now);
        }
    }
    if !core.watches.judged_anew.is_empty() {
        core.watches.judged_before = Some(before);
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
    let who = (session.client_id(), session.origin().username());
    let stays = auth.still_admits(before, &name, who);
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
