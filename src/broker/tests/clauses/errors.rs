//! What ends a connection.

use super::*;

/// The versions and the bytes of each line of `tests/vectors/malformed.hex`, and its name.
fn malformed() -> impl Iterator<Item = (Version, Vec<u8>, &'static str)> {
    let file = include_str!("../../../../tests/vectors/malformed.hex");
    let lines = file
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.flat_map(|line| {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let hex = columns[1].split_whitespace();
        let bytes: Vec<u8> = hex.map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
        let of =
            move |v: &Version| columns[0] == "*" || columns[0].contains(&(*v as u8).to_string());
        let name = line.rsplit('|').next().unwrap();
        let versions = VERSIONS.into_iter().filter(of);
        versions
            .map(|v| (v, bytes.clone(), name))
            .collect::<Vec<_>>()
    })
}

/// 3.1.1 [MQTT-4.8.0-1], 5.0 [MQTT-4.13.1-1]: every malformed packet and protocol error closes
/// the connection; 5.0 is told why first, and nothing comes after that [MQTT-3.14.4-1].
#[test]
fn every_malformed_packet_closes_the_connection() {
    for (version, bytes, name) in malformed() {
        // The limit that the file speaks of.
        let mut settings = settings();
        settings.max_packet_size = Some(1 << 20);
        let mut world = World::with(settings);
        let c = world.hello(version, "c");
        world.say(c, &bytes);
        assert!(world.is_over(c), "{name} in {version:?}");
        let said = world.heard(c);
        match version {
            Version::V5 => assert!(
                said.len() >= 3 && said[0] == 0xe0 && said[2] >= 0x80,
                "{name}: {said:02x?}"
            ),
            _ => assert_eq!(said, b"", "{name}"),
        }
        assert_eq!(world.broker.core.sessions.len(), 0, "{name}");
    }
}

/// 3.1.1 [MQTT-3.1.4-1], [MQTT-3.2.2-6]: a CONNECT that is not in order gets no CONNACK.
#[test]
fn a_malformed_connect_closes_without_connack() {
    for (_, bytes, name) in malformed().filter(|(_, bytes, _)| {
        bytes[0] >> 4 == 1 && bytes.get(8) == Some(&4) && bytes.get(7) == Some(&b'T')
    }) {
        let mut world = World::new();
        let c = world.tcp();
        world.say(c, &bytes);
        assert!(world.is_over(c), "{name}");
        assert_eq!(world.heard(c), b"", "{name}");
    }
}

/// 5.0 [MQTT-3.1.4-1]: nor is one of 5.0 taken.
#[test]
fn a_malformed_connect_of_5_0_is_refused() {
    let of_5_0 = |bytes: &[u8]| bytes[0] >> 4 == 1 && bytes.get(8) == Some(&5);
    let vectors: Vec<_> = malformed().filter(|v| of_5_0(&v.1)).collect();
    assert!(vectors.len() > 10);
    for (_, bytes, name) in vectors {
        let mut world = World::new();
        let c = world.tcp();
        world.say(c, &bytes);
        assert!(world.is_over(c), "{name}");
        let said = world.heard(c);
        assert!(said.get(3).is_none_or(|code| *code >= 0x80), "{name}");
        assert_eq!(world.broker.core.sessions.len(), 0, "{name}");
    }
}

/// 3.1.1 [MQTT-4.8.0-2]: so does an error that passes, like a lack of memory.
#[test]
fn a_transient_error_closes_the_connection() {
    for (version, said) in [(Version::V311, &b""[..]), (Version::V5, b"\xe0\x01\x89")] {
        let mut world = World::new();
        let c = world.hello(version, "c");
        world.broker.no_memory(c, world.now);
        assert!(world.is_over(c));
        assert_eq!(world.heard(c), said);
    }
}

/// 5.0 [MQTT-3.14.4-1], [MQTT-3.14.4-2], [MQTT-4.13.2-1]: a DISCONNECT from the broker is its
/// last packet, whatever was under way, and the end of the connection.
#[test]
fn nothing_comes_after_disconnect() {
    let mut world = World::new();
    let c = world.hello(Version::V5, "c");
    world.say(c, &subscribe(Version::V5, 1, &[("#", 1)]));
    world.heard(c);
    let other = world.hello(Version::V311, "p");
    world.hello(Version::V5, "c");
    world.say(other, &publish(Version::V311, 0, "a", None, b"x"));
    world.broker.packet(c, Packet::PingReq, world.now);
    world.turn();
    assert!(world.is_over(c));
    assert_eq!(world.heard(c), b"\xe0\x01\x8e");
}

/// 5.0 [MQTT-4.12.1-2], [MQTT-4.12.0-6]: AUTH on a connection that named no method.
#[test]
fn auth_without_a_method_is_a_protocol_error() {
    for auth in [&b"\xf0\0"[..], b"\xf0\x06\x19\x04\x15\0\x01m"] {
        let mut world = World::new();
        let c = world.hello(Version::V5, "c");
        world.say(c, auth);
        assert!(world.is_over(c));
        assert_eq!(world.heard(c), b"\xe0\x01\x82");
    }
}

/// 5.0 [MQTT-3.14.2-2]: whatever makes the broker say DISCONNECT, no session expiry is in it.
#[test]
fn a_disconnect_of_the_broker_has_no_session_expiry() {
    let expiry = b"\x11\0\0\x0e\x10";
    let dial = |id: &[u8]| connect(Version::V5, 0, expiry, &field(id));
    let mut world = World::new();
    let taken_over = world.hello_as(&dial(b"a"));
    world.hello_as(&dial(b"a"));
    let wrong = world.hello_as(&dial(b"b"));
    world.say(wrong, b"\x36\0");
    let stopped = world.hello_as(&dial(b"c"));
    world.broker.shutdown(world.now);
    for c in [taken_over, wrong, stopped] {
        let mut reasons = Vec::new();
        world.each_heard(c, |packet| match packet {
            Packet::Disconnect(p) => {
                assert_eq!(p.props.session_expiry(), None);
                reasons.push(p.reason);
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].is_error());
    }
}
