//! Messages that a full queue refuses to their publishers, because `queue_overflow` says so.

use super::drops::{note_overflow, watch_drops};
use super::report;
use crate::broker::core::Core;
use crate::broker::memory::Tightness;
use crate::broker::routing::Remaining;
use crate::keys::ConnId;
use crate::lane::Lane;
use crate::time::Time;

/// Counts a message of the publisher `c` that full queues refuse, and tells: at once, and then ever
/// more rarely. That the disk is full is told by itself.
pub(crate) fn note_refused(core: &mut Core, c: ConnId, remaining: &Remaining, now: Time) {
    if core.ledger.is_closed() {
        return;
    }
    let is_memory_short = core.memory.state() != Tightness::None;
    for receiver in &remaining.receivers {
        let (key, lane) = (receiver.session, receiver.owed.lane);
        let publisher = core.session_of(c).and_then(|key| core.sessions.get(key));
        let publisher = publisher.map_or(String::new(), |session| session.name_of(Lane::Client));
        let Some(session) = core.sessions.known_mut(key) else {
            continue;
        };
        note_overflow(session);
        let why = if is_memory_short {
            "there is no memory for it"
        } else {
            "it is full"
        };
        let drops = session.drops_or_new();
        if drops.refuse(&publisher, now) {
            log::warn!(
                "{}: the queue refuses, because {why} ({} wait) and queue_overflow is refuse: a message of \
                 {publisher} is not acknowledged. Who has room gets it all the same.",
                session.name_of(lane),
                report::messages(session.outbound.len()),
            );
        }
        watch_drops(core, key, now);
    }
}
