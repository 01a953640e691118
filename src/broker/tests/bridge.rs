//! The broker's end of a bridge, with an uplink that is only packets.

use std::rc::Rc;

use super::*;
use crate::bridge::{Limits, Map, Wire};
use crate::broker::{BridgeId, BridgeSession};
use crate::config::{Bounds, BridgeTopic, Direction, Overflow};

/// A line both ways at QoS 2, with `up/` before the remote topics.
fn line(pattern: &str) -> BridgeTopic {
    BridgeTopic {
        direction: Direction::Both,
        remote: "up/".to_owned(),
        ..overflow::line(pattern)
    }
}

/// The map of these lines.
fn wire(patterns: &[&str]) -> Rc<Wire> {
    let lines: Vec<BridgeTopic> = patterns.iter().map(|pattern| line(pattern)).collect();
    Rc::new(Wire::new(Rc::new(Map::new(&lines))))
}

/// Puts `up/` before what goes out, takes it off what comes in.
pub(super) fn prefix() -> Rc<Wire> {
    wire(&["#"])
}

pub(super) fn limits(session_present: bool) -> Limits {
    Limits {
        receive_maximum: 20,
        session_present,
        ..Limits::unnamed(Version::V5, secs(60))
    }
}

pub(super) fn add(world: &mut World) -> BridgeId {
    overflow::add(world, &[line("#")])
}

fn up(world: &mut World, bridge: BridgeId, present: bool) -> Peer {
    let limits = limits(present);
    let conn = world.broker.bridge_up(bridge, &limits, prefix(), world.now);
    let peer = world.adopt(conn.unwrap(), Version::V5);
    world.broker.bridge_start(world.conn(peer), world.now);
    world.turn();
    world.pass(ms(100));
    peer
}

/// The backlog of an outage goes up in order, under the remote topics, after a crash too.
#[test]
fn the_backlog_goes_up_in_order() {
    let mut world = World::new();
    add(&mut world);
    let device = world.clean(Version::V311, "device");
    for n in 1..301 {
        world.publish(device, "a", &n.to_string(), qos1(n));
    }
    world.pass(secs(1));
    assert_eq!(world.got(device).len(), 300);
    world.crash(secs(60));
    let bridge = add(&mut world);
    assert_eq!(world.broker.bridge_backlog(bridge).0, 300);
    let uplink = up(&mut world, bridge, false);
    let mut came = Vec::new();
    loop {
        let messages = world.messages(uplink);
        if messages.is_empty() {
            break;
        }
        for message in messages {
            assert_eq!(message.topic, "up/a");
            world.puback(uplink, message.delivery.id().unwrap().get());
            came.push(message.payload);
        }
        world.pass(ms(100));
    }
    assert!(came.into_iter().eq((1..301).map(|n| n.to_string())));
    world.pass(secs(3));
    assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
    assert_eq!(world.rows(), []);
}

/// The name of the host is in the client id by default, and may change: the queue is that of the bridge
/// with the same name, not that of another.
#[test]
fn a_queue_outlives_a_new_client_id() {
    let mut world = World::new();
    let (lines, map) = ([line("#")], Rc::new(Map::new(&[line("#")])));
    let start = |world: &mut World, name: &str, client_id: &str| {
        let spec = BridgeSession {
            name,
            client_id,
            username: None,
            durable: true,
            topics: &lines,
            map: &map,
        };
        let bridge = world.broker.add_bridge(&spec, world.now);
        world.pass(ms(50));
        bridge
    };
    start(&mut world, "cloud", "local.OpenWrt.cloud");
    let device = world.clean(Version::V311, "device");
    for n in 1..4 {
        world.publish(device, "a", &n.to_string(), qos1(n));
    }
    world.pass(secs(1));
    world.crash(secs(1));
    let other = start(&mut world, "other", "local.box.other");
    assert_eq!(world.broker.bridge_backlog(other).0, 0);
    // By the default for another host, then by one that was chosen, and that once more.
    for id in ["local.box.cloud", "local.site-7", "local.site-7"] {
        let bridge = start(&mut world, "cloud", id);
        assert_eq!(world.broker.bridge_backlog(bridge).0, 3, "{id}");
        world.broker.drop_orphan_bridges(world.now);
        world.pass(secs(1));
        world.crash(secs(1));
    }
    let bridge = start(&mut world, "cloud", "local.site-7");
    let uplink = up(&mut world, bridge, false);
    let came = world.messages(uplink);
    let came = came.iter().map(|message| &*message.payload);
    assert_eq!(came.collect::<Vec<_>>(), ["1", "2", "3"]);
}

