//! Full queues: each policy, lines with bounds of their own, messages that grow too old.

use std::rc::Rc;

use super::*;
use crate::bridge::{Limits, Map, Wire};
use crate::broker::{BridgeId, BridgeSession, DropReason, feed_store};
use crate::config::{Bounds, BridgeTopic, Direction, Overflow};

/// Carries everything both ways as it is.
pub(super) fn plain() -> Rc<Wire> {
    let all = BridgeTopic {
        direction: Direction::Both,
        ..line("#")
    };
    Rc::new(Wire::new(Rc::new(Map::new(&[all]))))
}

/// `topic PATTERN out 2`.
pub(super) fn line(pattern: &str) -> BridgeTopic {
    BridgeTopic {
        pattern: pattern.to_owned(),
        direction: Direction::Out,
        qos: QoS::ExactlyOnce,
        local: String::new(),
        remote: String::new(),
        low: false,
        bounds: Bounds::default(),
        overflow: None,
        ttl: None,
        keeps_qos0: false,
    }
}

pub(super) fn add(world: &mut World, topics: &[BridgeTopic]) -> BridgeId {
    let map = Rc::new(Map::new(topics));
    let spec = BridgeSession {
        name: "b",
        client_id: "local.b",
        username: None,
        durable: true,
        topics,
        map: &map,
    };
    let bridge = world.broker.add_bridge(&spec, world.now);
    world.pass(ms(50));
    bridge
}

pub(super) fn up(world: &mut World, bridge: BridgeId, window: u16, present: bool) -> Peer {
    let limits = Limits {
        receive_maximum: window,
        session_present: present,
        ..Limits::unnamed(Version::V5, secs(60))
    };
    let (wire, now) = (plain(), world.now);
    let conn = world.broker.bridge_up(bridge, &limits, wire, now);
    let peer = world.adopt(conn.unwrap(), Version::V5);
    world.broker.bridge_start(world.conn(peer), world.now);
    world.turn();
    peer
}

pub(super) fn with(bytes: u64, messages: u64, overflow: Overflow) -> World {
    let mut settings = settings();
    settings.max_queued_bytes = bytes;
    settings.max_queued_messages = messages;
    settings.queue_overflow = overflow;
    World::with(settings)
}

/// A subscriber to everything that is away.
pub(super) fn absent(world: &mut World) -> Dial {
    let dial = Dial::durable(Version::V5, "away");
    let (away, _) = world.connect(&dial);
    world.listen(away, "#", QoS::ExactlyOnce);
    world.cut(away);
    world.pass(secs(2));
    dial
}

/// Publishes at QoS 1, each with a PUBACK that says yes.
pub(super) fn publish(world: &mut World, peer: Peer, messages: &[(&str, &str)]) {
    for (n, (topic, payload)) in (1..).zip(messages) {
        world.publish(peer, topic, payload, qos1(n));
    }
    world.pass(ms(50));
    let acks = (1..).take(messages.len()).map(|n| Got::PubAck(n, OK));
    assert_eq!(world.got(peer), acks.collect::<Vec<_>>());
}

/// Everything that comes, acknowledged.
fn drain(world: &mut World, peer: Peer) -> Vec<String> {
    let mut came = Vec::new();
    loop {
        world.pass(ms(100));
        let messages = world.messages(peer);
        if messages.is_empty() {
            return came;
        }
        for message in messages {
            world.puback(peer, message.delivery.id().unwrap().get());
            came.push(message.payload);
        }
    }
}

fn dropped(world: &World, reason: DropReason) -> u64 {
    world.broker.counters().dropped_for(reason)
}

