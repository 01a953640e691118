//! The replies to one peer: they leave in the order in which they were caused [MQTT-4.6.0-2]
//! [MQTT-4.6.0-3], each once what it promises is true; one that has to wait holds back those
//! behind it.

use std::collections::VecDeque;

use crate::held::{ALLOCATION, CONNECTIONS, Charge};
use crate::impossible;
use crate::keys::ConnId;
use crate::mqtt::{PacketId, Reason};

/// What is said to a peer that is not a message.
#[derive(Debug)]
pub(crate) enum Reply {
    /// PUBACK.
    PubAck(PacketId, Reason),
    /// PUBREC.
    PubRec(PacketId, Reason),
    /// PUBREL.
    PubRel(PacketId),
    /// PUBCOMP.
    PubComp(PacketId),
    /// CONNACK or SUBACK, encoded: until it has left, no message may be sent.
    Barrier(Box<[u8]>),
    /// UNSUBACK, encoded.
    Encoded(Box<[u8]>),
}

impl Reply {
    /// True if it ends a PUBLISH of the peer's: that one no longer counts against its Receive
    /// Maximum.
    pub(super) fn ends_publish(&self) -> bool {
        match self {
            Reply::PubAck(..) | Reply::PubComp(_) => true,
            Reply::PubRec(_, reason) => reason.is_error(),
            Reply::PubRel(_) | Reply::Barrier(_) | Reply::Encoded(_) => false,
        }
    }
}

/// The place of a reply among those of its connection, to be told when it may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    pub(super) conn: ConnId,
    number: u32,
}

impl Ticket {
    /// Whose reply it is.
    pub(crate) fn conn(self) -> ConnId {
        self.conn
    }
}

#[derive(Debug)]
struct QueuedReply {
    /// What it promises is true.
    open: bool,
    /// `None` where it is reserved and not known yet.
    reply: Option<Reply>,
}

/// Replies that wait for the store, or behind one that does.
#[derive(Debug, Default)]
pub(super) struct Replies {
    places: VecDeque<QueuedReply>,
    /// The number of the first.
    first: u32,
    /// How many barriers there are, and holds that were not released.
    barriers: u32,
    /// What they take.
    held: Charge<CONNECTIONS>,
}

/// What a reply takes beside its place.
fn held(reply: &Reply) -> usize {
    match reply {
        Reply::Barrier(bytes) | Reply::Encoded(bytes) => bytes.len() + ALLOCATION,
        Reply::PubAck(..) | Reply::PubRec(..) | Reply::PubRel(_) | Reply::PubComp(_) => 0,
    }
}

impl Replies {
    /// What they take, in bytes.
    pub(super) fn held(&self) -> usize {
        self.held.bytes()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// True if a PUBREL waits.
    pub(super) fn has_release(&self) -> bool {
        let mut replies = self.places.iter();
        replies.any(|place| matches!(place.reply, Some(Reply::PubRel(_))))
    }

    /// True if nothing would be lost with it.
    pub(super) fn is_unused(&self) -> bool {
        self.is_empty() && !self.has_barrier()
    }

    /// True while no message may be sent before a reply that waits.
    pub(super) fn has_barrier(&self) -> bool {
        self.barriers > 0
    }

    /// Holds messages back until [`Replies::release`].
    pub(super) fn hold(&mut self) {
        self.barriers = self.barriers.saturating_add(1);
    }

    /// Ends what [`Replies::hold`] began.
    pub(super) fn release(&mut self) {
        self.barriers = self.barriers.saturating_sub(1);
    }

    /// Adds a place. Without a `reply` it is reserved for one to come.
    pub(super) fn add(&mut self, conn: ConnId, reply: Option<Reply>, open: bool) -> Ticket {
        let behind = u32::try_from(self.places.len()).unwrap_or_else(|_| {
            impossible!("four billion replies wait for one peer");
            0
        });
        if matches!(reply, Some(Reply::Barrier(_))) {
            self.hold();
        }
        let more = size_of::<QueuedReply>() + reply.as_ref().map_or(0, held);
        self.held.shift(more, 0);
        self.places.push_back(QueuedReply { open, reply });
        Ticket {
            conn,
            number: self.first.wrapping_add(behind),
        }
    }

    fn place(&mut self, ticket: Ticket) -> Option<&mut QueuedReply> {
        let at = ticket.number.wrapping_sub(self.first);
        self.places.get_mut(at as usize)
    }

    /// Puts a reply in its reserved place.
    pub(super) fn fill(&mut self, ticket: Ticket, reply: Reply) {
        if matches!(reply, Reply::Barrier(_)) {
            self.hold();
        }
        self.held.shift(held(&reply), 0);
        match self.place(ticket) {
            Some(place) => place.reply = Some(reply),
            None => impossible!("a reserved reply has no place"),
        }
    }

    /// What a reply promises is true.
    pub(super) fn open(&mut self, ticket: Ticket) {
        // It may have left with the connection's other replies when that was closed.
        if let Some(place) = self.place(ticket) {
            place.open = true;
        }
    }

    /// Takes the next reply that may leave.
    pub(super) fn next_open(&mut self) -> Option<Reply> {
        let front = self.places.front_mut().filter(|place| place.open)?;
        let reply = front.reply.take()?;
        self.held.shift(0, size_of::<QueuedReply>() + held(&reply));
        self.first = self.first.wrapping_add(1);
        self.places.pop_front();
        if matches!(reply, Reply::Barrier(_)) {
            self.release();
        }
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Table;

    fn encoded(byte: u8) -> Reply {
        Reply::Encoded(vec![byte].into())
    }

    fn left(replies: &mut Replies) -> Vec<u8> {
        let mut left = Vec::new();
        while let Some(reply) = replies.next_open() {
            match reply {
                Reply::Encoded(bytes) => left.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
        left
    }

    #[test]
    fn a_reserved_place_keeps_its_turn() {
        let conn = Table::<ConnId, ()>::default().insert(());
        let mut replies = Replies::default();
        let first = replies.add(conn, None, false);
        let second = replies.add(conn, Some(encoded(2)), true);
        replies.open(first);
        assert_eq!(left(&mut replies), [], "it is open, but not known yet");
        replies.fill(first, encoded(1));
        let third = replies.add(conn, Some(encoded(3)), false);
        assert_eq!(left(&mut replies), [1, 2]);
        replies.open(second);
        assert_eq!(left(&mut replies), []);
        replies.open(third);
        assert_eq!(left(&mut replies), [3]);
        assert!(replies.is_empty());
    }
}
