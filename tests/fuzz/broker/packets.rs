//! Packets made of an input: most of them valid, so that the broker has something to do.

use footbridge::mqtt::{
    Ack, Connect, Delivery, Disconnect, Packet, PacketId, Property, Props, PropsBuf, Publish, QoS,
    Reason, RetainHandling, Subscribe, Subscription, Unsubscribe, Version, Will, encode,
};

use super::super::input::Input;

const TOPICS: &[&str] = &["a", "a/b", "b", "l/a", "r/a", "m/a", "/", "$x", "will"];
const FILTERS: &[&str] = &[
    "#",
    "a",
    "a/#",
    "+/b",
    "l/#",
    "$share/g/a",
    "$share/g/#",
    "$share/h/+",
    "$x",
    "$SYS/#",
];
/// All of them.
pub(super) const QOS: &[QoS] = &[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
/// Around where payloads are shared, and around what the settings allow.
const SIZES: &[usize] = &[0, 1, 10, 40, 140, 160, 390, 16_384, 20_000];

fn packet(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, version, &mut bytes).expect("a valid packet");
    bytes
}

fn id(input: &mut Input<'_>) -> PacketId {
    PacketId::new(u16::from(input.byte() % 5) + 1).expect("not zero")
}

/// A CONNECT, and what it asks for.
pub(super) struct Dial {
    pub bytes: Vec<u8>,
    pub max_packet: Option<u32>,
    pub alias_max: u16,
}

/// A CONNECT; few client ids, so that sessions are met again.
pub(super) fn connect(input: &mut Input<'_>, version: Version) -> Dial {
    let (flags, id) = (
        input.byte(),
        input.pick(&["a", "b", "c", "d", "", "local.up"]),
    );
    let mut props = PropsBuf::new();
    let mut will_props = PropsBuf::new();
    let (mut max_packet, mut alias_max) = (None, 0);
    if version == Version::V5 {
        props.push(Property::SessionExpiry(input.pick(&[0, 1, 100, u32::MAX])));
        props.push(Property::ReceiveMaximum(input.pick(&[1, 2, 100])));
        alias_max = input.pick(&[0, 1, 5]);
        props.push(Property::TopicAliasMaximum(alias_max));
        if flags & 1 != 0 {
            let max = input.pick(&[1, 20, 60, 500]);
            props.push(Property::MaximumPacketSize(max));
            max_packet = Some(max);
        }
        will_props.push(Property::WillDelay(input.pick(&[0, 1, 10])));
    }
    let will = Will {
        topic: input.pick(TOPICS),
        payload: b"gone",
        qos: input.pick(QOS),
        retain: flags & 2 != 0,
        props: will_props.as_props(),
    };
    let connect = Connect {
        version,
        bridge: flags & 4 != 0 && version != Version::V5,
        clean_start: flags & 8 != 0,
        keep_alive: input.pick(&[0, 1, 60]),
        client_id: id,
        will: (flags & 16 != 0).then_some(will),
        username: (flags & 32 != 0).then_some("u"),
        password: None,
        props: props.as_props(),
    };
    Dial {
        bytes: packet(&Packet::Connect(Box::new(connect)), version),
        max_packet,
        alias_max,
    }
}

/// Any packet that a client sends, and some that it may not.
pub(super) fn any(input: &mut Input<'_>, version: Version) -> Vec<u8> {
    let kind = input.byte();
    let ack = |input: &mut Input<'_>| Ack::new(id(input), Reason::SUCCESS);
    match kind % 24 {
        0..12 => publish(input, version),
        12..15 => subscribe(input, version),
        15 => {
            let filters = vec![input.pick(FILTERS)];
            let (id, props) = (id(input), Props::EMPTY);
            packet(
                &Packet::Unsubscribe(Unsubscribe { id, props, filters }),
                version,
            )
        }
        16 => packet(&Packet::PubAck(ack(input)), version),
        17 => packet(&Packet::PubRec(ack(input)), version),
        18 => packet(&Packet::PubRel(ack(input)), version),
        19 => packet(&Packet::PubComp(ack(input)), version),
        20 => {
            let refused = Ack::new(id(input), Reason::QUOTA_EXCEEDED);
            packet(&Packet::PubRec(refused), version)
        }
        21 => packet(&Packet::PingReq, version),
        22 => disconnect(input, version),
        _ => connect(input, version).bytes,
    }
}

fn publish(input: &mut Input<'_>, version: Version) -> Vec<u8> {
    let (flags, size) = (input.byte(), input.pick(SIZES));
    let payload = vec![input.byte(); size];
    let delivery = match input.pick(QOS) {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce(id(input), flags & 1 != 0),
        QoS::ExactlyOnce => Delivery::ExactlyOnce(id(input), flags & 1 != 0),
    };
    let mut props = PropsBuf::new();
    let mut topic = input.pick(TOPICS);
    if version == Version::V5 {
        if flags & 2 != 0 {
            props.push(Property::MessageExpiry(input.pick(&[0, 1, 10])));
        }
        if flags & 4 != 0 {
            props.push(Property::TopicAlias(u16::from(input.byte() % 4)));
            topic = if flags & 8 != 0 { "" } else { topic };
        }
        if flags & 16 != 0 {
            props.push(Property::User("k", "v"));
            props.push(Property::ResponseTopic("answer"));
            props.push(Property::PayloadFormat(1));
        }
    }
    let publish = Publish {
        delivery,
        retain: flags & 32 != 0,
        topic,
        props: props.as_props(),
        payload: &payload,
    };
    packet(&Packet::Publish(publish), version)
}

fn subscribe(input: &mut Input<'_>, version: Version) -> Vec<u8> {
    let mut props = PropsBuf::new();
    let count = input.byte() % 3 + 1;
    let filters = (0..count).map(|_| {
        let flags = input.byte();
        Subscription {
            filter: input.pick(FILTERS),
            qos: input.pick(QOS),
            no_local: flags & 1 != 0 && version == Version::V5,
            retain_as_published: flags & 2 != 0 && version == Version::V5,
            retain_handling: match (version, flags >> 2 & 3) {
                (Version::V5, 1) => RetainHandling::SendIfNew,
                (Version::V5, 2) => RetainHandling::DontSend,
                _ => RetainHandling::Send,
            },
        }
    });
    let filters = filters.collect();
    if version == Version::V5 && input.coin() {
        props.push(Property::SubscriptionId(u32::from(input.byte()) + 1));
    }
    let (id, props) = (id(input), props.as_props());
    packet(
        &Packet::Subscribe(Subscribe { id, props, filters }),
        version,
    )
}

fn disconnect(input: &mut Input<'_>, version: Version) -> Vec<u8> {
    let mut props = PropsBuf::new();
    if version == Version::V5 && input.coin() {
        props.push(Property::SessionExpiry(input.pick(&[0, 1, 100])));
    }
    let reason = match version {
        Version::V5 => input.pick(&[Reason::SUCCESS, Reason(4)]),
        _ => Reason::SUCCESS,
    };
    let props = props.as_props();
    packet(&Packet::Disconnect(Disconnect { reason, props }), version)
}
