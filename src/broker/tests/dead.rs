//! Dead letters: what an upstream will never take.

use super::overflow::{add, line};
use super::refused::{connected, limits, lines, numbers, sorted, up};
use super::*;
use crate::bridge::Limits;
use crate::broker::DropReason;
use crate::config::Overflow;
use crate::mqtt::Property;

const INVALID: Reason = Reason::TOPIC_NAME_INVALID;
const DENIED: Reason = Reason::NOT_AUTHORIZED;

/// What can never be taken is set aside, survives, does not count against the queue, and is sent again
/// once a line takes it; where none does it stays.
#[test]
fn what_is_never_taken_becomes_a_dead_letter() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for shared in [false, true] {
            let mut world = overflow::with(0, 6, Overflow::Refuse);
            let away = shared.then(|| overflow::absent(&mut world));
            let bridge = add(&mut world, &lines());
            let upstream = up(&mut world, bridge, &lines(), limits(3, false));
            let device = world.clean(Version::V311, "d");
            world.send_all(device, "a/bad", qos, 1..3);
            world.send_all(device, "b/bad", qos, 3..4);
            world.send_all(device, "a/good", qos, 4..7);
            let is_bad = |message: &Arrived| message.topic.ends_with("bad");
            let answer = |message: &Arrived| if is_bad(message) { INVALID } else { OK };
            assert_eq!(world.serve(upstream, secs(3), answer), numbers(4..7));
            assert_eq!((world.dead(), world.queue().paused), (3, 0));
            assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
            assert_eq!(world.broker.counters().dropped(), 0);
            // They take no room.
            if !shared {
                world.cut(upstream);
                world.send_all(device, "a/good", qos, 7..13);
                let upstream = up(&mut world, bridge, &lines(), limits(3, true));
                assert_eq!(world.serve(upstream, secs(3), answer), numbers(7..13));
            }
            world.pass(secs(5));
            world.crash(secs(60));
            let only_a = [line("a/#")];
            let bridge = add(&mut world, &only_a);
            world.pass(secs(1));
            assert_eq!(world.dead(), 1, "no line takes b/bad");
            let upstream = up(&mut world, bridge, &only_a, limits(3, true));
            assert_eq!(world.serve(upstream, secs(3), |_| OK), numbers(1..3));
            assert_eq!(world.dead(), 1);
            world.cut(upstream);
            world.crash(secs(60));
            let bridge = add(&mut world, &lines());
            let upstream = up(&mut world, bridge, &lines(), limits(3, true));
            assert_eq!(world.serve(upstream, secs(3), |_| OK), numbers(3..4));
            if let Some(away) = away {
                let (reader, _) = world.connect(&away);
                let came = world.serve(reader, secs(5), |_| OK);
                assert_eq!(sorted(came), (1..7).collect::<Vec<_>>());
            }
            world.is_drained(bridge);
        }
    }
}

/// SIGHUP sends dead letters again, also such as are not on disk yet; what is refused again lies there
/// again, and is not tried for ever.
#[test]
fn dead_letters_are_sent_again() {
    let (mut world, bridge, upstream, device) = connected(5);
    world.send_all(device, "a/x", QoS::AtLeastOnce, 1..201);
    let mut tries = 0;
    let mut refuse = |_: &Arrived| {
        tries += 1;
        INVALID
    };
    world.serve(upstream, secs(10), &mut refuse);
    assert_eq!(world.dead(), 200);
    world.broker.resend_dead_letters(world.now);
    world.turn();
    world.serve(upstream, secs(10), &mut refuse);
    assert_eq!((world.dead(), tries), (200, 400));
    // One that is set aside, and not on disk yet.
    world.send_all(device, "a/x", QoS::AtLeastOnce, 201..202);
    let message = world.message(upstream);
    world.pass(secs(1));
    world.held = true;
    world.answer_with(upstream, &message, INVALID);
    while world.dead() < 201 && world.store() {}
    world.held = false;
    assert_eq!(world.dead(), 201);
    world.broker.resend_dead_letters(world.now);
    world.broker.resend_dead_letters(world.now);
    world.turn();
    let came = world.serve(upstream, secs(10), |_| OK);
    assert_eq!(sorted(came), (1..202).collect::<Vec<_>>());
    assert_eq!(world.dead(), 0);
    world.cut(device);
    world.is_drained(bridge);
}

/// `max_dead_letters` and `max_dead_letter_bytes`: the oldest go, and are counted; after a start with
/// tighter bounds too.
#[test]
fn dead_letters_have_a_bound() {
    for (messages, bytes, stay) in [(3, 0, 3), (0, 10, 2), (0, 0, 9)] {
        let mut settings = settings();
        settings.max_dead_letters = messages;
        settings.max_dead_letter_bytes = bytes;
        let mut world = World::with(settings);
        let bridge = add(&mut world, &lines());
        let upstream = up(&mut world, bridge, &lines(), limits(5, false));
        let device = world.clean(Version::V311, "d");
        // Four bytes each.
        world.send_all(device, "a/x", QoS::AtLeastOnce, 1..10);
        world.serve(upstream, secs(3), |_| INVALID);
        assert_eq!(world.dead(), stay);
        let dropped = world.broker.counters().dropped_for(DropReason::DeadLetters);
        assert_eq!(dropped, 9 - stay);
        world.pass(secs(3));
        assert_eq!(world.rows().len() as u64, stay);
        world.cut(upstream);
        world.settings.max_dead_letters = 1;
        world.crash(secs(1));
        let bridge = add(&mut world, &lines());
        let upstream = up(&mut world, bridge, &lines(), limits(5, true));
        assert_eq!(world.serve(upstream, secs(3), |_| OK), ["9"]);
        world.is_drained(bridge);
    }
}

