//! The clients' side: what they say, and what they got.

use std::time::Duration;

use super::World;
use crate::mqtt::{
    Ack, Connect, Delivery, Disconnect, Packet, PacketId, Property, Props, PropsBuf, Publish, QoS,
    Reason, Subscribe, Subscription, Unsubscribe, Version, Will,
};

/// A client's end of a connection, by number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Peer(pub usize);

/// A PUBLISH as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrived {
    /// As it came: empty where an alias stands for it.
    pub topic: String,
    pub alias: Option<u16>,
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
    pub topic_aliases: Option<u16>,
    pub username: Option<&'static str>,
    pub password: Option<&'static str>,
    pub will: Option<Last>,
}

/// A will: on `will`, QoS 1.
#[derive(Clone, Copy, Debug)]
pub struct Last {
    pub payload: &'static str,
    pub delay: u32,
    pub expiry: Option<u32>,
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
            topic_aliases: None,
            username: None,
            password: None,
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
        if let Some(n) = self.topic_aliases {
            props.push(Property::TopicAliasMaximum(n));
        }
        props
    }
}

/// Verbs of a client.
impl World {
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
        if let Some(will) = dial.will {
            will_props.push(Property::WillDelay(will.delay));
            if let Some(expiry) = will.expiry {
                will_props.push(Property::MessageExpiry(expiry));
            }
        }
        let will = dial.will.map(|will| Will {
            topic: "will",
            payload: will.payload.as_bytes(),
            qos: QoS::AtLeastOnce,
            retain: false,
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
            password: dial.password.map(str::as_bytes),
            props: props.as_props(),
        };
        self.send(peer, &Packet::Connect(Box::new(connect)));
    }

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
        self.publish_in_turn(peer, (topic, payload), delivery, retain, properties);
        self.turn();
    }

    /// Publishes a message; the turn goes on.
    pub fn publish_in_turn(
        &mut self,
        peer: Peer,
        (topic, payload): (&str, &str),
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
        self.hand_in(peer, &Packet::Publish(publish));
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

/// Takes a copy of a packet.
pub(super) fn own(packet: &Packet<'_>) -> Got {
    match packet {
        Packet::ConnAck(p) => Got::ConnAck(p.session_present, p.reason),
        Packet::Publish(p) => Got::Publish(Arrived {
            topic: p.topic.into(),
            alias: p.props.topic_alias(),
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
