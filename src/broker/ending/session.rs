//! The end of a session.

use crate::broker::core::Core;
use crate::broker::queues::drops::drop_message;
use crate::broker::sessions::DropReason;
use crate::broker::shares::leave::{is_spent, stays_for_others};
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::time::Time;

/// What the end of a session costs, in units of work, beside its filters and messages.
const END: usize = 8;
/// So many messages that a session is owed no more cost a unit of work.
const OWED: usize = 4;

/// Ends a session: subscriptions, queue and rows go, unless others are to have some of it.
pub(crate) fn end_session(core: &mut Core, key: SessionKey, now: Time) {
    if let Some(session) = core.sessions.get(key).filter(|s| !s.is_ended()) {
        core.settings.auth.leave(session.client_id());
    }
    if stays_for_others(core, key, now) {
        return;
    }
    let queue = core.sessions.get(key).map(|s| &s.outbound);
    let lost = queue.filter(|q| q.is_durable()).map(|queue| {
        let dead = queue.owed_by(Lane::Dead);
        (queue.len() + dead.messages, queue.bytes() + dead.bytes)
    });
    if let Some(lost) = lost.filter(|(messages, _)| *messages > 0) {
        drop_message(core, key, Lane::Client, DropReason::SessionEnded, lost, now);
    }
    core.sessions.forget_client_id(key);
    core.router.walks.forget(key);
    let Some((session, has_rows)) = core.sessions.remove(key) else {
        return;
    };
    if !session.is_ended() {
        core.router.forget(key, session.subscriptions);
    }
    core.watches.purges.set(key, None);
    core.timers.set_session(key, None);
    if has_rows {
        core.ledger.promise(now);
    }
    core.work.add(END);
    core.ledger.disown(session.id, session.outbound.into_owed());
}

/// Tells the store of messages that sessions are owed no more, for about `most` units of work.
pub(crate) fn disown_some(core: &mut Core, most: usize, now: Time) {
    for n in 0..most * OWED {
        if !core.ledger.disown_one(now) {
            return;
        }
        core.work.add(usize::from(n % OWED == 0));
    }
}

/// Ends the sessions that stayed for messages that nobody is to get any more. True if there was one.
pub(crate) fn end_spent(core: &mut Core, now: Time) -> bool {
    let mut found = false;
    while let Some(key) = core.sessions.take_spent() {
        if core.sessions.get(key).is_some_and(is_spent) {
            end_session(core, key, now);
            found = true;
        }
    }
    found
}

/// Sets the timer for what happens to a session without a connection: its delayed will, its end.
pub(crate) fn watch_session(core: &mut Core, key: SessionKey, now: Time) {
    let Some(session) = core.sessions.known(key) else {
        return;
    };
    let due = session
        .expires()
        .into_iter()
        .chain(session.will_due())
        .min();
    core.timers.set_session(key, due.map(|at| at.max(now)));
}
