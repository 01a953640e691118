//! What an upstream sends and no PUBLISH may be: acknowledged, dropped, counted, and the link stays.

use std::rc::Rc;

use super::overflow::{add, line, plain};
use super::*;
use crate::bridge::{Announced, Limits, Map, Wire};
use crate::broker::{BridgeId, DropReason};
use crate::mqtt::Property;

fn up_by(world: &mut World, bridge: BridgeId, limits: &Limits, wire: Rc<Wire>) -> Peer {
    let conn = world.broker.bridge_up(bridge, limits, wire, world.now);
    let peer = world.adopt(conn.unwrap(), limits.version);
    world.broker.bridge_start(world.conn(peer), world.now);
    world.pass(ms(100));
    peer
}

fn limits(version: Version) -> Limits {
    Limits {
        session_present: true,
        announced: Announced {
            max_packet: None,
            topic_alias_max: 5,
        },
        ..Limits::unnamed(version, secs(60))
    }
}

/// A bridge that maps everything as it is, and its upstream.
pub(super) fn uplink(world: &mut World, version: Version) -> Peer {
    let bridge = add(world, &[line("#")]);
    up_by(world, bridge, &limits(version), plain())
}

/// A PUBLISH as it may not be.
fn poison(version: Version, qos: u8, topic: &[u8], id: u16) -> Vec<u8> {
    let mut body = vec![0, topic.len() as u8];
    body.extend_from_slice(topic);
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    if version == Version::V5 {
        body.push(0);
    }
    body.extend_from_slice(b"payload");
    let mut bytes = vec![0x30 | qos << 1, body.len() as u8];
    bytes.extend(body);
    bytes
}

const TOPICS: &[&[u8]] = &[
    b"a/+/b",
    b"#",
    b"a\nb",
    b"a\0b",
    b"\xef\xbf\xbe",
    b"a/\xff",
    b"\xed\xa0\x80",
    b"",
];

fn dropped(world: &World, reason: DropReason) -> u64 {
    world.broker.counters().dropped_for(reason)
}

#[test]
fn poison_is_acknowledged_and_dropped() {
    for version in [Version::V311, Version::V5] {
        let mut world = World::new();
        let upstream = uplink(&mut world, version);
        let reader = world.clean(version, "r");
        world.listen(reader, "#", QoS::ExactlyOnce);
        for (n, topic) in (1u16..).zip(TOPICS) {
            world.send_bytes(upstream, &poison(version, 0, topic, 0));
            assert_eq!(world.got(upstream), []);
            world.send_bytes(upstream, &poison(version, 1, topic, n));
            assert_eq!(world.got(upstream), [Got::PubAck(n, OK)], "{topic:02x?}");
            world.send_bytes(upstream, &poison(version, 2, topic, 100 + n));
            world.pass(ms(100));
            assert_eq!(world.got(upstream), [Got::PubRec(100 + n, OK)]);
            world.pubrel(upstream, 100 + n);
            world.pass(ms(100));
            assert_eq!(world.got(upstream), [Got::PubComp(100 + n, OK)]);
        }
        let all = 3 * TOPICS.len() as u64;
        assert_eq!(dropped(&world, DropReason::Malformed), all);
        assert_eq!(world.broker.counters().dropped(), all);
        world.publish(upstream, "good", "1", qos1(99));
        assert_eq!(world.message(reader).payload, "1");
    }
}

/// QoS 2 that comes again before PUBREL, also after a crash, is the same message.
#[test]
fn poison_at_qos_2_is_counted_once() {
    let mut world = World::new();
    let bridge = add(&mut world, &[line("#")]);
    let limits = limits(Version::V311);
    let upstream = up_by(&mut world, bridge, &limits, plain());
    let poison = poison(Version::V311, 2, b"+", 7);
    for _ in 0..2 {
        world.send_bytes(upstream, &poison);
        world.pass(ms(100));
        assert_eq!(world.got(upstream), [Got::PubRec(7, OK)]);
    }
    assert_eq!(dropped(&world, DropReason::Malformed), 1);
    world.crash(secs(1));
    let bridge = add(&mut world, &[line("#")]);
    let upstream = up_by(&mut world, bridge, &limits, plain());
    world.send_bytes(upstream, &poison);
    world.pass(ms(100));
    assert_eq!(world.got(upstream), [Got::PubRec(7, OK)]);
    world.pubrel(upstream, 7);
    world.pass(ms(100));
    assert_eq!(world.got(upstream), [Got::PubComp(7, OK)]);
    assert_eq!(dropped(&world, DropReason::Malformed), 0, "of this run");
    world.publish(upstream, "good", "1", qos2(7));
    world.pass(ms(100));
    assert_eq!(world.got(upstream), [Got::PubRec(7, OK)], "the id is free");
}

