//! Retained messages: keeping them until they are replaced, cleared or expire.

use std::rc::Rc;

use crate::broker::core::Core;
use crate::broker::queues::drops::{drop_message, is_synced, note_lost};
use crate::broker::routing::{Receiver, Retaining, has_row};
use crate::broker::sessions::{DropReason, Session};
use crate::impossible;
use crate::keys::SessionKey;
use crate::message::{Message, Parts};
use crate::mqtt::Version;
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

/// A retained message is about to be replaced. Where it waits for nothing but the uplink of a bridge
/// to come back, the upstream will not get it: it counts as dropped.
fn count_replaced(core: &mut Core, topic: &str, now: Time) {
    let is_away = |key: &SessionKey| core.sessions.get(*key).is_some_and(|s| s.conn.is_none());
    let away: Vec<SessionKey> = core.bridges.keys().filter(is_away).collect();
    if away.is_empty() {
        return;
    }
    let Some(old) = core
        .router
        .retained_at(topic)
        .and_then(|value| value.message())
    else {
        return;
    };
    for key in away {
        let Some(session) = core.sessions.get(key) else {
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
