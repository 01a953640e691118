//! A broker, a store and clients on virtual time, in one thread.
//!
//! The world does what the turn loop and the storage thread do: after each packet it ends the
//! turn, hands batch and reads to one queue of jobs, and decodes what lies in the outboxes. Jobs
//! are done as time passes, or when the test says so.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use crate::auth::Auth;
use crate::broker::{Broker, ConnId, Peer as Address, Settings};
use crate::config::General;
use crate::mqtt::{
    Ack, Connect, Delivery, Disconnect, Packet, PacketId, Property, Props, PropsBuf, Publish, QoS,
    Reason, Subscribe, Subscription, Unsubscribe, Version, Will, decode, encode,
};
use crate::store::{Batch, Db, Event, Location, ReadRequest};
use crate::time::Time;

/// `FOOTBRIDGE_SIM_TRACE` prints every packet.
static TRACE: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FOOTBRIDGE_SIM_TRACE").is_some());

/// A client's end of a connection, by number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Peer(pub usize);

/// A PUBLISH as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrived {
    pub topic: String,
    pub payload: String,
    pub delivery: Delivery,
    pub retain: bool,
    pub sub_ids: Vec<u32>,
    pub expiry: Option<u32>,
}

/// A packet as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Got {
    /// Session present, reason, assigned client id, server keep-alive.
    ConnAck(bool, Reason),
    Publish(Arrived),
    PubAck(u16, Reason),
    PubRec(u16, Reason),
    PubRel(u16, Reason),
    PubComp(u16, Reason),
    SubAck(u16, Vec<Reason>),
    UnsubAck(u16, Vec<Reason>),
    PingResp,
    Disconnect(Reason),
    /// The broker closed the connection.
    Closed,
}

/// What a CONNECT says.
#[derive(Clone, Debug)]
pub struct Dial {
    pub version: Version,
    pub bridge: bool,
    pub id: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub expiry: u32,
    pub receive_maximum: Option<u16>,
    pub max_packet: Option<u32>,
    pub username: Option<&'static str>,
    /// Topic, payload, QoS, RETAIN, delay, message expiry.
    pub will: Option<(&'static str, &'static str, QoS, bool, u32, Option<u32>)>,
}

impl Dial {
    /// A session that ends with its connection.
    pub fn clean(version: Version, id: &str) -> Dial {
        Dial {
            version,
            bridge: false,
            id: id.to_owned(),
            clean: true,
            keep_alive: 0,
            expiry: 0,
            receive_maximum: None,
            max_packet: None,
            username: None,
            will: None,
        }
    }

    /// A session that outlives its connection: for an hour in 5.0.
    pub fn durable(version: Version, id: &str) -> Dial {
        Dial {
            clean: false,
            expiry: 3600,
            ..Dial::clean(version, id)
        }
    }

    fn props(&self) -> PropsBuf {
        let mut props = PropsBuf::new();
        if self.expiry > 0 {
            props.push(Property::SessionExpiry(self.expiry));
        }
        if let Some(n) = self.receive_maximum {
            props.push(Property::ReceiveMaximum(n));
        }
        if let Some(n) = self.max_packet {
            props.push(Property::MaximumPacketSize(n));
        }
        props
    }
}

/// What the storage thread is asked.
#[derive(Debug)]
enum Job {
    Commit(Batch),
    Read(ReadRequest),
}

#[derive(Debug)]
struct Line {
    conn: Option<ConnId>,
    version: Version,
    got: VecDeque<Got>,
}

/// The world.
pub struct World {
    pub broker: Broker,
    pub now: Time,
    pub settings: Settings,
    auth: Auth,
    db: Db,
    jobs: VecDeque<Job>,
    /// Jobs are done only when the test says so.
    pub held: bool,
    lines: Vec<Line>,
    /// Batches handed to the store.
    pub batches: u64,
}

/// The settings that the packaged configuration has.
pub fn settings() -> Settings {
    Settings {
        allow_zero_length_clientid: true,
        auto_id_prefix: "auto-".into(),
        connection_messages: false,
        max_connections: vec![None],
        max_inflight_messages: 20,
        max_keepalive: u16::MAX,
        max_packet_size: None,
        message_size_limit: None,
        max_queued_messages: 0,
        max_queued_bytes: 0,
        queue_qos0_messages: false,
        retain_available: true,
        upgrade_outgoing_qos: false,
        persistent_client_expiration: None,
        commit_interval: Some(Duration::from_millis(20)),
    }
}

