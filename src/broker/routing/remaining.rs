//! What is left to do about a message for which there is no room yet.

use super::receiver::Receiver;
use crate::keys::SessionKey;
use crate::lane::Lane;

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
