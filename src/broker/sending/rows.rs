//! Messages that come back from disk for a session's queue.

use std::rc::Rc;

use super::pump::{pump, taken_over};
use crate::broker::core::Core;
use crate::broker::ledger::Ledger;
use crate::broker::queues::drops::{drop_message, note_lost};
use crate::broker::sessions::DropReason;
use crate::keys::SessionKey;
use crate::message::{Message, MessageId, SessionId};
use crate::owed::Owed;
use crate::session::Entry;
use crate::store::{self, Queued, Rows};
use crate::time::Time;

/// Rows that a session's queue asked for have come; `question` is the number it gave.
pub(crate) fn on_queue_rows(
    core: &mut Core,
    key: SessionKey,
    question: u16,
    rows: &Rows,
    now: Time,
) {
    let session = core.sessions.get(key);
    if !session.is_some_and(|s| s.outbound.expects(question)) {
        return;
    }
    for (id, row) in rows.iter() {
        on_row(core, key, id, row, now);
    }
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let lost = session.outbound.read_done(rows.through);
    lose(core, key, lost, now);
    pump(core, key, now);
}

fn on_row(core: &mut Core, key: SessionKey, id: MessageId, row: &[u8], now: Time) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let own = session.id;
    let Some((message, owed)) = message_of(&mut core.ledger, own, id, row) else {
        return;
    };
    let entry = Entry::new(message, Some(id), owed);
    let lost = session.outbound.read(entry);
    lose(core, key, lost, now);
}

/// The message of a row and what `session` is owed of it; the one that others have, if any has it.
fn message_of(
    ledger: &mut Ledger,
    session: SessionId,
    id: MessageId,
    row: &[u8],
) -> Option<(Rc<Message>, Owed)> {
    if let Some(known) = ledger.take_known(id, session) {
        return Some(known);
    }
    // A damaged row counts as one that did not come.
    let (message, mut owed) = store::decode_message(id, row).ok()?;
    let own = owed.iter().position(|owed| owed.session == session)?;
    let own = owed.swap_remove(own);
    let message = Rc::new(message);
    ledger.note_read(id, &message, owed);
    Some((message, own))
}

/// Messages that the store no longer has: damaged rows.
fn lose(core: &mut Core, key: SessionKey, lost: Vec<Queued>, now: Time) {
    for queued in lost {
        let amount = (1, queued.size.into());
        drop_message(core, key, queued.lane, DropReason::Damaged, amount, now);
        note_lost(core, key, (queued.arrival, now));
        taken_over(core, key, Some(queued.id), now);
    }
}
