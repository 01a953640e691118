//! `max_retained_bytes`, `max_retained_messages`: what one client may have retained.

use super::*;
use crate::config::General;
use crate::route::Owned;

fn world(change: impl FnOnce(&mut General)) -> World {
    let mut settings = settings();
    change(&mut settings);
    World::with(settings)
}

/// Retains a value by QoS 1, and says what the publisher is told.
fn set(world: &mut World, peer: Peer, topic: &str, value: &str) -> Reason {
    world.publish_with(peer, topic, value, qos1(1), true, &[]);
    world.pass(ms(100));
    match world.got(peer)[..] {
        [Got::PubAck(1, reason)] if reason.is_error() => reason,
        [Got::PubAck(1, _)] => OK,
        ref other => panic!("no PUBACK but {other:?}"),
    }
}

fn owned(world: &World, client_id: &str) -> u64 {
    world.broker.core.router.retained_by(client_id).messages
}

/// A client that has as many as it may gets no more, others do; what there is may change and go; a crash
/// changes nothing.
#[test]
fn what_one_client_may_have_retained_is_bounded() {
    let refused = |version| match version {
        Version::V5 => Reason::QUOTA_EXCEEDED,
        _ => OK,
    };
    for version in VERSIONS {
        let bounds: [fn(&mut General); 2] = [
            |settings| settings.max_retained_messages = 3,
            |settings| settings.max_retained_bytes = Some(3_000),
        ];
        for bound in bounds {
            let mut world = world(bound);
            let reader = world.clean(version, "reader");
            world.listen(reader, "#", QoS::AtMostOnce);
            let device = world.clean(version, "device");
            let value = "x".repeat(700);
            for n in 0..3 {
                set(&mut world, device, &format!("t/{n}"), &value);
            }
            assert_eq!(world.broker.core.router.retained_len(), 3);
            for refusals in 1..3 {
                let reason = set(&mut world, device, "t/more", &value);
                assert!(reason == refused(version) && owned(&world, "device") == 3);
                assert_eq!(world.broker.counters().refused_retained, refusals);
            }
            assert_eq!(world.got(reader).len(), 5, "who is subscribed gets all");
            assert_eq!(world.broker.counters().refused_for_memory, 0);
            // A value of its own may change as long as it does not grow.
            assert_eq!(set(&mut world, device, "t/0", &value.replace('x', "y")), OK);
            let other = world.clean(version, "other");
            assert_eq!(set(&mut world, other, "o", &value), OK);
            world.crash(secs(1));
            let device = world.clean(version, "device");
            assert_eq!((owned(&world, "device"), owned(&world, "other")), (3, 1));
            let reason = set(&mut world, device, "t/more", &value);
            assert!(reason == refused(version) && owned(&world, "device") == 3);
            assert_eq!(set(&mut world, device, "t/1", ""), OK);
            assert_eq!(set(&mut world, device, "t/more", &value), OK);
            assert_eq!(world.broker.core.router.retained_len(), 4);
        }
    }
}

/// It is the last to set a value that has it.
#[test]
fn a_value_is_of_who_set_it_last() {
    let mut world = world(|settings| settings.max_retained_messages = 2);
    let [a, b] = ["a", "b"].map(|id| world.clean(Version::V5, id));
    for topic in ["t/0", "t/1"] {
        set(&mut world, a, topic, "1");
    }
    set(&mut world, b, "t/0", "2");
    assert_eq!((owned(&world, "a"), owned(&world, "b")), (1, 1));
    assert_eq!(set(&mut world, a, "t/2", "1"), OK);
    // A small value may take the place of another's whatever its client has: it must not get stale.
    for topic in ["t/1", "t/2"] {
        assert_eq!(set(&mut world, b, topic, "2"), OK);
    }
    assert_eq!((owned(&world, "a"), owned(&world, "b")), (0, 3));
    assert_eq!(set(&mut world, b, "t/3", "2"), Reason::QUOTA_EXCEEDED);
    for n in 0..3 {
        assert_eq!(set(&mut world, a, &format!("t/{n}"), ""), OK);
    }
    let none = Owned::default();
    assert_eq!(world.broker.core.router.retained_by("b"), none);
}

/// A value that expires is nobody's.
#[test]
fn what_has_expired_makes_room() {
    let mut world = world(|settings| settings.max_retained_messages = 1);
    let peer = world.clean(Version::V5, "c");
    let expires = [crate::mqtt::Property::MessageExpiry(10)];
    world.publish_with(peer, "t/1", "1", qos1(1), true, &expires);
    world.pass(ms(100));
    world.got(peer);
    assert_eq!(set(&mut world, peer, "t/2", "1"), Reason::QUOTA_EXCEEDED);
    world.pass(secs(30));
    assert_eq!(set(&mut world, peer, "t/2", "1"), OK);
}

/// Unless a file says otherwise one client may have half of what all may: a quarter of `memory_limit`.
#[test]
fn one_client_leaves_the_others_half_of_what_may_be_retained() {
    let mut world = world(|settings| settings.memory_limit = Some(LIMIT));
    let flood = |world: &mut World, id: &str| {
        let peer = world.clean(Version::V5, id);
        for n in 0..1_000 {
            let (topic, value) = (format!("{id}/{n}"), "x".repeat(4_000));
            world.publish_with(peer, &topic, &value, Delivery::AtMostOnce, true, &[]);
        }
        world.broker.core.router.retained_by(id).bytes
    };
    let [one, other] = ["one", "other"].map(|id| flood(&mut world, id));
    assert!((LIMIT / 5..=LIMIT / 4).contains(&one), "{one}");
    assert!((LIMIT / 5..=LIMIT / 4).contains(&other), "{other}");
    assert!(world.broker.counters().refused_retained > 500);
    let retained = world.broker.core.router.retained_bytes();
    assert!(
        (one + other..one + other + 1_000).contains(&retained),
        "{retained}"
    );
}
