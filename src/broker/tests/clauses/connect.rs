//! CONNECT and CONNACK.

use super::*;
use crate::broker::tests::bridge;

/// [MQTT-3.1.2-2]: a protocol level that the broker does not speak is refused with a CONNACK
/// that clients of every version can read.
#[test]
fn an_unknown_level_is_refused() {
    for level in [2, 6, 127] {
        let mut world = World::new();
        let c = world.tcp();
        let body = [b"\0\x04MQTT", &[level, 2, 0, 0][..], &field(b"c")].concat();
        world.say(c, &packet(0x10, &body));
        assert!(world.is_over(c));
        let said = world.heard(c);
        assert!(
            said == b"\x20\x02\0\x01" || said == b"\x20\x03\0\x84\0",
            "level {level}: {said:02x?}"
        );
    }
}

/// [MQTT-3.1.2-1]: another protocol name is another protocol.
#[test]
fn an_unknown_protocol_is_not_served() {
    let mut world = World::new();
    let c = world.tcp();
    world.say(c, &packet(0x10, b"\0\x04MQTX\x04\x02\0\0\0\x01c"));
    assert!(world.is_over(c));
    assert_eq!(world.broker.core.sessions.len(), 0);
}

/// [MQTT-3.1.2-9] and what follows up to the Keep Alive: a field is in the payload if its flag
/// says so, and only then.
#[test]
fn a_flag_and_its_field_go_together() {
    let id = field(b"c");
    for version in VERSIONS {
        // In 5.0 the will's properties come first.
        let will = [
            &b"\0"[usize::from(version != Version::V5)..],
            b"\0\x01t\0\x01p",
        ]
        .concat();
        let (user, pass) = (field(b"u"), field(b"p"));
        for (flags, fields, right) in [
            (0x02, &[][..], true),
            (0x02, &[&user], false),
            (0x82, &[&user], true),
            (0x82, &[], false),
            (0x82, &[&user, &pass], false),
            (0xc2, &[&user, &pass], true),
            (0xc2, &[&user], false),
            (0x02, &[&will], false),
            (0x06, &[&will], true),
            (0x06, &[], false),
            (0x06, &[&user], false),
            (0x86, &[&will], false),
            (0xc6, &[&will, &user, &pass], true),
            // Will QoS and Will Retain without a will; Will QoS 3.
            (0x0a, &[], false),
            (0x12, &[], false),
            (0x22, &[], false),
            (0x1e, &[&will], false),
            // The reserved flag.
            (0x03, &[], false),
        ] {
            let mut world = World::new();
            let c = world.tcp();
            let fields: Vec<&[u8]> = fields.iter().map(|f: &&Vec<u8>| &***f).collect();
            let payload = [&*id, &fields.concat()].concat();
            world.say(c, &connect(version, flags, b"", &payload));
            assert_eq!(!world.is_over(c), right, "{flags:#x} {payload:02x?}");
        }
    }
}

/// [MQTT-3.1.3-4] and its like for will topic and user name: strings are UTF-8 without U+0000.
#[test]
fn the_strings_of_connect_are_utf_8() {
    for version in VERSIONS {
        let props = &b"\0"[usize::from(version != Version::V5)..];
        for bad in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"a\0"] {
            let (bad, id) = (field(bad), field(b"c"));
            for (flags, payload) in [
                (0x02, bad.clone()),
                (0x06, [&id, props, &bad, &field(b"p")].concat()),
                (0x82, [&*id, &bad].concat()),
            ] {
                let mut world = World::new();
                let c = world.tcp();
                world.say(c, &connect(version, flags, b"", &payload));
                assert!(world.is_over(c), "{payload:02x?}");
                assert_eq!(world.broker.core.sessions.len(), 0);
            }
        }
    }
}

/// [MQTT-3.1.3-5]: letters and digits, 1 to 23 bytes.
#[test]
fn client_ids_of_letters_and_digits_are_taken() {
    const ALL: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in VERSIONS {
        let mut world = World::new();
        let ids = (1..24).map(|n| &ALL[..n]).chain(ALL.chunks(23));
        for id in ids.chain(ALL.chunks(1)) {
            let c = world.hello_as(&connect(version, 2, b"", &field(id)));
            world.ask(c, PINGREQ, PINGRESP);
        }
    }
}

/// [MQTT-3.1.3-6]: who gives no id gets one that nobody else has, so that both stay.
#[test]
fn clients_without_an_id_are_told_apart() {
    for version in VERSIONS {
        let mut world = World::new();
        let (one, two) = (world.hello(version, ""), world.hello(version, ""));
        world.ask(one, PINGREQ, PINGRESP);
        world.ask(two, PINGREQ, PINGRESP);
        assert_eq!(world.broker.core.sessions.len(), 2);
    }
}

/// 5.0 [MQTT-3.1.3-7], [MQTT-3.2.2-16]: the id it got is in the CONNACK, and works as if it had
/// been its own.
#[test]
fn an_assigned_id_is_told() {
    let mut world = World::new();
    let c = world.tcp();
    world.say(
        c,
        &connect(Version::V5, 0, b"\x11\0\0\x0e\x10", &field(b"")),
    );
    world.pass(ms(50));
    let mut id = String::new();
    world.each_heard(c, |packet| match packet {
        Packet::ConnAck(p) => id = p.props.assigned_client_id().unwrap().into(),
        other => panic!("{other:?}"),
    });
    assert!(!id.is_empty());
    world.break_off(c);
    let dial = connect(Version::V5, 0, b"\x11\0\0\x0e\x10", &field(id.as_bytes()));
    let c = world.tcp();
    world.say(c, &dial);
    world.pass(ms(50));
    world.each_heard(c, |packet| match packet {
        Packet::ConnAck(p) => {
            assert!(p.session_present);
            assert_eq!(
                p.props.assigned_client_id(),
                None,
                "the client has named itself"
            );
        }
        other => panic!("{other:?}"),
    });
}

