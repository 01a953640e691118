//! Handing a message to the receivers that can take it.

use std::rc::Rc;

use super::choose::is_free;
use crate::broker::connections::{Stage, Ticket};
use crate::broker::core::Core;
use crate::broker::plan::{Admission, Plan};
use crate::broker::queues::age::{note_expiry, note_queued};
use crate::broker::queues::bounds::{admission_now, admit, copies};
use crate::broker::queues::drops::{drop_entry, drop_message, drop_offline, note_lost};
use crate::broker::routing::{Place, Receiver};
use crate::broker::sending::account::note_sent;
use crate::broker::sending::pump::{is_tried, pump};
use crate::broker::sending::transmit::{Transmitted, transmit};
use crate::broker::sessions::{DropReason, Session};
use crate::impossible;
use crate::keys::{ConnId, SessionKey};
use crate::lane::Lane;
use crate::message::{Message, MessageId, SessionId};
use crate::mqtt::QoS;
use crate::session::Entry;
use crate::time::Time;

/// What became of a message on its way to its receivers.
pub(super) struct Delivered {
    /// The place of the acknowledgement, if that must wait.
    pub(super) ticket: Option<Ticket>,
    /// Those that have no room for it.
    pub(super) remaining: Vec<Receiver>,
    /// Those that did not get it, of sessions with walks that go on.
    pub(super) missed: Vec<SessionKey>,
}

/// Sends or queues a message for all receivers, as planned. `waiting`: whose acknowledgement has to
/// wait for those that are owed it durably.
pub(super) fn deliver(
    core: &mut Core,
    (message, topic): (&Rc<Message>, &str),
    receivers: &mut Vec<Receiver>,
    waiting: Option<ConnId>,
    now: Time,
) -> Delivered {
    let (mut stored, mut remaining) = (std::mem::take(&mut core.scratch.stored), Vec::new());
    let mut missed = Vec::new();
    for mut receiver in receivers.drain(..) {
        let (key, lane, plan) = (receiver.session, receiver.owed.lane, receiver.plan);
        let gets_it = match plan {
            Plan::Unstored => send_now(core, (message, topic), receiver, now),
            Plan::Stored(admission) => {
                let is_admitted = admit(core, key, lane, message, admission, now);
                if is_admitted {
                    stored.push(receiver);
                }
                is_admitted
            }
            Plan::Copy => {
                push_in_ram(core, message, receiver.clone(), now);
                receiver.has_copy = true;
                remaining.push(receiver);
                true
            }
            Plan::NoRoom => {
                remaining.push(receiver);
                false
            }
        };
        // What has no room yet comes when there is some.
        let comes_later = plan == Plan::NoRoom;
        if !gets_it && !comes_later && core.router.walks.has(key) {
            missed.push(key);
        }
    }
    let mut ticket = None;
    if !stored.is_empty() {
        ticket = waiting.and_then(|c| core.connections.reserve(c));
        owe(core, message, &mut stored, ticket, now);
    }
    core.scratch.stored = stored;
    Delivered {
        ticket,
        remaining,
        missed,
    }
}

/// Owes a message to those whose queues the store has, and queues it for them.
fn owe(
    core: &mut Core,
    message: &Rc<Message>,
    receivers: &mut Vec<Receiver>,
    ticket: Option<Ticket>,
    now: Time,
) {
    // What came by a share may change hands, so it has a row of its own.
    let (mut together, mut alone) = (Vec::with_capacity(receivers.len()), Vec::new());
    for receiver in receivers.iter_mut() {
        take_place(core, receiver);
        let owed = receiver.owed.clone();
        if owed.lane.is_share() {
            alone.push(owed);
        } else {
            together.push(owed);
        }
    }
    let rows = u64::from(!together.is_empty());
    let first = core.ledger.put_each(message, together, alone, ticket, now);
    let mut apart = (first.0 + rows..).map(MessageId);
    for receiver in receivers.drain(..) {
        let id = if receiver.owed.lane.is_share() {
            apart.next()
        } else {
            Some(first)
        };
        let entry = Entry::new(Rc::clone(message), id, receiver.owed);
        queue_stored(core, receiver.session, entry, now);
    }
}