/// QoS 3, packet id 0, half a packet id: there is nothing to acknowledge.
#[test]
fn what_has_no_packet_id_is_dropped() {
    let mut world = World::new();
    let upstream = uplink(&mut world, Version::V311);
    for bytes in [
        &b"\x36\x06\0\x01a\0\x07x"[..],
        b"\x32\x06\0\x01a\0\0x",
        b"\x34\x04\0\x01a\x07",
        b"\x32\x02\0\x09",
        b"\x32\0",
        b"\x38\x04\0\x01ax",
    ] {
        world.send_bytes(upstream, bytes);
        world.pass(ms(100));
        assert_eq!(world.got(upstream), [], "{bytes:02x?}");
    }
    assert_eq!(dropped(&world, DropReason::Malformed), 6);
}

/// Properties as they may not be, in MQTT 5.
#[test]
fn poison_among_the_properties_is_dropped() {
    let mut world = World::new();
    let upstream = uplink(&mut world, Version::V5);
    for props in [
        &b"\x02\x01\x02"[..],
        b"\x04\x01\x01\x01\x01",
        b"\x05\x11\0\0\0\x01",
        b"\x04\x08\0\x01+",
        b"\x07\x26\0\x01\xff\0\x01v",
        b"\x02\x7f\0",
        b"\x7f",
    ] {
        let mut body = b"\0\x01a\0\x07".to_vec();
        body.extend_from_slice(props);
        let bytes = [&[0x32, body.len() as u8][..], &body].concat();
        world.send_bytes(upstream, &bytes);
        world.pass(ms(100));
        assert_eq!(world.got(upstream), [Got::PubAck(7, OK)], "{props:02x?}");
    }
    assert_eq!(dropped(&world, DropReason::Malformed), 7);
}

fn alias(world: &mut World, upstream: Peer, topic: &str, alias: u16, id: u16) -> Vec<Got> {
    let alias = [Property::TopicAlias(alias)];
    world.publish_with(upstream, topic, "x", qos1(id), false, &alias);
    world.pass(ms(100));
    world.got(upstream)
}

/// An alias that is not set has no topic; one beyond what the upstream was told does no harm where a
/// name stands beside it.
#[test]
fn an_alias_out_of_place_costs_no_more_than_its_message() {
    let mut world = World::new();
    let upstream = uplink(&mut world, Version::V5);
    let reader = world.clean(Version::V311, "r");
    world.listen(reader, "#", QoS::AtMostOnce);
    for (n, topic, number, came) in [
        (1, "", 3, None),
        (2, "beyond", 6, Some("beyond")),
        (3, "", 6, None),
        (4, "within", 5, Some("within")),
        (5, "", 5, Some("within")),
    ] {
        let answer = alias(&mut world, upstream, topic, number, n);
        assert_eq!(answer, [Got::PubAck(n, OK)], "{n}");
        let topics: Vec<String> = world
            .messages(reader)
            .into_iter()
            .map(|m| m.topic)
            .collect();
        assert_eq!(topics, came.into_iter().collect::<Vec<_>>(), "{n}");
    }
    assert_eq!(dropped(&world, DropReason::Malformed), 2);
}

