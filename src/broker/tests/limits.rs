//! What a client and the broker announce to each other, packet sizes and topic aliases; and what is
//! never sent or taken at all.

use super::*;
use crate::config::General;
use crate::mqtt::{Ack, Packet, Property, PropsBuf, Publish};

/// A message as a receiver with topic aliases got it: topic, alias, payload.
pub(super) type Named = (String, Option<u16>, String);

impl World {
    pub(super) fn named(&mut self, peer: Peer) -> Vec<Named> {
        let messages = self.messages(peer).into_iter();
        messages.map(|m| (m.topic, m.alias, m.payload)).collect()
    }
}

pub(super) fn named(topic: &str, alias: Option<u16>, payload: &str) -> Named {
    (topic.to_owned(), alias, payload.to_owned())
}

fn aliasing(aliases: u16) -> Dial {
    Dial {
        topic_aliases: Some(aliases),
        ..Dial::durable(Version::V5, "r")
    }
}

/// [MQTT-3.1.2-26] [MQTT-3.3.2-11]: aliases as far as the receiver takes them; [MQTT-3.3.2-7]: anew on
/// each connection.
#[test]
fn topics_go_out_by_alias() {
    let mut world = World::new();
    let (receiver, _) = world.connect(&aliasing(1));
    world.listen(receiver, "#", QoS::AtLeastOnce);
    let sender = world.clean(Version::V311, "s");
    for payload in ["1", "2", "3"] {
        world.publish(sender, "alias/one", payload, qos1(1));
        world.publish(sender, "alias/two", payload, Delivery::AtMostOnce);
    }
    let expected = [
        named("alias/one", Some(1), "1"),
        named("alias/two", None, "1"),
        named("", Some(1), "2"),
        named("alias/two", None, "2"),
        named("", Some(1), "3"),
        named("alias/two", None, "3"),
    ];
    assert_eq!(world.named(receiver), expected);
    world.cut(receiver);
    let (receiver, _) = world.connect(&aliasing(1));
    world.pass(ms(50));
    let again = [
        named("alias/one", Some(1), "1"),
        named("", Some(1), "2"),
        named("", Some(1), "3"),
    ];
    assert_eq!(world.named(receiver), again);
}

/// [MQTT-3.1.2-27]: no aliases for a receiver that announces none.
#[test]
fn no_alias_goes_to_who_takes_none() {
    for dial in [aliasing(0), Dial::durable(Version::V5, "r")] {
        let mut world = World::new();
        let (receiver, _) = world.connect(&dial);
        world.listen(receiver, "#", QoS::AtMostOnce);
        let sender = world.clean(Version::V311, "s");
        for _ in 0..3 {
            world.publish(sender, "alias/one", "x", Delivery::AtMostOnce);
        }
        assert_eq!(
            world.named(receiver),
            vec![named("alias/one", None, "x"); 3]
        );
    }
}

/// An alias is not set by a packet that is too large to be sent, nor is a packet lost for one.
#[test]
fn an_alias_makes_no_packet_too_large() {
    let mut world = World::new();
    let dial = Dial {
        max_packet: Some(20),
        ..aliasing(10)
    };
    let (receiver, _) = world.connect(&dial);
    world.listen(receiver, "#", QoS::AtMostOnce);
    let sender = world.clean(Version::V311, "s");
    // Five bytes beside topic and payload: 20 with six, and 23 with an alias.
    for payload in ["123456", "123456", "1234567", "123", "1234567890123", "123"] {
        world.publish(sender, "alias/one", payload, Delivery::AtMostOnce);
    }
    let expected = [
        named("alias/one", None, "123456"),
        named("alias/one", None, "123456"),
        named("alias/one", Some(1), "123"),
        named("", Some(1), "123"),
    ];
    assert_eq!(world.named(receiver), expected);
}

