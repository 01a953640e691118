//! What SIGHUP changes: bridges that go and come back, bounds of queues.

use super::overflow::{add, line, plain};
use super::*;
use crate::bridge::Limits;
use crate::broker::{BridgeId, DropReason, end_turn};
use crate::config::{Bounds, BridgeTopic, Overflow};

fn up(world: &mut World, bridge: BridgeId) -> Peer {
    let limits = Limits {
        receive_maximum: 100,
        ..Limits::unnamed(Version::V5, secs(60))
    };
    let now = world.now;
    let conn = world
        .broker
        .bridge_up(bridge, &limits, plain(), now)
        .unwrap();
    let peer = world.adopt(conn, Version::V5);
    world.broker.bridge_start(conn, now);
    world.pass(ms(100));
    peer
}

fn publish(world: &mut World, device: Peer, numbers: std::ops::Range<u16>) {
    for n in numbers {
        world.publish(device, "a", &n.to_string(), qos1(n));
    }
    world.pass(ms(100));
    world.got(device);
}

/// SIGHUP with the settings of the world as they are now.
fn set_general(world: &mut World) {
    let settings = world.settings.clone();
    world.broker.set_general(&settings, world.now);
}

/// A line that went by mistake costs what came meanwhile, and nothing that waited.
#[test]
fn a_bridge_that_comes_back_finds_its_queue() {
    let mut world = World::new();
    let bridge = add(&mut world, &[line("a")]);
    let device = world.clean(Version::V311, "device");
    publish(&mut world, device, 1..6);
    world.broker.remove_bridge(bridge, world.now);
    assert_eq!(world.broker.bridge_queues(world.now).count(), 0);
    publish(&mut world, device, 6..8);
    let rival = world.dial(&Dial::durable(Version::V5, "local.b"));
    let refused = Got::ConnAck(false, Reason::CLIENT_IDENTIFIER_NOT_VALID);
    assert_eq!(
        world.next(rival),
        Some(refused),
        "the queue is the bridge's"
    );
    let again = add(&mut world, &[line("a")]);
    assert_eq!(again, bridge);
    publish(&mut world, device, 8..10);
    let uplink = up(&mut world, again);
    assert_eq!(world.payloads(uplink), ["1", "2", "3", "4", "5", "8", "9"]);
}

/// Without the line at the next start, what waited is dropped then, and counted.
#[test]
fn a_bridge_that_is_gone_for_good_ends_with_the_next_start() {
    let mut world = World::new();
    let bridge = add(&mut world, &[line("a")]);
    let device = world.clean(Version::V311, "device");
    publish(&mut world, device, 1..6);
    world.broker.remove_bridge(bridge, world.now);
    world.pass(secs(1));
    assert_eq!(world.rows().len(), 5);
    world.crash(secs(10));
    assert_eq!(world.broker.gauges().subscriptions, 0);
    world.broker.drop_orphan_bridges(world.now);
    world.pass(secs(3));
    let dropped = world
        .broker
        .counters()
        .dropped_for(DropReason::SessionEnded);
    assert_eq!((dropped, world.rows().len()), (5, 0));
}

/// A bridge to which nothing was owed leaves nothing: whoever gets its place is no bridge.
#[test]
fn an_empty_bridge_goes_at_once() {
    let mut world = World::new();
    let bridge = add(&mut world, &[line("a")]);
    world.pass(secs(1));
    world.broker.remove_bridge(bridge, world.now);
    assert_eq!(world.broker.gauges().clients, 0);
    let client = world.clean(Version::V311, "local.b");
    world.listen(client, "a", QoS::AtLeastOnce);
    world.cut(client);
    world.pass(secs(1));
    assert_eq!(world.broker.gauges().clients, 0);
    assert_eq!(world.broker.gauges().subscriptions, 0);
}

/// A change is as over a restart: the queue stays, the lines are new.
#[test]
fn a_changed_bridge_keeps_its_queue_and_its_number() {
    let mut world = World::new();
    let bridge = add(&mut world, &[line("a")]);
    let other = world.broker.gauges().subscriptions;
    let device = world.clean(Version::V311, "device");
    publish(&mut world, device, 1..4);
    let changed = add(&mut world, &[line("a"), line("b")]);
    assert_eq!(changed, bridge);
    assert_eq!(world.broker.gauges().subscriptions, other + 1);
    world.publish(device, "b", "4", qos1(4));
    let uplink = up(&mut world, changed);
    assert_eq!(world.payloads(uplink), ["1", "2", "3", "4"]);
    assert_eq!(world.broker.gauges().inflight, 4);
}

/// A client has to leave the id that a new bridge needs, and what waits for it does not go up.
#[test]
fn a_new_bridge_takes_its_id() {
    let mut world = World::new();
    let client = world.durable(Version::V5, "local.b");
    world.listen(client, "a", QoS::AtLeastOnce);
    world.listen(client, "$share/g/a", QoS::AtLeastOnce);
    let device = world.clean(Version::V311, "device");
    publish(&mut world, device, 1..3);
    let bridge = add(&mut world, &[line("a")]);
    world.pass(secs(1));
    assert!(!world.is_open(client));
    let gauges = world.broker.gauges();
    assert_eq!((gauges.clients, gauges.shared_subscriptions), (2, 0));
    let uplink = up(&mut world, bridge);
    assert_eq!(world.payloads(uplink), NONE);
}