impl World {
    pub fn new() -> World {
        World::with(settings())
    }

    pub fn with(settings: Settings) -> World {
        World::with_auth(settings, General::default())
    }

    /// `general` names the files of the access rules.
    pub fn with_auth(settings: Settings, general: General) -> World {
        let (auth, _) = Auth::load(&general, false).unwrap();
        let (db, loaded) = Db::open(Location::Memory).unwrap();
        let now = Time::from_secs(1_000_000);
        World {
            broker: Broker::new(settings.clone(), auth.clone(), loaded, now),
            now,
            settings,
            auth,
            db,
            jobs: VecDeque::new(),
            held: false,
            lines: Vec::new(),
            batches: 0,
        }
    }

    /// kill -9, and a start after `down`: what was not committed is lost.
    pub fn crash(&mut self, down: Duration) {
        if *TRACE {
            eprintln!("{} crash", self.now.as_millis());
        }
        self.jobs.clear();
        self.now += down;
        for line in &mut self.lines {
            if line.conn.take().is_some() {
                line.got.push_back(Got::Closed);
            }
        }
        let loaded = self.db.reload().unwrap();
        let (settings, auth) = (self.settings.clone(), self.auth.clone());
        self.broker = Broker::new(settings, auth, loaded, self.now);
        self.turn();
    }

    /// Opens a connection.
    pub fn open(&mut self, version: Version) -> Peer {
        let conn = self.broker.accept(0, Address::Local, self.now);
        self.lines.push(Line {
            conn,
            version,
            got: VecDeque::new(),
        });
        Peer(self.lines.len() - 1)
    }

    /// Takes the connection of a bridge, whose packets go like a client's.
    pub fn adopt(&mut self, conn: ConnId, version: Version) -> Peer {
        self.lines.push(Line {
            conn: Some(conn),
            version,
            got: VecDeque::new(),
        });
        self.turn();
        Peer(self.lines.len() - 1)
    }

    /// Opens a connection and sends CONNECT.
    pub fn dial(&mut self, dial: &Dial) -> Peer {
        let peer = self.open(dial.version);
        self.send_connect(peer, dial);
        peer
    }

    /// Dials, and lets time pass until CONNACK is there. Answers whether the session was.
    pub fn connect(&mut self, dial: &Dial) -> (Peer, bool) {
        let peer = self.dial(dial);
        self.pass(Duration::from_millis(50));
        match self.next(peer) {
            Some(Got::ConnAck(present, Reason::SUCCESS)) => (peer, present),
            other => panic!("no CONNACK but {other:?}"),
        }
    }

    pub fn send_connect(&mut self, peer: Peer, dial: &Dial) {
        let props = dial.props();
        let mut will_props = PropsBuf::new();
        if let Some((.., delay, expiry)) = dial.will {
            will_props.push(Property::WillDelay(delay));
            if let Some(expiry) = expiry {
                will_props.push(Property::MessageExpiry(expiry));
            }
        }
        let will = dial.will.map(|(topic, payload, qos, retain, ..)| Will {
            topic,
            payload: payload.as_bytes(),
            qos,
            retain,
            props: will_props.as_props(),
        });
        let connect = Connect {
            version: dial.version,
            bridge: dial.bridge,
            clean_start: dial.clean,
            keep_alive: dial.keep_alive,
            client_id: &dial.id,
            will,
            username: dial.username,
            password: None,
            props: props.as_props(),
        };
        self.send(peer, &Packet::Connect(Box::new(connect)));
    }

    /// Sends a packet, bytes and all, and ends the turn.
    pub fn send(&mut self, peer: Peer, packet: &Packet<'_>) {
        let line = &self.lines[peer.0];
        let Some(conn) = line.conn else { return };
        let mut bytes = Vec::new();
        encode(packet, line.version, &mut bytes).unwrap();
        let version = self.broker.version(conn);
        if *TRACE {
            eprintln!("{} {} > {packet:?}", self.now.as_millis(), peer.0);
        }
        match decode(&bytes, version, self.broker.max_packet(conn)) {
            Ok(Some((packet, _))) => self.broker.packet(conn, packet, self.now),
            Ok(None) => panic!("half a packet"),
            Err(error) => self.broker.malformed(conn, error, self.now),
        }
        self.turn();
    }