/// [MQTT-3.1.2-24]: no packet larger than the client takes; an answer that is, ends the connection.
#[test]
fn replies_are_no_larger_than_the_client_takes() {
    let mut world = World::new();
    let dial = |most| Dial {
        max_packet: Some(most),
        ..Dial::clean(Version::V5, "c")
    };
    // A CONNACK takes 11 bytes; before it there is no DISCONNECT [MQTT-3.14.0-1], nor anything
    // else [MQTT-3.2.0-1].
    let waiting = world.durable(Version::V5, "c");
    world.listen(waiting, "t", QoS::AtLeastOnce);
    world.cut(waiting);
    let sender = world.clean(Version::V311, "s");
    world.pass(secs(1));
    world.publish(sender, "t", "", qos1(1));
    let peer = world.dial(&Dial {
        max_packet: Some(10),
        ..Dial::durable(Version::V5, "c")
    });
    world.pass(secs(1));
    assert_eq!(world.got(peer), [Got::Closed]);
    let (peer, _) = world.connect(&dial(11));
    let filter = Subscription::new("a", QoS::AtMostOnce);
    world.subscribe(peer, 1, &[filter; 6]);
    assert_eq!(world.got(peer), [Got::SubAck(1, vec![OK; 6])]);
    world.subscribe(peer, 2, &[filter; 7]);
    let said = Got::Disconnect(Reason::PACKET_TOO_LARGE);
    assert_eq!(world.got(peer), [said, Got::Closed]);
    // A refusal takes five.
    for (most, answer) in [
        (4, None),
        (
            5,
            Some(Got::ConnAck(false, Reason::BAD_AUTHENTICATION_METHOD)),
        ),
    ] {
        let peer = world.open(Version::V5);
        let mut connect = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0];
        connect.extend([9, 0x27, 0, 0, 0, most, 0x15, 0, 1, b'x', 0, 0]);
        connect[1] = connect.len() as u8 - 2;
        world.send_bytes(peer, &connect);
        assert_eq!(
            world.got(peer),
            answer.into_iter().chain([Got::Closed]).collect::<Vec<_>>()
        );
    }
}

/// The work space that is kept between messages does not stay as large as the largest of them.
#[test]
fn large_properties_leave_no_memory_behind() {
    let mut world = World::new();
    let reader = world.clean(Version::V5, "r");
    world.listen(reader, "t", QoS::AtMostOnce);
    let sender = world.clean(Version::V5, "s");
    let long = "x".repeat(60_000);
    let mut properties = vec![Property::User("k", &long); 20];
    // With an expiry they are put together anew for the receiver.
    properties.push(Property::MessageExpiry(60));
    world.publish_with(sender, "t", "", Delivery::AtMostOnce, false, &properties);
    let small = [Property::MessageExpiry(60)];
    world.publish_with(sender, "t", "", Delivery::AtMostOnce, false, &small);
    assert_eq!(world.payloads(reader), ["", ""]);
    let kept = world.broker.core.scratch.capacity();
    assert!(kept <= 2 * 64 * 1024, "{kept}");
}

/// A client that got a message once is as small as before a second after it has acknowledged it.
#[test]
fn a_queue_that_has_become_empty_gives_its_memory_back() {
    let mut world = World::new();
    let sender = world.clean(Version::V311, "s");
    let readers: Vec<Peer> = (0..20)
        .map(|n| {
            let reader = world.clean(Version::V311, &format!("r{n}"));
            world.listen(reader, "t", QoS::AtLeastOnce);
            reader
        })
        .collect();
    let kept = |world: &World| {
        let sessions = world.broker.core.sessions.iter();
        sessions.filter(|(_, s)| s.outbound.keeps_memory()).count()
    };
    for round in 0..3 {
        world.publish(sender, "t", "1", qos1(1));
        for reader in &readers {
            let [message] = &world.messages(*reader)[..] else {
                panic!("one message")
            };
            let id = message.delivery.id().unwrap().get();
            world.puback(*reader, id);
        }
        // The next one may come soon.
        assert_eq!(kept(&world), readers.len(), "round {round}");
        world.pass(Duration::from_secs(3));
        assert_eq!(kept(&world), 0, "round {round}");
    }
}

