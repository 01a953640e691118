//! The handshakes of QoS 1 and 2, in both directions, and the window they share.

use super::*;

const V: Version = Version::V5;

/// A lasting session's CONNECT, with more properties.
fn lasting(version: Version, id: &str, props: &[u8]) -> Vec<u8> {
    let props = [b"\x11\0\0\x0e\x10", props].concat();
    connect(version, 0, &props, &field(id.as_bytes()))
}

/// A publisher, and a receiver with a lasting session that takes `#` at QoS 2.
fn pair(version: Version, props: &[u8]) -> (World, ConnId, ConnId) {
    let mut world = World::new();
    let receiver = world.hello_as(&lasting(version, "r", props));
    let suback = suback(version, 1, &[2]);
    world.ask(receiver, &subscribe(version, 1, &[("#", 2)]), &suback);
    let publisher = world.hello(version, "p");
    (world, publisher, receiver)
}

/// 3.1.1 [MQTT-4.3.2-2], 5.0 [MQTT-4.3.2-5]: once PUBACK has left, the id is free: the next
/// PUBLISH under it is another message, DUP or not.
#[test]
fn a_qos_1_id_is_new_after_its_puback() {
    for version in VERSIONS {
        let (mut world, p, receiver) = pair(version, b"");
        for (n, flags) in [2, 2, 10].into_iter().enumerate() {
            let ask = publish(version, flags, "a", Some(5), &[b'0' + n as u8]);
            world.ask(p, &ask, b"\x40\x02\0\x05");
            let id = Some(n as u16 + 1);
            let sent = publish(version, 2, "a", id, &[b'0' + n as u8]);
            assert_eq!(world.heard(receiver), sent);
        }
    }
}

/// 5.0 [MQTT-4.3.3-9]: a PUBREC that refuses ends it: the id is free.
#[test]
fn a_refused_qos_2_id_is_free() {
    let (mut world, p, receiver) = pair(V, b"");
    let denied = publish(V, 4, "$SYS/x", Some(5), b"x");
    world.ask(p, &denied, b"\x50\x03\0\x05\x87");
    world.ask(p, &publish(V, 4, "a", Some(5), b"y"), b"\x50\x02\0\x05");
    let sent = publish(V, 4, "a", Some(1), b"y");
    assert_eq!(world.heard(receiver), sent);
}

/// 3.1.1 [MQTT-4.3.3-2], 5.0 [MQTT-4.3.3-8] to [MQTT-4.3.3-12]: a QoS 2 message is passed on
/// once between its first PUBLISH and its PUBREL, which is always answered.
#[test]
fn a_qos_2_message_is_passed_on_once() {
    for version in VERSIONS {
        let (mut world, p, receiver) = pair(version, b"");
        world.ask(
            p,
            &publish(version, 4, "a", Some(5), b"x"),
            b"\x50\x02\0\x05",
        );
        world.ask(
            p,
            &publish(version, 12, "a", Some(5), b"x"),
            b"\x50\x02\0\x05",
        );
        assert_eq!(
            world.heard(receiver),
            publish(version, 4, "a", Some(1), b"x")
        );
        world.ask(p, b"\x62\x02\0\x05", b"\x70\x02\0\x05");
        world.ask(
            p,
            &publish(version, 4, "a", Some(5), b"y"),
            b"\x50\x02\0\x05",
        );
        assert_eq!(
            world.heard(receiver),
            publish(version, 4, "a", Some(2), b"y")
        );
    }
}

/// 3.1.1 [MQTT-4.3.3-1], 5.0 [MQTT-4.3.3-2] to [MQTT-4.3.3-6], [MQTT-4.4.0-1]: a message is
/// unacknowledged until PUBREC, its PUBREL until PUBCOMP: each is sent again after a
/// reconnection, and at no other time.
#[test]
fn both_halves_of_qos_2_are_sent_again_after_a_reconnection_only() {
    for version in VERSIONS {
        let (mut world, p, mut receiver) = pair(version, b"");
        world.say(p, &publish(version, 4, "a", Some(9), b"x"));
        world.pass(ms(50));
        assert_eq!(
            world.heard(receiver),
            publish(version, 4, "a", Some(1), b"x")
        );
        for answer in [
            publish(version, 12, "a", Some(1), b"x"),
            b"\x62\x02\0\x01".to_vec(),
        ] {
            for _ in 0..2 {
                world.pass(secs(1000));
                assert_eq!(
                    world.heard(receiver),
                    b"",
                    "nothing while the connection stays"
                );
                world.break_off(receiver);
                receiver = world.tcp();
                world.say(receiver, &lasting(version, "r", b""));
                world.pass(ms(50));
                let heard = world.heard(receiver);
                assert_eq!(heard[2..4], [1, 0], "the session is there");
                assert_eq!(heard[2 + usize::from(heard[1])..], answer);
            }
            if answer[0] != 0x62 {
                world.ask(receiver, b"\x50\x02\0\x01", b"\x62\x02\0\x01");
            }
        }
        world.ask(receiver, b"\x70\x02\0\x01", b"");
        world.say(p, &publish(version, 2, "a", Some(10), b"y"));
        world.pass(ms(50));
        assert_eq!(
            world.heard(receiver),
            publish(version, 2, "a", Some(2), b"y")
        );
    }
}

