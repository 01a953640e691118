//! The whole broker: clients of all versions and an upstream send anything, come and go, are slow,
//! time passes, the disk is late or full, settings change; all that the broker sends is decoded
//! again and held against what a server may say to that peer.

mod line;
mod packets;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use footbridge::auth::Auth;
use footbridge::bridge::{Limits, Link, Remedy};
use footbridge::broker::{
    Address, BridgeId, BridgeSession, Broker, ConnId, Driver, Question, end_turn,
};
use footbridge::config::{Config, Env};
use footbridge::mqtt::{self, Packet, Version, decode};
use footbridge::store::{Batch, Db, Error, Event, Figures, Location, ReadRequest};
use footbridge::time::Time;

use super::input::Input;
use line::{Kind, Line};
use packets::QOS;

/// More connections than this are not opened.
const LINES: usize = 12;

/// What one configuration says beside the listeners and the bridge.
const SETTINGS: &[&str] = &[
    "persistence true\npersistence_location /nowhere/\n",
    "persistence false\n",
    "persistence true\nmax_queued_messages 3\nqueue_overflow oldest\nmax_inflight_messages 1\n",
    "persistence true\nqueue_qos0_messages true\nupgrade_outgoing_qos true\nmax_qos 1\n",
    "persistence true\nmax_queued_bytes 300\nqueue_overflow latest-per-topic\nmax_keepalive 10\n",
    SMALL,
    "persistence true\nretain_available false\nmax_connections 3\nallow_zero_length_clientid false\n",
    "persistence true\ndurability lazy 5\npersistent_client_expiration 1h\nmax_topic_alias 2\n",
];

/// Small packets, and very little memory.
const SMALL: &str = "persistence true\nmax_packet_size 400\nmessage_size_limit 150\n";

/// What is asked of the disk.
enum Job {
    Commit(Batch),
    Read(ReadRequest),
}

/// A broker, its disk, its connections, and the time.
struct Bench {
    broker: Broker,
    now: Time,
    db: Db,
    jobs: VecDeque<Job>,
    lines: Vec<Line>,
    bridge: Option<(BridgeId, Link)>,
}

/// Runs what `input` says.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let config = config(input.pick(SETTINGS));
    let mut bench = Bench::new(&config);
    while !input.is_empty() {
        bench.step(&mut input);
        bench.turn();
    }
    bench.finish();
}

fn config(settings: &str) -> Config {
    let text = format!(
        "{settings}listener 1\nallow_anonymous true\nlistener 2\nmount_point m/\n\
         max_topic_alias_broker 1\nconnection up\naddress 127.0.0.1\ntopic # both 2 l/ r/\n\
         topic b out 1\n"
    );
    let loaded = Config::parse(&text, "x", &Env::default());
    let mut config = loaded.unwrap_or_else(|e| panic!("{e}")).config;
    if settings == SMALL {
        // Less than a file may ask for: few packets fill it.
        config.general.memory_limit = Some(20_000);
    }
    config
}

fn rules(config: &Config) -> Auth {
    Auth::for_config(config).expect("no files").0
}

