//! Retained messages: keeping them, and sending them to new subscribers.

use std::rc::Rc;

use super::deliver::take_place;
use crate::broker::core::Core;
use crate::broker::queues::age::{note_expiry, note_queued};
use crate::broker::queues::bounds::{admission_now, admit, copies};
use crate::broker::queues::drops::{drop_message, is_synced, note_lost};
use crate::broker::routing::{Receiver, Retaining};
use crate::broker::sending::sync::may_still_publish;
use crate::broker::sessions::{DropReason, Session};
use crate::impossible;
use crate::keys::SessionKey;
use crate::message::{Message, Parts};
use crate::mqtt::Version;
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
    let is_told = message.payload().is_empty() && is_told(core, message);
    count_replaced(core, message.topic(), now);
    match core.router.retain(message, is_told, now) {
        Retaining::InRam => return false,
        Retaining::Unchanged => {}
        Retaining::Promised => core.ledger.promise(now),
        Retaining::By(at) => core.ledger.commit_by(at),
        Retaining::Lazy => core.ledger.lazy(now),
    }
    // Also where nothing was deleted: an earlier deletion may still be on its way.
    true
}

/// A retained message is about to be replaced. Where it waits for nothing but the uplink of a bridge
/// to come back, the upstream will not get it: it counts as dropped.
fn count_replaced(core: &mut Core, topic: &str, now: Time) {
    if core.bridges.keys().next().is_none() {
        return;
    }
    let Some(old) = core.router.retained_at(topic).cloned() else {
        return;
    };
    for key in core.bridges.keys().collect::<Vec<_>>() {
        let Some(session) = core.sessions.get(key).filter(|s| s.conn.is_none()) else {
            continue;
        };
        let end = session.bridge().filter(|_| is_synced(session, &old));
        let outstanding = session.outbound.oldest_in_ram();
        if end.is_none_or(|end| end.retained.has(old.arrival, outstanding)) {
            continue;
        }
        let to = Receiver::of_bridge((key, session), &old, &core.settings);
        if let Some(owed) = to.filter(|to| !to.stored).map(|to| to.owed) {
            let lost = (1, old.size().into());
            drop_message(core, key, owed.lane, DropReason::Offline, lost, now);
        }
    }
}

/// Drops the retained messages that have expired by `now`.
pub(crate) fn expire_retained(core: &mut Core, now: Time) {
    let expired = core.router.expire_retained(now);
    if !expired.is_empty() {
        core.ledger.lazy(now);
    }
    for message in expired {
        clear_upstream(core, &message, now);
    }
}

/// The bridges to whose upstreams a message goes; before the configuration has been read, those that
/// the store knows.
fn bridges_for(core: &Core, message: &Message) -> impl Iterator<Item = SessionKey> {
    let is_known = core.bridges.are_known();
    let configured = core.bridges.keys().filter(move |_| is_known);
    let stored = core.sessions.iter().filter(move |_| !is_known);
    let stored = stored.filter(|(_, session)| session.is_bridge());
    configured.chain(stored.map(|(key, _)| key)).filter(|key| {
        let session = core.sessions.get(*key);
        session.is_some_and(|session| is_synced(session, message))
    })
}

/// True if an upstream is to be told that the retained message of a topic was deleted.
fn is_told(core: &Core, message: &Message) -> bool {
    bridges_for(core, message).next().is_some()
}

/// A retained message has expired. An MQTT 5 upstream was told when; any other is told now.
fn clear_upstream(core: &mut Core, expired: &Message, now: Time) {
    let is_older = |session: &Session| session.version < Version::V5;
    let bridges = bridges_for(core, expired);
    let older = bridges.filter(|key| core.sessions.get(*key).is_some_and(is_older));
    let older: Vec<SessionKey> = older.collect();
    if older.is_empty() {
        return;
    }
    let parts = Parts {
        topic: expired.topic(),
        props: &[],
        payload: &[],
    };
    let Ok(mut message) = Message::new(parts, now, Rc::clone(&expired.origin)) else {
        return impossible!("a topic that was retained is none");
    };
    (message.qos, message.retain) = (expired.qos, true);
    core.router.note_cleared(&Rc::new(message));
    for key in older {
        note_lost(core, key, (now, now));
    }
    core.watches.look_again(now);
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
