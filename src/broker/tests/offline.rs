//! QoS 0 on its way to a bridge whose uplink is down: counted as dropped, or kept by `qos0=keep`.

use std::rc::Rc;

use super::overflow::{absent, line, up, with};
use super::*;
use crate::bridge::Map;
use crate::broker::{BridgeId, BridgeSession, DropReason};
use crate::config::{BridgeTopic, Overflow};

const QOS0: Delivery = Delivery::AtMostOnce;

/// `topic PATTERN out QOS qos0=keep`.
fn keep(pattern: &str, qos: QoS) -> BridgeTopic {
    BridgeTopic {
        qos,
        keeps_qos0: true,
        ..line(pattern)
    }
}

fn add(world: &mut World, topics: &[BridgeTopic], durable: bool) -> BridgeId {
    let map = Rc::new(Map::new(topics));
    let spec = BridgeSession {
        name: "b",
        client_id: "local.b",
        username: None,
        durable,
        topics,
        map: &map,
    };
    let bridge = world.broker.add_bridge(&spec, world.now);
    world.pass(ms(50));
    bridge
}

/// What each line has dropped, and the last reason.
fn dropped(world: &World) -> Vec<Option<(u64, &'static str)>> {
    let queue = world.broker.bridge_queues(world.now).next().unwrap();
    let lines = queue.lines.iter().map(|line| line.dropped);
    let counted = lines.map(|row| row.map(|row| (row.messages, DropReason::name_of(&row))));
    counted.collect()
}

/// Everything that comes, acknowledged: payload and QoS.
fn drain(world: &mut World, uplink: Peer) -> Vec<(String, QoS)> {
    let mut came = Vec::new();
    for _ in 0..200 {
        world.pass(ms(50));
        match world.next(uplink) {
            Some(Got::Publish(message)) => {
                match message.delivery {
                    Delivery::AtMostOnce => {}
                    Delivery::AtLeastOnce(id, _) => world.puback(uplink, id.get()),
                    Delivery::ExactlyOnce(id, _) => world.pubrec(uplink, id.get()),
                }
                came.push((message.payload, message.delivery.qos()));
            }
            Some(Got::PubRel(id, _)) => world.pubcomp(uplink, id),
            _ => {}
        }
    }
    came
}

#[test]
fn what_comes_while_the_uplink_is_down_is_counted() {
    let mut world = World::new();
    let bridge = add(&mut world, &[line("t/#"), line("u/#")], true);
    // Mosquitto owes none to a client that is away either; that is not counted.
    absent(&mut world);
    let here = world.clean(Version::V311, "here");
    world.listen(here, "#", QoS::AtMostOnce);
    let device = world.clean(Version::V311, "d");
    world.publish(device, "t/a", "1", QOS0);
    // Of what is retained the last goes up later; the one before it is lost.
    world.publish_with(device, "t/a", "x", QOS0, true, &[]);
    world.publish_with(device, "t/a", "2", QOS0, true, &[]);
    world.publish(device, "u/a", "3", QOS0);
    world.publish(device, "other", "4", QOS0);
    world.publish(device, "t/a", "5", qos1(1));
    assert_eq!(
        dropped(&world),
        [Some((2, "offline")), Some((1, "offline"))]
    );
    assert_eq!(world.broker.counters().dropped(), 3);
    assert_eq!(world.payloads(here), ["1", "x", "2", "3", "4", "5"]);

    let uplink = up(&mut world, bridge, 20, false);
    world.publish(device, "t/a", "6", QOS0);
    let came = drain(&mut world, uplink);
    let expected = [
        ("6", QoS::AtMostOnce),
        ("5", QoS::AtLeastOnce),
        ("2", QoS::AtLeastOnce),
    ];
    for (payload, qos) in expected {
        assert!(came.contains(&(payload.to_owned(), qos)), "{came:?}");
    }
    assert_eq!((came.len(), world.broker.counters().dropped()), (3, 3));
    world.cut(uplink);
    world.publish(device, "t/a", "7", QOS0);
    assert_eq!(dropped(&world)[0], Some((3, "offline")));
}

/// With `local_cleansession` nothing is queued, at whatever QoS.
#[test]
fn a_bridge_without_a_queue_drops_all() {
    let mut world = World::new();
    add(&mut world, &[keep("#", QoS::AtLeastOnce)], false);
    let device = world.clean(Version::V311, "d");
    for delivery in [QOS0, qos1(1), qos2(2)] {
        world.publish(device, "t/a", "1", delivery);
    }
    assert_eq!(dropped(&world), [Some((3, "offline"))]);
}

/// What a line keeps outlives a crash, and goes up at the QoS of the line.
#[test]
fn what_a_line_keeps_goes_up_at_its_qos() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::new();
        let topics = [keep("t/#", qos), line("u/#")];
        add(&mut world, &topics, true);
        let device = world.clean(Version::V311, "d");
        for n in 1..=30 {
            world.publish(device, "t/a", &n.to_string(), QOS0);
            world.publish(device, "u/a", "lost", QOS0);
        }
        assert_eq!(dropped(&world), [None, Some((30, "offline"))]);
        world.pass(ms(100));
        world.crash(secs(60));
        let bridge = add(&mut world, &topics, true);
        let uplink = up(&mut world, bridge, 20, false);
        let device = world.clean(Version::V311, "d");
        world.publish(device, "t/a", "31", QOS0);
        let came = drain(&mut world, uplink);
        let all: Vec<_> = (1..=31).map(|n| (n.to_string(), qos)).collect();
        assert_eq!(came, all);
        assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
        assert_eq!(world.rows(), []);
    }
}

/// Nobody waits for what is kept: it is written with the commit that comes anyway, and not at all
/// where the uplink is quicker.
#[test]
fn what_a_line_keeps_asks_for_no_commit_of_its_own() {
    let mut settings = settings();
    settings.commit_interval = secs(1);
    let mut world = World::with(settings);
    let bridge = add(&mut world, &[keep("t/#", QoS::AtLeastOnce)], true);
    world.pass(secs(3));
    let device = world.clean(Version::V311, "d");
    world.pass(secs(3));
    let before = world.batches;
    for n in 0..90 {
        world.publish(device, "t/a", &n.to_string(), QOS0);
        world.pass(ms(10));
    }
    assert_eq!(world.batches, before);
    world.pass(ms(200));
    assert_eq!(world.batches, before + 1);

    let uplink = up(&mut world, bridge, 100, false);
    assert_eq!(drain(&mut world, uplink).len(), 90);
    world.pass(secs(5));
    let before = world.batches;
    for n in 0..90 {
        world.publish(device, "t/a", &n.to_string(), QOS0);
        let id = world.message(uplink).delivery.id().unwrap();
        world.puback(uplink, id.get());
        world.pass(ms(50));
    }
    assert_eq!(world.batches, before);
}

/// A full queue refuses what has a publisher to refuse it to. QoS 0 has none: it is dropped for the
/// bridge, and the others get it.
#[test]
fn what_a_line_has_no_room_for_reaches_the_others() {
    let mut world = with(0, 2, Overflow::Refuse);
    add(&mut world, &[keep("t/#", QoS::AtLeastOnce)], true);
    let here = world.clean(Version::V311, "here");
    world.listen(here, "#", QoS::AtMostOnce);
    let device = world.clean(Version::V311, "d");
    for payload in ["1", "2", "3"] {
        world.publish(device, "t/a", payload, QOS0);
    }
    assert_eq!(world.payloads(here), ["1", "2", "3"]);
    assert_eq!(dropped(&world), [Some((1, "queue-full"))]);
}