/// 5.0 §3.3.2.3.2: a payload that is said to be UTF-8 and is not goes to nobody.
#[test]
fn a_payload_must_have_the_format_it_claims() {
    let mut world = World::new();
    let receiver = world.clean(Version::V5, "r");
    world.listen(receiver, "#", QoS::AtMostOnce);
    let peer = world.clean(Version::V5, "p");
    let refused = Reason::PAYLOAD_FORMAT_INVALID;
    for (delivery, answer) in [
        (Delivery::AtMostOnce, None),
        (qos1(1), Some(Got::PubAck(1, refused))),
        (qos2(2), Some(Got::PubRec(2, refused))),
    ] {
        for (claim, payload) in [(1, &b"\xc3\x28"[..]), (0, b"\xc3\x28"), (1, "ä".as_bytes())] {
            let mut props = PropsBuf::new();
            props.push(Property::PayloadFormat(claim));
            let publish = Publish {
                delivery,
                retain: false,
                topic: "t",
                props: props.as_props(),
                payload,
            };
            world.send(peer, &Packet::Publish(publish));
            if claim == 1 && payload == b"\xc3\x28" {
                assert_eq!(world.got(peer), answer.iter().cloned().collect::<Vec<_>>());
                assert_eq!(world.got(receiver), []);
            } else {
                assert_eq!(world.messages(receiver).len(), 1);
                world.pubrel(peer, 2);
                world.got(peer);
            }
        }
    }
}

/// [MQTT-3.3.4-6]: a client sends no subscription identifier.
#[test]
fn a_subscription_identifier_from_a_client_is_a_protocol_error() {
    let mut world = World::new();
    let peer = world.clean(Version::V5, "p");
    let property = Property::SubscriptionId(1);
    world.publish_with(peer, "t", "x", Delivery::AtMostOnce, false, &[property]);
    let said = Got::Disconnect(Reason::PROTOCOL_ERROR);
    assert_eq!(world.got(peer), [said, Got::Closed]);
}

/// A publisher that is subscribed to what it publishes gets PUBREC first.
#[test]
fn pubrec_goes_before_the_message() {
    for dial in [
        Dial::clean(Version::V311, "c"),
        Dial::durable(Version::V5, "c"),
    ] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut world = World::new();
            let (peer, _) = world.connect(&dial);
            world.listen(peer, "t", qos);
            world.publish(peer, "t", "x", qos2(1));
            world.pass(ms(100));
            let got = world.got(peer);
            let in_order = matches!(got[..], [Got::PubRec(1, OK), Got::Publish(_)]);
            // The PUBREC of a durable session waits for its commit, as does a QoS 2 message.
            let waits = dial.expiry > 0 && qos != QoS::ExactlyOnce;
            assert!(in_order || waits && got.len() == 2, "{got:?}");
        }
    }
}

/// [MQTT-4.3.3-4]: PUBREL answers a PUBREC that takes the message, whatever its id, and no other.
#[test]
fn only_a_pubrec_that_takes_the_message_is_answered() {
    let mut world = World::new();
    let peer = world.clean(Version::V5, "c");
    world.pubrec(peer, 7);
    assert_eq!(world.got(peer), [Got::PubRel(7, OK)]);
    let refusal = Ack::new(pid(7), Reason::QUOTA_EXCEEDED);
    world.send(peer, &Packet::PubRec(refusal));
    assert_eq!(world.got(peer), []);
}