#[test]
fn the_oldest_go() {
    for crash in [false, true] {
        let mut world = with(0, 2, Overflow::Oldest);
        let dial = absent(&mut world);
        let device = world.clean(Version::V311, "d");
        let all = [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")];
        publish(&mut world, device, &all);
        assert_eq!(dropped(&world, DropReason::OverflowOldest), 2);
        assert_eq!(world.broker.counters().dropped(), 2);
        if crash {
            world.crash(secs(1));
        }
        let (away, _) = world.connect(&dial);
        assert_eq!(drain(&mut world, away), ["3", "4"], "crash: {crash}");
        world.pass(secs(3));
        assert_eq!(world.rows(), []);
    }
}

/// Others get what one queue has no room for; its publisher is acknowledged.
#[test]
fn the_newest_is_dropped_for_its_receiver_only() {
    let mut world = with(0, 2, Overflow::Newest);
    let dial = absent(&mut world);
    let present = world.durable(Version::V311, "present");
    world.listen(present, "#", QoS::AtLeastOnce);
    let device = world.clean(Version::V311, "d");
    let all = [("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")];
    for (n, (topic, payload)) in (1..).zip(all) {
        world.publish(device, topic, payload, qos1(n));
        let message = world.message(present);
        world.puback(present, message.delivery.id().unwrap().get());
    }
    world.pass(ms(50));
    assert_eq!(world.got(device).len(), 4);
    assert_eq!(dropped(&world, DropReason::OverflowNewest), 2);
    let (away, _) = world.connect(&dial);
    assert_eq!(drain(&mut world, away), ["1", "2"]);
}

/// Of each topic the newest stays; where all topics differ, the oldest goes. Topics are told
/// apart after a crash, too.
#[test]
fn the_latest_of_each_topic_stays() {
    for crash in [false, true] {
        let mut world = with(0, 4, Overflow::LatestPerTopic);
        let dial = absent(&mut world);
        let device = world.clean(Version::V311, "d");
        let first = [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")];
        publish(&mut world, device, &first);
        assert_eq!(world.broker.counters().dropped(), 0, "room for all");
        if crash {
            world.crash(secs(1));
        }
        let device = world.clean(Version::V311, "d");
        publish(&mut world, device, &[("b", "5")]);
        // 1 and 2, 3: there is a newer one of each.
        assert_eq!(dropped(&world, DropReason::OverflowTopic), 3);
        publish(&mut world, device, &[("c", "6"), ("d", "7"), ("e", "8")]);
        assert_eq!(dropped(&world, DropReason::OverflowOldest), 1, "all differ");
        publish(&mut world, device, &[("d", "9")]);
        assert_eq!(dropped(&world, DropReason::OverflowTopic), 4);
        let (away, _) = world.connect(&dial);
        assert_eq!(
            drain(&mut world, away),
            ["5", "6", "8", "9"],
            "crash: {crash}"
        );
    }
}

/// A bound in bytes: as many go as must; what could never fit drops nothing but itself.
#[test]
fn a_message_larger_than_the_bound_is_dropped_itself() {
    // Two messages, with 64 bytes for the entry of each.
    let mut world = with(100 + 2 * 64, 0, Overflow::Oldest);
    let dial = absent(&mut world);
    let device = world.clean(Version::V311, "d");
    let (forty, ninety, large) = ("4".repeat(39), "9".repeat(89), "x".repeat(200));
    publish(
        &mut world,
        device,
        &[("a", &forty), ("a", "1"), ("a", &large)],
    );
    assert_eq!(dropped(&world, DropReason::OverflowNewest), 1);
    assert_eq!(dropped(&world, DropReason::OverflowOldest), 0);
    publish(&mut world, device, &[("a", &ninety)]);
    assert_eq!(dropped(&world, DropReason::OverflowOldest), 1);
    let (away, _) = world.connect(&dial);
    assert_eq!(drain(&mut world, away), ["1", &ninety]);
}

/// What was sent and is not acknowledged is not dropped, over a lost connection either, and its
/// QoS 2 handshake goes on.
#[test]
fn what_is_in_flight_stays() {
    let mut world = with(0, 3, Overflow::Oldest);
    let dial = Dial {
        receive_maximum: Some(2),
        ..Dial::durable(Version::V5, "r")
    };
    let (receiver, _) = world.connect(&dial);
    world.listen(receiver, "#", QoS::ExactlyOnce);
    let device = world.clean(Version::V311, "d");
    for n in 1..8 {
        world.publish(device, "a", &n.to_string(), qos2(n));
        world.pass(ms(50));
    }
    let ids: Vec<u16> = world
        .messages(receiver)
        .iter()
        .map(|m| m.delivery.id().unwrap().get())
        .collect();
    assert_eq!(ids.len(), 2);
    world.pubrec(receiver, ids[0]);
    world.cut(receiver);
    for n in 8..12 {
        world.publish(device, "a", &n.to_string(), qos2(n));
    }
    world.pass(ms(50));
    let (receiver, present) = world.connect(&dial);
    assert!(present);
    world.pass(ms(50));
    let got = world.got(receiver);
    assert!(got.contains(&Got::PubRel(ids[0], OK)), "{got:?}");
    let again = got.iter().find_map(|got| match got {
        Got::Publish(message) => Some((&*message.payload, message.delivery)),
        _ => None,
    });
    let dup = Delivery::ExactlyOnce(pid(ids[1]), true);
    assert_eq!((again, got.len()), (Some(("2", dup)), 2));
    world.pubcomp(receiver, ids[0]);
    world.pass(ms(50));
    assert_eq!(world.message(receiver).payload, "10");
    assert_eq!(dropped(&world, DropReason::OverflowOldest), 7, "3 to 9");
}

/// A line's bound counts that line only, and its policy drops that line's messages only.
#[test]
fn a_line_keeps_to_itself() {
    let mut world = with(0, 6, Overflow::Refuse);
    let few = Bounds {
        messages: 2,
        bytes: 0,
    };
    let telemetry = BridgeTopic {
        bounds: few,
        overflow: Some(Overflow::Oldest),
        ..line("t/#")
    };
    let bridge = add(&mut world, &[line("alarm/#"), telemetry]);
    let device = world.clean(Version::V5, "d");
    let all = [
        ("t/a", "1"),
        ("alarm/a", "2"),
        ("t/a", "3"),
        ("t/a", "4"),
        ("alarm/a", "5"),
        ("alarm/a", "6"),
        ("alarm/a", "7"),
    ];
    publish(&mut world, device, &all);
    assert_eq!(world.broker.bridge_backlog(bridge).0, 6);
    // The client's bound: the alarm is refused, telemetry makes room for itself.
    world.publish(device, "alarm/a", "8", qos1(1));
    world.publish(device, "t/a", "9", qos1(2));
    world.pass(ms(50));
    let full = Got::PubAck(1, Reason::QUOTA_EXCEEDED);
    assert_eq!(world.got(device), [full, Got::PubAck(2, OK)]);
    world.crash(secs(1));
    let queue = world.broker.bridge_queues(world.now).count();
    assert_eq!(queue, 0, "not configured yet");
    let telemetry = BridgeTopic {
        bounds: few,
        overflow: Some(Overflow::Oldest),
        ..line("t/#")
    };
    let bridge = add(&mut world, &[line("alarm/#"), telemetry]);
    let queue = world.broker.bridge_queues(world.now).next().unwrap();
    let lines: Vec<u64> = queue.lines.iter().map(|l| l.owed.messages).collect();
    assert_eq!(lines, [4, 2]);
    let uplink = up(&mut world, bridge, 20, false);
    assert_eq!(drain(&mut world, uplink), ["2", "4", "5", "6", "7", "9"]);
}

/// A row that stays for another receiver: the one that dropped it does not get it after a crash,
/// and the other one gets all.
#[test]
fn what_one_receiver_drops_the_other_keeps() {
    let mut world = World::new();
    let dial = absent(&mut world);
    let few = BridgeTopic {
        bounds: Bounds {
            messages: 2,
            bytes: 0,
        },
        overflow: Some(Overflow::Oldest),
        ..line("#")
    };
    let topics = [few];
    add(&mut world, &topics);
    let device = world.clean(Version::V311, "d");
    let all = ["1", "2", "3", "4", "5", "6"].map(|payload| ("a", payload));
    publish(&mut world, device, &all);
    world.crash(secs(1));
    add(&mut world, &topics);
    world.crash(secs(1));
    let bridge = add(&mut world, &topics);
    assert_eq!(world.broker.bridge_backlog(bridge), (2, 4));
    let uplink = up(&mut world, bridge, 1, true);
    assert_eq!(drain(&mut world, uplink), ["5", "6"]);
    world.pass(secs(2));
    world.crash(secs(1));
    let bridge = add(&mut world, &topics);
    assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
    let (away, _) = world.connect(&dial);
    assert_eq!(drain(&mut world, away), ["1", "2", "3", "4", "5", "6"]);
    world.pass(secs(3));
    assert_eq!(world.rows(), []);
}

/// Tighter bounds than when the queue was filled: what is too much goes at the start, if the
/// policy drops.
#[test]
fn new_bounds_hold_from_the_start() {
    let mut world = World::new();
    add(&mut world, &[line("#")]);
    let device = world.clean(Version::V311, "d");
    let all: Vec<String> = (1..11).map(|n| n.to_string()).collect();
    let all: Vec<(&str, &str)> = all.iter().map(|n| ("a", &**n)).collect();
    publish(&mut world, device, &all);
    world.crash(secs(1));
    let bounds = Bounds {
        messages: 3,
        bytes: 0,
    };
    let overflow = Some(Overflow::Oldest);
    let tight = BridgeTopic {
        bounds,
        overflow,
        ..line("#")
    };
    let bridge = add(&mut world, &[tight]);
    let uplink = up(&mut world, bridge, 20, false);
    assert_eq!(drain(&mut world, uplink), ["8", "9", "10"]);
    assert_eq!(dropped(&world, DropReason::OverflowOldest), 7);
}

/// `ttl`: what is too old is not sent, and leaves the disk without being read.
#[test]
fn old_messages_of_a_line_expire() {
    let mut world = World::new();
    let short = BridgeTopic {
        ttl: Some(secs(60)),
        ..line("t/#")
    };
    let topics = [short, line("alarm/#")];
    add(&mut world, &topics);
    let device = world.clean(Version::V311, "d");
    publish(&mut world, device, &[("t/a", "1"), ("alarm/a", "2")]);
    world.pass(secs(40));
    publish(&mut world, device, &[("t/a", "3")]);
    world.pass(secs(30));
    assert_eq!(dropped(&world, DropReason::Expired), 1);
    assert_eq!(world.rows().len(), 2);
    world.crash(secs(40));
    let bridge = add(&mut world, &topics);
    world.pass(secs(3));
    assert_eq!(dropped(&world, DropReason::Expired), 1);
    assert_eq!(world.rows().len(), 1, "the alarm stays");
    // Where it is not known by then, it is when it is to be sent.
    let device = world.clean(Version::V311, "d");
    let uplink = up(&mut world, bridge, 1, false);
    publish(&mut world, device, &[("t/a", "4"), ("t/a", "5")]);
    let first = world.message(uplink);
    assert_eq!(first.payload, "2");
    world.pass(secs(61));
    world.puback(uplink, first.delivery.id().unwrap().get());
    assert_eq!(drain(&mut world, uplink), NONE);
    assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
    assert_eq!(dropped(&world, DropReason::Expired), 3);
}

/// The queue of a clean session is RAM; the same bounds hold, and it loses its oldest under the
/// policies that drop them.
#[test]
fn clean_sessions_lose_their_oldest() {
    let mut world = with(0, 2, Overflow::Oldest);
    let dial = Dial {
        receive_maximum: Some(1),
        ..Dial::clean(Version::V5, "c")
    };
    let (slow, _) = world.connect(&dial);
    world.listen(slow, "#", QoS::AtLeastOnce);
    let device = world.clean(Version::V311, "d");
    let all = [("a", "1"), ("a", "2"), ("a", "3"), ("a", "4"), ("a", "5")];
    publish(&mut world, device, &all);
    assert_eq!(drain(&mut world, slow), ["1", "5"], "1 was in flight");
    assert_eq!(dropped(&world, DropReason::OverflowOldest), 3);
}

/// What newer messages have taken the place of is gone from the store with a stop, even one that comes
/// before the store was told of all of it.
#[test]
fn what_is_superseded_does_not_outlive_a_stop() {
    let mut world = with(0, 40, Overflow::LatestPerTopic);
    let bridge = add(&mut world, &[line("#")]);
    let device = world.clean(Version::V311, "d");
    publish(&mut world, device, &[("a", "x"); 40]);
    let last = ("a", "last");
    world.publish_in_turn(device, last, qos1(41), false, &[]);
    assert!(world.broker.core.ledger.has_disowned());
    assert_eq!(world.broker.bridge_backlog(bridge).0, 1);
    let now = world.now;
    world.broker.shutdown(now);
    feed_store(&mut world, now);
    while world.store() {}
    assert_eq!(world.rows().len(), 1);
}

/// Small messages wait and have room, a large one has none: a lazy link is not to wait for more.
#[test]
fn the_queue_of_a_bridge_is_full_when_it_has_no_room_for_what_comes() {
    for policy in [
        Overflow::Refuse,
        Overflow::Newest,
        Overflow::Oldest,
        Overflow::LatestPerTopic,
    ] {
        let mut world = with(2_000, 0, policy);
        let bridge = add(&mut world, &[line("#")]);
        let device = world.clean(Version::V5, "d");
        let large = "x".repeat(1_900);
        let fill = |world: &mut World, first: u16| {
            for (id, payload) in (first..).zip(["1", "2", &large]) {
                assert!(!world.broker.bridge_is_full(bridge), "{policy:?}: {id}");
                world.publish(device, "a", payload, qos1(id));
                world.pass(ms(50));
            }
            assert!(world.broker.bridge_is_full(bridge), "{policy:?}");
        };
        fill(&mut world, 1);
        let upstream = up(&mut world, bridge, 20, true);
        assert!(!drain(&mut world, upstream).is_empty());
        world.cut(upstream);
        fill(&mut world, 4);
    }
}
