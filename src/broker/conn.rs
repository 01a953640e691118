//! One network connection as the broker sees it: version, limits, ordered replies.

use std::collections::VecDeque;

use core::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::rc::Rc;

use super::alias::{Inward, Naming, Outward};
use super::{Outbox, Wire};
use crate::message::Message;
use crate::mqtt::{Delivery, Packet, QoS, Reason, Version};
use crate::time::Time;

/// A connection; the number is free again once [`super::Broker::closed`] was called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId(pub usize);

/// Where the peer of a connection is, for logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A peer over IPv4.
    V4(SocketAddrV4),
    /// A peer over IPv6; boxed, because every connection has a `Peer`.
    V6(Box<SocketAddrV6>),
    /// A peer on a Unix socket, or none.
    Local,
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Peer {
        match addr {
            SocketAddr::V4(addr) => Peer::V4(addr),
            SocketAddr::V6(addr) => Peer::V6(Box::new(addr)),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::V4(addr) => write!(f, "{}:{}", addr.ip(), addr.port()),
            Peer::V6(addr) => write!(f, "{}:{}", addr.ip(), addr.port()),
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

/// A PUBLISH that met a full queue, or waits behind one that did.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    pub message: Rc<Message>,
    pub delivery: Delivery,
}

/// Replies that wait for the store, or behind one that does.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    replies: VecDeque<Reply>,
    /// The number of the first.
    first: u32,
}

/// How many publishes of one connection may wait for room.
const PARKED_MESSAGES: usize = 128;
/// How many bytes of them.
const PARKED_BYTES: usize = 128 * 1024;

/// What few connections have.
#[derive(Debug)]
pub(super) struct Rare {
    parked: VecDeque<Parked>,
    parked_bytes: usize,
    /// Topic aliases the peer has set.
    pub inward: Inward,
    /// Topic aliases set for the peer.
    pub outward: Outward,
    /// For a bridge: the map applied at the wire.
    pub wire: Option<Rc<dyn Wire>>,
    /// For a bridge: the highest topic alias that the upstream was told it may set.
    pub topic_alias_max: u16,
    /// Highest QoS the peer takes.
    pub max_qos: QoS,
}

impl Default for Rare {
    fn default() -> Rare {
        Rare {
            parked: VecDeque::new(),
            parked_bytes: 0,
            inward: Inward::default(),
            outward: Outward::default(),
            wire: None,
            topic_alias_max: 0,
            max_qos: QoS::ExactlyOnce,
        }
    }
}

/// A connection. Thousands of them may idle, so what is used rarely is boxed.
#[derive(Debug)]
pub(super) struct Conn {
    pub outbox: Outbox,
    pub peer: Peer,
    pub last_seen: Time,
    waiting: Option<Box<Waiting>>,
    rare: Option<Box<Rare>>,
    pub serial: u32,
    /// The slab index of its session, once CONNECT was accepted.
    session: u32,
    /// Largest packet the peer accepts.
    pub max_packet: u32,
    /// Largest packet the peer was told it may send.
    pub max_received: u32,
    /// QoS 1 and 2 messages the peer was told it may send at a time.
    pub receive_maximum: u16,
    pub listener: u16,
    /// Seconds; 0 is off.
    pub keep_alive: u16,
    /// QoS 1 and 2 messages of the peer that are not acknowledged yet.
    pub unacked: u16,
    /// Queued replies before which no message may be sent.
    pub holds: u16,
    pub version: Version,
    pub stage: Stage,
    /// CONNACK has left.
    pub greeted: bool,
    /// The peer said that it is a bridge (`try_private`).
    pub bridge: bool,
    /// In the list of connections to flush.
    pub dirty: bool,
    /// Not read until the store has caught up.
    pub paused: bool,
}

/// [`Conn::session`] of a connection without one.
const NO_SESSION: u32 = u32::MAX;

impl Conn {
    pub fn new(serial: u32, listener: u16, peer: Peer, now: Time) -> Conn {
        Conn {
            outbox: Outbox::default(),
            peer,
            last_seen: now,
            waiting: None,
            rare: None,
            serial,
            session: NO_SESSION,
            max_packet: u32::MAX,
            max_received: u32::MAX,
            receive_maximum: u16::MAX,
            listener,
            keep_alive: 0,
            unacked: 0,
            holds: 0,
            version: Version::V311,
            stage: Stage::New,
            greeted: false,
            bridge: false,
            dirty: false,
            paused: false,
        }
    }

    /// The slab index of its session, once CONNECT was accepted.
    pub fn session(&self) -> Option<usize> {
        (self.session != NO_SESSION).then_some(self.session as usize)
    }

    /// Ties it to a session.
    pub fn set_session(&mut self, index: usize) {
        self.session = index as u32;
    }

