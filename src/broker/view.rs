//! What can be seen of the broker: figures, queues, drops, and what sockets ask about connections.

use std::collections::HashMap;

use super::connections::{Block, Connection, Stage};
use super::ending::expire;
use super::queues::report;
use super::{
    BridgeId, BridgeQueue, Broker, ClientDrops, ConnId, Counters, Disk, Gauges, UplinkWindow,
};
use crate::config::CertificateUsername;
use crate::time::Time;

impl Broker {
    /// The broker's figures.
    pub fn counters(&self) -> Counters {
        let mut counters = self.core.counters;
        counters.others_sent = self.core.connections.others_sent();
        counters
    }

    /// The session of an absent client that ends first unless the client comes back: its client id,
    /// and when.
    pub fn first_to_expire(&self) -> Option<(&str, Time)> {
        expire::first_to_expire(&self.core)
    }

    /// True once the CONNECT of a connection was accepted.
    pub fn is_admitted(&self, c: ConnId) -> bool {
        let conn = self.core.connections.get(c);
        conn.is_some_and(|conn| !matches!(conn.stage(), Stage::New | Stage::LoggingIn))
    }

    /// The clients whose CONNECT was not accepted yet.
    pub fn not_admitted(&self) -> Vec<ConnId> {
        let all = self.core.connections.iter();
        all.map(|(c, _)| c)
            .filter(|c| !self.is_admitted(*c))
            .collect()
    }

    /// The keep-alive that holds for a client, in seconds; 0 is none, or that it is not known yet.
    pub fn keep_alive(&self, c: ConnId) -> u16 {
        let conn = self.core.connections.get(c);
        conn.map_or(0, Connection::keep_alive)
    }

    /// Whether somebody has logged in lately from the address that the connection comes from. Who comes
    /// by a Unix socket is known.
    pub fn is_known_address(&self, c: ConnId, now: Time) -> bool {
        let conn = self.core.connections.get(c);
        let block = conn.map(|conn| Block::of(conn.address()));
        block.is_some_and(|block| block.is_none_or(|block| self.core.logins.knows(block, now)))
    }

    /// What of the client's certificate is its user name, as its listener says; `None` where nobody asks for
    /// a certificate.
    pub fn asks_for_certificate(&self, c: ConnId) -> Option<CertificateUsername> {
        let conn = self.core.connections.get(c)?;
        let listener = self.core.settings.listener(conn.listener()?)?;
        self.core.settings.auth.asks_for_certificate(&listener.name)
    }

    /// What the log calls a connection: client id and address, or the address alone before CONNECT.
    pub fn name(&self, c: ConnId) -> String {
        match self.core.connections.get(c) {
            Some(_) => self.core.name_of(c),
            None => "a client that is gone".to_owned(),
        }
    }

    /// How the disk of the store is.
    pub fn disk(&self) -> &Disk {
        self.core.ledger.disk()
    }

    /// What the packets take that have come in half, in bytes. Of each connection that is asked only
    /// when those are looked for that hold most.
    pub fn set_half_packets(&mut self, bytes: usize, of: impl Fn(ConnId) -> usize, now: Time) {
        let core = &mut self.core;
        core.memory.set_half_packets(bytes);
        core.memory.look(core.settings.memory_limit());
        let mut each = HashMap::new();
        if core.memory.wants_relief(now) {
            let all = core.connections.iter().map(|(c, _)| (c, of(c)));
            each.extend(all.filter(|(_, bytes)| *bytes > 0));
        }
        core.memory.set_half_packet_of(each);
    }

    /// `memory_limit`, in bytes; 0 is no limit.
    pub fn memory_limit(&self) -> u64 {
        self.core.settings.memory_limit().unwrap_or(0)
    }

    /// What `memory_limit` counts, in bytes.
    pub fn memory(&self) -> u64 {
        self.core.memory.bytes()
    }

    /// The figures that are not counted but looked at.
    pub fn gauges(&self) -> Gauges {
        let core = &self.core;
        let clients = core.sessions.iter().filter(|(_, s)| !s.is_ended());
        let interval = core.ledger.store().commit_interval().as_millis();
        let mut gauges = Gauges {
            clients: clients.count() as u64,
            logging_in: core.connections.logging_in() as u64,
            subscriptions: core.router.subscriptions() as u64,
            shared_subscriptions: core.router.groups.members() as u64,
            retained: core.router.retained_len() as u64,
            bytes_waiting: core.connections.waiting(),
            never_written: core.ledger.store().never_written(),
            commit_interval: u64::try_from(interval).unwrap_or(u64::MAX),
            flash_budget: core.ledger.budget(),
            ..Gauges::default()
        };
        for (_, session) in core.sessions.iter() {
            gauges.connected += u64::from(session.conn.is_some());
            gauges.queued_messages += session.outbound.len();
            gauges.queued_bytes += session.outbound.bytes();
            gauges.inflight += session.outbound.inflight() as u64;
        }
        gauges
    }

    /// The queues of the bridges.
    pub fn bridge_queues(&self, now: Time) -> impl Iterator<Item = BridgeQueue<'_>> {
        report::bridge_queues(&self.core, now)
    }

    /// The queue of a bridge; `None` if there is no such bridge.
    pub fn bridge_queue(&self, bridge: BridgeId, now: Time) -> Option<BridgeQueue<'_>> {
        report::bridge_queue(&self.core, bridge, now)
    }

    /// How much may be under way to the upstream of a bridge; `None` if there is no such bridge, or it is
    /// not connected.
    pub fn uplink_window(&self, bridge: BridgeId) -> Option<UplinkWindow> {
        report::bridge_window(&self.core, bridge)
    }

    /// The clients, bridges aside, on the way to which messages were dropped.
    pub fn client_drops(&self) -> impl Iterator<Item = ClientDrops<'_>> {
        report::client_drops(&self.core)
    }

    /// One sentence for the clients and one for each bridge, and for each of its lines with a bound
    /// of its own: what the bound of the queue means.
    pub fn describe_queues(&mut self, now: Time) -> Vec<String> {
        report::describe_queues(&mut self.core, now)
    }
}