/// What is larger than the upstream takes waits for a better configuration; QoS 0 does not.
#[test]
fn what_is_too_large_becomes_a_dead_letter() {
    let mut world = World::new();
    let bridge = add(&mut world, &lines());
    let small = Limits {
        max_packet: Some(40),
        ..limits(5, false)
    };
    let upstream = up(&mut world, bridge, &lines(), small);
    let device = world.clean(Version::V311, "d");
    let large = "x".repeat(50);
    world.publish(device, "a/x", &large, Delivery::AtMostOnce);
    world.publish(device, "a/x", &large, qos1(1));
    world.publish(device, "a/x", &large, qos2(2));
    world.publish(device, "a/x", "3", qos1(3));
    assert_eq!(world.serve(upstream, secs(2), |_| OK), ["3"]);
    assert_eq!(world.dead(), 2);
    let dropped = world.broker.counters().dropped_for(DropReason::TooLarge);
    assert_eq!(dropped, 1);
    world.cut(upstream);
    let bridge = add(&mut world, &lines());
    let upstream = up(&mut world, bridge, &lines(), limits(5, true));
    assert_eq!(world.serve(upstream, secs(2), |_| OK), [&*large, &*large]);
    world.is_drained(bridge);
}

/// While the disk takes nothing, what is to be set aside waits; all else goes on.
#[test]
fn what_is_to_be_set_aside_on_a_full_disk_holds_nothing_up() {
    for second in ["a/y", "b/y"] {
        let (mut world, bridge, upstream, device) = connected(5);
        world.pass(secs(5));
        world.held = true;
        world.publish(device, "a/x", "1", qos1(1));
        world.pass(ms(100));
        let message = world.message(upstream);
        world.answer_with(upstream, &message, INVALID);
        world.pass(ms(100));
        world.publish(device, second, "2", qos1(2));
        assert_eq!(world.serve(upstream, secs(1), |_| OK), ["2"]);
        assert_eq!(world.dead(), 0);
        world.held = false;
        while world.store() {}
        world.pass(secs(5));
        assert_eq!(world.dead(), 1);
        assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
        assert_eq!(world.rows().len(), 1);
    }
}

/// One that was refused without a clear reason and is gone since does not let two be tried at once.
#[test]
fn a_message_that_is_gone_is_no_suspect() {
    let (mut world, bridge, upstream, _) = connected(5);
    let device = world.clean(Version::V5, "e");
    let props = [Property::MessageExpiry(60)];
    world.publish_with(device, "a/x", "1", qos1(1), false, &props);
    let mut tries = 0;
    while tries < 3 {
        world.serve(upstream, secs(1), |_| {
            tries += 1;
            Reason::UNSPECIFIED
        });
    }
    assert_eq!(world.broker.bridge_backlog(bridge).0, 1);
    world.pass(secs(60));
    world.got(device);
    world.send_all(device, "a/x", QoS::AtLeastOnce, 2..10);
    for message in world.messages(upstream) {
        world.answer_with(upstream, &message, Reason::QUOTA_EXCEEDED);
    }
    while world.queue().paused > 0 {
        world.pass(ms(50));
    }
    assert_eq!(world.messages(upstream).len(), 1);
}

/// An upstream that does not authorize a topic: a second try, then it is set aside, and the rest of the
/// lane goes up.
#[test]
fn what_is_not_authorized_is_set_aside_after_a_retry() {
    let (mut world, _, upstream, device) = connected(1);
    let mut tries = 0;
    for n in 0..10 {
        world.send_all(device, "a/secret", QoS::AtLeastOnce, 1 + 2 * n..2 + 2 * n);
        world.send_all(device, "a/open", QoS::AtLeastOnce, 2 + 2 * n..3 + 2 * n);
    }
    let came = world.serve(upstream, secs(60), |message| {
        let denied = message.topic == "a/secret";
        tries += u32::from(denied);
        if denied { DENIED } else { OK }
    });
    assert_eq!((came.len(), tries), (10, 20));
    assert_eq!(world.dead(), 10);
}

