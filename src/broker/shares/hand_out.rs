//! Handing what members have left to others that can be sent it.

use std::rc::Rc;

use super::give::{Given, give};
use super::membership::shares;
use crate::broker::core::Core;
use crate::broker::delivering::choose::{has_free_member, is_free};
use crate::broker::ledger::Reader;
use crate::broker::queues::drops::drop_message;
use crate::broker::routing::{Place, Reading};
use crate::broker::sending::pump::taken_over;
use crate::broker::sessions::DropReason;
use crate::impossible;
use crate::keys::{GroupKey, SessionKey};
use crate::message::{Message, MessageId, SessionId};
use crate::mqtt::QoS;
use crate::owed::Owed;
use crate::route::Among;
use crate::store::{self, IdRanges, Rows};
use crate::time::Time;

/// How many messages are read at a time.
const PIECE: usize = 64;

/// How many units of work the end of an event does at once, about.
const AT_ONCE: usize = 100;

/// True if there is something to hand out. While the disk takes nothing, all that waits to be looked at
/// keeps waiting.
pub(crate) fn is_due(core: &Core) -> bool {
    core.router.leftovers.has_due() && !core.ledger.is_closed()
}

/// Hands out some of what can be handed out; the end of every event. The end of the turn goes on.
pub(crate) fn hand_out_due(core: &mut Core, now: Time) {
    if is_due(core) {
        hand_out_some(core, AT_ONCE, now);
    }
}

/// Hands out what can be handed out, for about `most` units of work.
pub(crate) fn hand_out_some(core: &mut Core, most: usize, now: Time) {
    let end = core.work.done() + most as u64;
    while core.work.done() < end && is_due(core) {
        core.work.add(1);
        if let Some(group) = core.router.leftovers.take_due() {
            hand_out(core, group, end, now);
        } else if let Some(key) = core.router.leftovers.take_idle() {
            look_at_groups_of(core, key);
        }
    }
}

/// A session that had sent all it had may take over what others of its groups have left, if it still
/// has nothing to send.
fn look_at_groups_of(core: &mut Core, key: SessionKey) {
    let session = core.sessions.get(key);
    let conn = session.and_then(|s| core.connections.get(s.conn?));
    if session.zip(conn).is_some_and(|(s, conn)| is_free(s, conn)) {
        let shares = shares(core, key);
        core.work.add(shares.len() / 16);
        for share in shares {
            core.router.leftovers.look_at(share.group);
        }
    }
}

/// Hands out what is left in one group, until `end` units of work are done.
fn hand_out(core: &mut Core, group: GroupKey, end: u64, now: Time) {
    while let Some((place, passed)) = core.router.leftovers.next(group)
        && has_free_member(core, group)
    {
        if core.work.done() >= end {
            return core.router.leftovers.look_at(group);
        }
        core.work.add(1);
        let Some(session) = core.sessions.get(place.session) else {
            core.router.leftovers.remove(group, place);
            continue;
        };
        let owner = session.id;
        let mut waiting = session.outbound.waiting(place.lane(), passed).peekable();
        let on_disk_below = core.ledger.store().on_disk_below();
        let Some(first) = waiting.peek().copied() else {
            drop(waiting);
            core.router.leftovers.set_unwanted(group, place);
            core.sessions.mark_spent(place.session);
            continue;
        };
        if first < on_disk_below {
            let piece = waiting.take(PIECE).take_while(|id| *id < on_disk_below);
            let ids = piece.collect();
            return read(core, Reading { group, place, ids });
        }
        drop(waiting);
        let pending = core.ledger.store().in_memory(first, owner);
        match pending.map(|(message, owed)| (Rc::clone(message), owed.qos)) {
            Some((message, qos)) => {
                if !hand_on(core, (group, place), first, (&message, qos), now) {
                    return;
                }
            }
            None => lose(core, place, first, now),
        }
    }
}

fn read(core: &mut Core, reading: Reading) {
    let mut ids = IdRanges::default();
    for id in &reading.ids {
        ids.push_back(id.0);
    }
    let number = core.router.leftovers.read(reading);
    core.ledger.read(Reader::Leftover(number), &ids);
}