#[test]
fn new_bounds_hold_at_once() {
    let mut world = World::new();
    let receiver = world.durable(Version::V311, "receiver");
    world.listen(receiver, "a", QoS::AtLeastOnce);
    world.cut(receiver);
    let device = world.clean(Version::V311, "device");
    publish(&mut world, device, 1..11);
    world.settings.max_queued_messages = 4;
    world.settings.queue_overflow = Overflow::Oldest;
    set_general(&mut world);
    world.pass(secs(1));
    assert_eq!(world.broker.gauges().queued_messages, 4);
    let receiver = world.durable(Version::V311, "receiver");
    world.pass(secs(1));
    assert_eq!(world.payloads(receiver), ["7", "8", "9", "10"]);
}

/// A publisher that waits for room goes on when a bound is raised [MQTT-4.3.2-4].
#[test]
fn room_that_is_made_is_used() {
    let mut world = World::new();
    world.settings.max_queued_messages = 3;
    world.settings.queue_overflow = Overflow::Refuse;
    set_general(&mut world);
    let receiver = world.durable(Version::V311, "receiver");
    world.listen(receiver, "a", QoS::AtLeastOnce);
    world.cut(receiver);
    let device = world.clean(Version::V311, "device");
    for n in 1..6 {
        world.publish(device, "a", &n.to_string(), qos1(n));
    }
    world.pass(secs(1));
    assert_eq!(world.got(device).len(), 3);
    world.settings.max_queued_messages = 0;
    set_general(&mut world);
    world.pass(secs(1));
    assert_eq!(world.got(device), [Got::PubAck(4, OK), Got::PubAck(5, OK)]);
}

/// What the CONNACK said holds until the client connects again [MQTT-3.3.4-9], [MQTT-3.2.2-15].
#[test]
fn a_client_is_held_to_what_it_was_told() {
    for before in [true, false] {
        let mut world = World::new();
        let away = world.durable(Version::V311, "away");
        world.listen(away, "#", QoS::ExactlyOnce);
        world.cut(away);
        let early = world.clean(Version::V5, "early");
        world.settings.max_inflight_messages = Some(1);
        world.settings.max_packet_size = Some(100);
        set_general(&mut world);
        let device = if before {
            early
        } else {
            world.clean(Version::V5, "late")
        };
        let largest = world.broker.max_packet(world.conn(device));
        assert_eq!(largest > 100, before);
        world.publish(device, "a", "1", qos2(1));
        world.publish(device, "a", "2", qos2(2));
        assert_eq!(world.is_open(device), before);
    }
}

fn queued_for(world: &World, client_id: &str) -> u64 {
    let sessions = &world.broker.core.sessions;
    let session = sessions.find(client_id).and_then(|key| sessions.get(key));
    session.unwrap().outbound.len()
}

/// Lines that are over their bounds, and may lose nothing, don't keep the broker from going on to other
/// sessions, and from an end.
#[test]
fn lines_that_may_lose_nothing_are_looked_at_once() {
    let mut world = World::new();
    let away = world.durable(Version::V311, "away");
    world.listen(away, "a", QoS::AtLeastOnce);
    world.cut(away);
    let topics: Vec<_> = (0..600).map(|n| line(&format!("t/{n}"))).collect();
    add(&mut world, &topics);
    let device = world.clean(Version::V311, "device");
    publish(&mut world, device, 1..11);
    for n in 1..1_201 {
        world.publish(device, &format!("t/{}", n % 600), "x", qos1(n));
    }
    world.pass(secs(1));
    let tight = topics.into_iter().map(|line| BridgeTopic {
        bounds: Bounds {
            messages: 1,
            bytes: 0,
        },
        overflow: Some(Overflow::Refuse),
        ..line
    });
    let bridge = add(&mut world, &tight.collect::<Vec<_>>());
    world.settings.max_queued_messages = 4;
    world.settings.queue_overflow = Overflow::Oldest;
    set_general(&mut world);
    for _ in 0..20 {
        let now = world.now;
        end_turn(&mut world, now);
    }
    assert!(world.broker.core.watches.bounded_anew.is_empty());
    assert_eq!(world.broker.bridge_backlog(bridge).0, 1_200);
    assert_eq!(queued_for(&world, "away"), 4);
}

/// Whoever goes while the new bounds are still to reach it takes nothing with it.
#[test]
fn a_session_may_end_before_the_new_bounds_reach_it() {
    let mut world = World::new();
    let peers: Vec<_> = (0..3)
        .map(|n| world.clean(Version::V311, &format!("c{n}")))
        .collect();
    set_general(&mut world);
    for peer in peers {
        world.disconnect(peer, Reason::SUCCESS);
    }
    let now = world.now;
    end_turn(&mut world, now);
    assert!(world.broker.core.watches.bounded_anew.is_empty());
}
