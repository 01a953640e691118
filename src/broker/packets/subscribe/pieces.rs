//! SUBSCRIBE and UNSUBSCRIBE packets of many filters. These are taken in pieces, in their order, and the
//! answer follows the last. Until then nothing more is read from the client: it sees what it would have
//! seen, only later.
//!
//! A filter holds from the piece on with which it was taken. Each piece asks anew for rights, and for what
//! the bounds and `memory_limit` leave: a reload in between holds for the rest. If the connection ends
//! in between, the session keeps what it is subscribed to by then, and is asked for the rest no more; its
//! client has no answer, and asks again [MQTT-4.4.0-1]. A commit in between may have some of it: the answer
//! waits for one that has all.

use super::{is_saved, slow_down, suback, take_in, take_out, tell_of_bound, unsuback, work};
use crate::broker::connections::{Asked, Connection, Purpose};
use crate::broker::core::Core;
use crate::broker::delivering::walk::send_some;
use crate::broker::sending::pump::pump;
use crate::impossible;
use crate::keys::{ConnId, SessionKey};
use crate::time::Time;

/// True if so many `filters` are to be taken in pieces. Above three quarters of `memory_limit` new ones are
/// refused, which costs little, so they are not kept until then, unless something else is to be done
/// (`are_known`). Where there is no memory at all they are taken at once.
pub(crate) fn are_many<'f>(
    core: &Core,
    filters: impl ExactSizeIterator<Item = &'f str> + Clone,
    are_known: impl FnOnce() -> bool,
) -> bool {
    let most = core.portions.filters;
    let are_many = filters.len() > most || filters.clone().map(work).sum::<usize>() > most;
    let Some(limit) = core.settings.memory_limit().filter(|_| are_many) else {
        return are_many;
    };
    let with_them = core.memory.bytes() + Asked::size(filters) as u64;
    with_them <= limit / 4 * 3 || with_them <= limit / 10 * 9 && are_known()
}

/// A packet of many filters: its answer has its place from now on.
pub(crate) fn begin(core: &mut Core, c: ConnId, mut asked: Asked) {
    if core.connections.get(c).is_some_and(Connection::is_asking) {
        return impossible!("a packet was read before the filters of the last were taken");
    }
    asked.complete();
    asked.ticket = core.connections.reserve(c);
    if matches!(asked.purpose, Purpose::Subscribe(_)) {
        // Messages wait for SUBACK.
        core.connections.hold_messages(c);
    }
    core.connections.ask(c, asked);
}

/// Takes filters that are still to be taken, for about `most` units of work, some of each packet in turn.
pub(crate) fn go_on(core: &mut Core, most: usize, now: Time) {
    /// How much of one packet is done before the others go on.
    const PIECE: usize = 50;
    let end = core.work.done() + most as u64;
    while core.work.done() < end && core.connections.has_asked() {
        core.work.add(1);
        let Some((c, mut asked)) = core.connections.take_asked() else {
            continue;
        };
        let Some(key) = core.session_of(c) else {
            continue;
        };
        take_some(core, (c, key), &mut asked, PIECE.min(most));
        if asked.is_done() {
            answer(core, (c, key), asked, now);
        } else {
            core.connections.ask(c, asked);
        }
    }
}

/// Takes the next filters of a packet.
fn take_some(core: &mut Core, (c, key): (ConnId, SessionKey), asked: &mut Asked, most: usize) {
    let filters = asked.next(most, work);
    let reasons = match asked.purpose {
        Purpose::Subscribe(sub_id) => {
            take_in(core, (c, key), (&filters, asked.reasons.len()), sub_id)
        }
        Purpose::Unsubscribe => take_out(core, key, filters.iter().map(|wanted| wanted.filter)),
    };
    asked.reasons.extend(reasons);
}

/// All filters of a packet were taken: it is answered, and the client is read again.
fn answer(core: &mut Core, (c, key): (ConnId, SessionKey), asked: Asked, now: Time) {
    let version = core.connections.get(c).map(Connection::version);
    let (Some(ticket), Some(version)) = (asked.ticket, version) else {
        return;
    };
    let is_subscribe = matches!(asked.purpose, Purpose::Subscribe(_));
    let reply = if is_subscribe {
        tell_of_bound(core, key, &asked.reasons, now);
        suback(asked.id, asked.reasons, version)
    } else {
        unsuback(asked.id, asked.reasons, version)
    };
    core.connections.fill(ticket, reply);
    if is_subscribe {
        core.connections.release_messages(c);
    }
    if !is_saved(core, key) {
        core.ledger.after_commit(ticket, now);
    } else if core.connections.open_reply(ticket) {
        pump(core, key, now);
    }
    slow_down(core, c, key);
    core.connections.resume(c);
    // The walks for what is retained have waited for this.
    send_some(core, key, now);
}
