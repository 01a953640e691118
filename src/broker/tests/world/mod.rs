//! A broker, a store and clients on virtual time, in one thread.
//!
//! The world ends the turn after each packet, as the broker's [`Driver`]: batch and reads go to one
//! queue of jobs, and what lies in the outboxes is decoded. Jobs are done as time passes, or when
//! the test says so.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use crate::auth::Auth;
use crate::bridge::{Faults, Remedy};
use crate::broker::{Address, Broker, ConnId, Driver, Question, end_turn, pieces};
use crate::config::{CertificateUsername, Config, General, Listener};
use crate::lane::Lane;
use crate::mqtt::{self, Packet, Version, decode, encode};
use crate::store::{
    Batch, Db, Event, Figures, Loaded, Location, Need, ReadRequest, StateRecord, Written,
};
use crate::time::Time;

mod client;
mod logins;

use client::own;
pub use client::{Arrived, Dial, Got, Last, Peer, pid};

/// `FOOTBRIDGE_SIM_TRACE` prints every packet.
static TRACE: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FOOTBRIDGE_SIM_TRACE").is_some());

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
    bytes: VecDeque<Vec<u8>>,
    /// Of an upstream.
    faults: Option<Faults>,
}

/// The world.
pub struct World {
    pub broker: Broker,
    pub now: Time,
    pub settings: General,
    pub listeners: Vec<Listener>,
    db: Db,
    jobs: VecDeque<Job>,
    /// Logins that are to be looked at.
    questions: VecDeque<Question>,
    /// They are looked at only when the test says so.
    pub logins_held: bool,
    /// Jobs are done only when the test says so.
    pub held: bool,
    /// What comes is kept as it is, for [`World::bytes`], instead of read.
    pub raw: bool,
    lines: Vec<Line>,
    /// Connections that the broker has asked to read again.
    pub resumed: Vec<ConnId>,
    /// Batches handed to the store.
    pub batches: u64,
    /// Bytes of the rows in them.
    pub batch_bytes: usize,
    /// What the store says it has written.
    pub written: Written,
}

/// The settings of most tests: with persistence, queues without bounds.
pub fn settings() -> General {
    General {
        connection_messages: false,
        max_queued_bytes: 0,
        persistence: true,
        commit_interval: Duration::from_millis(20),
        ..General::default()
    }
}

/// A broker of these settings and listeners and nothing else, on what the store held.
fn start(settings: &General, listeners: &[Listener], loaded: Loaded, now: Time) -> Broker {
    let config = config(settings, listeners);
    Broker::new(&config, rules(&config), loaded, now)
}

fn config(settings: &General, listeners: &[Listener]) -> Config {
    Config {
        general: settings.clone(),
        listeners: listeners.to_vec(),
        ..Config::default()
    }
}

fn rules(config: &Config) -> Auth {
    Auth::for_config(config).unwrap().0
}

impl World {
    pub fn new() -> World {
        World::with(settings())
    }

    pub fn with(settings: General) -> World {
        World::with_listeners(settings, Vec::new())
    }

    pub fn with_listeners(settings: General, listeners: Vec<Listener>) -> World {
        let (db, loaded) = Db::open(Location::Memory).unwrap();
        let now = Time::from_secs(1_000_000);
        World {
            broker: start(&settings, &listeners, loaded, now),
            now,
            settings,
            listeners,
            db,
            jobs: VecDeque::new(),
            questions: VecDeque::new(),
            logins_held: false,
            held: false,
            raw: false,
            lines: Vec::new(),
            resumed: Vec::new(),
            batches: 0,
            batch_bytes: 0,
            written: Written::default(),
        }
    }

    /// kill -9, and a start after `down`: what was not committed is lost.
    pub fn crash(&mut self, down: Duration) {
        if *TRACE {
            eprintln!("{} crash", self.now.as_millis());
        }
        self.jobs.clear();
        self.questions.clear();
        self.now += down;
        for line in &mut self.lines {
            if line.conn.take().is_some() {
                line.got.push_back(Got::Closed);
            }
        }
        let loaded = self.db.reload().unwrap();
        let portions = std::mem::take(&mut self.broker.core.portions);
        self.broker = start(&self.settings, &self.listeners, loaded, self.now);
        self.broker.core.portions = portions;
        self.turn();
    }

