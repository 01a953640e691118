//! Sending dead letters again, when the configuration may have been mended: a piece at a time, in the
//! lanes that the present map gives them.

use std::rc::Rc;

use super::deliver::queue_stored;
use crate::broker::core::{Core, Revival};
use crate::broker::ledger::Reader;
use crate::broker::plan::Admission;
use crate::broker::queues::bounds::{admission_now, copies};
use crate::broker::queues::drops::drop_message;
use crate::broker::queues::report::messages;
use crate::broker::routing::Receiver;
use crate::broker::sending::pump::{pump, taken_over};
use crate::broker::sessions::{DropReason, Session};
use crate::impossible;
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::message::{Message, MessageId};
use crate::mqtt::QoS;
use crate::owed::Owed;
use crate::session::Entry;
use crate::store::{self, IdRanges, Rows};
use crate::time::Time;

/// How many messages are read at a time.
const PIECE: usize = 64;

/// Sends the dead letters of all bridges again.
pub(crate) fn revive_all(core: &mut Core, now: Time) {
    for key in core.bridges.keys().collect::<Vec<_>>() {
        let session = core.sessions.get_mut(key);
        if let Some(end) = session.and_then(Session::bridge_mut) {
            end.retained.retry();
        }
        revive(core, key, now);
        pump(core, key, now);
    }
}

/// Sends the dead letters of a bridge again that its map has a line for.
pub(crate) fn revive(core: &mut Core, key: SessionKey, now: Time) {
    let Some(newest) = dead(core, key, MessageId(0)).last().copied() else {
        return;
    };
    match core.watches.revivals.iter_mut().find(|r| r.key == key) {
        Some(known) => (known.again, known.through) = (true, newest),
        None => {
            core.watches.revivals.push(Revival {
                key,
                passed: MessageId(0),
                through: newest,
                ids: Vec::new(),
                again: false,
                sent: 0,
            });
            go_on(core, key, now);
        }
    }
}

/// The dead letters that follow `passed`.
fn dead(core: &Core, key: SessionKey, passed: MessageId) -> Vec<MessageId> {
    let session = core.sessions.get(key);
    let ids = session.map(|s| s.outbound.waiting(Lane::Dead, passed).collect());
    ids.unwrap_or_default()
}

/// Asks for the next piece, or ends.
fn go_on(core: &mut Core, key: SessionKey, now: Time) {
    while let Some(revival) = core.watches.revivals.iter_mut().find(|r| r.key == key) {
        if std::mem::take(&mut revival.again) {
            revival.passed = MessageId(0);
        }
        let (passed, through) = (revival.passed, revival.through);
        let mut ids = dead(core, key, passed);
        ids.retain(|id| *id <= through);
        let Some(first) = ids.first().copied() else {
            return end(core, key);
        };
        let on_disk_below = core.ledger.store().on_disk_below();
        if first < on_disk_below {
            ids.retain(|id| *id < on_disk_below);
            ids.truncate(PIECE);
            return ask(core, key, ids);
        }
        let session = core.sessions.get(key).map(|session| session.id);
        let store = core.ledger.store();
        let pending = session.and_then(|session| store.in_memory(first, session));
        match pending.map(|(message, owed)| (Rc::clone(message), owed.clone())) {
            Some((message, owed)) => send_again(core, key, first, (&message, owed), now),
            None => lose(core, key, first, now),
        }
        pass(core, key, first);
    }
}

fn ask(core: &mut Core, key: SessionKey, ids: Vec<MessageId>) {
    let mut wanted = IdRanges::default();
    for id in &ids {
        wanted.push_back(id.0);
    }
    if let Some(revival) = core.watches.revivals.iter_mut().find(|r| r.key == key) {
        revival.ids = ids;
        core.ledger.read(Reader::Dead(key), &wanted);
    }
}

fn pass(core: &mut Core, key: SessionKey, id: MessageId) {
    if let Some(revival) = core.watches.revivals.iter_mut().find(|r| r.key == key) {
        revival.passed = revival.passed.max(id);
    }
}

