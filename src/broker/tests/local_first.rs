//! Whoever can take a message gets it: it waits for no queue that is full, no absent session, no
//! disk.

use super::overflow::{absent, add, line, up, with};
use super::*;
use crate::broker::DropReason;
use crate::config::{Bounds, BridgeTopic, Overflow};
use crate::keys::SessionKey;
use crate::store::Event;

fn acks(numbers: std::ops::Range<u16>) -> Vec<Got> {
    numbers.map(|n| Got::PubAck(n, OK)).collect()
}

fn session(world: &World, client_id: &str) -> SessionKey {
    world.broker.core.sessions.find(client_id).unwrap()
}

/// Acknowledges all that has come; the payloads.
fn take(world: &mut World, peer: Peer) -> Vec<String> {
    let messages = world.messages(peer);
    for message in &messages {
        world.puback(peer, message.delivery.id().unwrap().get());
    }
    messages
        .into_iter()
        .map(|message| message.payload)
        .collect()
}

/// How many messages the queue of a client has refused.
fn refused(world: &World, client_id: &str) -> u64 {
    let session = world.broker.core.sessions.get(session(world, client_id));
    let drops = session.and_then(|session| session.drops());
    drops.map_or(0, |drops| drops.refused().messages)
}

/// Nothing is said about what happens to a full queue: the oldest go, and nobody waits.
#[test]
fn by_default_a_full_queue_holds_up_nobody() {
    let mut settings = settings();
    settings.max_queued_messages = 2;
    let mut world = World::with(settings);
    let dial = absent(&mut world);
    let (old, new) = (
        world.clean(Version::V311, "old"),
        world.clean(Version::V5, "new"),
    );
    let present = world.clean(Version::V311, "present");
    world.listen(present, "#", QoS::AtLeastOnce);
    for n in 1..6 {
        world.publish(old, "a", &n.to_string(), qos1(n));
        world.publish(new, "b", &n.to_string(), qos1(n));
        assert_eq!(take(&mut world, present).len(), 2, "{n}");
    }
    world.pass(secs(1));
    assert_eq!(world.got(old), acks(1..6));
    assert_eq!(world.got(new), acks(1..6));
    let dropped = world
        .broker
        .counters()
        .dropped_for(DropReason::OverflowOldest);
    assert_eq!(dropped, 8);
    let (away, _) = world.connect(&dial);
    world.pass(ms(100));
    assert_eq!(world.payloads(away), ["5", "5"]);
}

/// `queue_overflow refuse`: the publisher is refused, or waits; the others have the message all the
/// same, once and in order, and the publisher's messages on other topics are acknowledged.
#[test]
fn what_one_queue_refuses_the_others_get() {
    for version in [Version::V311, Version::V5] {
        let mut world = with(0, 2, Overflow::Refuse);
        let dial = Dial::durable(Version::V5, "away");
        let (away, _) = world.connect(&dial);
        world.listen(away, "kept/#", QoS::AtLeastOnce);
        world.cut(away);
        let present = world.clean(Version::V311, "present");
        world.listen(present, "#", QoS::AtLeastOnce);
        let device = world.clean(version, "device");
        for n in 1..5 {
            world.publish(device, "kept/a", &n.to_string(), qos1(n));
            assert_eq!(take(&mut world, present), [n.to_string()], "{version:?}");
            world.publish(device, "live/a", "x", qos1(n + 10));
            assert_eq!(take(&mut world, present), ["x"], "{version:?}");
        }
        world.pass(secs(3));
        assert_eq!(refused(&world, "away"), 2);
        let got = world.got(device);
        for n in [1, 2, 11, 12, 13, 14] {
            assert!(
                got.contains(&Got::PubAck(n, OK)),
                "{n} {version:?}: {got:?}"
            );
        }
        let no = [3, 4].map(|n| Got::PubAck(n, Reason::QUOTA_EXCEEDED));
        assert_eq!(no.iter().all(|no| got.contains(no)), version == Version::V5);
        assert_eq!(got.len(), if version == Version::V5 { 8 } else { 6 });

        let (away, _) = world.connect(&dial);
        world.pass(ms(100));
        assert_eq!(take(&mut world, away), ["1", "2"]);
        world.pass(secs(3));
        assert_eq!(world.payloads(present), NONE, "nobody gets it twice");
        if version == Version::V311 {
            assert_eq!(world.got(device), acks(3..5));
            assert_eq!(world.payloads(away), ["3", "4"]);
        }
    }
}