    /// Parts it from its session, which is returned.
    pub fn take_session(&mut self) -> Option<usize> {
        let session = self.session();
        self.session = NO_SESSION;
        session
    }

    /// What few connections have; made on first use.
    pub fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// For a bridge: the map applied at the wire.
    pub fn wire(&self) -> Option<&Rc<dyn Wire>> {
        self.rare.as_ref()?.wire.as_ref()
    }

    /// For a bridge: the highest topic alias that the upstream was told it may set.
    pub fn upstream_alias_max(&self) -> Option<u16> {
        let rare = self.rare.as_ref()?;
        rare.wire.as_ref().map(|_| rare.topic_alias_max)
    }

    /// How the next PUBLISH may name `topic`.
    pub fn naming(&self, topic: &str) -> Naming {
        let rare = self.rare.as_ref();
        rare.map_or(Naming::Name, |rare| rare.outward.name(topic))
    }

    /// A PUBLISH that names `topic` like this is on its way.
    pub fn named(&mut self, topic: &str, naming: Naming) {
        if let Some(rare) = &mut self.rare {
            rare.outward.sent(topic, naming);
        }
    }

    /// Highest QoS the peer takes.
    pub fn max_qos(&self) -> QoS {
        self.rare
            .as_ref()
            .map_or(QoS::ExactlyOnce, |rare| rare.max_qos)
    }

    /// True while a PUBLISH waits for room: later ones must not overtake it.
    pub fn is_parked(&self) -> bool {
        self.rare
            .as_ref()
            .is_some_and(|rare| !rare.parked.is_empty())
    }

    /// True if so much waits for room that no more is to be read. Up to there it is, because the
    /// acknowledgements that make room may come from the same peer.
    pub fn is_parked_full(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| {
            rare.parked.len() >= PARKED_MESSAGES || rare.parked_bytes >= PARKED_BYTES
        })
    }

    /// Lets a PUBLISH wait for room. True if it is the first.
    pub fn park(&mut self, parked: Parked) -> bool {
        let rare = self.rare();
        rare.parked_bytes += parked.message.size() as usize;
        rare.parked.push_back(parked);
        rare.parked.len() == 1
    }

    /// The PUBLISH that has waited longest for room.
    pub fn parked(&self) -> Option<&Parked> {
        self.rare.as_ref()?.parked.front()
    }

    /// Takes the PUBLISH that has waited longest.
    pub fn unpark(&mut self) -> Option<Parked> {
        let rare = self.rare.as_mut()?;
        let parked = rare.parked.pop_front()?;
        rare.parked_bytes -= (parked.message.size() as usize).min(rare.parked_bytes);
        Some(parked)
    }

    /// The waiter for the reply that is queued next.
    pub fn next_waiter(&self, conn: ConnId) -> Waiter {
        let next = |w: &Waiting| w.first.wrapping_add(w.replies.len() as u32);
        let reply = self.waiting.as_deref().map_or(0, next);
        Waiter {
            conn,
            serial: self.serial,
            reply,
        }
    }

    /// True if a reply would leave at once: none waits.
    pub fn replies_at_once(&self) -> bool {
        self.waiting.as_ref().is_none_or(|w| w.replies.is_empty())
    }

    /// Queues a reply.
    pub fn queue(&mut self, reply: Reply) {
        self.waiting
            .get_or_insert_default()
            .replies
            .push_back(reply);
    }

    /// Marks a queued reply as true.
    pub fn open(&mut self, reply: u32) {
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        let at = reply.wrapping_sub(waiting.first) as usize;
        if let Some(reply) = waiting.replies.get_mut(at) {
            reply.open = true;
        }
    }

    /// The next reply that may leave.
    pub fn next_open(&mut self) -> Option<ReplyKind> {
        let waiting = self.waiting.as_mut()?;
        if !waiting.replies.front()?.open {
            return None;
        }
        waiting.first = waiting.first.wrapping_add(1);
        waiting.replies.pop_front().map(|r| r.kind)
    }

    /// Gives back the memory of queues that are empty. No waiter is out for an empty queue.
    pub fn rest(&mut self) {
        self.waiting.take_if(|w| w.replies.is_empty());
    }

    /// Forgets every reply and whatever waits for room.
    pub fn abandon(&mut self) {
        self.waiting = None;
        if let Some(rare) = &mut self.rare {
            rare.parked.clear();
        }
    }

    /// True if a DISCONNECT can say `reason` to the peer: not before MQTT 5, not before CONNACK
    /// [MQTT-3.14.0-1], and to an upstream only what a client may say [MQTT-3.14.2-1].
    pub fn can_say(&self, reason: Reason) -> bool {
        let says = self.version == Version::V5 && self.stage == Stage::Connected && self.greeted;
        says && (self.wire().is_none() || reason.is_said_by_clients())
    }
}