/// Rows of dead letters have come.
pub(crate) fn on_dead_rows(core: &mut Core, key: SessionKey, rows: &Rows, now: Time) {
    let revivals = &mut core.watches.revivals;
    let Some(revival) = revivals.iter_mut().find(|r| r.key == key) else {
        return impossible!("dead letters have come that nobody asked for");
    };
    let ids = std::mem::take(&mut revival.ids);
    let Some(session) = core.sessions.get(key).map(|session| session.id) else {
        // It has ended meanwhile.
        return core.watches.revivals.retain(|r| r.key != key);
    };
    let mut found = rows.iter().peekable();
    for id in ids.into_iter().take_while(|id| *id < rows.through) {
        while found.next_if(|(row, _)| *row < id).is_some() {}
        let row = found.next_if(|(row, _)| *row == id);
        let decoded = row.and_then(|(id, row)| store::decode_message(id, row).ok());
        let ours = decoded.and_then(|(message, owed)| {
            let mut owed = owed.into_iter();
            Some((message, owed.find(|owed| owed.session == session)?))
        });
        match ours {
            Some((message, owed)) => send_again(core, key, id, (&Rc::new(message), owed), now),
            None => lose(core, key, id, now),
        }
        pass(core, key, id);
    }
    go_on(core, key, now);
}

/// Moves a dead letter to the lane that the map gives it. It stays where none does, and where the
/// lane has no room.
fn send_again(
    core: &mut Core,
    key: SessionKey,
    id: MessageId,
    (message, owed): (&Rc<Message>, Owed),
    now: Time,
) {
    let Some(session) = core.sessions.get(key) else {
        return;
    };
    let to = Receiver::of_bridge((key, session), message, &core.settings);
    let Some(to) = to.filter(|to| to.owed.lane.line().is_some()) else {
        return;
    };
    // A newer value is retained by now, or none: that one the upstream is to keep.
    let is_current = core.router.retains(message);
    let mut owed = Owed {
        lane: to.owed.lane,
        qos: to.owed.qos,
        retain: owed.retain && is_current,
        ..owed
    };
    let admission = admission_now(core, key, owed.lane, copies(1, message.size()), now);
    let is_closed = core.ledger.is_closed();
    let Some(session) = core.sessions.get_mut(key) else {
        return;
    };
    let is_waiting = session.outbound.is_waiting(Lane::Dead, id);
    if is_closed || admission != Admission::Fits || !is_waiting {
        return;
    }
    if owed.qos != QoS::AtMostOnce {
        owed.seq = session.outbound.next_seq();
    }
    session
        .outbound
        .take_waiting(Lane::Dead, id, message.size());
    let new = core
        .ledger
        .hand_over((id, session.id), message, owed.clone(), now);
    core.ledger.promise(now);
    if let Some(revival) = core.watches.revivals.iter_mut().find(|r| r.key == key) {
        revival.sent += 1;
    }
    let entry = Entry::new(Rc::clone(message), Some(new), owed);
    queue_stored(core, key, entry, now);
}

/// A dead letter that the store no longer has: a damaged row.
fn lose(core: &mut Core, key: SessionKey, id: MessageId, now: Time) {
    let session = core.sessions.get_mut(key);
    let Some(size) = session.and_then(|s| s.outbound.take_lost(Lane::Dead, id)) else {
        return;
    };
    let lost = (1, size.into());
    drop_message(core, key, Lane::Dead, DropReason::Damaged, lost, now);
    taken_over(core, key, Some(id), now);
}

fn end(core: &mut Core, key: SessionKey) {
    let revivals = &mut core.watches.revivals;
    let Some(at) = revivals.iter().position(|r| r.key == key) else {
        return;
    };
    let Revival { sent, .. } = revivals.swap_remove(at);
    let session = core.sessions.get(key);
    let Some((session, end)) = session.and_then(|s: &Session| Some((s, s.bridge()?))) else {
        return;
    };
    let stay = session.outbound.owed_by(Lane::Dead).messages;
    let name = &end.name;
    if sent > 0 {
        log::info!(
            "Bridge {name}: dead letters are sent again: {}.",
            messages(sent)
        );
    }
    if stay > 0 {
        log::warn!(
            "Bridge {name}: dead letters stay, for no topic line takes them, or there is no room: {}.",
            messages(stay)
        );
    }
}