/// What a line owes is told also where the queue lives in RAM (`local_cleansession`).
#[test]
fn a_queue_in_ram_tells_what_its_lines_owe() {
    let mut world = World::new();
    let (lines, map) = ([line("#")], Rc::new(Map::new(&[line("#")])));
    let spec = BridgeSession {
        name: "b",
        client_id: "local.b",
        username: None,
        durable: false,
        topics: &lines,
        map: &map,
    };
    let bridge = world.broker.add_bridge(&spec, world.now);
    let uplink = up(&mut world, bridge, false);
    let device = world.clean(Version::V311, "device");
    for n in 1..4 {
        world.publish(device, "a", "123", qos1(n));
    }
    let first = world.messages(uplink)[0].delivery.id().unwrap();
    world.puback(uplink, first.get());
    let owed = |world: &World| {
        let queue = world.broker.bridge_queues(world.now).next().unwrap();
        (queue.owed.messages, queue.lines[0].owed.messages)
    };
    assert_eq!(owed(&world), (2, 2));
}

/// With the uplink up and quick, devices are acknowledged before anything is written.
#[test]
fn a_healthy_uplink_spares_the_flash() {
    let mut world = World::new();
    let bridge = add(&mut world);
    let uplink = up(&mut world, bridge, false);
    world.pass(secs(3));
    let device = world.clean(Version::V311, "device");
    let batches = world.batches;
    for n in 1..100 {
        world.publish(device, "a", "x", qos1(n));
        let id = world.message(uplink).delivery.id().unwrap();
        world.puback(uplink, id.get());
        assert_eq!(world.got(device), [Got::PubAck(n, OK)]);
        world.pass(ms(30));
    }
    assert_eq!(world.batches, batches, "nothing to write");
}

/// A new uplink while the old one is still attached loses nothing, whether or not upstream
/// knows the session.
#[test]
fn a_new_uplink_takes_over_what_was_under_way() {
    for present in [false, true] {
        let mut world = World::new();
        let bridge = add(&mut world);
        let old = up(&mut world, bridge, false);
        let device = world.clean(Version::V311, "device");
        for n in 1..51 {
            world.publish(device, "a", &n.to_string(), qos2(n));
        }
        world.pass(ms(100));
        assert_eq!(world.payloads(old).len(), 20);
        world.pubrec(old, 1);
        world.pass(ms(100));
        let new = up(&mut world, bridge, present);
        let mut came = Vec::new();
        for _ in 0..500 {
            world.pass(ms(50));
            match world.next(new) {
                Some(Got::Publish(message)) => {
                    world.pubrec(new, message.delivery.id().unwrap().get());
                    came.push(message.payload);
                }
                Some(Got::PubRel(id, _)) => world.pubcomp(new, id),
                _ => {}
            }
        }
        let from = if present { 2 } else { 1 };
        let all: Vec<String> = (from..51).map(|n| n.to_string()).collect();
        assert_eq!(came, all, "session present: {present}");
        world.pass(secs(3));
        assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
        assert_eq!(world.rows(), []);
    }
}

/// What comes from upstream is routed under local topics, not back up, and QoS 2 once.
#[test]
fn messages_come_in_through_the_map() {
    let mut world = World::new();
    let bridge = add(&mut world);
    let uplink = up(&mut world, bridge, false);
    let device = world.clean(Version::V311, "device");
    world.listen(device, "#", QoS::ExactlyOnce);
    world.publish(uplink, "up/cmd", "1", qos2(5));
    world.publish(uplink, "other/cmd", "no", qos1(6));
    world.pass(ms(100));
    let got = world.message(device);
    assert_eq!((&*got.topic, &*got.payload), ("cmd", "1"));
    assert_eq!(world.got(uplink), [Got::PubRec(5, OK), Got::PubAck(6, OK)]);
    let uplink = up(&mut world, bridge, true);
    world.publish(uplink, "up/cmd", "1", Delivery::ExactlyOnce(pid(5), true));
    world.pass(ms(100));
    assert_eq!(world.got(uplink), [Got::PubRec(5, OK)]);
    assert_eq!(world.payloads(device), NONE);
    // Upstream has forgotten: the id is a new message's, also after a crash.
    world.cut(uplink);
    up(&mut world, bridge, false);
    world.pass(secs(2));
    world.crash(secs(1));
    let bridge = add(&mut world);
    let uplink = up(&mut world, bridge, true);
    let device = world.clean(Version::V311, "device");
    world.listen(device, "#", QoS::ExactlyOnce);
    world.publish(uplink, "up/cmd", "2", qos2(5));
    world.pass(ms(100));
    assert_eq!(world.payloads(device), ["2"]);
}

/// What the map leaves out is done with, and nobody may log in as the bridge.
#[test]
fn what_is_not_mapped_is_not_owed() {
    let mut world = World::new();
    let bridge = add(&mut world);
    let other = wire(&["other"]);
    let conn = world
        .broker
        .bridge_up(bridge, &limits(false), other, world.now);
    let uplink = world.adopt(conn.unwrap(), Version::V5);
    world.broker.bridge_start(world.conn(uplink), world.now);
    let device = world.clean(Version::V311, "device");
    world.publish(device, "secret", "x", qos2(1));
    world.pass(secs(3));
    assert_eq!(world.payloads(uplink), NONE);
    assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
    let thief = world.dial(&Dial::clean(Version::V5, "local.b"));
    let refused = Got::ConnAck(false, Reason::CLIENT_IDENTIFIER_NOT_VALID);
    assert_eq!(world.got(thief), [refused, Got::Closed]);
}