/// While a message waits for room in a queue, a later one of the same publisher does not overtake it
/// there, also if it is smaller and fits.
#[test]
fn what_waits_for_room_is_not_overtaken() {
    // Of two large ones, or a large and a small one, the entries count as well.
    let mut world = with(220, 0, Overflow::Refuse);
    let dial = absent(&mut world);
    let device = world.clean(Version::V311, "device");
    let (large, small) = ("x".repeat(60), "y");
    world.publish(device, "a", &large, qos1(1));
    world.publish(device, "a", &large, qos1(2));
    world.publish(device, "a", small, qos1(3));
    world.pass(secs(2));
    assert_eq!(world.got(device), acks(1..2));
    // Sent again, it waits once.
    world.publish(device, "a", &large, Delivery::AtLeastOnce(pid(2), true));
    world.pass(secs(2));
    let (away, _) = world.connect(&dial);
    let mut came = Vec::new();
    for _ in 0..3 {
        world.pass(secs(2));
        came.extend(take(&mut world, away));
    }
    assert_eq!(came, [&large, &large, small]);
    world.pass(secs(2));
    assert_eq!(
        (world.got(device), world.payloads(away).len()),
        (acks(2..4), 0)
    );
}

/// The acknowledgement of what waited comes once all receivers have it on disk, the early ones too.
#[test]
fn what_waited_is_promised_for_all() {
    let mut world = with(0, 1, Overflow::Refuse);
    let dial = absent(&mut world);
    let (second, _) = world.connect(&Dial::durable(Version::V5, "second"));
    world.listen(second, "b", QoS::AtLeastOnce);
    world.cut(second);
    let device = world.clean(Version::V311, "device");
    world.publish(device, "a", "1", qos1(1));
    world.pass(ms(100));
    assert_eq!(world.got(device), acks(1..2));
    world.publish(device, "b", "2", qos1(2));
    let (away, _) = world.connect(&dial);
    let message = world.message(away);
    world.held = true;
    world.puback(away, message.delivery.id().unwrap().get());
    world.pass(secs(5));
    assert_eq!(world.got(device), [], "nothing is on disk yet");
    world.held = false;
    world.pass(secs(5));
    assert_eq!(world.got(device), acks(2..3));
    world.crash(secs(1));
    let (second, _) = world.connect(&Dial::durable(Version::V5, "second"));
    world.pass(ms(100));
    assert_eq!(world.payloads(second), ["2"]);
}

/// On a full disk a receiver that is connected gets what cannot be promised, though its session is
/// durable; whoever published it is told, or waits.
#[test]
fn on_a_full_disk_who_is_connected_gets_a_copy() {
    let mut world = World::new();
    let present = world.durable(Version::V311, "present");
    world.listen(present, "#", QoS::AtLeastOnce);
    let (old, new) = (
        world.clean(Version::V311, "old"),
        world.clean(Version::V5, "new"),
    );
    world.pass(secs(3));
    world.broker.store_event(Event::Full, world.now);
    world.turn();
    world.publish(new, "a", "1", qos1(1));
    world.publish_with(new, "kept", "2", qos1(2), true, &[]);
    world.publish(old, "a", "3", qos1(3));
    world.publish(old, "a", "4", qos1(4));
    world.pass(secs(3));
    let no = [1, 2].map(|n| Got::PubAck(n, Reason::QUOTA_EXCEEDED));
    assert_eq!(world.got(new), no);
    assert_eq!(world.got(old), []);
    assert_eq!(take(&mut world, present), ["1", "2", "3", "4"]);
    let late = world.clean(Version::V5, "late");
    world.listen(late, "kept", QoS::AtMostOnce);
    assert_eq!(
        world.payloads(late),
        ["2"],
        "it is retained, if not promised"
    );
    world.broker.store_event(Event::Room, world.now);
    world.pass(secs(3));
    assert_eq!(world.got(old), acks(3..5));
    assert_eq!(
        take(&mut world, present),
        ["3", "4"],
        "now they are promised"
    );
}