/// A broker that keeps no retained messages, with a session of `c` that waits.
fn without_retained(version: Version) -> World {
    let mut settings = settings();
    settings.retain_available = false;
    let mut world = World::with(settings);
    let peer = world.durable(version, "c");
    world.cut(peer);
    world
}

/// A CONNECT with a will that is to be retained.
fn retained_will(version: Version) -> Vec<u8> {
    let props = &b"\0"[usize::from(version != Version::V5)..];
    let payload = [b"\0\x01c", props, b"\0\x01t\0\x01p"].concat();
    connect(version, 0x24, b"", &payload)
}

/// 3.1.1 [MQTT-3.2.2-4], [MQTT-3.2.2-5]; 5.0 [MQTT-3.2.2-6], [MQTT-3.2.2-7]: a refusal says
/// nothing of the session that there is, and ends the connection.
#[test]
fn a_refusal_has_no_session_present() {
    for version in VERSIONS {
        let mut world = World::new();
        // Its id, "local.b", has a session.
        bridge::add(&mut world);
        world.pass(secs(2));
        let c = world.tcp();
        world.say(c, &connect(version, 0, b"", &field(b"local.b")));
        assert!(world.is_over(c));
        let said = world.heard(c);
        assert_eq!((said[0], said[2]), (0x20, 0), "{said:02x?}");
        assert_eq!(said[3], if version == Version::V5 { 0x85 } else { 2 });
    }
}

/// 5.0 [MQTT-3.2.2-13]: a will that is to be retained, where nothing is.
#[test]
fn a_retained_will_is_refused_where_nothing_is_retained() {
    let mut world = without_retained(Version::V5);
    let c = world.tcp();
    world.say(c, &retained_will(Version::V5));
    assert!(world.is_over(c));
    assert_eq!(world.heard(c)[..4], [0x20, 3, 0, 0x9a]);
    let mut world = without_retained(Version::V311);
    let c = world.tcp();
    world.say(c, &retained_will(Version::V311));
    assert!(world.is_over(c));
}

/// 3.1.1 [MQTT-3.1.4-5], 5.0 [MQTT-3.1.4-6]: what comes behind a refused CONNECT is not looked
/// at.
#[test]
fn what_follows_a_refused_connect_is_not_processed() {
    for version in VERSIONS {
        let mut world = without_retained(version);
        let watcher = world.hello(Version::V311, "w");
        world.say(watcher, &subscribe(Version::V311, 1, &[("#", 0)]));
        world.heard(watcher);
        let c = world.tcp();
        for bytes in [
            retained_will(version),
            publish(version, 0, "a", None, b"x"),
            PINGREQ.to_vec(),
        ] {
            let (packet, _) = decode(&bytes, version, 1000).unwrap().unwrap();
            world.broker.packet(c, packet, world.now);
        }
        world.turn();
        assert_eq!(world.heard(watcher), b"");
        let said = world.heard(c);
        assert!(said.len() <= 5, "a CONNACK at most: {said:02x?}");
    }
}

/// 5.0 [MQTT-4.12.0-1], [MQTT-4.12.0-4]: no authentication method is known.
#[test]
fn an_authentication_method_is_refused() {
    let mut world = World::new();
    let c = world.tcp();
    world.say(
        c,
        &connect(Version::V5, 2, b"\x15\0\x05PLAIN", &field(b"c")),
    );
    assert!(world.is_over(c));
    assert_eq!(world.heard(c), b"\x20\x03\0\x8c\0");
}

/// 5.0 [MQTT-3.2.0-1], [MQTT-3.2.2-1], [MQTT-4.12.0-6], [MQTT-3.1.2-28]: CONNACK comes first
/// and once, its flags are 0 and 1, and nothing is in it that nobody asked for.
#[test]
fn a_connack_has_what_was_asked_for() {
    for ask in [&b""[..], b"\x19\0", b"\x17\0", b"\x17\0\x19\0"] {
        let mut world = World::new();
        for flag in [0, 1] {
            let c = world.tcp();
            let props = [ask, b"\x11\0\0\x0e\x10"].concat();
            world.say(c, &connect(Version::V5, 0, &props, &field(b"c")));
            world.pass(ms(50));
            let bytes = world.heard(c);
            assert_eq!((bytes[0], bytes[2], bytes[3]), (0x20, flag, 0));
            assert_eq!(bytes.len(), 2 + usize::from(bytes[1]), "one CONNACK");
            let (Packet::ConnAck(connack), _) = decode(&bytes, Version::V5, 1000).unwrap().unwrap()
            else {
                panic!("{bytes:02x?}")
            };
            for property in connack.props.iter() {
                assert!(
                    !matches!(
                        property,
                        crate::mqtt::Property::ResponseInfo(_)
                            | crate::mqtt::Property::AuthMethod(_)
                            | crate::mqtt::Property::AuthData(_)
                    ),
                    "{property:?}"
                );
            }
            world.break_off(c);
        }
    }
}