/// [MQTT-4.6.0-4]: PUBRELs leave in the order of the PUBRECs.
#[test]
fn pubrels_follow_their_pubrecs() {
    for version in VERSIONS {
        let (mut world, p, receiver) = pair(version, b"");
        for n in 1..4 {
            world.say(p, &publish(version, 4, "a", Some(n), b"x"));
        }
        world.pass(ms(50));
        world.heard(receiver);
        let recs = [2, 1, 3].map(|n| [0x50, 2, 0, n]).concat();
        let rels = [2, 1, 3].map(|n| [0x62, 2, 0, n]).concat();
        world.ask(receiver, &recs, &rels);
    }
}

/// 5.0 [MQTT-4.4.0-2]: what the receiver refuses is not sent again.
#[test]
fn a_refused_message_is_not_sent_again() {
    for (qos, refusal) in [(1, 0x40), (2, 0x50u8)] {
        let (mut world, p, receiver) = pair(V, b"");
        world.say(p, &publish(V, qos << 1, "a", Some(9), b"x"));
        world.pass(ms(50));
        assert_eq!(
            world.heard(receiver),
            publish(V, qos << 1, "a", Some(1), b"x")
        );
        world.ask(receiver, &packet(refusal, b"\0\x01\x83"), b"");
        world.break_off(receiver);
        let receiver = world.hello_as(&lasting(V, "r", b""));
        world.pass(secs(1));
        assert_eq!(world.heard(receiver), b"");
    }
}

/// 5.0 [MQTT-4.3.3-7], [MQTT-4.3.3-13]: a message whose PUBLISH has left does not expire, nor
/// does its handshake end early.
#[test]
fn expiry_ends_no_handshake() {
    let (mut world, p, receiver) = pair(V, b"");
    let body = b"\0\x01a\0\x09\x05\x02\0\0\0\x02x";
    world.ask(p, &packet(0x34, body), b"\x50\x02\0\x09");
    assert_eq!(world.heard(receiver)[0], 0x34);
    world.pass(secs(60));
    world.break_off(receiver);
    let receiver = world.tcp();
    world.say(receiver, &lasting(V, "r", b""));
    world.pass(ms(50));
    let heard = world.heard(receiver);
    let again = &heard[2 + usize::from(heard[1])..];
    assert_eq!(again.first(), Some(&0x3c), "with DUP: {again:02x?}");
    world.ask(receiver, b"\x50\x02\0\x01", b"\x62\x02\0\x01");
    world.ask(receiver, b"\x70\x02\0\x01", b"");
    world.ask(p, b"\x62\x02\0\x09", b"\x70\x02\0\x09");
}

/// 5.0 [MQTT-3.3.4-9], [MQTT-3.3.4-10], [MQTT-4.9.0-1] to [MQTT-4.9.0-3]: a full window holds
/// back messages of QoS 1 and 2, and nothing else.
#[test]
fn a_full_window_holds_back_nothing_else() {
    let (mut world, p, receiver) = pair(V, b"\x21\0\x02");
    for n in 1..5 {
        world.ask(
            p,
            &publish(V, 4, "a", Some(n), b"x"),
            &packet(0x50, &n.to_be_bytes()),
        );
    }
    let first_two = [1, 2].map(|n| publish(V, 4, "a", Some(n), b"x")).concat();
    assert_eq!(world.heard(receiver), first_two);
    world.ask(receiver, PINGREQ, PINGRESP);
    world.ask(receiver, &subscribe(V, 2, &[("b", 0)]), &suback(V, 2, &[0]));
    let unsuback = packet(0xb0, b"\0\x03\0\0");
    world.ask(receiver, &unsubscribe(V, 3, &[b"b"]), &unsuback);
    world.ask(
        receiver,
        &publish(V, 2, "$SYS/x", Some(7), b""),
        b"\x40\x03\0\x07\x87",
    );
    // PUBREL, which leaves the place taken; then PUBCOMP, which gives it to the next.
    world.ask(receiver, b"\x50\x02\0\x01", b"\x62\x02\0\x01");
    world.ask(
        receiver,
        b"\x70\x02\0\x01",
        &publish(V, 4, "a", Some(3), b"x"),
    );
    // So does a refusal.
    let last = publish(V, 4, "a", Some(4), b"x");
    world.ask(receiver, b"\x50\x03\0\x02\x83", &last);
}

/// 5.0 [MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1]: messages in flight have ids of their own,
/// none of them 0.
#[test]
fn ids_in_flight_differ() {
    for version in VERSIONS {
        let (mut world, p, receiver) = pair(version, b"\x21\0\x14");
        let mut ids = std::collections::BTreeSet::new();
        for n in 1..16 {
            let qos = 1 + n as u8 % 2;
            world.say(p, &publish(version, qos << 1, "a", Some(n), b"x"));
        }
        world.pass(ms(50));
        world.each_heard(receiver, |packet| {
            if let Packet::Publish(p) = packet {
                assert!(ids.insert(p.delivery.id().unwrap()));
            }
        });
        assert_eq!(ids.len(), 15);
    }
}
