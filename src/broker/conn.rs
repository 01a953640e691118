//! One network connection as the broker sees it: version, limits, ordered replies.

use std::collections::VecDeque;

use core::net::SocketAddr;
use std::rc::Rc;

use super::{Outbox, Wire};
use crate::message::Message;
use crate::mqtt::{Delivery, Packet, QoS, Reason, Version};
use crate::time::Time;

/// A connection; the number is free again once [`super::Broker::closed`] was called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId(pub usize);

/// Where the peer of a connection is, for logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A peer on a Unix socket, or none.
    Local,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Tcp(addr) => write!(f, "{}:{}", addr.ip(), addr.port()),
            Peer::Local => f.write_str("local"),
        }
    }
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nothing but CONNECT is expected.
    New,
    /// CONNECT was accepted.
    Connected,
    /// The broker is done with it; what is in the outbox still goes out.
    Closing,
}

/// A reply that leaves in its turn, once what it promises is true.
#[derive(Debug)]
pub(super) struct Reply {
    pub open: bool,
    pub kind: ReplyKind,
}

/// What a [`Reply`] says.
#[derive(Debug)]
pub(super) enum ReplyKind {
    /// PUBACK, PUBREC, PUBCOMP or PUBREL.
    Ack(Packet<'static>),
    /// CONNACK or SUBACK, encoded: until it has left, no message may be sent.
    Hold(Box<[u8]>),
    /// UNSUBACK, encoded.
    Encoded(Box<[u8]>),
}

/// Points at a reply that waits for the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Waiter {
    pub conn: ConnId,
    pub serial: u32,
    pub reply: u32,
}

/// A PUBLISH that met a full queue and waits for room; its connection is not read meanwhile.
#[derive(Debug)]
pub(super) struct Parked {
    pub message: Rc<Message>,
    pub delivery: Delivery,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub serial: u32,
    pub listener: u16,
    pub version: Version,
    pub stage: Stage,
    pub peer: Peer,
    /// The slab index of its session, once CONNECT was accepted.
    pub session: Option<usize>,
    /// The peer said that it is a bridge (`try_private`).
    pub bridge: bool,
    /// Seconds; 0 is off.
    pub keep_alive: u16,
    pub last_seen: Time,
    /// Largest packet the peer accepts.
    pub max_packet: u32,
    /// Highest QoS the peer takes.
    pub max_qos: QoS,
    /// QoS 1 and 2 messages of the peer that are not acknowledged yet.
    pub unacked: u16,
    pub outbox: Outbox,
    /// In the list of connections to flush.
    pub dirty: bool,
    /// Not read until the store has caught up.
    pub paused: bool,
    /// Replies among `replies` before which no message may be sent.
    pub holds: u16,
    pub replies: VecDeque<Reply>,
    /// The number of the first of `replies`.
    pub first_reply: u32,
    pub parked: Option<Box<Parked>>,
    /// Topic aliases the peer has set; made on first use.
    pub aliases: Option<Box<[Option<Box<str>>]>>,
    /// For a bridge: the map applied at the wire.
    pub wire: Option<Rc<dyn Wire>>,
}

impl Conn {
    pub fn new(serial: u32, listener: u16, peer: Peer, now: Time) -> Conn {
        Conn {
            serial,
            listener,
            version: Version::V311,
            stage: Stage::New,
            peer,
            session: None,
            bridge: false,
            keep_alive: 0,
            last_seen: now,
            max_packet: u32::MAX,
            max_qos: QoS::ExactlyOnce,
            unacked: 0,
            outbox: Outbox::default(),
            dirty: false,
            paused: false,
            holds: 0,
            replies: VecDeque::new(),
            first_reply: 0,
            parked: None,
            aliases: None,
            wire: None,
        }
    }

    /// The waiter for the reply that is queued next.
    pub fn next_waiter(&self, conn: ConnId) -> Waiter {
        let reply = self.first_reply.wrapping_add(self.replies.len() as u32);
        Waiter {
            conn,
            serial: self.serial,
            reply,
        }
    }

    /// Marks a queued reply as true.
    pub fn open(&mut self, reply: u32) {
        let at = reply.wrapping_sub(self.first_reply) as usize;
        if let Some(reply) = self.replies.get_mut(at) {
            reply.open = true;
        }
    }

    /// The next reply that may leave.
    pub fn next_open(&mut self) -> Option<ReplyKind> {
        if !self.replies.front()?.open {
            return None;
        }
        self.first_reply = self.first_reply.wrapping_add(1);
        self.replies.pop_front().map(|r| r.kind)
    }

    /// True once CONNACK, the first reply, has left.
    pub fn is_greeted(&self) -> bool {
        self.stage == Stage::Connected && (self.first_reply > 0 || self.replies.is_empty())
    }

    /// The reason code as a DISCONNECT can say it; `None` before MQTT 5 and before CONNACK
    /// [MQTT-3.14.0-1].
    pub fn can_say(&self, reason: Reason) -> Option<Reason> {
        (self.version == Version::V5 && self.is_greeted()).then_some(reason)
    }
}
