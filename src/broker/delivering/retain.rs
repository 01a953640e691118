//! Retained messages: keeping them, and sending them to new subscribers.

use std::rc::Rc;

use super::deliver::take_place;
use crate::broker::core::Core;
use crate::broker::queues::age::{note_expiry, note_queued};
use crate::broker::queues::bounds::{admission_now, admit, copies};
use crate::broker::queues::drops::drop_message;
use crate::broker::routing::{Receiver, Retaining};
use crate::broker::sessions::{DropReason, who};
use crate::keys::SessionKey;
use crate::message::Message;
use crate::route::SubOptions;
use crate::session::Entry;
use crate::time::Time;

/// A subscriber needs each retained message once, and once more for each filter that overlaps;
/// when this many times all of them wait for it, the filters were made to overlap.
const COPIES_OF_RETAINED: usize = 4;
/// Other messages that may wait in RAM for it besides.
const OTHERS_WAITING: usize = 10_000;

/// Keeps or deletes the retained message of a topic. True if the publisher is answered after the
/// commit that holds that.
pub(super) fn retain(core: &mut Core, message: &Rc<Message>, now: Time) -> bool {
    if let Some(at) = message.expiry.filter(|_| !message.payload().is_empty()) {
        core.timers.wake(at);
    }
    match core.router.retain(message, now) {
        Retaining::InRam => return false,
        Retaining::Unchanged => {}
        Retaining::Promised => core.ledger.promise(now),
        Retaining::By(at) => core.ledger.commit_by(at),
        Retaining::Lazy => core.ledger.lazy(now),
    }
    // Also where nothing was deleted: an earlier deletion may still be on its way.
    true
}

/// Drops the retained messages that have expired by `now`.
pub(crate) fn expire_retained(core: &mut Core, now: Time) {
    if core.router.expire_retained(now) {
        core.ledger.lazy(now);
    }
    if let Some(at) = core.router.next_expiry() {
        core.timers.wake(at);
    }
}

/// Queues the retained messages that a new subscription is to get [MQTT-3.3.1-9].
pub(crate) fn send_retained(
    core: &mut Core,
    key: SessionKey,
    filter: &str,
    options: &SubOptions,
    now: Time,
) {
    for message in core.router.retained(filter, now) {
        let Some(session) = core.sessions.known(key) else {
            return;
        };
        let is_own = options.no_local && message.origin.client_id() == session.client_id();
        let auth = &core.settings.auth;
        let is_readable = session.is_bridge() || auth.may_read(&session.who(), message.topic());
        if !is_own && is_readable && may_still_publish(core, &message) {
            queue_retained(core, key, &message, options, now);
        }
    }
}

/// With `check_retain_source`, a retained message whose publisher has lost the right to publish it
/// is not sent. The broker's own and those of bridges need no right.
fn may_still_publish(core: &Core, message: &Message) -> bool {
    let client_id = message.origin.client_id();
    let is_bridge = |key| core.bridges.has(key);
    !core.settings.general.check_retain_source
        || client_id.is_empty()
        || core.sessions.find(client_id).is_some_and(is_bridge)
        || core
            .settings
            .auth
            .may_publish(&who(&message.origin), message.topic())
}

/// Queues a retained message for a new subscription, behind what is queued already.
fn queue_retained(
    core: &mut Core,
    key: SessionKey,
    message: &Rc<Message>,
    options: &SubOptions,
    now: Time,
) {
    let limit = OTHERS_WAITING + COPIES_OF_RETAINED * core.router.retained_len();
    let Some(session) = core.sessions.known(key) else {
        return;
    };
    let receiver = Receiver::new((key, session), options, message, &core.settings);
    let Some(mut receiver) = receiver else {
        return;
    };
    receiver.owed.retain = true;
    let lane = receiver.owed.lane;
    if session.outbound.ready() > limit {
        let lost = (1, message.size().into());
        return drop_message(core, key, lane, DropReason::QueueFull, lost, now);
    }
    let admission = admission_now(core, key, lane, copies(1, message.size()), now);
    if !admit(core, key, lane, message, admission, now) {
        return;
    }
    let is_connected = core.sessions.get(key).is_some_and(|s| s.conn.is_some());
    let stored = receiver.stored;
    if !stored && !is_connected {
        return;
    }
    take_place(core, &mut receiver);
    let id = stored.then(|| core.ledger.put(message, receiver.owed.clone(), now));
    let entry = Entry::new(Rc::clone(message), id, receiver.owed);
    if let Some(session) = core.sessions.get_mut(key) {
        let by_topic = session.is_by_topic() && stored;
        session.outbound.push(entry, by_topic);
    }
    note_queued(core, key, lane, message.size(), now);
    if message.expiry.is_some() {
        note_expiry(core, key);
    }
}