/// An alias that a dropped PUBLISH sets never stands for the topic that it had before.
#[test]
fn a_dropped_message_sets_its_alias() {
    // What follows topic and packet id, and where the alias leads then.
    for (topic, props, next) in [
        (&b"+"[..], &b"\x03\x23\0\x02"[..], None),
        (b"new", b"\x05\x01\x09\x23\0\x02", Some("new")),
        (b"new", b"\x06\x23\0\x02\x23\0\x01", None),
        (b"new", b"\x02\x7f\0", None),
        (b"", b"\x05\x01\x09\x23\0\x02", Some("old")),
        (b"+", b"\x03\x23\0\x03", Some("old")),
        (b"+", b"\0", Some("old")),
    ] {
        let mut world = World::new();
        let upstream = uplink(&mut world, Version::V5);
        let reader = world.clean(Version::V311, "r");
        world.listen(reader, "#", QoS::AtMostOnce);
        alias(&mut world, upstream, "old", 2, 1);
        let mut body = vec![0, topic.len() as u8];
        body.extend_from_slice(topic);
        body.extend_from_slice(b"\0\x02");
        body.extend_from_slice(props);
        let bytes = [&[0x32, body.len() as u8][..], &body].concat();
        world.send_bytes(upstream, &bytes);
        alias(&mut world, upstream, "", 2, 3);
        let expected: Vec<&str> = [Some("old"), next].into_iter().flatten().collect();
        let messages = world.messages(reader);
        let topics: Vec<&str> = messages.iter().map(|m| &*m.topic).collect();
        assert_eq!(topics, expected, "{topic:02x?} {props:02x?}");
    }
}

/// What the broker refuses for a reason of its own.
#[test]
fn what_has_no_place_here_is_acknowledged_and_counted() {
    for version in [Version::V311, Version::V5] {
        let mut settings = settings();
        settings.message_size_limit = Some(10);
        let mut world = World::with(settings);
        let topic = crate::config::BridgeTopic {
            direction: crate::config::Direction::Both,
            local: "here/".repeat(10),
            remote: "there/".to_owned(),
            ..line("#")
        };
        let lines = [topic];
        let bridge = add(&mut world, &lines);
        let wire = Rc::new(Wire::new(Rc::new(Map::new(&lines))));
        let upstream = up_by(&mut world, bridge, &limits(version), wire);
        let levels = format!("there/{}", "x/".repeat(195));
        let long = format!("there/{}", "x".repeat(65_520));
        for (topic, payload, reason) in [
            ("elsewhere", "x", DropReason::NotMapped),
            (&*levels, "x", DropReason::NotMapped),
            (&*long, "x", DropReason::NotMapped),
            ("there/a", "0123456789a", DropReason::TooLarge),
        ] {
            let before = dropped(&world, reason);
            world.publish(upstream, topic, payload, qos1(1));
            world.publish(upstream, topic, payload, qos2(2));
            world.pass(ms(100));
            let got = world.got(upstream);
            assert!(
                matches!(got[..], [Got::PubAck(1, _), Got::PubRec(2, _)]),
                "{got:?}"
            );
            assert!(world.is_open(upstream));
            world.pubrel(upstream, 2);
            world.pass(ms(100));
            assert_eq!(world.got(upstream), [Got::PubComp(2, OK)]);
            assert_eq!(dropped(&world, reason), before + 2, "{reason:?}");
        }
    }
}

/// A message is not held in memory that is not there.
#[test]
fn memory_bounds_what_an_upstream_sends() {
    let mut settings = settings();
    settings.memory_limit = Some(4000);
    let mut world = World::with(settings);
    let upstream = uplink(&mut world, Version::V311);
    assert_eq!(world.broker.max_packet(world.conn(upstream)), 1000);
    world.publish(upstream, "a", &"x".repeat(1000), qos1(1));
    assert_eq!(world.got(upstream), [Got::PubAck(1, OK)]);
    assert_eq!(dropped(&world, DropReason::TooLarge), 1);
}

/// Clients are as strictly held as ever.
#[test]
fn a_client_that_sends_poison_is_cut_off() {
    for version in [Version::V311, Version::V5] {
        for topic in TOPICS {
            let mut world = World::new();
            let client = world.clean(version, "c");
            world.send_bytes(client, &poison(version, 1, topic, 1));
            assert_eq!(world.got(client).last(), Some(&Got::Closed));
        }
    }
}