/// Takes the next place in the receiver's sequence.
pub(crate) fn take_place(core: &mut Core, receiver: &mut Receiver) {
    if receiver.owed.qos != QoS::AtMostOnce
        && let Some(session) = core.sessions.get_mut(receiver.session)
    {
        receiver.owed.seq = session.outbound.next_seq();
    }
}

/// Queues a message that the store has, and sends it if it may be.
pub(crate) fn queue_stored(core: &mut Core, key: SessionKey, entry: Entry, now: Time) {
    let Some(session) = core.sessions.get_mut(key) else {
        return impossible!("a message is stored for a session that is gone");
    };
    let (lane, size) = (entry.owed.lane, entry.message.size());
    let expires = entry.message.expiry.is_some();
    let by_topic = session.is_by_topic() && session.is_durable();
    let (is_bridge, is_away) = (session.is_bridge(), session.conn.is_none());
    let may_go = session.outbound.push(entry, by_topic);
    let group = session.group(lane).filter(|_| is_away);
    if is_bridge {
        note_queued(core, key, lane, size, now);
    }
    if may_go {
        pump(core, key, now);
    }
    if expires {
        note_expiry(core, key);
    }
    if let (Lane::Share(share), Some(group)) = (lane, group) {
        // No other member could take it so far.
        let place = Place {
            session: key,
            share,
        };
        core.router.leftovers.add(group, place);
    }
}

/// Sends a message that is not to be stored to a receiver that is connected and can take it at once;
/// else it goes by a queue in RAM, or at QoS 0 not at all. False if it is not sent and not queued.
fn send_now(
    core: &mut Core,
    (message, topic): (&Rc<Message>, &str),
    mut receiver: Receiver,
    now: Time,
) -> bool {
    let Core {
        sessions,
        connections,
        settings,
        counters,
        scratch,
        loops,
        memory,
        ..
    } = &mut *core;
    let (key, lane) = (receiver.session, receiver.owed.lane);
    let Some(session) = sessions.known_mut(key) else {
        return false;
    };
    let Some(mut writer) = session.conn.and_then(|c| connections.writer(c)) else {
        drop_offline(core, key, lane, (message, receiver.owed.qos), now);
        return false;
    };
    let conn = writer.connection();
    let is_acked = receiver.owed.qos != QoS::AtMostOnce;
    let bound = memory.unqueued_bound(settings.memory_limit(), conn.is_blocked());
    let is_short = bound.is_some_and(|bound| conn.waiting() >= bound);
    let is_tried = is_tried(loops, conn.link(), message);
    let must_wait = if is_acked {
        // The queue of a bridge has lanes, which may have to wait each by itself. A message that
        // has waited for room may have expired: the queue drops it.
        session.is_bridge() || message.expired(now) || is_short || !is_free(session, conn)
    } else {
        conn.has_barrier() || session.outbound.holds_qos0()
    };
    if must_wait || is_tried {
        return queue_in_ram(core, message, receiver, now);
    }
    // While a bridge finds out what its upstream closes on, nothing that may be lost is to stand before
    // what may be the reason.
    let is_slow = conn.is_behind() || is_short;
    if conn.stage() != Stage::Connected || is_slow || (!is_acked && conn.is_shut()) {
        let lost = (1, message.size().into());
        if message.retain {
            note_lost(core, key, (message.arrival, message.arrival));
        }
        drop_message(core, key, lane, DropReason::Slow, lost, now);
        return false;
    }
    if is_acked {
        receiver.owed.seq = session.outbound.next_seq();
        receiver.owed.qos = receiver.owed.qos.min(conn.max_qos());
    }
    // What waits in the queue comes later, and may be an older value of the same topic.
    let overtakes = message.retain && session.is_bridge() && !session.outbound.is_drained();
    let entry = Entry::new(Rc::clone(message), None, receiver.owed);
    let with = (&*settings, counters, scratch, loops);
    let transmitted = transmit(&mut writer, session, (&entry, Some(topic)), with, now);
    if transmitted == Transmitted::Sent && !is_acked {
        note_sent(session, message.payload().len(), now);
    }
    match transmitted {
        Transmitted::Sent if is_acked => session.outbound.sent_at_once(entry, now),
        Transmitted::Sent if overtakes => {
            note_lost(core, key, (message.arrival, message.arrival));
        }
        Transmitted::TooLarge => drop_entry(core, key, &entry, DropReason::TooLarge, now),
        Transmitted::Forbidden => drop_entry(core, key, &entry, DropReason::Refused, now),
        _ => {}
    }
    transmitted == Transmitted::Sent
}