/// A crash between any two commits finds the message either waiting or among the dead letters, also
/// where others are owed its row.
#[test]
fn a_crash_finds_a_dead_letter_once() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for steps in 0..6 {
            let mut world = World::new();
            overflow::absent(&mut world);
            let bridge = add(&mut world, &lines());
            let upstream = up(&mut world, bridge, &lines(), limits(5, false));
            let device = world.clean(Version::V311, "d");
            world.send_all(device, "a/x", qos, 1..2);
            world.cut(device);
            world.pass(secs(5));
            let message = world.message(upstream);
            world.held = true;
            world.answer_with(upstream, &message, INVALID);
            for _ in 0..steps {
                world.pass(ms(30));
                world.store();
            }
            world.crash(ms(10));
            world.held = false;
            let there = world.dead_and_waiting("local.b");
            assert_eq!(there, 1, "{qos:?} after {steps} steps");
        }
    }
}

/// A dead letter that was to be retained does not come back over a newer value.
#[test]
fn a_dead_letter_is_not_retained_over_a_newer_value() {
    for newer in [false, true] {
        let (mut world, _, upstream, device) = connected(5);
        world.publish_with(device, "a/x", "1", qos1(1), true, &[]);
        assert_eq!(world.serve(upstream, secs(3), |_| INVALID), NONE);
        assert_eq!(world.dead(), 1);
        if newer {
            world.publish_with(device, "a/x", "2", qos1(2), true, &[]);
            assert_eq!(world.serve(upstream, secs(3), |_| OK), numbers(2..3));
        }
        world.broker.resend_dead_letters(world.now);
        world.turn();
        let mut retain = None;
        let came = world.serve(upstream, secs(3), |message| {
            retain = Some(message.retain);
            OK
        });
        assert_eq!((came, retain), (numbers(1..2), Some(!newer)));
    }
}

/// What waits for a line that is removed is no less than what an upstream refuses: it is set aside, and
/// goes up when the line is back.
#[test]
fn what_no_line_takes_any_more_is_set_aside() {
    let mut world = World::new();
    add(&mut world, &lines());
    let device = world.clean(Version::V311, "d");
    world.send_all(device, "a/x", QoS::AtLeastOnce, 1..11);
    world.send_all(device, "b/x", QoS::ExactlyOnce, 11..21);
    world.crash(secs(10));
    let bridge = add(&mut world, &[line("b/#")]);
    let upstream = up(&mut world, bridge, &[line("b/#")], limits(5, true));
    assert_eq!(world.serve(upstream, secs(3), |_| OK), numbers(11..21));
    assert_eq!((world.dead(), world.broker.counters().dropped()), (10, 0));
    world.cut(upstream);
    world.crash(secs(10));
    let bridge = add(&mut world, &lines());
    let upstream = up(&mut world, bridge, &lines(), limits(5, true));
    assert_eq!(world.serve(upstream, secs(3), |_| OK), numbers(1..11));
    world.is_drained(bridge);
}

/// A retained value that was refused once does not go up over a newer one that was not.
#[test]
fn a_refused_value_is_not_retained_over_a_newer_one() {
    let (mut world, _, upstream, device) = connected(5);
    world.publish_with(device, "a/x", "1", qos1(1), true, &[]);
    world.publish_with(device, "a/x", "2", qos1(2), true, &[]);
    let mut refused = false;
    let mut came = Vec::new();
    world.serve(upstream, secs(10), |message| {
        if message.payload == "1" && !std::mem::replace(&mut refused, true) {
            return Reason::QUOTA_EXCEEDED;
        }
        came.push((message.payload.clone(), message.retain));
        OK
    });
    let expected = [("2".to_owned(), true), ("1".to_owned(), false)];
    assert_eq!(came, expected);
}

/// Several messages in a row that the upstream does not take, without saying why, block their lane for
/// a while only.
#[test]
fn poison_beside_poison_is_found() {
    for poison in 1..4 {
        let (mut world, _, upstream, device) = connected(10);
        world.send_all(device, "a/bad", QoS::AtLeastOnce, 1..poison + 1);
        world.send_all(device, "a/good", QoS::AtLeastOnce, 10..30);
        let answer = |message: &Arrived| match message.topic.as_str() {
            "a/bad" => Reason::UNSPECIFIED,
            _ => OK,
        };
        let came = world.serve(upstream, secs(900), answer);
        assert_eq!(sorted(came), (10..30).collect::<Vec<_>>());
        assert_eq!(world.dead(), u64::from(poison));
    }
}

/// Messages that are set aside within one commit interval come again in their order.
#[test]
fn dead_letters_keep_their_order() {
    let mut world = World::new();
    let bridge = add(&mut world, &lines());
    let small = Limits {
        max_packet: Some(40),
        ..limits(20, false)
    };
    let upstream = up(&mut world, bridge, &lines(), small);
    let device = world.clean(Version::V311, "d");
    let wide = "x".repeat(60);
    for n in 1..21 {
        world.publish(device, &format!("a/{n}"), &wide, qos1(n));
    }
    world.serve(upstream, secs(3), |_| OK);
    assert_eq!(world.dead(), 20);
    world.cut(upstream);
    let upstream = up(&mut world, bridge, &lines(), limits(20, true));
    world.broker.resend_dead_letters(world.now);
    let mut came = Vec::new();
    world.serve(upstream, secs(3), |message| {
        came.push(message.topic.clone());
        OK
    });
    let expected: Vec<String> = (1..21).map(|n| format!("a/{n}")).collect();
    assert_eq!(came, expected);
}