    /// True if the broker reads what `peer` sends.
    pub fn is_read(&self, peer: Peer) -> bool {
        let conn = self.lines[peer.0].conn;
        conn.is_some_and(|conn| self.broker.may_read(conn))
    }

    /// True while neither end has closed the connection.
    pub fn is_open(&self, peer: Peer) -> bool {
        self.lines[peer.0].conn.is_some()
    }

    pub fn conn(&self, peer: Peer) -> ConnId {
        self.lines[peer.0].conn.unwrap()
    }

    /// The network connection breaks.
    pub fn cut(&mut self, peer: Peer) {
        if let Some(conn) = self.lines[peer.0].conn.take() {
            self.broker.closed(conn, "cut", self.now);
            self.turn();
        }
    }

    /// What came since the last call.
    pub fn got(&mut self, peer: Peer) -> Vec<Got> {
        self.lines[peer.0].got.drain(..).collect()
    }

    /// The next packet that came.
    pub fn next(&mut self, peer: Peer) -> Option<Got> {
        self.lines[peer.0].got.pop_front()
    }

    /// The end of a turn.
    pub fn turn(&mut self) {
        if let Some(batch) = self.broker.take_batch(self.now) {
            self.batches += 1;
            self.jobs.push_back(Job::Commit(batch));
        }
        let reads: Vec<ReadRequest> = self.broker.take_reads().collect();
        self.jobs.extend(reads.into_iter().map(Job::Read));
        self.flush();
    }

    fn flush(&mut self) {
        loop {
            let dirty = self.broker.take_dirty();
            if dirty.is_empty() {
                return;
            }
            for conn in dirty {
                self.flush_one(conn);
            }
        }
    }

    fn flush_one(&mut self, conn: ConnId) {
        let at = self.lines.iter().position(|l| l.conn == Some(conn));
        let line = at.and_then(|at| self.lines.get_mut(at));
        let (Some(line), Some(outbox)) = (line, self.broker.outbox(conn)) else {
            return;
        };
        let bytes = outbox.pending().to_vec();
        outbox.advance(bytes.len());
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (packet, n) = decode(rest, line.version, usize::MAX).unwrap().unwrap();
            if *TRACE {
                eprintln!("{} {} < {packet:?}", self.now.as_millis(), at.unwrap_or(0));
            }
            line.got.push_back(own(&packet));
            rest = &rest[n..];
        }
        if outbox.close {
            line.conn = None;
            line.got.push_back(Got::Closed);
            self.broker.closed(conn, "closed", self.now);
        } else {
            self.broker.flushed(conn, self.now);
        }
    }

    /// Does one job of the storage thread; false if there was none.
    pub fn store(&mut self) -> bool {
        let Some(job) = self.jobs.pop_front() else {
            return false;
        };
        self.work(job);
        true
    }

    /// Does the first read while commits wait, as the storage thread does with a full disk;
    /// false if there was none.
    pub fn store_full(&mut self) -> bool {
        let read = self.jobs.iter().position(|job| matches!(job, Job::Read(_)));
        let job = read.and_then(|at| self.jobs.remove(at));
        let found = job.is_some();
        if let Some(job) = job {
            self.work(job);
        }
        found
    }

    fn work(&mut self, job: Job) {
        if *TRACE {
            eprintln!("{} {job:?}", self.now.as_millis());
        }
        let event = match job {
            Job::Commit(batch) => {
                self.db.commit(&batch).unwrap();
                let (seq, bytes) = (batch.seq, self.db.file_bytes());
                Event::Committed { seq, bytes, batch }
            }
            Job::Read(read) => Event::Rows {
                token: read.token,
                rows: self.db.read(&read.ranges, read.max_bytes).unwrap(),
            },
        };
        self.broker.store_event(event, self.now);
        self.turn();
    }

    /// Time passes, with everything that falls due on the way.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.tick();
            while !self.held && self.store() {}
            let next = self.broker.next_timeout().unwrap_or(end);
            if next > end || self.now >= end {
                break;
            }
            self.now = next.max(self.now + Duration::from_millis(1));
        }
        self.now = end;
        self.tick();
        while !self.held && self.store() {}
    }

    /// What is due now is done.
    pub fn tick(&mut self) {
        self.broker.tick(self.now);
        self.turn();
    }

    /// The numbers of the messages on disk.
    pub fn rows(&mut self) -> Vec<u64> {
        let rows = self.db.read(&[0..u64::MAX], usize::MAX).unwrap();
        rows.iter().map(|(id, _)| id.0).collect()
    }
}

