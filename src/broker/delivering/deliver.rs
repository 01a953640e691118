//! Handing a message to the receivers that can take it.

use std::rc::Rc;

use crate::broker::connections::{Stage, Ticket};
use crate::broker::core::Core;
use crate::broker::plan::Plan;
use crate::broker::queues::age::note_queued;
use crate::broker::queues::bounds::{admission, admit, copies, make_room_in_ram};
use crate::broker::queues::drops::{drop_entry, drop_message, note_lost};
use crate::broker::routing::{Place, Receiver};
use crate::broker::sending::pump::pump;
use crate::broker::sending::transmit::{Transmitted, transmit};
use crate::broker::sessions::DropReason;
use crate::impossible;
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::message::{Message, MessageId, SessionId};
use crate::mqtt::QoS;
use crate::owed::Owed;
use crate::session::Entry;
use crate::time::Time;

/// Sends or queues a message for all receivers, as planned. True if `ticket` was taken.
pub(super) fn deliver(
    core: &mut Core,
    message: &Rc<Message>,
    receivers: &mut Vec<Receiver>,
    plans: &[Plan],
    ticket: Option<Ticket>,
    now: Time,
) -> bool {
    // What came by a share may change hands, so it has a row of its own.
    let (mut together, mut alone): (Vec<Owed>, Vec<Owed>) = (Vec::new(), Vec::new());
    let mut queued = Vec::new();
    for (mut receiver, plan) in receivers.drain(..).zip(plans) {
        let Plan::Stored(admission) = *plan else {
            if *plan == Plan::AtOnce {
                send_at_once(core, message, receiver, now);
            } else {
                queue_in_ram(core, message, receiver, now);
            }
            continue;
        };
        let (key, lane) = (receiver.session, receiver.owed.lane);
        if admit(core, key, lane, message, admission, now) {
            take_place(core, &mut receiver);
            let owed = receiver.owed.clone();
            if lane.is_share() {
                &mut alone
            } else {
                &mut together
            }
            .push(owed);
            queued.push(receiver);
        }
    }
    if queued.is_empty() {
        return false;
    }
    let rows = u64::from(!together.is_empty());
    let first = core.ledger.put_each(message, together, alone, ticket, now);
    let mut apart = (first.0 + rows..).map(MessageId);
    for receiver in queued {
        let id = if receiver.owed.lane.is_share() {
            apart.next()
        } else {
            Some(first)
        };
        let entry = Entry::new(Rc::clone(message), id, receiver.owed);
        queue_stored(core, receiver.session, entry, now);
    }
    ticket.is_some()
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
    let by_topic = session.by_topic && session.is_durable();
    let (is_bridge, is_away) = (session.is_bridge(), session.conn.is_none());
    session.outbound.push(entry, by_topic);
    let group = session.group(lane).filter(|_| is_away);
    if is_bridge {
        note_queued(core, key, lane, size, now);
    }
    pump(core, key, now);
    if let (Lane::Share(share), Some(group)) = (lane, group) {
        // No other member could take it so far.
        let place = Place {
            session: key,
            share,
        };
        core.router.leftovers.add(group, place);
    }
}

/// Sends a QoS 0 message to a receiver that is connected and keeps up.
fn send_at_once(core: &mut Core, message: &Rc<Message>, receiver: Receiver, now: Time) {
    let Core {
        sessions,
        connections,
        settings,
        counters,
        scratch,
        ..
    } = &mut *core;
    let (key, lane) = (receiver.session, receiver.owed.lane);
    let Some(session) = sessions.known(key) else {
        return;
    };
    let Some(mut writer) = session.conn.and_then(|c| connections.writer(c)) else {
        return;
    };
    let conn = writer.connection();
    if conn.has_barrier() || session.outbound.holds_qos0() {
        return queue_in_ram(core, message, receiver, now);
    }
    if conn.stage() != Stage::Connected || conn.is_behind() {
        let lost = (1, message.size().into());
        if message.retain {
            note_lost(core, key, (message.arrival, message.arrival));
        }
        return drop_message(core, key, lane, DropReason::Slow, lost, now);
    }
    let entry = Entry::new(Rc::clone(message), None, receiver.owed);
    let with = (&*settings, counters, scratch);
    if transmit(&mut writer, &entry, with, now) == Transmitted::TooLarge {
        drop_entry(core, key, &entry, DropReason::TooLarge, now);
    }
}

/// Queues a message for a session that lives only as long as its connection. Its queue is RAM and
/// bounded.
fn queue_in_ram(core: &mut Core, message: &Rc<Message>, receiver: Receiver, now: Time) {
    let (key, lane) = (receiver.session, receiver.owed.lane);
    let is_connected = core.sessions.get(key).is_some_and(|s| s.conn.is_some());
    if is_connected && make_room_in_ram(core, key, lane, message, now) {
        push_in_ram(core, message, receiver, now);
    }
}

fn push_in_ram(core: &mut Core, message: &Rc<Message>, mut receiver: Receiver, now: Time) {
    take_place(core, &mut receiver);
    let entry = Entry::new(Rc::clone(message), None, receiver.owed);
    if let Some(session) = core.sessions.get_mut(receiver.session) {
        session.outbound.push(entry, false);
    }
    pump(core, receiver.session, now);
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
    let Some(session) = core.sessions.known(key) else {
        return false;
    };
    let stored = receiver.stored;
    if receiver.owed.qos == QoS::AtMostOnce && !stored {
        send_at_once(core, message, receiver, now);
        if let Some((id, owner)) = from {
            core.ledger.ack(id, owner, now);
        }
        return true;
    }
    let has_room = if stored {
        let admission = admission(session, &core.settings, lane, copies(1, message.size()));
        admit(core, key, lane, message, admission, now)
    } else {
        make_room_in_ram(core, key, lane, message, now)
    };
    if !has_room {
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
