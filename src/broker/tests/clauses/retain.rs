//! Retained messages.

use super::*;

/// A publisher, and what a new subscriber of `#` at QoS 2 gets behind its SUBACK.
fn world(version: Version) -> (World, ConnId) {
    let mut world = World::new();
    let p = world.hello(version, "p");
    (world, p)
}

fn for_the_next(world: &mut World, version: Version) -> Vec<u8> {
    let c = world.hello(version, "next");
    world.say(c, &subscribe(version, 1, &[("#", 2)]));
    world.pass(ms(50));
    let heard = world.heard(c);
    let suback = suback(version, 1, &[2]);
    assert_eq!(heard[..suback.len()], suback);
    world.break_off(c);
    heard[suback.len()..].to_vec()
}

/// [MQTT-3.3.1-5]: the message is kept with its QoS; and the last one counts, 3.1.1
/// [MQTT-3.3.1-7]: also if it has QoS 0.
#[test]
fn the_last_message_is_kept_with_its_qos() {
    for version in VERSIONS {
        let (mut world, p) = world(version);
        for (n, qos) in [1, 2, 1, 0, 2, 0u8].into_iter().enumerate() {
            let id = (qos > 0).then_some(n as u16 + 1);
            world.say(
                p,
                &publish(version, qos << 1 | 1, "a", id, &[b'0' + n as u8]),
            );
            world.pass(secs(1));
            let id = (qos > 0).then_some(1);
            let kept = publish(version, qos << 1 | 1, "a", id, &[b'0' + n as u8]);
            assert_eq!(for_the_next(&mut world, version), kept);
        }
    }
}

/// 3.1.1 [MQTT-3.3.1-10], [MQTT-3.3.1-11], 5.0 [MQTT-3.3.1-6], [MQTT-3.3.1-7]: an empty one is
/// passed on like any other, removes what was kept, and is not kept itself.
#[test]
fn an_empty_message_is_passed_on_and_removes() {
    for version in VERSIONS {
        let (mut world, p) = world(version);
        world.say(p, &publish(version, 1, "a", None, b"kept"));
        let c = world.hello(version, "c");
        world.say(c, &subscribe(version, 1, &[("a", 0)]));
        world.heard(c);
        for _ in 0..2 {
            world.say(p, &publish(version, 1, "a", None, b""));
            assert_eq!(world.heard(c), publish(version, 0, "a", None, b""));
            assert_eq!(for_the_next(&mut world, version), b"");
            assert_eq!(world.broker.core.router.retained_len(), 0);
        }
    }
}

/// 3.1.1 [MQTT-3.3.1-12], 5.0 [MQTT-3.3.1-8]: without the flag nothing is kept, replaced or
/// removed.
#[test]
fn without_the_flag_nothing_is_kept_or_replaced() {
    for version in VERSIONS {
        let (mut world, p) = world(version);
        world.say(p, &publish(version, 0, "a", None, b"passes"));
        assert_eq!(for_the_next(&mut world, version), b"");
        let kept = publish(version, 1, "a", None, b"kept");
        world.say(p, &kept);
        world.say(p, &publish(version, 0, "a", None, b"passes"));
        world.say(p, &publish(version, 0, "a", None, b""));
        assert_eq!(for_the_next(&mut world, version), kept);
    }
}

/// 3.1.1 [MQTT-3.3.1-6], [MQTT-3.3.1-8], [MQTT-3.3.1-9]: with the flag on a new subscription,
/// each topic's; without it on one that was there.
#[test]
fn the_flag_is_for_new_subscriptions() {
    for version in VERSIONS {
        let (mut world, p) = world(version);
        let c = world.hello(version, "c");
        world.say(c, &subscribe(version, 1, &[("a/#", 0)]));
        world.heard(c);
        let topics = ["a/1", "a/2"];
        let as_sent = |flag| topics.map(|t| publish(version, flag, t, None, t.as_bytes()));
        world.say(p, &as_sent(1).concat());
        assert_eq!(world.heard(c), as_sent(0).concat());
        let next = for_the_next(&mut world, version);
        let [one, two] = as_sent(1);
        assert!(next == [&*one, &two].concat() || next == [&*two, &one].concat());
    }
}
