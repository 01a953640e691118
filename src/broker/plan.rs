//! What is to become of a message on its way to one receiver.

use super::routing::Receiver;
use super::sessions::DropReason;
use crate::keys::SessionKey;
use crate::lane::Lane;
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

/// A lane in which an earlier message of the same publisher waits for room: a later one must not
/// overtake it there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Behind {
    pub(crate) session: SessionKey,
    pub(crate) lane: Lane,
    /// The earlier one was at least copied to the receiver.
    pub(crate) has_copy: bool,
}

impl Behind {
    /// Adds the lanes in which `remaining` waits, each once.
    pub(crate) fn note(behind: &mut Vec<Behind>, remaining: &Remaining) {
        for receiver in &remaining.receivers {
            let (session, lane) = (receiver.session, receiver.owed.lane);
            let known = behind
                .iter_mut()
                .find(|b| b.session == session && b.lane == lane);
            match known {
                Some(known) => known.has_copy &= receiver.has_copy,
                None => behind.push(Behind {
                    session,
                    lane,
                    has_copy: receiver.has_copy,
                }),
            }
        }
    }
}

/// What is still to be done about a message once there is room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remaining {
    /// Those who must hold the message and have no room.
    pub(crate) receivers: Vec<Receiver>,
    /// What is left to do about retaining it.
    pub(crate) retention: Retention,
}

/// What is left to do about retaining a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Retention {
    /// Nothing.
    #[default]
    Done,
    /// It is retained, but the disk takes it not, so its publisher is promised nothing.
    Unpromised,
    /// There is no memory for it.
    NoRoom,
}

impl Remaining {
    /// True if all is done.
    pub(crate) fn is_empty(&self) -> bool {
        self.receivers.is_empty() && self.retention == Retention::Done
    }
}