    /// Opens a connection.
    pub fn open(&mut self, version: Version) -> Peer {
        self.open_at(0, version)
    }

    /// Opens a connection to a listener, by its number.
    pub fn open_at(&mut self, listener: usize, version: Version) -> Peer {
        self.open_from(listener, Address::Local, version)
    }

    /// Opens a connection to a listener from somewhere.
    pub fn open_from(&mut self, listener: usize, address: Address, version: Version) -> Peer {
        let conn = self.broker.accept(listener, address, self.now);
        self.lines.push(Line {
            conn,
            version,
            got: VecDeque::new(),
            bytes: VecDeque::new(),
            faults: None,
        });
        Peer(self.lines.len() - 1)
    }

    /// SIGHUP, with the settings and listeners of the world as they are now.
    pub fn reload(&mut self) {
        self.change_rules();
        self.turn();
    }

    /// As [`World::reload`], but the turn goes on: nobody is disconnected yet.
    pub fn change_rules(&mut self) {
        let auth = rules(&config(&self.settings, &self.listeners));
        self.broker.set_auth(auth, self.now);
    }

    /// Takes the connection of a bridge, whose packets go like a client's.
    pub fn adopt(&mut self, conn: ConnId, version: Version) -> Peer {
        self.lines.push(Line {
            conn: Some(conn),
            version,
            got: VecDeque::new(),
            bytes: VecDeque::new(),
            faults: Some(Faults::new("b")),
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

    /// Sends a packet, bytes and all, and ends the turn.
    pub fn send(&mut self, peer: Peer, packet: &Packet<'_>) {
        self.hand_in(peer, packet);
        self.turn();
    }

    /// Sends a packet, bytes and all; the turn goes on.
    pub fn hand_in(&mut self, peer: Peer, packet: &Packet<'_>) {
        if *TRACE {
            eprintln!("{} {} > {packet:?}", self.now.as_millis(), peer.0);
        }
        let mut bytes = Vec::new();
        encode(packet, self.lines[peer.0].version, &mut bytes).unwrap();
        self.take_in(peer, &bytes);
    }

    /// Sends bytes that are a packet, or should be one, and ends the turn. Those of an upstream that
    /// are none go the way that its link has for them.
    pub fn send_bytes(&mut self, peer: Peer, bytes: &[u8]) {
        self.take_in(peer, bytes);
        self.turn();
    }

    fn take_in(&mut self, peer: Peer, bytes: &[u8]) {
        let Some(conn) = self.lines[peer.0].conn else {
            return;
        };
        let version = self.broker.version(conn);
        match decode(bytes, version, self.broker.max_packet(conn)) {
            Ok(Some((packet, _))) => self.broker.packet(conn, packet, self.now),
            Ok(None) => panic!("half a packet"),
            Err(error) => self.faulty(peer, conn, bytes, error),
        }
    }

    fn faulty(&mut self, peer: Peer, conn: ConnId, bytes: &[u8], error: mqtt::Error) {
        let Some(faults) = &mut self.lines[peer.0].faults else {
            return self.broker.malformed(conn, bytes, error, self.now);
        };
        let version = self.broker.version(conn);
        match faults.remedy(bytes, version, &error, self.now) {
            Remedy::Wait => panic!("half a packet"),
            Remedy::Take(_, packet) => self.broker.packet(conn, packet, self.now),
            Remedy::Drop(_, unusable) => self.broker.bridge_drop(conn, &unusable, self.now),
            Remedy::Pass(_) => {}
            Remedy::End => self.broker.malformed(conn, bytes, error, self.now),
        }
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

    /// The next packet that came, while [`World::raw`].
    pub fn bytes(&mut self, peer: Peer) -> Option<Vec<u8>> {
        self.lines[peer.0].bytes.pop_front()
    }

    /// How many packets have come since.
    pub fn waiting(&self, peer: Peer) -> usize {
        self.lines[peer.0].got.len()
    }

    /// The end of a turn, and further turns while there is more to be written.
    pub fn turn(&mut self) {
        loop {
            while end_turn(self, self.now) {}
            if self.logins_held || !self.answer_login() {
                return;
            }
        }
    }

    /// What packets have left to do goes on only by [`World::go_on`], if their filters cost more than so many
    /// units, or the receivers of their messages.
    pub fn hold_pieces(&mut self, filters: usize, receivers: usize) {
        let portions = &mut self.broker.core.portions;
        (portions.filters, portions.receivers) = (filters, receivers);
        // Of a will the simulation would not see when its turn comes.
        portions.unanswered = receivers.max(500);
        portions.are_held = true;
    }

    /// Whether the message of a connection that goes in pieces has begun to; `None` if there is none.
    pub fn has_begun(&self, conn: ConnId) -> Option<bool> {
        self.broker.core.fan_outs.state_of(conn)
    }

    /// How many filters of the last packet are still to be taken.
    pub fn filters_left(&self, peer: Peer) -> usize {
        let conn = self.lines[peer.0].conn;
        let conn = conn.and_then(|conn| self.broker.core.connections.get(conn));
        conn.map_or(0, |conn| conn.filters_left())
    }

    /// Does about so many units of work of what is held back, and ends the turn.
    pub fn go_on(&mut self, most: usize) {
        pieces::go_on_held(&mut self.broker.core, most, self.now);
        self.broker.settle(self.now);
        self.turn();
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
            Job::Commit(mut batch) => {
                self.db.commit(&mut batch).unwrap();
                if !self.broker.core.settings.general.persistence
                    && self.db.is_worth_compacting(Need::Busy)
                {
                    self.db.rewrite().unwrap();
                }
                Event::Committed {
                    seq: batch.seq,
                    figures: Figures {
                        bytes: self.db.file_bytes(),
                        written: self.written,
                        ..Figures::default()
                    },
                    batch,
                }
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
        self.turn();
    }

    /// What the store has of where the delivery of a session stands.
    pub fn state(&mut self, client_id: &str) -> StateRecord {
        let mut sessions = self.db.reload().unwrap().sessions.into_iter();
        let found = sessions.find(|s| &*s.record.client_id == client_id);
        found.expect("a stored session").state
    }

    /// How many messages the store has for a session, dead letters with them.
    pub fn dead_and_waiting(&mut self, client_id: &str) -> u64 {
        let mut sessions = self.db.reload().unwrap().sessions.into_iter();
        let found = sessions.find(|s| &*s.record.client_id == client_id);
        let queue = found.expect("a stored session").queue;
        queue.len() + queue.owed(Lane::Dead).messages
    }

    /// The numbers of the messages on disk.
    pub fn rows(&mut self) -> Vec<u64> {
        let all = 0..u64::MAX;
        let rows = self
            .db
            .read(std::slice::from_ref(&all), usize::MAX)
            .unwrap();
        rows.iter().map(|(id, _)| id.0).collect()
    }
}

impl Driver for World {
    fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn commit(&mut self, batch: Batch) {
        self.batches += 1;
        self.batch_bytes += batch.bytes();
        self.jobs.push_back(Job::Commit(batch));
    }

    fn read(&mut self, request: ReadRequest) {
        self.jobs.push_back(Job::Read(request));
    }

    fn ask(&mut self, question: Question) {
        self.questions.push_back(question);
    }

    fn write(&mut self, conn: ConnId, now: Time) {
        let at = self.lines.iter().position(|l| l.conn == Some(conn));
        let line = at.and_then(|at| self.lines.get_mut(at));
        let (Some(line), Some(outbox)) = (line, self.broker.outbox(conn)) else {
            return;
        };
        let mut bytes = Vec::new();
        while !outbox.is_empty() {
            let more = outbox.pending().to_vec();
            outbox.advance(more.len());
            bytes.extend(more);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (packet, n) = decode(rest, line.version, usize::MAX).unwrap().unwrap();
            if *TRACE {
                eprintln!("{} {} < {packet:?}", now.as_millis(), at.unwrap_or(0));
            }
            if self.raw {
                line.bytes.push_back(rest[..n].to_vec());
            } else {
                line.got.push_back(own(&packet));
            }
            rest = &rest[n..];
        }
        if outbox.close {
            line.conn = None;
            line.got.push_back(Got::Closed);
            self.broker.closed(conn, "closed", now);
        } else {
            self.broker.flushed(conn, now);
        }
    }

    fn resume(&mut self, conn: ConnId) {
        self.resumed.push(conn);
    }
}
