//! Routing a message whole, or in pieces if it goes to so many that the turn would be long.
//!
//! A message that goes in pieces goes to those who were subscribed when it came, or when those before it
//! were done; what it retains is retained at once. The messages that do so go one after the other, and any
//! other on the same topic waits behind them, whoever publishes it: so no receiver gets two in another order
//! than they came [MQTT-4.6.0-6]. Their publishers are not read meanwhile.
//!
//! Between the first piece and the last there is no commit: one has the rows of all receivers, and at QoS 2
//! the packet id with them. So kill -9 leaves all of it or nothing, and what comes again is known or new. The
//! acknowledgement follows the last piece. A connection of the publisher that ends in between changes
//! nothing for the receivers; a session that ends is left out.

use std::collections::HashSet;
use std::rc::Rc;

use super::deliver::deliver;
use super::route::{Routed, find, is_owed_still, keep, plan_all, route_found};
use super::walk::{bring_later, overtake, send_ahead};
use crate::broker::core::Core;
use crate::broker::plan::Plan;
use crate::broker::queues::drops::{drop_message, drop_unrefused};
use crate::broker::routing::{Behind, FanOut, Receiver, Remaining, Spread};
use crate::broker::sessions::DropReason;
use crate::keys::{ConnId, SessionKey};
use crate::message::Message;
use crate::mqtt::Delivery;
use crate::time::Time;

/// Receivers that need not be stored cost as much as one that must.
const UNSTORED: usize = 4;

/// So many messages that go in pieces are looked at for a unit of work.
const LOOKS: usize = 16;

/// So many messages whose publishers have no connection wait for others that go in pieces, at most.
const ALONE: usize = 1024;

/// They take this part of `memory_limit`, at most.
const ALONE_PART: u64 = 8;

/// They take so many bytes at most where there is no `memory_limit`.
const ALONE_BYTES: usize = 4 * 1024 * 1024;

/// Who publishes a message, and is told what has become of it.
pub(crate) struct Publisher<'a> {
    pub(crate) c: ConnId,
    pub(crate) delivery: Delivery,
    /// The acknowledgement has to wait for what is to be durable.
    pub(crate) waits: bool,
    /// Where earlier messages of it wait for room.
    pub(crate) behind: &'a [Behind],
}

/// Routes a message to all who are subscribed and keeps it if it is retained. `None`: it goes in pieces, or
/// waits for others that do, and its publisher is not read. `from`: the publisher's session.
pub(crate) fn route(
    core: &mut Core,
    (message, topic): (&Rc<Message>, &str),
    from: Option<SessionKey>,
    publisher: Option<&Publisher<'_>>,
    now: Time,
) -> Option<Routed> {
    core.work.add(core.fan_outs.len() / LOOKS);
    let has_to_wait = core.fan_outs.has(topic);
    let mut receivers = std::mem::take(&mut core.scratch.receivers);
    let matched = !has_to_wait && find(core, (message, topic), from, &mut receivers);
    if !has_to_wait && !is_large(core, &receivers, publisher.is_some()) {
        let waiting = publisher.filter(|publisher| publisher.waits);
        let waiting = waiting.map(|publisher| publisher.c);
        let behind = publisher.map_or(&[][..], |publisher| publisher.behind);
        let found = (from, &mut receivers, matched);
        let routed = route_found(core, (message, topic), found, (waiting, behind), now);
        core.scratch.receivers = receivers;
        return Some(routed);
    }
    let mut fan_out = FanOut {
        message: Rc::clone(message),
        from,
        publisher: publisher.map(|publisher| (publisher.c, publisher.delivery)),
        spread: None,
    };
    if core.fan_outs.may_begin() {
        let has_groups = receivers.last().is_some_and(|r| r.owed.lane.is_share());
        let mut spread = spread(core, (message, topic), from, (receivers, matched), now);
        if has_groups {
            // Members are chosen: one that is gone by the end of the turn would have taken its group's
            // message with it. They come first.
            let behind = publisher.map_or(&[][..], |publisher| publisher.behind);
            let most = core.portions.receivers;
            hand_on(core, message, &mut spread, (most, behind), now);
        }
        fan_out.spread = Some(spread);
    }
    core.fan_outs.push(fan_out);
    bound_alone(core, now);
    if let Some(conn) = publisher.and_then(|publisher| core.connections.get_mut(publisher.c)) {
        conn.set_spreads(true);
    }
    None
}

/// Drops the oldest of the messages that wait for their turn and whose publishers have no connection, where
/// there are too many: no publisher that is not read bounds them. At QoS 1 and 2 nothing was promised, so
/// they come again.
fn bound_alone(core: &mut Core, now: Time) {
    let part = |limit| usize::try_from(limit / ALONE_PART).unwrap_or(usize::MAX);
    let bytes = core.settings.memory_limit().map_or(ALONE_BYTES, part);
    let connections = &core.connections;
    let is_alone = |fan_out: &FanOut| {
        let conn = fan_out.publisher.and_then(|(c, _)| connections.get(c));
        conn.is_none_or(|conn| conn.session() != fan_out.from)
    };
    let dropped = core.fan_outs.take_beyond((ALONE, bytes), is_alone);
    let Some(last) = dropped.last() else {
        return;
    };
    core.work.add(core.fan_outs.len() / LOOKS);
    let reason = DropReason::QueueFull;
    core.counters.count_dropped(reason, dropped.len() as u64);
    if core.fan_outs.tells_dropped(now) {
        log::log!(
            reason.level(),
            "A message on {} dropped, whose publisher has no connection: too many messages to many \
             subscribers wait for others. More of them are counted in $SYS.",
            last.message.topic()
        );
    }
}

