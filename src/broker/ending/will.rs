//! Wills (5.0 §3.1.2.5).

use std::rc::Rc;
use std::time::Duration;

use crate::broker::core::Core;
use crate::broker::delivering::checks::is_reserved;
use crate::broker::delivering::spread::route_unanswered;
use crate::broker::sessions::PendingWill;
use crate::keys::SessionKey;
use crate::time::Time;

/// Publishes a will. There is nobody to refuse it to: where a queue is full it is dropped and
/// counted.
pub(crate) fn publish_will(core: &mut Core, will: PendingWill, from: SessionKey, now: Time) {
    let expiry = will.expiry.map(|secs| Duration::from_secs(secs.into()));
    let mut message = Rc::unwrap_or_clone(will.message);
    message.arrival = now;
    message.expiry = expiry.map(|expiry| now + expiry);
    let topic = message.topic();
    let auth = &core.settings.auth;
    let is_allowed = core.sessions.get(from).is_none_or(|session| {
        let is_reserved = is_reserved(&core.router, topic, Some(session));
        !is_reserved && auth.may_have_published(&session.who(), topic)
    });
    if is_allowed {
        route_unanswered(core, message, Some(from), now);
    } else {
        core.counters.denied += 1;
    }
}
