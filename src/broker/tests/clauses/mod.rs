//! Statements of the specifications that no other test shows, on the bytes of the wire. Which
//! test shows which statement is in `tests/conformance`.

mod bridge;
mod connect;
mod errors;
mod max_qos;
mod properties;
mod publish;
mod qos;
mod retain;
mod session;
mod subscribe;
mod will;

use super::*;
use crate::broker::{Address, ConnId};
use crate::mqtt::{Packet, decode};

/// PINGREQ.
const PINGREQ: &[u8] = b"\xc0\0";
/// PINGRESP.
const PINGRESP: &[u8] = b"\xd0\0";

/// A packet of this first byte and body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    while length > 127 {
        out.push(length as u8 & 127 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(body);
    out
}

/// A string or binary field: its length, then itself.
fn field(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// A CONNECT without keep-alive; 5.0 gets `props` (below 128 bytes) and their length.
fn connect(version: Version, flags: u8, props: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    body.extend([version as u8, flags, 0, 0]);
    if version == Version::V5 {
        body.push(props.len() as u8);
        body.extend_from_slice(props);
    }
    body.extend_from_slice(payload);
    packet(0x10, &body)
}

/// A packet whose body in 5.0 has an empty property section at `at`.
fn with_props(version: Version, first: u8, body: &[u8], at: usize) -> Vec<u8> {
    match version {
        Version::V5 => packet(first, &[&body[..at], b"\0", &body[at..]].concat()),
        _ => packet(first, body),
    }
}

/// A PUBLISH without properties: `flags` are DUP, QoS and RETAIN; QoS 0 has no `id`.
fn publish(version: Version, flags: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut body = field(topic.as_bytes());
    body.extend(id.into_iter().flat_map(u16::to_be_bytes));
    let at = body.len();
    body.extend_from_slice(payload);
    with_props(version, 0x30 | flags, &body, at)
}

/// A SUBSCRIBE without properties.
fn subscribe(version: Version, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for (filter, options) in filters {
        body.extend(field(filter.as_bytes()));
        body.push(*options);
    }
    with_props(version, 0x82, &body, 2)
}

/// An UNSUBSCRIBE without properties.
fn unsubscribe(version: Version, id: u16, filters: &[&[u8]]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(filters.iter().flat_map(|filter| field(filter)));
    with_props(version, 0xa2, &body, 2)
}

/// A SUBACK of these codes.
fn suback(version: Version, id: u16, codes: &[u8]) -> Vec<u8> {
    with_props(version, 0x90, &[&id.to_be_bytes(), codes].concat(), 2)
}

/// Clients that are only bytes.
impl World {
    /// A connection that has said nothing yet.
    fn tcp(&mut self) -> ConnId {
        self.broker.accept(0, Address::Local, self.now).unwrap()
    }

    /// A client that was let in, with a clean session.
    fn hello(&mut self, version: Version, id: &str) -> ConnId {
        self.hello_as(&connect(version, 2, b"", &field(id.as_bytes())))
    }

    /// A client whose CONNECT was accepted.
    fn hello_as(&mut self, connect: &[u8]) -> ConnId {
        let c = self.tcp();
        self.say(c, connect);
        self.pass(ms(50));
        let connack = self.heard(c);
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
        assert!(!self.is_over(c));
        c
    }

    /// Sends packets, or what takes their place, until the broker reads no more.
    fn say(&mut self, c: ConnId, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_over(c) {
            let version = self.broker.version(c);
            match decode(bytes, version, self.broker.max_packet(c)) {
                Ok(Some((packet, size))) => {
                    self.broker.packet(c, packet, self.now);
                    bytes = &bytes[size..];
                }
                Ok(None) => panic!("half a packet: {bytes:02x?}"),
                Err(error) => {
                    self.broker.malformed(c, bytes, error, self.now);
                    bytes = b"";
                }
            }
        }
        self.turn();
    }

    /// What has come since the last call.
    fn heard(&mut self, c: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        let outbox = self.broker.outbox(c).expect("not closed by the peer");
        while !outbox.is_empty() {
            let more = outbox.pending().to_vec();
            outbox.advance(more.len());
            bytes.extend(more);
        }
        if !self.is_over(c) {
            self.broker.flushed(c, self.now);
            self.turn();
        }
        bytes
    }

    /// The packets that have come since the last call, each handed to `look`.
    fn each_heard(&mut self, c: ConnId, mut look: impl FnMut(&Packet<'_>)) {
        let (bytes, version) = (self.heard(c), self.broker.version(c));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (packet, size) = decode(rest, version, usize::MAX).unwrap().unwrap();
            look(&packet);
            rest = &rest[size..];
        }
    }

    /// True if the broker has ended the connection.
    fn is_over(&mut self, c: ConnId) -> bool {
        self.broker.outbox(c).is_none_or(|outbox| outbox.close)
    }

    /// The network fails.
    fn break_off(&mut self, c: ConnId) {
        self.broker.closed(c, "cut", self.now);
        self.turn();
    }

    /// Sends `bytes` and has exactly `answer` come back, on a connection that stays.
    fn ask(&mut self, c: ConnId, bytes: &[u8], answer: &[u8]) {
        self.say(c, bytes);
        self.pass(ms(50));
        let heard = self.heard(c);
        assert_eq!(heard, answer, "{heard:02x?} to {bytes:02x?}");
        assert!(!self.is_over(c), "closed after {bytes:02x?}");
    }
}
