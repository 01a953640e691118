//! Sending new subscribers what is retained, a piece at a time (`routing::Walks`).

use std::rc::Rc;

use super::deliver::take_place;
use crate::broker::connections::Connection;
use crate::broker::core::Core;
use crate::broker::plan::Admission;
use crate::broker::queues::age::{note_expiry, note_queued};
use crate::broker::queues::bounds::{admission, admission_now, admit, copies};
use crate::broker::routing::{Ahead, Receiver};
use crate::broker::sending::pump::pump;
use crate::broker::sending::sync::may_still_publish;
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::message::Message;
use crate::mqtt::QoS;
use crate::route::{self, SubOptions};
use crate::session::Entry;
use crate::time::Time;

/// How many units of work the walks of one session do before those of others go on.
const STEP: usize = 100;
/// How many topics are looked at before what was found is sent.
const LOOK: usize = 32;
/// So many messages may wait in the queue of a session while its walks go on. A queue on disk takes
/// some more: what it has, survives a crash.
const WAITING: [u64; 2] = [128, 1_000];
/// The same, in bytes.
const WAITING_BYTES: u64 = 64 * 1024;

/// So many sessions are noted to get what is retained for a unit of work.
const OVERTAKEN: usize = 8;

/// How many messages are queued at once when the broker stops.
const FINISHED: usize = 50_000;

/// Goes on with the walks that may go on, for about `most` units of work, each session in turn. What
/// is left is due again.
pub(crate) fn go_on(core: &mut Core, most: usize, now: Time) {
    let end = core.work.done() + most as u64;
    while core.work.done() < end
        && let Some(key) = core.router.walks.take_due()
    {
        // One that has nothing to do costs, too: there may be many.
        core.work.add(1);
        send_some(core, key, now);
    }
}

/// Sends a session some of the retained messages that it is to get [MQTT-3.3.1-9], as far as it has
/// room for them. If more could follow at once, it is due again.
pub(crate) fn send_some(core: &mut Core, key: SessionKey, now: Time) {
    if is_asking(core, key) {
        return;
    }
    let end = core.work.done() + STEP as u64;
    let (mut has_sent, mut is_full) = (false, false);
    while core.router.walks.has(key) {
        if !has_room(core, key, 0) {
            is_full = true;
            break;
        }
        if core.work.done() >= end {
            core.router.walks.hasten(key);
            break;
        }
        let may = &mut |core: &Core, size| has_room(core, key, size);
        let (came_on, goes_on) = send_next(core, key, may, now);
        has_sent |= came_on;
        if !goes_on {
            is_full = true;
            break;
        }
    }
    if is_full {
        note_walks(core, key, now);
    }
    // That lets the walks go on: without need, they would for ever.
    if has_sent {
        pump(core, key, now);
    }
}

/// True while a packet of the session's client is taken in pieces: its walks wait for the end of it, since a
/// filter that stands in it twice has one.
fn is_asking(core: &Core, key: SessionKey) -> bool {
    let conn = core.sessions.get(key).and_then(|session| session.conn);
    let conn = conn.and_then(|c| core.connections.get(c));
    conn.is_some_and(Connection::is_asking)
}

/// Queues what the next look finds. Answers whether the walk has come on, and whether it goes on: not if
/// what comes next, of so many bytes, `may` not.
fn send_next(
    core: &mut Core,
    key: SessionKey,
    may: &mut dyn FnMut(&Core, u32) -> bool,
    now: Time,
) -> (bool, bool) {
    let Some(walk) = core.router.walks.first(key) else {
        return (false, false);
    };
    let options = walk.options();
    let (found, searched) = core.router.search(walk, LOOK, now);
    // One that finds nothing costs, too: a packet may have thousands of filters.
    core.work.add(1 + searched.looked);
    let mut came_on = false;
    for message in found {
        if !may(core, message.size()) {
            return (came_on, false);
        }
        came_on = true;
        bring(core, key, &options, &message, now);
    }
    go_to(core, key, searched.reached, now);
    (true, true)
}

/// The first walk of a session has come to the topic of this key; with `None`, to its end. What it has
/// brought is on disk with the note that it is over, or before.
fn go_to(core: &mut Core, key: SessionKey, topic: Option<Box<[u8]>>, now: Time) {
    let walk = core.router.walks.first(key).filter(|_| topic.is_none());
    let over = walk.map(|walk| Rc::clone(walk.filter()));
    core.router.walks.reached(key, topic);
    if over.is_some_and(|filter| core.sessions.await_retained(key, &filter, false)) {
        core.ledger.promise(now);
    }
}

/// Has it written which filters a session that lasts has walks for that wait for their reader: after a
/// crash they begin anew. Those that only wait for their turn are over in a moment, and are not worth two
/// writes each.
pub(crate) fn note_walks(core: &mut Core, key: SessionKey, now: Time) {
    let mut is_new = false;
    for filter in core.router.walks.take_unnoted(key) {
        is_new |= core.sessions.await_retained(key, &filter, true);
    }
    if is_new {
        core.ledger.lazy(now);
    }
}

/// The first walk of a session has come to a message.
fn bring(core: &mut Core, key: SessionKey, options: &SubOptions, message: &Rc<Message>, now: Time) {
    let (topic, walks) = (message.topic(), &mut core.router.walks);
    walks.reached(key, Some(route::key(topic)));
    if !walks.was_sent(key, topic) && may_have(core, key, options, message) {
        queue_retained(core, key, message, options, now);
    }
}

