//! A message in the queue of a session, and what is left of it.

use std::rc::Rc;

use crate::lane::Lane;
use crate::message::{Message, MessageId};
use crate::mqtt::PacketId;
use crate::owed::Owed;
use crate::store::Queued;
use crate::time::Time;

/// One message on its way to one peer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The message.
    pub message: Rc<Message>,
    /// Its number in the store; `None` if it is owed only while the connection lasts.
    pub id: Option<MessageId>,
    /// It was sent on an earlier connection.
    pub dup: bool,
    /// How it goes out.
    pub owed: Owed,
}

impl Entry {
    /// An entry for a message that was never sent.
    pub fn new(message: Rc<Message>, id: Option<MessageId>, owed: Owed) -> Entry {
        Entry {
            message,
            id,
            dup: false,
            owed,
        }
    }

    /// The packet id it is sent with.
    pub fn packet_id(&self) -> PacketId {
        PacketId::of_sequence(self.owed.seq)
    }

    /// When it is to be dropped; never if it was sent before [MQTT-4.4.0-1].
    pub(super) fn expiry(&self) -> Option<Time> {
        self.message.expiry.filter(|_| !self.dup)
    }

    /// What a queue keeps of it, if it is in the store.
    pub(super) fn queued(&self) -> Option<Queued> {
        Some(Queued {
            id: self.id?,
            lane: self.owed.lane,
            size: self.message.size(),
            arrival: self.message.arrival,
            expires: Queued::expires(self.message.arrival, self.message.expiry),
        })
    }

    /// What is left of it once it is no longer owed.
    pub fn done(&self) -> Done {
        Done {
            id: self.id,
            seq: Some(self.owed.seq),
            lane: self.owed.lane,
            size: self.message.size(),
            payload: payload(&self.message),
            arrived: (self.message.arrival, self.message.arrival),
            sent: None,
            is_aside: false,
        }
    }
}

/// Bytes of the payload of a message.
pub(super) fn payload(message: &Message) -> u32 {
    u32::try_from(message.payload().len()).unwrap_or(message.size())
}

/// A message that is no longer owed: the peer has taken it over, or it was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// Its number in the store, if it was owed durably.
    pub id: Option<MessageId>,
    /// Its place in the sequence of the session; `None` if it waited outside RAM.
    pub seq: Option<u64>,
    /// The lane it belonged to.
    pub lane: Lane,
    /// Its bytes.
    pub size: u32,
    /// Those of its payload; 0 where it was not in RAM.
    pub payload: u32,
    /// When it arrived: not before the one, not after the other.
    pub arrived: (Time, Time),
    /// When what the peer has answered was sent.
    pub sent: Option<Time>,
    /// It was sent beside the queue ([`Outbound::fly_aside`](super::Outbound::fly_aside)).
    pub is_aside: bool,
}

impl From<Queued> for Done {
    fn from(queued: Queued) -> Done {
        Done {
            id: Some(queued.id),
            seq: None,
            lane: queued.lane,
            size: queued.size,
            payload: 0,
            arrived: (queued.arrival, Time::from_millis(u64::MAX)),
            sent: None,
            is_aside: false,
        }
    }
}