/// Rows of what a member has left have come.
pub(crate) fn on_leftover_rows(core: &mut Core, number: u32, rows: &Rows, now: Time) {
    let Some(Reading { group, place, ids }) = core.router.leftovers.read_done(number) else {
        return impossible!("rows of leftovers have come that nobody asked for");
    };
    let mut found = rows.iter().peekable();
    for id in ids.into_iter().take_while(|id| *id < rows.through) {
        let owner = core.sessions.get(place.session).map(|session| session.id);
        let Some(owner) = owner.filter(|_| core.router.leftovers.has(group, place)) else {
            break;
        };
        core.work.add(1);
        while found.next_if(|(row, _)| *row < id).is_some() {}
        let row = found.next_if(|(row, _)| *row == id);
        match row.and_then(|(id, row)| decode(id, row, owner)) {
            Some((message, qos)) => {
                let message = Rc::new(message);
                if !hand_on(core, (group, place), id, (&message, qos), now) {
                    return;
                }
            }
            None => lose(core, place, id, now),
        }
    }
    core.router.leftovers.look_at(group);
}

/// The message in a row and the QoS that `owner` was to get it at; `None` for a damaged row.
fn decode(id: MessageId, row: &[u8], owner: SessionId) -> Option<(Message, QoS)> {
    let (message, owed) = store::decode_message(id, row).ok()?;
    let is_owners = |owed: &Owed| owed.session == owner;
    let qos = owed.into_iter().find(is_owners)?.qos;
    Some((message, qos))
}

/// Gives one message to somebody else, if that may be and somebody takes it. False if those who may
/// have no room: [`hand_out_due`] comes back when they do.
fn hand_on(
    core: &mut Core,
    (group, place): (GroupKey, Place),
    id: MessageId,
    (message, qos): (&Rc<Message>, QoS),
    now: Time,
) -> bool {
    let (key, lane) = (place.session, place.lane());
    let is_restored = core.router.is_restored(id);
    let Some(session) = core.sessions.known(key) else {
        return true;
    };
    if !session.outbound.is_waiting(lane, id) {
        return true;
    }
    let was_sent = session.outbound.was_sent(id);
    let (is_exact, is_ended) = (qos == QoS::ExactlyOnce, session.is_ended());
    let owner = session.id;
    if !was_sent && message.expired(now) {
        // Nobody is sent it any more [MQTT-3.3.2-5].
        let lost = (1, message.size().into());
        drop_message(core, key, lane, DropReason::Expired, lost, now);
        core.ledger.ack(id, owner, now);
    } else if is_exact && was_sent && is_ended {
        // Its session is over: nobody gets it [MQTT-4.8.2-5].
        let lost = (1, message.size().into());
        drop_message(core, key, lane, DropReason::SessionEnded, lost, now);
        core.ledger.ack(id, owner, now);
    } else {
        // Whether one from before the start was sent is not known.
        let stays = is_exact && (was_sent || (is_restored && !is_ended));
        // Not to somebody who is away as well.
        let connected = (group, Among::Connected);
        let given = if stays {
            Given::ToNobody
        } else {
            give(core, connected, message, Some((id, owner)), now)
        };
        match given {
            Given::Taken => {}
            Given::NotYet => return false,
            Given::ToNobody => {
                core.router.leftovers.pass(group, place, id, stays);
                return true;
            }
        }
    }
    if let Some(session) = core.sessions.get_mut(key) {
        session.outbound.take_waiting(lane, id, message.size());
    }
    true
}

/// A message that the store no longer has: a damaged row.
fn lose(core: &mut Core, place: Place, id: MessageId, now: Time) {
    let (key, lane) = (place.session, place.lane());
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    if let Some(size) = session.outbound.take_lost(lane, id) {
        let lost = (1, size.into());
        drop_message(core, key, lane, DropReason::Damaged, lost, now);
        taken_over(core, key, Some(id), now);
    }
}
