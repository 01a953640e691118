//! The broker: sessions, routing, acknowledgements. Sans-io: packets, store events and the time
//! come in as arguments; bytes to write lie in outboxes, rows to write in batches.
//!
//! One PUBLISH: `publish` checks it and takes QoS 2 ids, `deliver` finds the receivers and owes
//! the message to the durable ones through the ledger ([`crate::store::Store`]), and the
//! publisher's acknowledgement becomes a reply that leaves once the ledger says that its promise
//! holds. A turn ends with [`end_turn`].

mod acks;
mod admit;
mod alias;
mod bridge;
mod commit;
mod conn;
mod connect;
mod counters;
mod deliver;
mod disconnect;
mod drops;
mod estates;
mod expire;
mod hand_over;
mod listeners;
mod memory;
mod mount;
mod outbox;
mod publish;
mod pump;
mod queue;
mod reload;
mod reply;
mod report;
mod restore;
mod retain;
mod session;
mod shared;
mod subscribe;
#[cfg(test)]
mod tests;
mod turn;
mod uplink;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;

pub use bridge::{Announced, BridgeId, BridgeSession, Limits, Wire};
pub use commit::Disk;
pub use conn::{ConnId, Peer};
pub use counters::{Counters, Gauges};
pub use drops::DropReason;
pub use outbox::Outbox;
pub use report::{BridgeQueue, ClientDrops, LineQueue};
pub use turn::{Driver, end_turn, feed_store};

use conn::{Conn, Stage, Waiter};
use deliver::Receiver;
use expire::Wheel;
use listeners::Listener;
use retain::Unwritten;
use session::Session;
use shared::Shared;

use crate::auth::Auth;
use crate::config::General;
use crate::config::log_type::NOTICE;
use crate::impossible;
use crate::message::{Message, Origin, SessionId};
use crate::mqtt::{self, Packet, PropsBuf, QoS, Reason, Version};
use crate::route::{Retained, Trie};
use crate::store::{Batch, Budget, ReadRequest, Store};
use crate::time::Time;

/// How long a new connection may take to send its CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// No more messages are moved to an outbox that holds this many bytes.
const OUTBOX_HIGH: usize = 64 * 1024;
/// QoS 0 messages to a connection this far behind are dropped, and a peer that lets this much
/// pile up is not read.
const OUTBOX_LIMIT: usize = 1024 * 1024;

/// The broker.
pub struct Broker {
    settings: General,
    listeners: Vec<Listener>,
    auth: Auth,
    conns: Slab<Conn>,
    /// Tells a connection from an earlier one with the same number.
    serial: u32,
    sessions: Slab<Session>,
    by_client_id: HashMap<Rc<str>, usize>,
    next_session: u32,
    trie: Trie,
    shared: Shared,
    retained: Retained,
    store: Store<Waiter>,
    disk: Disk,
    /// `flash_budget`.
    budget: Option<Budget>,
    wheel: Wheel,
    counters: Counters,
    /// Connections, with their serial, whose peer does not take packets as large as a reply.
    unanswerable: Vec<(ConnId, u32)>,
    /// Connections with something to write or to close.
    dirty: Vec<ConnId>,
    /// Connections that may be read again.
    resumed: Vec<ConnId>,
    /// Connections that are not read until the store has caught up.
    paused: Vec<ConnId>,
    /// Connections with a parked PUBLISH.
    parked: Vec<ConnId>,
    reads: Vec<ReadRequest>,
    /// Sessions that wait for the next commit before they can send more.
    stalled: Vec<usize>,
    /// Sessions whose rows must be written.
    unsaved: Vec<usize>,
    /// Sessions whose rows must be deleted.
    gone: Vec<SessionId>,
    /// Retained messages that must be written or deleted.
    unwritten: Unwritten,
    /// The next commit is to leave nothing for later.
    write_all: bool,
    bridges: Vec<usize>,
    /// Sessions whose drops are to be told or saved.
    dropping: Vec<(usize, SessionId)>,
    /// When to look at them.
    drops_due: Option<Time>,
    /// When to look for messages that are too old for their line.
    purge_due: Option<Time>,
    /// The origin of the broker's own messages.
    own: Rc<Origin>,
    spare_buffers: Vec<Vec<u8>>,
    spare_batch: Option<Batch>,
    receivers: Vec<Receiver>,
    /// Numbers the routings, to notice a session that is reached twice.
    routing: u32,
    props: PropsBuf,
    topic: String,
    /// Bytes of packets that have come in half.
    partial_bytes: usize,
    /// Bytes that are queued, where the store is memory and `memory_limit` counts them.
    stored_bytes: u64,
    /// `memory_limit` is reached, and the log says so.
    memory_full: Cell<bool>,
    shutting_down: bool,
}

impl Broker {
    /// A network connection was accepted on `listener` (its index). `None` when
    /// `max_connections` is reached: close it at once.
    pub fn accept(&mut self, listener: usize, peer: Peer, now: Time) -> Option<ConnId> {
        if self.shutting_down || !self.admit_connection(listener, &peer) {
            return None;
        }
        let conn = self.new_conn(listener as u16, peer, now);
        self.watch(conn, CONNECT_TIMEOUT, now);
        Some(conn)
    }