/// Verbs of a client.
impl World {
    pub fn publish(&mut self, peer: Peer, topic: &str, payload: &str, delivery: Delivery) {
        self.publish_with(peer, topic, payload, delivery, false, &[]);
    }

    pub fn publish_with(
        &mut self,
        peer: Peer,
        topic: &str,
        payload: &str,
        delivery: Delivery,
        retain: bool,
        properties: &[Property<'_>],
    ) {
        let mut props = PropsBuf::new();
        for property in properties {
            props.push(*property);
        }
        let publish = Publish {
            delivery,
            retain,
            topic,
            props: props.as_props(),
            payload: payload.as_bytes(),
        };
        self.send(peer, &Packet::Publish(publish));
    }

    pub fn subscribe(&mut self, peer: Peer, id: u16, filters: &[Subscription<'_>]) {
        self.subscribe_with(peer, id, filters, None);
    }

    pub fn subscribe_with(
        &mut self,
        peer: Peer,
        id: u16,
        filters: &[Subscription<'_>],
        sub_id: Option<u32>,
    ) {
        let mut props = PropsBuf::new();
        if let Some(sub_id) = sub_id {
            props.push(Property::SubscriptionId(sub_id));
        }
        let subscribe = Subscribe {
            id: pid(id),
            props: props.as_props(),
            filters: filters.to_vec(),
        };
        self.send(peer, &Packet::Subscribe(subscribe));
    }

    pub fn unsubscribe(&mut self, peer: Peer, id: u16, filter: &str) {
        let unsubscribe = Unsubscribe {
            id: pid(id),
            props: Props::EMPTY,
            filters: vec![filter],
        };
        self.send(peer, &Packet::Unsubscribe(unsubscribe));
    }

    pub fn puback(&mut self, peer: Peer, id: u16) {
        self.send(peer, &Packet::PubAck(Ack::new(pid(id), Reason::SUCCESS)));
    }

    pub fn pubrec(&mut self, peer: Peer, id: u16) {
        self.send(peer, &Packet::PubRec(Ack::new(pid(id), Reason::SUCCESS)));
    }

    pub fn pubrel(&mut self, peer: Peer, id: u16) {
        self.send(peer, &Packet::PubRel(Ack::new(pid(id), Reason::SUCCESS)));
    }

    pub fn pubcomp(&mut self, peer: Peer, id: u16) {
        self.send(peer, &Packet::PubComp(Ack::new(pid(id), Reason::SUCCESS)));
    }

    pub fn disconnect(&mut self, peer: Peer, reason: Reason) {
        let props = Props::EMPTY;
        self.send(peer, &Packet::Disconnect(Disconnect { reason, props }));
    }
}

pub fn pid(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn own(packet: &Packet<'_>) -> Got {
    match packet {
        Packet::ConnAck(p) => Got::ConnAck(p.session_present, p.reason),
        Packet::Publish(p) => Got::Publish(Arrived {
            topic: p.topic.into(),
            payload: String::from_utf8_lossy(p.payload).into_owned(),
            delivery: p.delivery,
            retain: p.retain,
            sub_ids: p.props.subscription_ids().collect(),
            expiry: p.props.message_expiry(),
        }),
        Packet::PubAck(p) => Got::PubAck(p.id.get(), p.reason),
        Packet::PubRec(p) => Got::PubRec(p.id.get(), p.reason),
        Packet::PubRel(p) => Got::PubRel(p.id.get(), p.reason),
        Packet::PubComp(p) => Got::PubComp(p.id.get(), p.reason),
        Packet::SubAck(p) => Got::SubAck(p.id.get(), p.reasons.clone()),
        Packet::UnsubAck(p) => Got::UnsubAck(p.id.get(), p.reasons.clone()),
        Packet::PingResp => Got::PingResp,
        Packet::Disconnect(p) => Got::Disconnect(p.reason),
        other => panic!("a broker does not send {other:?}"),
    }
}