/// As in Mosquitto: an acknowledgement of the wrong kind for the message is a protocol error.
#[test]
fn an_acknowledgement_must_fit_its_message() {
    let ok = Ack::new(pid(1), OK);
    for (qos, answers) in [
        (QoS::AtLeastOnce, [Packet::PubRec(ok), Packet::PubComp(ok)]),
        (QoS::ExactlyOnce, [Packet::PubAck(ok), Packet::PubComp(ok)]),
    ] {
        for answer in answers {
            let mut world = World::new();
            let receiver = world.clean(Version::V5, "r");
            world.listen(receiver, "#", qos);
            let sender = world.clean(Version::V5, "s");
            world.publish(sender, "a", "1", qos2(1));
            assert_eq!(world.message(receiver).delivery.id(), Some(pid(1)));
            world.send(receiver, &answer);
            let said = Got::Disconnect(Reason::PROTOCOL_ERROR);
            assert_eq!(world.got(receiver), [said, Got::Closed]);
        }
    }
}

/// 3.1.1 [MQTT-3.2.2-6]: a refusal that has no return code has no CONNACK.
#[test]
fn what_3_1_1_cannot_say_it_does_not_say() {
    let settings = || General {
        retain_available: false,
        ..settings()
    };
    let with_retained_will = |version: u8| {
        let mut bytes = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', version, 0x26, 0, 0];
        let no_properties = usize::from(version == 5);
        bytes.extend(vec![0; no_properties]);
        bytes.extend([0, 1, b'c']);
        bytes.extend(vec![0; no_properties]);
        bytes.extend([0, 1, b'w', 0, 1, b'x']);
        bytes[1] = bytes.len() as u8 - 2;
        bytes
    };
    let mut world = World::with(settings());
    let old = world.open(Version::V311);
    world.send_bytes(old, &with_retained_will(4));
    assert_eq!(world.got(old), [Got::Closed]);
    let new = world.open(Version::V5);
    world.send_bytes(new, &with_retained_will(5));
    let refused = Got::ConnAck(false, Reason::RETAIN_NOT_SUPPORTED);
    assert_eq!(world.got(new), [refused, Got::Closed]);
}

/// 5.0 §3.1.3.2.3: the payload of a will must have the format it claims, too.
#[test]
fn a_will_must_have_the_format_it_claims() {
    for (byte, reason) in [(0xff, Reason::PAYLOAD_FORMAT_INVALID), (b'x', OK)] {
        let mut world = World::new();
        let peer = world.open(Version::V5);
        let mut bytes = vec![0x10, 24, 0, 4, b'M', b'Q', b'T', b'T', 5, 0x06, 0, 0, 0];
        bytes.extend([0, 1, b'c', 2, 0x01, 1, 0, 1, b'w', 0, 2, b'x', byte]);
        world.send_bytes(peer, &bytes);
        assert_eq!(world.next(peer), Some(Got::ConnAck(false, reason)));
    }
}

/// [MQTT-3.1.2-1]: no answer to a protocol other than MQTT; [MQTT-3.1.2-2]: return code 1 to an
/// unknown level of it.
#[test]
fn only_a_known_protocol_of_unknown_level_is_answered() {
    let unsupported = Got::ConnAck(false, Reason::UNSUPPORTED_PROTOCOL_VERSION);
    for (name, level, answer) in [
        ("MQTU", 4, None),
        ("MQTTT", 4, None),
        ("", 4, None),
        ("MQTT", 3, Some(&unsupported)),
        ("MQTT", 6, Some(&unsupported)),
        ("MQIsdp", 4, Some(&unsupported)),
    ] {
        let mut world = World::new();
        let peer = world.open(Version::V311);
        let mut bytes = vec![0x10, name.len() as u8 + 9, 0, name.len() as u8];
        bytes.extend(name.bytes().chain([level, 2, 0, 0, 0, 1, b'c']));
        world.send_bytes(peer, &bytes);
        let expected: Vec<Got> = answer.cloned().into_iter().chain([Got::Closed]).collect();
        assert_eq!(world.got(peer), expected, "{name} {level}");
    }
}