    fn new_conn(&mut self, listener: u16, peer: Peer, now: Time) -> ConnId {
        self.serial = self.serial.wrapping_add(1);
        ConnId(
            self.conns
                .insert(Conn::new(self.serial, listener, peer, now)),
        )
    }

    /// The protocol version of a connection, for decoding.
    pub fn version(&self, c: ConnId) -> Version {
        self.conns
            .get(c.0)
            .map_or(Version::V311, |conn| conn.version)
    }

    /// The largest packet accepted from a connection, in bytes.
    pub fn max_packet(&self, c: ConnId) -> usize {
        // Before CONNECT nobody needs room for more than a will and some properties.
        const BEFORE_CONNECT: u32 = 256 * 1024;
        let limit = match self.conns.get(c.0) {
            Some(conn) if conn.stage != Stage::New => conn.max_received,
            _ => self.own_max_packet().min(BEFORE_CONNECT),
        };
        limit as usize
    }

    /// `max_packet_size`, in bytes.
    fn own_max_packet(&self) -> u32 {
        self.settings.max_packet_size.unwrap_or(u32::MAX)
    }

    /// Handles one packet.
    pub fn packet(&mut self, c: ConnId, packet: Packet<'_>, now: Time) {
        let Some(conn) = self.conns.get_mut(c.0) else {
            return;
        };
        conn.last_seen = now;
        match (conn.stage, packet) {
            (Stage::Closing, _) => return,
            (Stage::New, Packet::Connect(connect)) => self.connect_mounted(c, *connect, now),
            (Stage::New, packet) => {
                log::debug!("{}: {} before CONNECT", conn.peer, packet.name());
                self.close(c, Reason::PROTOCOL_ERROR, now);
            }
            (Stage::Connected, packet) => self.on_packet(c, packet, now),
        }
        self.settle(now);
    }

    fn on_packet(&mut self, c: ConnId, packet: Packet<'_>, now: Time) {
        match packet {
            Packet::Publish(publish) => self.publish_mounted(c, &publish, now),
            Packet::PubAck(ack) => self.on_puback(c, &ack, now),
            Packet::PubRec(ack) => self.on_pubrec(c, &ack, now),
            Packet::PubRel(ack) => self.on_pubrel(c, &ack, now),
            Packet::PubComp(ack) => self.on_pubcomp(c, &ack, now),
            Packet::Subscribe(subscribe) => self.subscribe_mounted(c, &subscribe, now),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe_mounted(c, &unsubscribe, now),
            Packet::PingReq => self.on_pingreq(c),
            Packet::Disconnect(disconnect) => self.on_disconnect(c, &disconnect, now),
            // The server's own packets, a second CONNECT [MQTT-3.1.0-2], AUTH without a method
            // [MQTT-4.12.0-6].
            other => {
                log::debug!("unexpected {}", other.name());
                self.close(c, Reason::PROTOCOL_ERROR, now);
            }
        }
    }

    /// A connection sent bytes that are no MQTT packet.
    pub fn malformed(&mut self, c: ConnId, error: mqtt::Error, now: Time) {
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        log::info!(target: NOTICE, "Closing {}: {error}", self.name(conn));
        if conn.stage == Stage::New {
            self.refuse_unreadable(c, &error, now);
        } else {
            let reason = match error {
                // A second CONNECT [MQTT-3.1.0-2]; only CONNACK may say that it is of a version
                // that is not spoken.
                mqtt::Error::UnsupportedVersion(_) | mqtt::Error::ProtocolName => {
                    Reason::PROTOCOL_ERROR
                }
                _ => error.reason(),
            };
            self.close(c, reason, now);
        }
        self.settle(now);
    }

    /// There is no memory for what this connection sends.
    pub fn no_memory(&mut self, c: ConnId, now: Time) {
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        log::warn!(
            "Closing {}: too many large packets at once; max_packet_size sets a lower limit.",
            self.name(conn)
        );
        self.close(c, Reason::SERVER_BUSY, now);
        self.settle(now);
    }

    /// The network connection is gone, for the reason `why`; its number is free now.
    pub fn closed(&mut self, c: ConnId, why: &str, now: Time) {
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        if conn.session().is_some() {
            if self.settings.connection_messages {
                log::info!(target: NOTICE, "Client {} closed its connection: {why}", self.name(conn));
            }
            self.detach(c, true, now);
        }
        let conn = self.conns.remove(c.0);
        let listener = self.listeners.get_mut(usize::from(conn.listener));
        if let (None, Some(listener)) = (conn.wire(), listener) {
            listener.open -= 1;
        }
        self.settle(now);
    }

    /// False while a connection must not be read: the store is behind, or a queue is full.
    /// [`Broker::take_resumed`] tells when to ask again.
    pub fn may_read(&self, c: ConnId) -> bool {
        self.conns.get(c.0).is_some_and(|conn| {
            let behind = conn.outbox.len() > OUTBOX_LIMIT;
            !conn.paused && !conn.is_parked_full() && !behind && conn.stage != Stage::Closing
        })
    }