fn is_of_session(packet: &Packet<'_>) -> bool {
    matches!(
        packet,
        Packet::Publish(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
    )
}

impl Bench {
    fn new(config: &Config) -> Bench {
        let (db, loaded) = Db::open(Location::Memory).expect("memory");
        let now = Time::from_secs(1_000_000);
        Bench {
            broker: Broker::new(config, rules(config), loaded, now),
            now,
            db,
            jobs: VecDeque::new(),
            lines: Vec::new(),
            bridge: None,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 32 {
            0..2 => self.open(input),
            2..16 => self.send_packet(input),
            16 => self.send_bytes(input),
            17..21 => self.answer(input),
            21..24 => drop(self.work()),
            24..26 => self.pass(input),
            26 => self.cut(input),
            27 => self.take_some(input),
            28 => self.change_disk(input),
            29 => self.change_bridge(input),
            30 => self.reload(input),
            _ => while self.work() {},
        }
    }

    fn turn(&mut self) {
        while end_turn(self, self.now) {}
    }

    fn open(&mut self, input: &mut Input<'_>) {
        let listener = usize::from(input.byte() % 2);
        let version = input.pick(&[Version::V31, Version::V311, Version::V5]);
        if self.lines.len() < LINES
            && let Some(conn) = self.broker.accept(listener, Address::Local, self.now)
        {
            let slow = input.byte().is_multiple_of(4);
            let dial = packets::connect(input, version);
            let mut line = Line::new(conn, Kind::Client, version, slow);
            (line.max_packet, line.alias_max) = (dial.max_packet, dial.alias_max);
            self.lines.push(line);
            self.feed(self.lines.len() - 1, &dial.bytes);
        }
    }

    /// A connection, if there is one.
    fn choose(&self, input: &mut Input<'_>) -> Option<usize> {
        let n = usize::from(input.byte());
        (!self.lines.is_empty()).then(|| n % self.lines.len())
    }

    fn send_packet(&mut self, input: &mut Input<'_>) {
        if let Some(at) = self.choose(input) {
            let packet = packets::any(input, self.lines[at].version);
            self.feed(at, &packet);
        }
    }

    fn send_bytes(&mut self, input: &mut Input<'_>) {
        if let Some(at) = self.choose(input) {
            let len = usize::from(input.byte() % 64);
            self.feed(at, input.bytes(len));
        }
    }

    /// Acknowledges what has come, as a client that keeps to the protocol.
    fn answer(&mut self, input: &mut Input<'_>) {
        if let Some(at) = self.choose(input)
            && let Some(ack) = self.lines[at].owed.pop_front()
        {
            self.feed(at, &ack);
        }
    }

    /// Hands the broker what a peer sends, as far as that is read.
    fn feed(&mut self, at: usize, bytes: &[u8]) {
        let line = &mut self.lines[at];
        let conn = line.conn;
        let mut unread = std::mem::take(&mut line.unread);
        // A peer that is not read cannot send for ever.
        if unread.len() < 10_000 {
            unread.extend_from_slice(bytes);
        }
        let (kind, mut used) = (line.kind, line.faults.skip(unread.len()));
        while self.broker.may_read(conn) && used < unread.len() {
            let (version, max) = (self.broker.version(conn), self.broker.max_packet(conn));
            match decode(&unread[used..], version, max) {
                Ok(Some((packet, n))) => {
                    used += n;
                    // A bridge's link keeps from the session what is not the session's.
                    if kind == Kind::Client || is_of_session(&packet) {
                        self.broker.packet(conn, packet, self.now);
                    }
                }
                Ok(None) => break,
                Err(error) => match self.feed_faulty(at, &unread[used..], error) {
                    Some(n) => used += n,
                    None => break,
                },
            }
        }
        unread.drain(..used);
        self.lines[at].unread = unread;
    }

    /// What becomes of bytes that do not decode. Returns how many are taken; `None` if more must come.
    fn feed_faulty(&mut self, at: usize, bytes: &[u8], error: mqtt::Error) -> Option<usize> {
        let (line, now) = (&mut self.lines[at], self.now);
        let conn = line.conn;
        let remedy = match line.kind {
            Kind::Client => Remedy::End,
            Kind::Upstream => line.faults.remedy(bytes, line.version, &error, now),
        };
        match remedy {
            Remedy::Wait => None,
            Remedy::Take(used, packet) => {
                if is_of_session(&packet) {
                    self.broker.packet(conn, packet, now);
                }
                Some(used)
            }
            Remedy::Drop(used, unusable) => {
                self.broker.bridge_drop(conn, &unusable, now);
                Some(used)
            }
            Remedy::Pass(used) => Some(used),
            Remedy::End => {
                self.broker.malformed(conn, bytes, error, now);
                Some(bytes.len())
            }
        }
    }

    /// Does one job of the disk; false if there was none.
    fn work(&mut self) -> bool {
        let event = match self.jobs.pop_front() {
            Some(Job::Commit(mut batch)) => {
                self.db.commit(&mut batch).expect("memory");
                let figures = Figures::default();
                Event::Committed {
                    seq: batch.seq,
                    figures,
                    batch,
                }
            }
            Some(Job::Read(read)) => {
                let rows = self.db.read(&read.ranges, read.max_bytes).expect("memory");
                Event::Rows {
                    token: read.token,
                    rows,
                }
            }
            None => return false,
        };
        self.broker.store_event(event, self.now);
        self.turn();
        true
    }

    fn pass(&mut self, input: &mut Input<'_>) {
        const MILLIS: &[u64] = &[
            1,
            20,
            50,
            300,
            1_000,
            1_500,
            15_000,
            3_600_000,
            1_000_000_000,
        ];
        self.now += Duration::from_millis(input.pick(MILLIS));
    }

    fn cut(&mut self, input: &mut Input<'_>) {
        if let Some(at) = self.choose(input) {
            let line = self.lines.remove(at);
            self.broker.closed(line.conn, "cut", self.now);
        }
    }

    /// A slow peer takes some of what waits for it.
    fn take_some(&mut self, input: &mut Input<'_>) {
        if let Some(at) = self.choose(input) {
            let line = &mut self.lines[at];
            line.room += usize::from(input.byte()) * 100;
            self.broker.write_soon(line.conn);
        }
    }

    fn change_disk(&mut self, input: &mut Input<'_>) {
        let error = || Error::Io(std::io::ErrorKind::Other.into());
        let event = match input.byte() % 5 {
            0 => Event::Full,
            1 => Event::Room,
            2 => Event::Stalled { error: error() },
            3 => Event::Resumed,
            _ => return self.broker.commit_now(self.now),
        };
        self.broker.store_event(event, self.now);
    }

    fn reload(&mut self, input: &mut Input<'_>) {
        let config = config(input.pick(SETTINGS));
        self.broker.set_general(&config.general, self.now);
        self.broker.set_auth(rules(&config), self.now);
    }

    /// The bridge is made, comes up, goes down, is removed.
    fn change_bridge(&mut self, input: &mut Input<'_>) {
        let up = self
            .lines
            .iter()
            .position(|line| line.kind == Kind::Upstream);
        match (input.byte() % 4, &self.bridge, up) {
            (0, _, None) => self.add_bridge(input.coin()),
            (1, Some((bridge, _)), None) => {
                self.broker.remove_bridge(*bridge, self.now);
                self.bridge = None;
            }
            (2, Some(_), None) => self.bridge_up(input),
            (_, _, Some(at)) => {
                let line = self.lines.remove(at);
                self.broker.closed(line.conn, "down", self.now);
            }
            _ => {}
        }
    }

    fn add_bridge(&mut self, durable: bool) {
        let config = config(SETTINGS[0]);
        let spec = Rc::new(config.bridges.into_iter().next().expect("a bridge"));
        let link = Link::new(Rc::clone(&spec), 1, self.now);
        let session = BridgeSession {
            name: &spec.name,
            client_id: &spec.local_clientid,
            username: None,
            durable,
            topics: &spec.topics,
            map: link.map(),
        };
        let id = self.broker.add_bridge(&session, self.now);
        self.bridge = Some((id, link));
    }

    fn bridge_up(&mut self, input: &mut Input<'_>) {
        let Some((bridge, link)) = &self.bridge else {
            return;
        };
        let mut limits = Limits::unnamed(
            input.pick(&[Version::V311, Version::V5]),
            Duration::from_secs(60),
        );
        limits.receive_maximum = input.pick(&[1, 2, 20]);
        limits.session_present = input.coin();
        limits.max_qos = input.pick(QOS);
        if limits.version == Version::V5 {
            limits.max_packet = input.pick(&[None, Some(60)]);
            limits.topic_alias_max = input.pick(&[0, 2]);
            limits.retain_available = input.coin();
            limits.announced.topic_alias_max = 10;
        }
        let (bridge, wire) = (*bridge, link.wire().clone());
        if let Some(conn) = self.broker.bridge_up(bridge, &limits, wire, self.now) {
            let mut line = Line::new(conn, Kind::Upstream, limits.version, input.coin());
            line.max_packet = limits.max_packet;
            line.alias_max = limits.topic_alias_max;
            self.lines.push(line);
            self.broker.bridge_start(conn, self.now);
        }
    }

    /// The broker stops: everybody hears what there is to say, and all lies on the disk.
    fn finish(mut self) {
        self.broker.shutdown(self.now);
        while {
            self.lines
                .iter_mut()
                .for_each(|line| line.room = usize::MAX / 2);
            let conns: Vec<ConnId> = self.lines.iter().map(|line| line.conn).collect();
            conns.iter().for_each(|conn| self.broker.write_soon(*conn));
            self.turn();
            self.work()
        } {}
        assert!(
            self.lines.is_empty(),
            "{:?} are open after the end",
            self.lines
        );
    }
}

impl Driver for Bench {
    fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn commit(&mut self, batch: Batch) {
        self.jobs.push_back(Job::Commit(batch));
    }

    fn read(&mut self, request: ReadRequest) {
        self.jobs.push_back(Job::Read(request));
    }

    fn ask(&mut self, question: Question) {
        self.broker.login_answer(question.answer(), self.now);
    }

    fn write(&mut self, conn: ConnId, now: Time) {
        let Some(at) = self.lines.iter().position(|line| line.conn == conn) else {
            let left = self.broker.outbox(conn).map_or(0, |outbox| outbox.len());
            assert_eq!(left, 0, "for a connection that is closed");
            return;
        };
        let Some(outbox) = self.broker.outbox(conn) else {
            panic!("{:?} is not known any more", self.lines[at]);
        };
        let moved = self.lines[at].take(outbox);
        if outbox.close {
            self.lines.remove(at);
            self.broker.closed(conn, "closed", now);
        } else if moved {
            self.broker.flushed(conn, now);
        }
    }

    fn resume(&mut self, conn: ConnId) {
        if let Some(at) = self.lines.iter().position(|line| line.conn == conn) {
            self.feed(at, &[]);
        }
    }
}