/// True if a message is to go to so many in pieces.
fn is_large(core: &Core, receivers: &[Receiver], is_answered: bool) -> bool {
    let whole = if is_answered {
        core.portions.receivers
    } else {
        core.portions.unanswered
    };
    if receivers.len() <= whole || core.is_shutting_down {
        return false;
    }
    let stored = receivers.iter().filter(|receiver| receiver.stored).count();
    stored + (receivers.len() - stored) / UNSTORED > whole
}

/// Routes a message that has no publisher to be told: where a queue refuses it, it is dropped and
/// counted.
pub(crate) fn route_unanswered(
    core: &mut Core,
    message: Message,
    from: Option<SessionKey>,
    now: Time,
) {
    let message = Rc::new(message);
    if let Some(routed) = route(core, (&message, message.topic()), from, None, now) {
        drop_unrefused(core, &routed.remaining, &message, now);
    }
}

/// The turn of a message has come: it is retained, and it is known who gets it.
pub(crate) fn begin(core: &mut Core, fan_out: &mut FanOut, now: Time) {
    let message = Rc::clone(&fan_out.message);
    let (named, mut receivers) = ((&message, message.topic()), Vec::new());
    let matched = find(core, named, fan_out.from, &mut receivers);
    let spread = spread(core, named, fan_out.from, (receivers, matched), now);
    fan_out.spread = Some(spread);
}

fn spread(
    core: &mut Core,
    named: (&Rc<Message>, &str),
    from: Option<SessionKey>,
    (receivers, matched): (Vec<Receiver>, bool),
    now: Time,
) -> Spread {
    let ahead = overtake(core, &receivers, named.1);
    core.memory.look(core.settings.memory_limit());
    let (retention, waits) = keep(core, named, from, true, now);
    Spread {
        left: in_order(receivers),
        matched,
        waits,
        remaining: Remaining {
            receivers: Vec::new(),
            retention,
        },
        ahead,
    }
}

/// The receivers from the last to the first. Those that get copies by groups, which stand at the end, are
/// put together.
fn in_order(mut receivers: Vec<Receiver>) -> Vec<Receiver> {
    receivers.reverse();
    let by_group = receivers.iter().take_while(|r| r.owed.lane.is_share());
    let several: HashSet<SessionKey> = by_group.map(|receiver| receiver.session).collect();
    if several.is_empty() {
        return receivers;
    }
    let (mut several, mut others): (Vec<_>, Vec<_>) = receivers
        .into_iter()
        .partition(|receiver| several.contains(&receiver.session));
    several.sort_by_key(|receiver| receiver.session);
    others.append(&mut several);
    others
}

/// Hands a message to its next receivers, for about `most` units of work; `behind` as for [`route`].
pub(crate) fn hand_on(
    core: &mut Core,
    message: &Rc<Message>,
    spread: &mut Spread,
    (most, behind): (usize, &[Behind]),
    now: Time,
) {
    let mut part = std::mem::take(&mut core.scratch.receivers);
    let mut cost = 0;
    while let Some(next) = spread.left.last() {
        let last = part.last().map(|last: &Receiver| last.session);
        if cost >= most * UNSTORED && last != Some(next.session) {
            break;
        }
        cost += if next.stored { UNSTORED } else { 1 };
        part.extend(spread.left.pop());
    }
    part.retain(|receiver| is_owed_still(core, receiver));
    store_for_absent(core, &mut part);
    if message.expired(now) {
        drop_expired(core, message, &part, now);
        part.clear();
    }
    let without = send_ahead(core, &part, &mut spread.ahead, now);
    core.memory.look(core.settings.memory_limit());
    plan_all(core, message, &mut part, behind, now);
    spread.waits |= part.iter().any(|r| matches!(r.plan, Plan::Stored(_)));
    let named = (message, message.topic());
    let delivered = deliver(core, named, &mut part, None, now);
    bring_later(core, (message, named.1), &delivered.missed, &without);
    spread.remaining.receivers.extend(delivered.remaining);
    core.scratch.receivers = part;
}

/// Who has gone since the message came gets it at QoS 0 as if it came now (`queue_qos0_messages`).
fn store_for_absent(core: &Core, part: &mut [Receiver]) {
    let queue_qos0 = core.settings.general.queue_qos0_messages;
    for receiver in part.iter_mut().filter(|receiver| !receiver.stored) {
        let session = core.sessions.get(receiver.session);
        receiver.stored =
            session.is_some_and(|session| session.stores(receiver.owed.qos, queue_qos0));
    }
}

/// A message has expired on its way [MQTT-3.3.2-5].
fn drop_expired(core: &mut Core, message: &Message, part: &[Receiver], now: Time) {
    let lost = (1, message.size().into());
    for receiver in part {
        let (key, lane) = (receiver.session, receiver.owed.lane);
        drop_message(core, key, lane, DropReason::Expired, lost, now);
    }
}
