//! Scripted conversations with an upstream, on virtual time.

mod addresses;
mod backoff;
mod clauses;
mod closing;
mod faults;
mod handshake;
mod innocent;
mod isolation;
mod keepalive;
mod ladder;
mod limits;
mod loop_guard;
mod map;
mod pace;
mod primary;
mod recovery;
mod refusal;
mod retried;
mod said;
mod slow;
mod start;
mod subscribed;
mod watched;

use std::rc::Rc;
use std::time::Duration;

use super::{Action, Error, Limits, Link, Output, Step, Unanswered, UnderWay};
use crate::config::{Bounds, Bridge, BridgeTopic, Direction, Env, Restart};
use crate::message::MessageId;
use crate::mqtt::{
    Ack, ConnAck, Delivery, Packet, PacketId, Property, Props, PropsBuf, Publish, QoS, Reason,
    SubAck, Version, decode,
};
use crate::time::Time;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// `topic PATTERN DIRECTION QOS LOCAL REMOTE`, without quotes: `-` is the empty marker.
fn topic(line: &str) -> BridgeTopic {
    let words: Vec<&str> = line
        .split(' ')
        .map(|w| if w == "-" { "" } else { w })
        .collect();
    let word = |n: usize| words.get(n).copied().unwrap_or_default().to_owned();
    BridgeTopic {
        pattern: word(0),
        direction: match words.get(1) {
            Some(&"in") => Direction::In,
            Some(&"both") => Direction::Both,
            _ => Direction::Out,
        },
        qos: words
            .get(2)
            .and_then(|q| QoS::from_bits(q.parse().ok()?))
            .unwrap_or_default(),
        local: word(3),
        remote: word(4),
        low: false,
        bounds: Bounds::default(),
        overflow: None,
        ttl: None,
        keeps_qos0: false,
    }
}

/// A section with nothing but `connection up`, `address up.example`, and these topics, on the host
/// `box`; a connection is stable sooner.
fn spec(topics: &[&str]) -> Bridge {
    let env = Env {
        hostname: "box".into(),
        ..Env::default()
    };
    Bridge {
        addresses: vec![("up.example".to_owned(), 1883).into()],
        topics: topics.iter().map(|line| topic(line)).collect(),
        restart: Restart::Jitter {
            base: secs(5),
            cap: secs(30),
            stable: secs(10),
        },
        ..Bridge::named("up", &env)
    }
}

/// A link, the clock and the upstream's side of the connection.
struct Script {
    link: Link,
    now: Time,
    out: Vec<u8>,
    ids: u16,
}

impl Script {
    fn new(spec: Bridge) -> Script {
        let now = Time::from_secs(1_000_000);
        Script {
            link: Link::new(Rc::new(spec), 1, now),
            now,
            out: Vec::new(),
            ids: 0,
        }
    }

    /// What `drive` says, in short.
    fn drive(&mut self) -> String {
        match self.link.drive(self.now, &mut self.out) {
            Action::Idle => "idle".into(),
            Action::Connect { address, .. } => format!("connect {address}"),
            Action::Window(size) => format!("window {size}"),
            Action::Leave => "leave".into(),
            Action::Close => "close".into(),
        }
    }

    /// Lets time pass until the link wants to do something, and says what and after how long.
    fn wait(&mut self) -> (Duration, String) {
        assert_eq!(self.drive(), "idle");
        let before = self.now;
        self.now = self.now.max(self.link.next_timeout());
        (self.now.since(before), self.drive())
    }

