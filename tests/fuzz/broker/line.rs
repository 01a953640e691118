//! A peer's end of a connection: what has come is decoded and checked.

use std::collections::VecDeque;

use footbridge::bridge::Faults;
use footbridge::broker::{ConnId, Outbox};
use footbridge::mqtt::{Ack, Delivery, Packet, PacketId, Publish, Reason, Version, decode, encode};

/// What a peer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Client,
    Upstream,
}

/// What has been said on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing yet.
    Silent,
    /// CONNACK, or an upstream's from before.
    Connected,
    /// DISCONNECT, or a CONNACK that refuses: nothing may follow.
    Done,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Line {
    pub conn: ConnId,
    pub kind: Kind,
    /// What the peer speaks.
    pub version: Version,
    /// The largest packet it takes, in bytes.
    pub max_packet: Option<u32>,
    /// The highest topic alias it takes.
    pub alias_max: u16,
    /// What is faulty in what an upstream has sent.
    pub faults: Faults,
    /// What it has sent and the broker has not read.
    pub unread: Vec<u8>,
    /// Acknowledgements that it owes.
    pub owed: VecDeque<Vec<u8>>,
    /// How many bytes it takes yet; only a slow one runs out.
    pub room: usize,
    slow: bool,
    stage: Stage,
    /// What has come and is no whole packet yet.
    came: Vec<u8>,
}

impl Line {
    pub(super) fn new(conn: ConnId, kind: Kind, version: Version, slow: bool) -> Line {
        Line {
            conn,
            kind,
            version,
            max_packet: None,
            alias_max: u16::MAX,
            faults: Faults::new("up"),
            unread: Vec::new(),
            owed: VecDeque::new(),
            room: 500,
            slow,
            stage: match kind {
                Kind::Client => Stage::Silent,
                Kind::Upstream => Stage::Connected,
            },
            came: Vec::new(),
        }
    }

    /// Takes what there is room for; true if that was anything. The last word of a connection is
    /// taken whole or not at all.
    pub(super) fn take(&mut self, outbox: &mut Outbox) -> bool {
        let mut moved = false;
        while !outbox.is_empty() {
            let mut n = outbox.pending().len();
            if self.slow {
                n = n.min(self.room);
                self.room -= n;
            }
            if n == 0 {
                break;
            }
            self.came.extend_from_slice(&outbox.pending()[..n]);
            outbox.advance(n);
            moved = true;
        }
        self.read();
        assert!(
            self.came.is_empty() || self.slow,
            "half a packet: {:02x?}",
            self.came
        );
        moved
    }

    fn read(&mut self) {
        let came = std::mem::take(&mut self.came);
        let mut rest = &came[..];
        loop {
            match decode(rest, self.version, usize::MAX) {
                Ok(Some((packet, n))) => {
                    self.packet(&packet, &rest[..n]);
                    rest = &rest[n..];
                }
                Ok(None) => break,
                Err(error) => panic!("{error}: {rest:02x?} for {self:?}"),
            }
        }
        self.came = rest.to_vec();
    }

    fn packet(&mut self, packet: &Packet<'_>, bytes: &[u8]) {
        assert_ne!(self.stage, Stage::Done, "after the end: {packet:?}");
        assert!(self.may_say(packet), "{packet:?} to {self:?}");
        let max = self.max_packet.map_or(usize::MAX, |max| max as usize);
        assert!(
            bytes.len() <= max,
            "{} bytes to {self:?}: {packet:?}",
            bytes.len()
        );
        let mut again = Vec::new();
        encode(packet, self.version, &mut again).expect("what was decoded");
        assert_eq!(again, bytes, "{packet:?} has another form");
        match packet {
            Packet::ConnAck(ack) => {
                self.stage = match ack.reason {
                    Reason::SUCCESS => Stage::Connected,
                    _ => Stage::Done,
                };
            }
            Packet::Disconnect(_) => self.stage = Stage::Done,
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubRec(ack) => self.owe(&Packet::PubRel(Ack::new(ack.id, Reason::SUCCESS))),
            Packet::PubRel(ack) => self.owe(&Packet::PubComp(Ack::new(ack.id, Reason::SUCCESS))),
            _ => {}
        }
    }

    /// Whether the broker may send such a packet to such a peer now.
    fn may_say(&self, packet: &Packet<'_>) -> bool {
        match packet {
            Packet::ConnAck(_) => self.stage == Stage::Silent,
            Packet::Publish(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_) => self.stage == Stage::Connected,
            Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                self.stage == Stage::Connected && self.kind == Kind::Client
            }
            Packet::Disconnect(_) => {
                self.stage == Stage::Connected
                    && (self.version == Version::V5 || self.kind == Kind::Upstream)
            }
            _ => false,
        }
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        let alias = publish.props.topic_alias();
        assert!(!publish.topic.is_empty() || alias.is_some(), "{publish:?}");
        assert!(!publish.topic.contains(['+', '#', '\0']), "{publish:?}");
        assert!(
            alias.unwrap_or(0) <= self.alias_max,
            "{publish:?} to {self:?}"
        );
        let ack = |id: PacketId| Ack::new(id, Reason::SUCCESS);
        match publish.delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce(id, _) => self.owe(&Packet::PubAck(ack(id))),
            Delivery::ExactlyOnce(id, _) => self.owe(&Packet::PubRec(ack(id))),
        }
    }

    fn owe(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, self.version, &mut bytes).expect("an acknowledgement");
        self.owed.push_back(bytes);
    }
}
