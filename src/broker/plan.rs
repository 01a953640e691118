//! What is to become of a message on its way to one receiver.

use super::sessions::DropReason;
use crate::store::Amount;

/// Whether a queue takes a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It fits.
    Fits,
    /// It fits once others were dropped, so that there is room for this much.
    MakesRoom(Amount),
    /// Its publisher is to be told that it does not fit.
    Refused,
    /// It is dropped itself, for this reason.
    Dropped(DropReason),
}

/// How a message reaches a receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plan {
    /// At once, or by a queue that lives as long as the receiver's connection.
    Unstored,
    /// By a queue that the store has, as far as that admits it.
    Stored(Admission),
    /// Not now: the queue that must hold it has no room, or the disk has none.
    NoRoom,
    /// As [`Plan::NoRoom`]; but the receiver is connected, and gets a copy that nobody promises.
    Copy,
}

impl Plan {
    /// True if the promise of an acknowledgement cannot be given.
    pub(crate) fn lacks_room(&self) -> bool {
        matches!(self, Plan::NoRoom | Plan::Copy)
    }
}
