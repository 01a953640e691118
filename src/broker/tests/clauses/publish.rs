//! PUBLISH on its way through the broker.

use super::*;

/// A publisher and one that is subscribed to `#` at this QoS.
fn pair(version: Version, qos: u8) -> (World, ConnId, ConnId) {
    let mut world = World::new();
    let receiver = world.hello(version, "r");
    let suback = suback(version, 1, &[qos]);
    world.ask(receiver, &subscribe(version, 1, &[("#", qos)]), &suback);
    let publisher = world.hello(version, "p");
    (world, publisher, receiver)
}

/// [MQTT-3.3.4-1]: nothing for QoS 0, PUBACK for QoS 1, PUBREC and then PUBCOMP for QoS 2, each
/// with the id of the PUBLISH [MQTT-2.2.1-5].
#[test]
fn the_answer_fits_the_qos() {
    for version in VERSIONS {
        let (mut world, p, _) = pair(version, 0);
        world.ask(p, &publish(version, 0, "a", None, b"0"), b"");
        world.ask(
            p,
            &publish(version, 2, "a", Some(0x1234), b"1"),
            b"\x40\x02\x12\x34",
        );
        world.ask(
            p,
            &publish(version, 4, "a", Some(0xffff), b"2"),
            b"\x50\x02\xff\xff",
        );
        world.ask(p, b"\x62\x02\xff\xff", b"\x70\x02\xff\xff");
    }
}

/// [MQTT-3.3.1-3], [MQTT-3.3.1-2], [MQTT-4.3.1-1]: the DUP flag of the publisher is not passed
/// on; that of the broker says whether the broker sends again.
#[test]
fn dup_is_not_passed_on() {
    for version in VERSIONS {
        for qos in [1, 2u8] {
            let (mut world, p, receiver) = pair(version, qos);
            world.say(p, &publish(version, 8 | qos << 1, "a", Some(7), b"x"));
            world.pass(ms(50));
            let sent = publish(version, qos << 1, "a", Some(1), b"x");
            assert_eq!(world.heard(receiver), sent);
            let (mut world, p, receiver) = pair(version, 0);
            world.say(p, &publish(version, 8 | qos << 1, "a", Some(7), b"x"));
            world.pass(ms(50));
            assert_eq!(world.heard(receiver), publish(version, 0, "a", None, b"x"));
        }
    }
}

/// [MQTT-3.8.4-6] of 3.1.1, [MQTT-3.8.4-8] of 5.0: the lower of both QoS.
#[test]
fn the_lower_qos_counts() {
    for version in VERSIONS {
        for granted in 0..3u8 {
            let (mut world, p, receiver) = pair(version, granted);
            for qos in 0..3u8 {
                let id = (qos > 0).then_some(u16::from(qos));
                world.say(p, &publish(version, qos << 1, "a", id, b"x"));
            }
            world.pass(ms(50));
            let mut came = Vec::new();
            world.each_heard(receiver, |packet| match packet {
                Packet::Publish(p) => came.push(p.delivery.qos() as u8),
                other => panic!("{other:?}"),
            });
            assert_eq!(came, [0, 1, 2].map(|qos| granted.min(qos)));
        }
    }
}

/// [MQTT-3.3.2-3], [MQTT-4.7.3-4], [MQTT-1.5.4-3]: the topic arrives byte for byte, and nothing
/// that only looks like it matches.
#[test]
fn topics_are_compared_and_passed_on_as_they_are() {
    // Composed and decomposed, case, empty levels, a byte order mark, spaces.
    let topics = [
        "\u{e9}",
        "e\u{301}",
        "E\u{301}",
        "a",
        "A",
        "/a",
        "a/",
        "a//b",
        "a/b",
        "\u{feff}a",
        " a",
        "a ",
        "\u{fb01}",
        "fi",
    ];
    for version in VERSIONS {
        let mut world = World::new();
        let p = world.hello(version, "p");
        for wanted in topics {
            let c = world.hello(version, "c");
            world.ask(
                c,
                &subscribe(version, 1, &[(wanted, 0)]),
                &suback(version, 1, &[0]),
            );
            for topic in topics {
                world.say(p, &publish(version, 0, topic, None, topic.as_bytes()));
            }
            let only = publish(version, 0, wanted, None, wanted.as_bytes());
            assert_eq!(world.heard(c), only, "{wanted:?}");
        }
    }
}