    /// The connections whose outbox has something to write or to close, each once.
    pub fn take_dirty(&mut self) -> Vec<ConnId> {
        for c in &self.dirty {
            if let Some(conn) = self.conns.get_mut(c.0) {
                conn.dirty = false;
            }
        }
        std::mem::take(&mut self.dirty)
    }

    /// The connections that may be read again.
    pub fn take_resumed(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.resumed)
    }

    /// What waits to be written to a connection.
    pub fn outbox(&mut self, c: ConnId) -> Option<&mut Outbox> {
        self.conns.get_mut(c.0).map(|conn| &mut conn.outbox)
    }

    /// Some of a connection's outbox was written: there may be room for more.
    pub fn flushed(&mut self, c: ConnId, now: Time) {
        let Some(conn) = self.conns.get_mut(c.0) else {
            return;
        };
        if conn.outbox.len() >= OUTBOX_HIGH / 2 {
            return;
        }
        let session = conn.session();
        if let Some(spare) = conn.outbox.take_spare() {
            // A buffer that one burst has blown up is not worth keeping.
            if self.spare_buffers.len() < 64 && spare.capacity() <= 2 * OUTBOX_HIGH {
                self.spare_buffers.push(spare);
            }
        }
        if let Some(session) = session {
            self.pump(session, now);
            self.hand_out_due(now);
        }
    }

    /// The broker's figures.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The broker stops: wills are published, MQTT 5 clients told [MQTT-3.14], and everything
    /// is put in the next batch.
    pub fn shutdown(&mut self, now: Time) {
        self.shutting_down = true;
        let conns: Vec<ConnId> = self.conns.iter().map(|(c, _)| ConnId(c)).collect();
        for c in conns {
            self.close(c, Reason::SERVER_SHUTTING_DOWN, now);
        }
        self.commit_now(now);
        self.settle(now);
    }

    /// The peer's name for logs: client id and address.
    fn name(&self, conn: &Conn) -> String {
        match conn.session().and_then(|s| self.sessions.get(s)) {
            Some(session) => format!("{} ({})", session.client_id(), conn.peer),
            None => conn.peer.to_string(),
        }
    }

    /// Puts `c` on the list of connections to flush.
    fn mark_dirty(&mut self, c: ConnId) {
        if let Some(conn) = self.conns.get_mut(c.0)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(c);
        }
    }

    /// Publishes a message of the broker's own: `$SYS` figures and the state of bridges.
    pub fn publish_own(&mut self, topic: &str, payload: &[u8], retain: bool, now: Time) {
        if let Some(mut message) = self.own_message(topic, payload, now) {
            message.retain = retain;
            self.route_own(message, now);
        }
    }

    /// Publishes a line of the log, which soon is of no use.
    pub fn publish_log(&mut self, topic: &str, line: &str, now: Time) {
        // As Mosquitto's.
        const EXPIRY: Duration = Duration::from_secs(20);
        if let Some(mut message) = self.own_message(topic, line.as_bytes(), now) {
            message.expiry = Some(now + EXPIRY);
            self.route_own(message, now);
        }
    }

    fn own_message(&self, topic: &str, payload: &[u8], now: Time) -> Option<Message> {
        let parts = crate::message::Parts {
            topic,
            props: &[],
            payload,
        };
        let message = Message::new(parts, now, Rc::clone(&self.own));
        let mut message = match message {
            Ok(message) => message,
            Err(error) => {
                impossible!("the broker's own message on {topic:.40}: {error}");
                return None;
            }
        };
        // What the broker has to say about a full disk must not wait for it.
        message.qos = match self.is_disk_closed() {
            true => QoS::AtMostOnce,
            false => QoS::ExactlyOnce,
        };
        Some(message)
    }

    fn route_own(&mut self, message: Message, now: Time) {
        let message = Rc::new(message);
        if let Err(full) = self.route(&message, None, None, now) {
            self.drop_unrefused(full, &message, now);
        }
        self.settle(now);
    }

    /// The figures that are not counted but looked at.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges {
            clients: self.sessions.iter().filter(|(_, s)| !s.ended).count() as u64,
            subscriptions: self.subscriptions() as u64,
            shared_subscriptions: self.shared.groups.members() as u64,
            retained: self.retained.len() as u64,
            never_written: self.store.never_written(),
            commit_interval: self.store.commit_interval().as_millis() as u64,
            ..Gauges::default()
        };
        for (_, session) in &self.sessions {
            gauges.connected += u64::from(session.conn.is_some());
            gauges.queued_messages += session.outbound.len();
            gauges.queued_bytes += session.outbound.bytes();
            gauges.inflight += session.outbound.inflight() as u64;
        }
        for (_, conn) in &self.conns {
            gauges.bytes_waiting += conn.outbox.len() as u64;
        }
        gauges
    }
}