/// A connected reader without a session gets everything while `max_queued_bytes` is not reached,
/// however slow it is.
#[test]
fn a_slow_reader_gets_everything() {
    let mut world = World::new();
    let dial = Dial {
        receive_maximum: Some(1),
        ..Dial::clean(Version::V5, "reader")
    };
    let (reader, _) = world.connect(&dial);
    world.listen(reader, "#", QoS::AtLeastOnce);
    let device = world.clean(Version::V311, "device");
    let large = "x".repeat(40_000);
    for n in 1..101 {
        world.publish(device, "a", &large, qos1(n));
    }
    world.pass(secs(1));
    assert_eq!(world.got(device), acks(1..101));
    let mut came = 0;
    while let Some(message) = world.messages(reader).first() {
        world.puback(reader, message.delivery.id().unwrap().get());
        world.pass(ms(10));
        came += 1;
    }
    assert_eq!((came, world.broker.counters().dropped()), (100, 0));
}

/// Once much of `memory_limit` is taken the queue of a slow reader does not grow: it loses its oldest,
/// and nobody else loses anything.
#[test]
fn a_slow_reader_takes_no_more_memory_than_there_is() {
    let mut world = World::new();
    let taken = world.broker.memory();
    world.broker.core.settings.general.memory_limit = Some(taken + 400_000);
    let dial = Dial {
        receive_maximum: Some(1),
        ..Dial::clean(Version::V5, "slow")
    };
    let (slow, _) = world.connect(&dial);
    let quick = world.clean(Version::V311, "quick");
    for peer in [slow, quick] {
        world.listen(peer, "#", QoS::AtLeastOnce);
    }
    let device = world.clean(Version::V5, "device");
    let payload = |n: u16| format!("{n:04}{}", "x".repeat(4_000));
    for n in 1..201 {
        world.publish(device, "a", &payload(n), qos1(n));
        let message = world.message(quick);
        assert_eq!(message.payload, payload(n));
        world.puback(quick, message.delivery.id().unwrap().get());
        assert!(world.broker.memory() < taken + 320_000);
    }
    world.pass(secs(1));
    assert_eq!(world.got(device), acks(1..201));
    let dropped = world
        .broker
        .counters()
        .dropped_for(DropReason::OverflowOldest);
    assert!((100..190).contains(&dropped), "{dropped}");
    let mut last = String::new();
    while let Some(message) = world.messages(slow).pop() {
        world.puback(slow, message.delivery.id().unwrap().get());
        world.pass(ms(10));
        last = message.payload;
    }
    assert_eq!(last, payload(200));
}

/// A line that takes one message and refuses others.
fn narrow(pattern: &str) -> BridgeTopic {
    BridgeTopic {
        bounds: Bounds {
            messages: 1,
            bytes: 0,
        },
        overflow: Some(Overflow::Refuse),
        ..line(pattern)
    }
}

/// A full line of a bridge holds up nothing that goes by another.
#[test]
fn a_full_line_does_not_concern_another() {
    let mut world = World::new();
    add(&mut world, &[narrow("alarms/#"), line("sensors/#")]);
    let device = world.clean(Version::V311, "device");
    for n in 1..3 {
        world.publish(device, "alarms/a", "x", qos1(n));
        world.publish(device, "sensors/a", "x", qos1(n + 10));
    }
    world.pass(secs(1));
    let got = [1, 11, 12].map(|n| Got::PubAck(n, OK));
    assert_eq!(world.got(device), got);
}