/// 3.1.1 [MQTT-3.3.5-2]: what a client may not publish is acknowledged all the same; 5.0 says so.
#[test]
fn a_publish_that_is_not_allowed_is_acknowledged() {
    let (mut world, p, receiver) = pair(Version::V311, 0);
    world.say(receiver, &subscribe(Version::V311, 2, &[("$SYS/#", 0)]));
    world.heard(receiver);
    let topic = "$SYS/broker/uptime";
    let ask = publish(Version::V311, 2, topic, Some(1), b"x");
    world.ask(p, &ask, b"\x40\x02\0\x01");
    let ask = publish(Version::V311, 4, topic, Some(2), b"x");
    world.ask(p, &ask, b"\x50\x02\0\x02");
    world.ask(p, b"\x62\x02\0\x02", b"\x70\x02\0\x02");
    assert_eq!(world.heard(receiver), b"");
    let p = world.hello(Version::V5, "p5");
    world.ask(
        p,
        &publish(Version::V5, 2, topic, Some(1), b"x"),
        b"\x40\x03\0\x01\x87",
    );
    world.ask(
        p,
        &publish(Version::V5, 4, topic, Some(2), b"x"),
        b"\x50\x03\0\x02\x87",
    );
    assert_eq!(world.heard(receiver), b"");
}

/// [MQTT-4.6.0-5] and [MQTT-4.6.0-6]: each publisher's messages of one topic and QoS arrive in
/// the order of their PUBLISH packets, whatever happens between.
#[test]
fn messages_keep_their_order() {
    for version in VERSIONS {
        for qos in 0..3u8 {
            let (mut world, p, receiver) = pair(version, qos);
            let mut came = Vec::new();
            for n in 0..200u16 {
                let id = (qos > 0).then_some(n + 1);
                world.say(p, &publish(version, qos << 1, "a", id, &n.to_be_bytes()));
                if n % 7 == 0 {
                    world.pass(ms(30));
                }
                let mut answers = Vec::new();
                world.each_heard(receiver, |packet| match packet {
                    Packet::Publish(p) => {
                        came.push(u16::from_be_bytes(p.payload.try_into().unwrap()));
                        let id = p.delivery.id().map_or(0, |id| id.get()).to_be_bytes();
                        match qos {
                            0 => {}
                            1 => answers.extend(packet_of(0x40, id)),
                            _ => answers.extend(packet_of(0x50, id)),
                        }
                    }
                    Packet::PubRel(p) => answers.extend(packet_of(0x70, p.id.get().to_be_bytes())),
                    other => panic!("{other:?}"),
                });
                world.say(receiver, &answers);
                let acks = world.heard(p);
                for rec in acks.chunks(4).filter(|ack| ack[0] == 0x50) {
                    world.say(p, &packet(0x62, &rec[2..4]));
                }
            }
            world.pass(secs(1));
            world.each_heard(receiver, |packet| {
                if let Packet::Publish(p) = packet {
                    came.push(u16::from_be_bytes(p.payload.try_into().unwrap()));
                }
            });
            assert!(came.len() > 150, "{} at QoS {qos}", came.len());
            assert!(came.iter().copied().eq(0..came.len() as u16), "{came:?}");
        }
    }
}

/// An acknowledgement.
fn packet_of(first: u8, id: [u8; 2]) -> Vec<u8> {
    packet(first, &id)
}
