//! Replies that wait for the store.

use super::pump::pump;
use crate::broker::connections::Reply;
use crate::broker::core::Core;
use crate::keys::ConnId;
use crate::store::Promise;
use crate::time::Time;

/// A peer to which so many replies wait for a commit is not read before the next: it may send without
/// waiting for any, and `flash_budget` may have the commit come late.
const MANY: usize = 4096;

/// Sends a reply, once everything said to the store up to now is on disk unless that is so. PUBREL waits
/// for no more than the row of its session, which says that the message was released: the messages
/// that have come meanwhile may go without ever being written.
pub(crate) fn reply_once(core: &mut Core, c: ConnId, reply: Reply, is_saved: bool, now: Time) {
    let is_release = matches!(reply, Reply::PubRel(_));
    let ticket = core.connections.reply(c, reply, is_saved);
    if let Some(ticket) = ticket.filter(|_| !is_saved) {
        if is_release {
            core.ledger.after_state(ticket, now);
        } else {
            core.ledger.after_commit(ticket, now);
        }
        // Without a promise to wait for they leave with this turn.
        let waits = core.settings.promise().0 == Promise::Committed;
        if waits && core.connections.waiting_replies(c) >= MANY {
            core.connections.pause(c);
        }
    }
}

/// Sends the replies whose promise has come true, and what waited for them.
pub(crate) fn send_opened(core: &mut Core, now: Time) {
    while let Some(ticket) = core.ledger.next_opened() {
        let released = core.connections.open_reply(ticket);
        if let (true, Some(key)) = (released, core.session_of(ticket.conn())) {
            pump(core, key, now);
        }
    }
}
