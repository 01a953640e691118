//! Retained messages: keeping them until they are replaced, cleared or expire.

use std::rc::Rc;

use crate::broker::core::Core;
use crate::broker::memory::always_admits;
use crate::broker::queues::drops::{drop_message, is_synced, note_lost};
use crate::broker::queues::report;
use crate::broker::routing::{Receiver, Retaining, has_row};
use crate::broker::sessions::{DropReason, Session};
use crate::config::Bounds;
use crate::impossible;
use crate::keys::SessionKey;
use crate::message::{Message, Parts};
use crate::mqtt::Version;
use crate::route::Retained;
use crate::time::Time;

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

/// True if the client of a message may have it retained where `old` is, as far as `max_retained_bytes` and
/// `max_retained_messages` go.
pub(super) fn has_share(core: &Core, message: &Message, old: Option<&Message>) -> bool {
    let bounds = core.settings.retained_bounds();
    if bounds == Bounds::default() || always_admits(message, old) {
        return true;
    }
    let client_id = message.origin.client_id();
    let owned = core.router.retained_by(client_id);
    let replaced = old.filter(|old| old.origin.client_id() == client_id);
    let bytes = owned.bytes + Retained::weight(message);
    let bytes = bytes.saturating_sub(replaced.map_or(0, Retained::weight));
    let messages = owned.messages + u64::from(replaced.is_none());
    (bounds.bytes == 0 || bytes <= bounds.bytes)
        && (bounds.messages == 0 || messages <= bounds.messages)
}

/// A message is not retained because its client has as much as it may.
pub(super) fn tell_share(core: &mut Core, message: &Message, now: Time) {
    core.counters.refused_retained += 1;
    let client_id = message.origin.client_id();
    let owned = core.router.retained_by(client_id);
    let line = format_args!(
        "Client {client_id}: a message on {} is not retained, for its {} retained messages take {}, and \
         max_retained_bytes or max_retained_messages is reached. Subscribers get it, but it is not kept.",
        message.topic(),
        owned.messages,
        report::size(owned.bytes),
    );
    core.refusals.log((client_id, "retained"), line, now);
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

/// Drops retained messages that have expired by `now`, at most `most` of them. Until its turn comes, one
/// that has expired is sent to nobody.
pub(crate) fn expire_retained(core: &mut Core, most: usize, now: Time) {
    let expired = core.router.expire_retained(now, most);
    core.work.add(expired.len());
    if !expired.is_empty() {
        core.ledger.lazy(now);
    }
    for message in expired {
        if has_row(message.topic()) {
            clear_upstream(core, &message, now);
        }
    }
    // Where more have expired, the next turn goes on.
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