    /// Waits for the next attempt and lets TCP connect; returns the CONNECT.
    fn dial(&mut self) -> String {
        let action = match self.drive() {
            idle if idle == "idle" => self.wait().1,
            action => action,
        };
        assert!(action.starts_with("connect "), "{action}");
        self.link.connected(self.now, &mut self.out).unwrap();
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1);
        sent.remove(0)
    }

    /// Accepts the CONNECT; returns the step and what the link then sends.
    fn accept(&mut self, session_present: bool, props: &[Property<'_>]) -> (Step, Vec<String>) {
        let mut buf = PropsBuf::new();
        props.iter().for_each(|p| assert!(buf.push(*p)));
        let reason = Reason::SUCCESS;
        let ack = ConnAck {
            session_present,
            reason,
            props: buf.as_props(),
        };
        let step = self.receive(Packet::ConnAck(ack)).unwrap();
        (step, self.sent())
    }

    fn refuse(&mut self, reason: Reason) -> Error {
        let ack = ConnAck {
            session_present: false,
            reason,
            props: Props::EMPTY,
        };
        self.receive(Packet::ConnAck(ack)).unwrap_err()
    }

    fn receive(&mut self, packet: Packet<'_>) -> Result<Step, Error> {
        let Script {
            link,
            now,
            out,
            ids,
        } = self;
        let mut next = || {
            *ids += 1;
            PacketId::new(*ids).unwrap()
        };
        link.packet(&packet, &mut next, *now, out)
    }

    fn puback(&mut self, id: u16, reason: Reason) -> Result<Step, Error> {
        self.receive(Packet::PubAck(Ack::new(PacketId::new(id).unwrap(), reason)))
    }

    fn suback(&mut self, id: u16, reason: Reason) -> Result<Step, Error> {
        let id = PacketId::new(id).unwrap();
        self.receive(Packet::SubAck(SubAck {
            id,
            props: Props::EMPTY,
            reasons: vec![reason],
        }))
    }

    /// The upstream closes the connection.
    fn close(&mut self) {
        self.close_with(0);
    }

    /// The upstream closes the connection, with so many messages of the session under way, which begin
    /// with number 1.
    fn close_with(&mut self, count: usize) -> Option<Unanswered> {
        self.lose(
            &Error::Closed("connection closed by upstream".into()),
            count,
        )
    }

    /// The connection is over.
    fn lose(&mut self, error: &Error, count: usize) -> Option<Unanswered> {
        self.link.failed(error, self.now);
        let first = Unanswered {
            seq: 1,
            id: Some(MessageId(1)),
            qos: QoS::ExactlyOnce,
        };
        let under_way = UnderWay {
            count,
            first: (count > 0).then_some(first),
            ..UnderWay::default()
        };
        self.link.judge(&under_way, self.now)
    }

    /// Nothing answers at the address.
    fn no_answer(&mut self) {
        self.link
            .failed(&Error::Io("connection refused".into()), self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// The packets that the link has sent, one line each.
    fn sent(&mut self) -> Vec<String> {
        let bytes = std::mem::take(&mut self.out);
        let (mut rest, mut lines) = (&bytes[..], Vec::new());
        while let Some((packet, len)) = decode(rest, self.link.version(), 10_000).unwrap() {
            lines.push(line(&packet));
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        lines
    }
}

fn line(packet: &Packet<'_>) -> String {
    let flag = |set: bool, name: &str| {
        if set {
            format!(" {name}")
        } else {
            String::new()
        }
    };
    match packet {
        Packet::Connect(c) => {
            let level = c.version as u8 | if c.bridge { 0x80 } else { 0 };
            let mut line = format!("CONNECT {level} {} keep {}", c.client_id, c.keep_alive);
            line += &flag(c.clean_start, "clean");
            line += &c.username.map(|u| format!(" user {u}")).unwrap_or_default();
            if let Some(w) = c.will {
                let payload = String::from_utf8_lossy(w.payload);
                line += &format!(" will {} {payload} q{}", w.topic, w.qos as u8);
                line += &flag(w.retain, "retain");
            }
            c.props
                .iter()
                .fold(line, |line, property| format!("{line} {property:?}"))
        }
        Packet::Publish(p) => {
            let payload = String::from_utf8_lossy(p.payload);
            let id = p.delivery.id().map_or(0, PacketId::get);
            let qos = p.delivery.qos() as u8;
            format!(
                "PUBLISH {id} {} {payload} q{qos}{}",
                p.topic,
                flag(p.retain, "retain")
            )
        }
        Packet::Subscribe(s) => {
            let [f] = s.filters[..] else {
                panic!("one filter a SUBSCRIBE")
            };
            let mut line = format!("SUBSCRIBE {} {} q{}", s.id.get(), f.filter, f.qos as u8);
            line += &flag(f.no_local, "nl");
            line += &flag(f.retain_as_published, "rap");
            line + &flag(f.retain_handling as u8 > 0, "if-new")
        }
        Packet::Unsubscribe(u) => format!("UNSUBSCRIBE {} {}", u.id.get(), u.filters.join(" ")),
        other => other.name().into(),
    }
}

/// Also what a version 3 upstream makes of it.
fn v311(mut spec: Bridge) -> Bridge {
    spec.version = Some(Version::V311);
    spec
}

/// A message comes from the upstream.
fn publish(s: &mut Script) {
    let publish = Publish {
        delivery: Delivery::AtMostOnce,
        retain: false,
        topic: "a",
        props: Props::EMPTY,
        payload: b"",
    };
    assert_eq!(s.receive(Packet::Publish(publish)), Ok(Step::Forward));
}
