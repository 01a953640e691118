//! Work that a peer can make as large as it likes, and that therefore goes on in pieces: some each
//! turn, so that no turn is long, and the turns follow each other until nothing is left.
//!
//! Each kind keeps its own cursor, which stays right whatever happens between two pieces: walks through
//! what is retained (`routing::Walks`) the key of a topic, the expiry of retained messages their
//! order of expiry. Messages that expire in queues have theirs, too, but a pause between pieces
//! (`queues::age`).

use super::retain::expire_retained;
use super::walk;
use crate::broker::core::Core;
use crate::time::Time;

/// How many units of work of each kind a turn does, about.
pub(crate) const PIECE: usize = 1_000;

/// True if there is work that can go on at once.
pub(crate) fn are_left(core: &Core) -> bool {
    core.router.walks.has_due() || core.watches.is_expiring
}

/// Does some of the work that goes on in pieces.
pub(crate) fn go_on(core: &mut Core, now: Time) {
    let has_expired = |core: &Core| core.router.next_expiry().is_some_and(|at| at <= now);
    if has_expired(core) {
        expire_retained(core, PIECE, now);
    }
    core.watches.is_expiring = has_expired(core);
    walk::go_on(core, PIECE, now);
}
