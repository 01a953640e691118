//! What belongs to a session, and to which.

use super::*;

/// A CONNECT of `id` that resumes its session, which outlives the connection.
fn lasting(version: Version, id: &str) -> Vec<u8> {
    connect(version, 0, b"\x11\0\0\x0e\x10", &field(id.as_bytes()))
}

/// A client with a lasting session that is subscribed to `a` at QoS 2 and has left.
fn left(world: &mut World, version: Version, id: &str) {
    let c = world.hello_as(&lasting(version, id));
    let suback = suback(version, 1, &[2]);
    world.ask(c, &subscribe(version, 1, &[("a", 2)]), &suback);
    world.break_off(c);
}

/// The payloads of the PUBLISH packets that come within a second.
fn payloads(world: &mut World, c: ConnId) -> Vec<String> {
    world.pass(secs(1));
    let mut payloads = Vec::new();
    world.each_heard(c, |packet| {
        if let Packet::Publish(p) = packet {
            payloads.push(String::from_utf8_lossy(p.payload).into_owned());
        }
    });
    payloads
}

/// 3.1.1 [MQTT-3.1.2-5], [MQTT-4.5.0-1]: messages of QoS 1 and 2 wait for a session whose client
/// is away, on the filters it had.
#[test]
fn messages_for_the_absent_are_kept() {
    for version in VERSIONS {
        let mut world = World::new();
        left(&mut world, version, "c");
        let p = world.hello(Version::V311, "p");
        world.say(p, &publish(Version::V311, 2, "a", Some(1), b"one"));
        world.say(p, &publish(Version::V311, 2, "b", Some(2), b"not his"));
        world.say(p, &publish(Version::V311, 4, "a", Some(3), b"two"));
        world.pass(secs(1));
        let c = world.tcp();
        world.say(c, &lasting(version, "c"));
        assert_eq!(payloads(&mut world, c), ["one", "two"]);
    }
}

/// [MQTT-3.1.2-4] of 5.0, [MQTT-3.1.2-6] of 3.1.1: a clean start leaves nothing of what was:
/// subscriptions, messages, packet ids.
#[test]
fn a_clean_start_begins_with_nothing() {
    for version in VERSIONS {
        let mut world = World::new();
        left(&mut world, version, "c");
        let p = world.hello(Version::V311, "p");
        world.say(p, &publish(Version::V311, 4, "a", Some(1), b"queued"));
        world.pass(secs(1));
        let c = world.hello(version, "c");
        world.say(p, &publish(Version::V311, 2, "a", Some(2), b"new"));
        assert_eq!(payloads(&mut world, c), NONE);
        // What ends with its connection is not there for the next one either.
        world.say(c, &subscribe(version, 1, &[("a", 1)]));
        world.break_off(c);
        let c = world.tcp();
        world.say(c, &lasting(version, "c"));
        world.pass(ms(50));
        assert_eq!(world.heard(c)[2..4], [0, 0], "no session");
        world.say(p, &publish(Version::V311, 2, "a", Some(3), b"newer"));
        assert_eq!(payloads(&mut world, c), NONE);
    }
}

/// [MQTT-3.1.3-2]: a session belongs to a client id, and to no other.
#[test]
fn a_session_belongs_to_its_client_id() {
    for version in VERSIONS {
        let mut world = World::new();
        left(&mut world, version, "c");
        let p = world.hello(Version::V311, "p");
        world.say(p, &publish(Version::V311, 2, "a", Some(1), b"1"));
        world.pass(secs(1));
        for (id, present, expected) in [("C", 0, &[][..]), ("cc", 0, &[]), ("c", 1, &["1"])] {
            let c = world.tcp();
            world.say(c, &lasting(version, id));
            world.pass(ms(50));
            let connack = world.broker.outbox(c).unwrap().pending()[2];
            assert_eq!(connack, present, "{id}");
            assert_eq!(payloads(&mut world, c), expected, "{id}");
        }
    }
}

/// 3.1.1 [MQTT-3.1.2-7]: a retained message is nobody's session's.
#[test]
fn retained_messages_outlive_the_session() {
    for version in VERSIONS {
        let mut world = World::new();
        let p = world.hello(version, "p");
        world.say(p, &publish(version, 1, "a", None, b"kept"));
        world.break_off(p);
        world.pass(secs(1));
        assert_eq!(world.broker.core.sessions.len(), 0);
        let c = world.hello(version, "c");
        world.say(c, &subscribe(version, 1, &[("a", 0)]));
        assert_eq!(payloads(&mut world, c), ["kept"]);
    }
}

/// 5.0 [MQTT-4.1.0-1], 3.1.1 [MQTT-4.1.0-2]: while the connection is open the session stays,
/// however short its expiry.
#[test]
fn an_open_connection_keeps_its_session() {
    for version in VERSIONS {
        let mut world = World::new();
        let expiry = b"\x11\0\0\0\x01";
        let c = world.hello_as(&connect(version, 2, expiry, &field(b"c")));
        world.say(c, &subscribe(version, 1, &[("a", 1)]));
        world.pass(secs(100_000));
        world.heard(c);
        let p = world.hello(Version::V311, "p");
        world.say(p, &publish(Version::V311, 2, "a", Some(1), b"1"));
        assert_eq!(payloads(&mut world, c), ["1"]);
    }
}
