//! PUBLISH packets whose messages go to their receivers in pieces ([`spread`]).

use super::{Delivery, act, had_before, release};
use crate::broker::core::Core;
use crate::broker::delivering::spread;
use crate::broker::packets::answer::{accept, receive, waiting};
use crate::broker::packets::parked::{behind, no_room};
use crate::broker::queues::drops::{drop_unrefused, give_up};
use crate::broker::routing::{FanOut, Remaining, Spread};
use crate::keys::{ConnId, SessionKey};
use crate::time::Time;

/// Hands messages on to their next receivers, for about `most` units of work.
pub(crate) fn go_on(core: &mut Core, most: usize, now: Time) {
    let end = core.work.done() + most as u64;
    while core.work.done() < end && core.fan_outs.is_due() {
        core.work.add(1);
        let Some(mut fan_out) = core.fan_outs.take() else {
            return;
        };
        if fan_out.spread.is_none() {
            if is_answered(core, &fan_out, now) {
                core.fan_outs.done();
                continue;
            }
            spread::begin(core, &mut fan_out, now);
        }
        let Some(mut spread) = fan_out.spread.take() else {
            return;
        };
        let behind = fan_out.publisher.map(|(c, _)| behind(core, c));
        let behind = behind.unwrap_or_default();
        // Each piece has a row of its own, with the message: the fewer, the better for the flash.
        let most = core.portions.receivers.max(1);
        spread::hand_on(core, &fan_out.message, &mut spread, (most, &behind), now);
        if spread.left.is_empty() {
            core.fan_outs.done();
            finish(core, fan_out, spread, now);
        } else {
            fan_out.spread = Some(spread);
            core.fan_outs.put_back(fan_out);
        }
    }
}

/// Hands on all that is left: the broker stops.
pub(crate) fn go_on_to_the_end(core: &mut Core, now: Time) {
    while !core.fan_outs.is_empty() {
        core.fan_outs.rested();
        go_on(core, usize::from(u16::MAX), now);
    }
}

/// True if a message that has waited for others was among them: its publisher has sent it again from another
/// connection, and is answered if that is still there.
fn is_answered(core: &mut Core, fan_out: &FanOut, now: Time) -> bool {
    let Some(((c, delivery), key)) = fan_out.publisher.zip(fan_out.from) else {
        return false;
    };
    let Some(verdict) = had_before(core, (c, key), delivery) else {
        return false;
    };
    if publisher(core, fan_out).is_some() {
        act(core, (c, key), verdict, delivery, now);
        let_go_on(core, (c, key), delivery, now);
    }
    true
}

/// Who publishes a message and is to be told of it, while that connection lasts.
fn publisher(core: &Core, fan_out: &FanOut) -> Option<(ConnId, SessionKey, Delivery)> {
    let ((c, delivery), key) = fan_out.publisher.zip(fan_out.from)?;
    (core.session_of(c) == Some(key)).then_some((c, key, delivery))
}

/// A message has reached all of its receivers that have room: its publisher is told.
fn finish(core: &mut Core, fan_out: FanOut, spread: Spread, now: Time) {
    let (message, remaining) = (fan_out.message.clone(), spread.remaining);
    if fan_out.publisher.is_none() {
        return drop_unrefused(core, &remaining, &message, now);
    }
    let Some((c, key, delivery)) = publisher(core, &fan_out) else {
        return finish_alone(core, &fan_out, &remaining, now);
    };
    if remaining.is_empty() {
        let waiting = waiting(core, (c, key), delivery).filter(|_| spread.waits);
        let ticket = waiting.and_then(|c| core.after_commit(c, now));
        accept(core, (c, key), delivery, (spread.matched, ticket), now);
    } else {
        no_room(core, c, (message, delivery), remaining, now);
    }
    let_go_on(core, (c, key), delivery, now);
}

/// The connection of a publisher has ended, and it has no answer: at QoS 2 its session knows the message when
/// it comes again, if nothing of it is left to do.
fn finish_alone(core: &mut Core, fan_out: &FanOut, remaining: &Remaining, now: Time) {
    if !remaining.is_empty() {
        return give_up(core, &fan_out.message, remaining);
    }
    if let (Some((c, Delivery::ExactlyOnce(id, _))), Some(key)) = (fan_out.publisher, fan_out.from)
    {
        receive(core, (c, key), id, now);
        if core.sessions.get(key).is_some_and(|s| s.is_durable()) {
            core.sessions.unsave_ids(key);
            core.ledger.promise(now);
        }
    }
}

/// A publisher is read again.
fn let_go_on(core: &mut Core, (c, key): (ConnId, SessionKey), delivery: Delivery, now: Time) {
    if let Some(conn) = core.connections.get_mut(c) {
        conn.set_spreads(false);
    }
    release(core, (c, key), delivery, now);
    core.connections.resume(c);
}