/// The broker stops, and how far a walk has come is not on disk: what the walks of sessions that last would
/// still bring is queued at once, as far as it is to be stored. Peers could make that as much as they like,
/// so it has a bound; the walks that are left out, and those at QoS 0, begin anew after the start.
pub(crate) fn finish(core: &mut Core, now: Time) {
    let mut left = FINISHED;
    for key in core.router.walks.keys() {
        if core.sessions.get(key).is_none_or(|s| !s.is_durable()) {
            continue;
        }
        note_walks(core, key, now);
        while left > 0
            && let Some(walk) = core.router.walks.first(key)
        {
            if walk.options().qos == QoS::AtMostOnce {
                core.router.walks.reached(key, None);
                continue;
            }
            let may = &mut |_: &Core, _| {
                let may = left > 0;
                left = left.saturating_sub(1);
                may
            };
            send_next(core, key, may, now);
        }
        if core.router.walks.has(key)
            && let Some(session) = core.sessions.get(key)
        {
            log::info!(
                "Client {} has not got all that is retained for it, and gets it once more after the next \
                 start.",
                session.client_id()
            );
        }
    }
}

/// True if a walk may bring a session a message of `size` bytes now: it is connected and takes what it
/// is sent. One that is away gets the rest when it is back, one that reads slowly as it reads.
fn has_room(core: &Core, key: SessionKey, size: u32) -> bool {
    let Some(session) = core.sessions.get(key).filter(|s| s.conn.is_some()) else {
        return false;
    };
    let queue = &session.outbound;
    let (waiting, bytes) = if session.is_durable() {
        (queue.len(), queue.bytes())
    } else {
        (queue.ready() as u64, queue.ready_bytes() as u64)
    };
    if waiting >= WAITING[usize::from(session.is_durable())] || bytes >= WAITING_BYTES {
        return false;
    }
    // What does not even fit an empty queue is dropped, and counted.
    let fits = |session| admission(core, session, Lane::Client, copies(1, size)) == Admission::Fits;
    queue.is_empty() || fits(session)
}

/// False if the session is not to get a message that its subscription matches.
fn may_have(core: &Core, key: SessionKey, options: &SubOptions, message: &Message) -> bool {
    let Some(session) = core.sessions.get(key) else {
        return false;
    };
    let is_own = options.no_local && message.origin.client_id() == session.client_id();
    let auth = &core.settings.auth;
    let is_readable = session.is_bridge() || auth.may_read(&session.who(), message.topic());
    !is_own && is_readable && may_still_publish(core, message)
}

/// A message goes to `receivers` that may replace what its topic retains. Those whose walks have not
/// come to the topic yet are to get what it retains before it ([`send_ahead`]); their walks leave it out.
pub(super) fn overtake(core: &mut Core, receivers: &[Receiver], topic: &str) -> Ahead {
    let mut ahead = Ahead::default();
    if core.router.walks.len() == 0 {
        return ahead;
    }
    for receiver in receivers {
        let key = receiver.session;
        let is_here = core.sessions.get(key).is_some_and(|s| s.conn.is_some());
        // Who is away gets nothing that is not stored: the walk brings what is retained when it is back.
        if !core.router.walks.has(key) || !(is_here || receiver.stored) {
            continue;
        }
        let overtaken = core.router.walks.overtake(key, topic);
        if !overtaken.is_empty() {
            ahead.of.insert(key, overtaken);
        }
    }
    core.work.add(ahead.of.len() / OVERTAKEN);
    if !ahead.of.is_empty() {
        let value = core.router.retained_at(topic);
        ahead.message = value.and_then(|value| value.message());
    }
    ahead
}

/// Sends some `receivers` of a message what they are to get before it. Returns the sessions among them that
/// got nothing so; their walks leave the topic out all the same, unless [`bring_later`] is told of them.
pub(super) fn send_ahead(
    core: &mut Core,
    receivers: &[Receiver],
    ahead: &mut Ahead,
    now: Time,
) -> Vec<SessionKey> {
    let mut without = Vec::new();
    if ahead.of.is_empty() {
        return without;
    }
    let message = ahead.message.clone();
    let message = message.filter(|message| !message.expired(now));
    for receiver in receivers {
        let key = receiver.session;
        let Some(overtaken) = ahead.of.remove(&key) else {
            continue;
        };
        core.work.add(1);
        let mut has_got = false;
        for (options, message) in overtaken.iter().zip(message.iter().cycle()) {
            if may_have(core, key, options, message)
                && queue_retained(core, key, message, options, now)
            {
                has_got = true;
                pump(core, key, now);
            }
        }
        if !has_got {
            without.push(key);
        }
    }
    without
}

/// A message on `topic` did not reach the sessions in `missed`: it was dropped, or has no room yet. If it
/// is a retained one, their walks bring what the topic retains when they come by. Otherwise they do so for
/// those in `without`, which got nothing by [`send_ahead`] either.
pub(super) fn bring_later(
    core: &mut Core,
    (message, topic): (&Message, &str),
    missed: &[SessionKey],
    without: &[SessionKey],
) {
    for key in missed {
        if message.retain || without.contains(key) {
            core.router.walks.bring_later(*key, topic);
        }
    }
}

/// Queues a retained message for a subscriber, behind what is queued already. False if it has no room,
/// or is not to be stored for a session that is away.
fn queue_retained(
    core: &mut Core,
    key: SessionKey,
    message: &Rc<Message>,
    options: &SubOptions,
    now: Time,
) -> bool {
    core.work.add(1);
    let Some(session) = core.sessions.known(key) else {
        return false;
    };
    let receiver = Receiver::new((key, session), options, message, &core.settings);
    let Some(mut receiver) = receiver else {
        return false;
    };
    receiver.owed.retain = true;
    let (lane, stored) = (receiver.owed.lane, receiver.stored);
    if !stored && session.conn.is_none() {
        return false;
    }
    let admission = admission_now(core, key, lane, copies(1, message.size()), now);
    if !admit(core, key, lane, message, admission, now) {
        return false;
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
    true
}