/// Queues a message that is owed only as long as the receiver's connection lasts: it lies in RAM.
/// What is stored for a durable session makes no room for it. False if it is not queued.
fn queue_in_ram(core: &mut Core, message: &Rc<Message>, receiver: Receiver, now: Time) -> bool {
    let (key, lane) = (receiver.session, receiver.owed.lane);
    let session = core.sessions.get(key).filter(|s| s.conn.is_some());
    let Some(is_durable) = session.map(Session::is_durable) else {
        drop_offline(core, key, lane, (message, receiver.owed.qos), now);
        return false;
    };
    let mut admission = admission_now(core, key, lane, copies(1, message.size()), now);
    if is_durable && admission != Admission::Fits {
        admission = Admission::Dropped(DropReason::Slow);
    }
    let is_admitted = admit(core, key, lane, message, admission, now);
    if is_admitted {
        push_in_ram(core, message, receiver, now);
    }
    is_admitted
}

fn push_in_ram(core: &mut Core, message: &Rc<Message>, mut receiver: Receiver, now: Time) {
    take_place(core, &mut receiver);
    let entry = Entry::new(Rc::clone(message), None, receiver.owed);
    let session = core.sessions.get_mut(receiver.session);
    if session.is_some_and(|session| session.outbound.push(entry, false)) {
        pump(core, receiver.session, now);
    }
    if message.expiry.is_some() {
        note_expiry(core, receiver.session);
    }
}

/// Gives a message that a member of a group has left to another. `from`: its number, and the
/// session that it is owed to: it changes hands in the store too, until the other has it, even if
/// that one's session ends with its connection. False if there was no room.
pub(crate) fn deliver_left(
    core: &mut Core,
    message: &Rc<Message>,
    mut receiver: Receiver,
    from: Option<(MessageId, SessionId)>,
    now: Time,
) -> bool {
    let (key, lane) = (receiver.session, receiver.owed.lane);
    if core.sessions.known(key).is_none() {
        return false;
    }
    let stored = receiver.stored;
    if receiver.owed.qos == QoS::AtMostOnce && !stored {
        send_now(core, (message, message.topic()), receiver, now);
        if let Some((id, owner)) = from {
            core.ledger.ack(id, owner, now);
        }
        return true;
    }
    let admission = admission_now(core, key, lane, copies(1, message.size()), now);
    if !admit(core, key, lane, message, admission, now) {
        return false;
    }
    if from.is_none() && !stored {
        push_in_ram(core, message, receiver, now);
        return true;
    }
    take_place(core, &mut receiver);
    let owed = receiver.owed.clone();
    let id = match from {
        Some(from) => core.ledger.hand_over(from, message, owed, now),
        None => core.ledger.put(message, owed, now),
    };
    if !stored {
        // With a row of its own the message finds its way on after a crash.
        core.sessions.unsave_identity(key);
    }
    let entry = Entry::new(Rc::clone(message), Some(id), receiver.owed);
    queue_stored(core, key, entry, now);
    true
}