/// An uplink whose handshake ends during a clean stop would keep the stop waiting for it.
#[test]
fn a_broker_that_stops_takes_no_uplink() {
    let mut world = World::new();
    let bridge = add(&mut world);
    world.broker.shutdown(world.now);
    let limits = limits(false);
    let conn = world.broker.bridge_up(bridge, &limits, prefix(), world.now);
    assert_eq!(conn, None);
}

/// With overlapping lines a message goes by the line that is decided when it is routed: it is
/// counted there, bounded as that one says, and sent on its topic at its QoS.
#[test]
fn a_message_goes_by_the_line_it_is_queued_by() {
    let plain = BridgeTopic {
        qos: QoS::AtMostOnce,
        ..overflow::line("#")
    };
    let mapped = BridgeTopic {
        qos: QoS::AtLeastOnce,
        bounds: Bounds {
            messages: 2,
            bytes: 0,
        },
        overflow: Some(Overflow::Oldest),
        remote: "up/".to_owned(),
        ..overflow::line("alarms/#")
    };
    let lines = [plain, mapped];
    let mut world = World::new();
    let bridge = overflow::add(&mut world, &lines);
    let device = world.clean(Version::V311, "device");
    for n in 1..=3 {
        world.publish(device, "alarms/fire", &n.to_string(), qos2(n));
    }
    world.publish(device, "other", "4", qos1(4));
    world.pass(secs(1));
    let queues: Vec<_> = world.broker.bridge_queues(world.now).collect();
    let owed: Vec<u64> = queues[0].lines.iter().map(|l| l.owed.messages).collect();
    assert_eq!(
        owed,
        [0, 2],
        "QoS 0 is not queued, and the bound is the line's own"
    );
    let wire = Rc::new(Wire::new(Rc::new(Map::new(&lines))));
    let conn = world
        .broker
        .bridge_up(bridge, &limits(false), wire, world.now);
    let uplink = world.adopt(conn.unwrap(), Version::V5);
    world.broker.bridge_start(world.conn(uplink), world.now);
    world.pass(secs(1));
    let messages = world.messages(uplink);
    let sent: Vec<_> = messages
        .iter()
        .map(|m| (&*m.topic, &*m.payload, m.delivery.qos()))
        .collect();
    let expected = ["2", "3"].map(|n| ("up/alarms/fire", n, QoS::AtLeastOnce));
    assert_eq!(sent, expected);
}

/// How many of 300 messages of `size` bytes are under way at first, by what the configuration says.
fn under_way(said: Option<u16>, version: Version, receive_maximum: u16, size: usize) -> usize {
    let mut settings = settings();
    settings.max_inflight_messages = said;
    let mut world = World::with(settings);
    let bridge = add(&mut world);
    let device = world.clean(Version::V311, "device");
    for n in 1..301 {
        world.publish(device, "a", &"x".repeat(size), qos1(n));
    }
    world.pass(secs(1));
    let limits = Limits {
        receive_maximum,
        ..Limits::unnamed(version, secs(60))
    };
    let conn = world.broker.bridge_up(bridge, &limits, prefix(), world.now);
    let peer = world.adopt(conn.unwrap(), version);
    world.broker.bridge_start(world.conn(peer), world.now);
    world.pass(secs(1));
    world.messages(peer).len()
}

/// What the configuration says about the messages under way holds for every version; left unsaid, an
/// upstream of MQTT 5 gets more.
#[test]
fn the_window_towards_an_upstream_is_what_is_said() {
    for (said, version, receive_maximum, expected) in [
        (Some(20), Version::V5, 65_535, 20),
        (Some(20), Version::V311, 65_535, 20),
        (Some(7), Version::V5, 65_535, 7),
        (Some(150), Version::V5, 65_535, 150),
        (Some(20), Version::V5, 10, 10),
        (None, Version::V311, 65_535, 20),
        (None, Version::V5, 65_535, 100),
        (None, Version::V5, 20, 20),
    ] {
        let count = under_way(said, version, receive_maximum, 10);
        assert_eq!(count, expected, "{said:?} {version:?} {receive_maximum}");
    }
}

/// Before anything is known of the link, 16 KB go, and a larger message alone.
#[test]
fn little_goes_to_an_upstream_that_nothing_is_known_of() {
    assert_eq!(under_way(None, Version::V5, 65_535, 1_000), 17);
    assert_eq!(under_way(None, Version::V5, 65_535, 40_000), 1);
}
