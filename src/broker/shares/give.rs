//! Giving one message to some member of a group.

use std::rc::Rc;

use crate::broker::core::Core;
use crate::broker::delivering::choose::choose;
use crate::broker::delivering::deliver::deliver_left;
use crate::keys::GroupKey;
use crate::message::{Message, MessageId, SessionId};
use crate::route::{Among, Fitness};
use crate::time::Time;

/// What became of a message that was to be given to a member of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Given {
    /// A member has it.
    Taken,
    /// Those that may have it have no room at the moment.
    NotYet,
    /// No member may have it.
    ToNobody,
}

/// Gives a message to a member of a group. `from`: its number, and the session that it is owed to.
pub(super) fn give(
    core: &mut Core,
    (group, among): (GroupKey, Among),
    message: &Rc<Message>,
    from: Option<(MessageId, SessionId)>,
    now: Time,
) -> Given {
    match choose(core, group, among, message) {
        None => Given::ToNobody,
        Some((_, Fitness::Full)) => Given::NotYet,
        Some((receiver, _)) => {
            if deliver_left(core, message, receiver, from, now) {
                Given::Taken
            } else {
                Given::NotYet
            }
        }
    }
}
