//! One pass over the topics, and what of it has been answered.

use crate::time::Time;

/// One pass over the topics. It survives the connection, to go on where it was.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    /// What does not go by the durable queue is sent if it arrived after this.
    pub(super) after: Time,
    /// When it began: what arrived later goes up as it comes.
    pub(super) start: Time,
    /// The topic it has come to.
    pub(super) at: Option<Box<[u8]>>,
    /// The topic up to which the upstream has answered.
    pub(super) answered: Option<Box<[u8]>>,
    /// A topic up to which an answer is awaited.
    pub(super) mark: Option<Mark>,
    /// The last topic was reached.
    pub(super) is_through: bool,
    pub(super) kind: Kind,
    /// The log has how many topics were sent.
    pub(super) is_told: bool,
    /// What was sent last, as far as that awaits an answer.
    pub(super) sent: Sent,
    /// How many topics were sent.
    pub(super) topics: u64,
}

/// How a pass came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// It began on this connection.
    First,
    /// It began on an earlier connection: what has come since waits for the next.
    Resumed,
    /// It follows one that was resumed, and whose last QoS 0 messages are not answered yet.
    Next,
}

impl Pass {
    pub(super) fn new(kind: Kind, after: Time, start: Time) -> Pass {
        Pass {
            after,
            start,
            at: None,
            answered: None,
            mark: None,
            is_through: false,
            kind,
            is_told: false,
            sent: Sent::default(),
            topics: 0,
        }
    }
}

/// What was sent, and is not known to have arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// QoS 1: messages of places in the sequence before this one.
    pub(super) before: u64,
    /// QoS 0: when the last was sent.
    pub(super) unanswered: Option<Time>,
}

#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) at: Box<[u8]>,
    pub(super) sent: Sent,
}

impl Sent {
    /// True if it has arrived. `oldest`: the first place of the sequence that is unacknowledged.
    pub(super) fn has_arrived(self, oldest: Option<u64>, confirmed: Time) -> bool {
        oldest.is_none_or(|oldest| oldest >= self.before)
            && self.unanswered.is_none_or(|at| at < confirmed)
    }
}
