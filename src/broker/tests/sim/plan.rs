//! What clients do: random, but within what the specification lets a client do.

use std::time::Duration;

use fastrand::Rng;

use super::model::{Hello, Options, Publication, Will};
use crate::mqtt::{Property, PropsBuf, QoS, RetainHandling, Version};
use crate::time::Time;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// What clients publish to.
const TOPICS: [&str; 12] = [
    "t/0/0", "t/0/1", "t/0/2", "t/1/0", "t/1/1", "t/1/2", "t", "t/0", "/t", "u//1", "$x/0/1",
    "$x/1",
];

/// What clients subscribe to.
const FILTERS: [&str; 14] = [
    "#", "t/#", "t/+/1", "t/+/2", "+/0/+", "+/+/+", "t/1/1", "+", "/+", "u/#", "$x/#", "$x/+/1",
    "w/+", "w/#",
];

/// A message before it is published.
#[derive(Clone, Debug)]
pub struct Draft {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub props: PropsBuf,
    pub expiry: Option<u32>,
}

impl Draft {
    /// The message, published at `now`.
    pub fn publication(&self, publisher: usize, now: Time) -> Publication {
        let expiry = self.expiry.map(|secs| Duration::from_secs(secs.into()));
        Publication {
            publisher,
            topic: self.topic.as_str().into(),
            payload: self.payload.clone(),
            qos: self.qos,
            retain: self.retain,
            props: self.props.as_props().as_bytes().to_vec(),
            expires: expiry.map(|expiry| now + expiry),
        }
    }
}

/// What a CONNECT says.
#[derive(Debug)]
pub struct Plan {
    pub hello: Hello,
    pub keep_alive: u16,
    pub receive_maximum: Option<u16>,
    pub alias_maximum: u16,
    pub will_props: PropsBuf,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub filter: &'static str,
    pub options: Options,
    pub handling: RetainHandling,
}

pub fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

/// A payload that begins with `number`.
fn payload(number: u32, width: usize) -> Vec<u8> {
    format!("{number:<width$}").into_bytes()
}

fn properties(rng: &mut Rng) -> PropsBuf {
    let mut props = PropsBuf::new();
    for _ in 0..rng.u32(..5) {
        props.push(match rng.u32(..4) {
            0 => Property::User("a", "1"),
            1 => Property::User("b", "2"),
            _ => Property::User("a", "3"),
        });
    }
    if rng.bool() {
        props.push(Property::ContentType("text/plain"));
        props.push(Property::CorrelationData(b"\x00\xff"));
        props.push(Property::User("last", ""));
    }
    props
}

/// What to publish next; `clear`: it may clear a retained message.
pub fn draft(rng: &mut Rng, version: Version, number: u32, clear: bool) -> Draft {
    let retain = rng.u32(..5) == 0;
    let width = if number.is_multiple_of(9) { 9000 } else { 1 };
    let mut draft = Draft {
        topic: pick(rng, &TOPICS).to_owned(),
        payload: payload(number, width),
        qos: pick(rng, &QOS),
        retain,
        props: PropsBuf::new(),
        expiry: None,
    };
    if retain && clear && rng.u32(..4) == 0 {
        draft.payload.clear();
    }
    if version == Version::V5 && rng.u32(..4) == 0 {
        draft.props = properties(rng);
    }
    if version == Version::V5 && rng.u32(..4) == 0 {
        draft.expiry = Some(rng.u32(1..10));
    }
    draft
}

/// What a client asks for when it connects. `kind` is 0 for one without sessions.
pub fn plan(rng: &mut Rng, version: Version, client: usize, kind: u32) -> Plan {
    let v5 = version == Version::V5;
    let clean = match kind {
        0 => !v5 || rng.bool(),
        _ => rng.u32(..12) == 0,
    };
    let expiry = match (v5, kind) {
        (false, _) if clean => 0,
        (false, _) => u32::MAX,
        (true, 0) => 0,
        (true, 1) => pick(rng, &[1, 3, 10, 30, 3600]),
        (true, _) => pick(rng, &[0, 3600, u32::MAX, u32::MAX]),
    };
    // Each always the same: a queue may hold what the next connection does not take.
    let max_packet = if v5 && client % 4 == 3 {
        4000
    } else {
        usize::MAX
    };
    Plan {
        hello: Hello {
            version,
            clean,
            expiry,
            max_packet,
            will: None,
        },
        keep_alive: pick(rng, &[0, 0, 0, 2, 5, 20]),
        receive_maximum: pick(rng, &[None, Some(1), Some(2), Some(10)]).filter(|_| v5),
        alias_maximum: if v5 { pick(rng, &[0, 0, 1, 3, 10]) } else { 0 },
        will_props: PropsBuf::new(),
    }
    .with_will(rng, client)
}

impl Plan {
    fn with_will(mut self, rng: &mut Rng, client: usize) -> Plan {
        if rng.bool() {
            return self;
        }
        let v5 = self.hello.version == Version::V5;
        let mut forwarded = PropsBuf::new();
        let (mut delay, mut expiry) = (0, None);
        if v5 {
            forwarded = properties(rng);
            delay = pick(rng, &[0, 0, 1, 3, 10]);
            expiry = pick(rng, &[None, None, Some(2), Some(20)]);
            self.will_props.extend_raw(forwarded.as_props().as_bytes());
            self.will_props.push(Property::WillDelay(delay));
        }
        if let Some(secs) = expiry {
            self.will_props.push(Property::MessageExpiry(secs));
        }
        self.hello.will = Some(Will {
            publication: Publication {
                publisher: client,
                topic: format!("w/{client}").into(),
                payload: Vec::new(),
                qos: pick(rng, &QOS),
                retain: rng.bool(),
                props: forwarded.as_props().as_bytes().to_vec(),
                expires: None,
            },
            delay,
            expiry,
        });
        self
    }

    /// Numbers the will; a retained one only where `retain` is.
    pub fn number(&mut self, number: u32, retain: bool) {
        if let Some(will) = &mut self.hello.will {
            will.publication.payload = payload(number, 1);
            will.publication.retain &= retain;
        }
    }
}

/// What to subscribe to.
pub fn wishes(rng: &mut Rng, version: Version) -> Vec<Wish> {
    let v5 = version == Version::V5;
    let id = (v5 && rng.bool()).then(|| rng.u32(1..9));
    let wish = |rng: &mut Rng| Wish {
        filter: filter(rng),
        options: Options {
            qos: pick(rng, &QOS).max(pick(rng, &QOS)),
            no_local: v5 && rng.u32(..4) == 0,
            retain_as_published: v5 && rng.bool(),
            id,
        },
        handling: match rng.u32(..6) {
            0 if v5 => RetainHandling::SendIfNew,
            1 if v5 => RetainHandling::DontSend,
            _ => RetainHandling::Send,
        },
    };
    (0..rng.usize(1..4)).map(|_| wish(rng)).collect()
}

/// A filter.
pub fn filter(rng: &mut Rng) -> &'static str {
    pick(rng, &FILTERS)
}
