//! Wills: when they are published, and as what.

use super::*;

/// A CONNECT of `id` with a will on `w` of these flags (Will QoS and Will Retain).
fn with_will(version: Version, id: &str, flags: u8, props: &[u8]) -> Vec<u8> {
    let mut payload = field(id.as_bytes());
    if version == Version::V5 {
        payload.push(props.len() as u8);
        payload.extend_from_slice(props);
    }
    payload.extend_from_slice(b"\0\x01w\0\x04gone");
    connect(version, 0x06 | flags, b"", &payload)
}

/// A world, and one that is subscribed to `w` at QoS 2.
fn watched(version: Version) -> (World, ConnId) {
    let mut world = World::new();
    let watcher = world.hello(version, "watcher");
    let suback = suback(version, 1, &[2]);
    world.ask(watcher, &subscribe(version, 1, &[("w", 2)]), &suback);
    (world, watcher)
}

/// 3.1.1 [MQTT-3.1.2-16], [MQTT-3.1.2-17], 5.0 [MQTT-3.1.2-14], [MQTT-3.1.2-15]: Will Retain
/// says whether it is kept; Will QoS how it is sent.
#[test]
fn will_qos_and_will_retain_count() {
    for version in VERSIONS {
        for qos in 0..3u8 {
            for retain in [false, true] {
                let (mut world, watcher) = watched(version);
                let flags = qos << 3 | u8::from(retain) << 5;
                let c = world.hello_as(&with_will(version, "c", flags, b""));
                world.break_off(c);
                world.pass(ms(50));
                let id = (qos > 0).then_some(1);
                let will = publish(version, qos << 1, "w", id, b"gone");
                assert_eq!(world.heard(watcher), will);
                let late = world.hello(version, "late");
                world.say(late, &subscribe(version, 1, &[("w", 2)]));
                let mut answer = suback(version, 1, &[2]);
                if retain {
                    answer.extend(publish(version, qos << 1 | 1, "w", id, b"gone"));
                }
                assert_eq!(world.heard(late), answer, "QoS {qos}, retain {retain}");
            }
        }
    }
}

/// [MQTT-3.1.2-10]: a will that was published is gone: the next connection has none.
#[test]
fn a_will_is_published_once() {
    for version in VERSIONS {
        let (mut world, watcher) = watched(version);
        let c = world.hello_as(&with_will(version, "c", 0, b""));
        world.break_off(c);
        let will = publish(version, 0, "w", None, b"gone");
        assert_eq!(world.heard(watcher), will);
        let c = world.hello(version, "c");
        world.break_off(c);
        world.pass(secs(5));
        assert_eq!(world.heard(watcher), b"");
    }
}

/// 3.1.1 [MQTT-3.1.2-12]: without the Will Flag nothing is published; 5.0 [MQTT-3.1.2-7]: with it
/// something is.
#[test]
fn without_a_will_nothing_is_published() {
    for version in VERSIONS {
        let (mut world, watcher) = watched(version);
        world.say(watcher, &subscribe(version, 2, &[("#", 0)]));
        world.heard(watcher);
        let c = world.hello(version, "c");
        world.break_off(c);
        world.pass(secs(5));
        assert_eq!(world.heard(watcher), b"");
        let c = world.hello_as(&with_will(version, "c", 0, b""));
        assert_eq!(world.heard(watcher), b"", "not before the end");
        world.break_off(c);
        assert!(!world.heard(watcher).is_empty());
    }
}

/// 5.0 [MQTT-3.1.3-10]: user properties of a will keep their order, and the others their value.
#[test]
fn the_properties_of_a_will_are_kept_in_order() {
    let (mut world, watcher) = watched(Version::V5);
    let props = b"\x26\0\x01b\0\x011\x03\0\x01t\x26\0\x01a\0\x012\x26\0\x01b\0\x010";
    let c = world.hello_as(&with_will(Version::V5, "c", 0, props));
    world.break_off(c);
    let body = [b"\0\x01w", &[props.len() as u8][..], props, b"gone"].concat();
    assert_eq!(world.heard(watcher), packet(0x30, &body));
}