/// A retained message that a full line refuses goes up all the same, once there is room: it is what
/// its topic retains.
#[test]
fn a_retained_message_that_was_refused_reaches_the_upstream() {
    for version in [Version::V311, Version::V5] {
        let mut world = World::new();
        let bridge = add(&mut world, &[narrow("state/#")]);
        let uplink = up(&mut world, bridge, 20, false);
        world.pass(secs(20));
        world.cut(uplink);
        let device = world.clean(version, "device");
        world.publish(device, "state/a", "1", qos1(1));
        world.publish_with(device, "state/b", "2", qos1(2), true, &[]);
        world.pass(secs(1));
        world.cut(device);
        let uplink = up(&mut world, bridge, 20, true);
        let mut came = Vec::new();
        for _ in 0..5 {
            world.pass(secs(5));
            for message in world.messages(uplink) {
                came.push((message.payload, message.retain));
                match message.delivery {
                    Delivery::ExactlyOnce(id, _) => world.pubrec(uplink, id.get()),
                    delivery => world.puback(uplink, delivery.id().unwrap().get()),
                }
            }
        }
        let expected = [("1".to_owned(), false), ("2".to_owned(), true)];
        assert_eq!(came, expected, "{version:?}");
    }
}

/// What there was no memory to retain does not come back over what was said since.
#[test]
fn a_message_that_was_not_retained_is_of_the_past() {
    for newer in ["", "newer"] {
        let mut world = World::new();
        let (old, new) = (
            world.clean(Version::V311, "old"),
            world.clean(Version::V5, "new"),
        );
        world.publish_with(new, "kept", &"x".repeat(2_000), qos1(1), true, &[]);
        let taken = world.broker.memory();
        world.broker.core.settings.general.memory_limit = Some(taken - 1);
        world.publish_with(old, "t", "on", qos1(2), true, &[]);
        world.pass(secs(1));
        assert_eq!(world.got(old), [Got::PubAck(2, OK)]);
        if newer.is_empty() {
            world.publish_with(old, "t", "", qos1(3), true, &[]);
        }
        world.publish_with(new, "kept", "", qos1(4), true, &[]);
        if !newer.is_empty() {
            world.publish_with(new, "t", newer, qos1(5), true, &[]);
        }
        world.pass(secs(3));
        world.broker.core.settings.general.memory_limit = None;
        let late = world.clean(Version::V5, "late");
        world.listen(late, "t", QoS::AtMostOnce);
        let retained: Vec<&str> = Some(newer).into_iter().filter(|n| !n.is_empty()).collect();
        assert_eq!(world.payloads(late), retained);
    }
}

/// Without persistence the store is memory: at its limit the oldest go, and nobody waits.
#[test]
fn without_persistence_the_oldest_go_at_the_limit() {
    let mut settings = settings();
    settings.persistence = false;
    let mut world = World::with(settings);
    let dial = absent(&mut world);
    let taken = world.broker.memory();
    world.broker.core.settings.general.memory_limit = Some(taken + 400_000);
    let device = world.clean(Version::V311, "device");
    for n in 1..201 {
        world.publish(
            device,
            "a",
            &format!("{n:04}{}", "x".repeat(4_000)),
            qos1(n),
        );
        world.pass(ms(50));
    }
    assert_eq!(world.got(device), acks(1..201));
    assert!(world.broker.memory() < taken + 400_000);
    let dropped = world
        .broker
        .counters()
        .dropped_for(DropReason::OverflowOldest);
    assert!((50..190).contains(&dropped), "{dropped}");
    let (away, _) = world.connect(&dial);
    world.pass(ms(100));
    assert!(!world.payloads(away).is_empty());
}
