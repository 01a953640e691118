//! What an upstream refuses of a bridge whose queue lives in RAM (`local_cleansession`).

use std::rc::Rc;

use super::refused::{QUOTA, limits, lines, numbers, sorted, up};
use super::*;
use crate::bridge::Map;
use crate::broker::{BridgeId, BridgeSession, DropReason};
use crate::config::BridgeTopic;

/// A world with such a bridge that is up, and a device.
pub(super) fn connected(window: u16) -> (World, BridgeId, Peer, Peer) {
    connected_by(window, &lines())
}

pub(super) fn connected_by(window: u16, lines: &[BridgeTopic]) -> (World, BridgeId, Peer, Peer) {
    let mut world = World::new();
    let map = Rc::new(Map::new(lines));
    let spec = BridgeSession {
        name: "b",
        client_id: "local.b",
        username: None,
        durable: false,
        topics: lines,
        map: &map,
    };
    let bridge = world.broker.add_bridge(&spec, world.now);
    let upstream = up(&mut world, bridge, lines, limits(window, false));
    let device = world.clean(Version::V311, "d");
    (world, bridge, upstream, device)
}

impl World {
    fn dropped_for(&self, reason: DropReason) -> u64 {
        self.broker.counters().dropped_for(reason)
    }
}

/// It keeps what is refused, as long as the connection lasts.
#[test]
fn a_queue_in_ram_waits_too() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut world, bridge, upstream, device) = connected(5);
        world.send_all(device, "a/x", qos, 1..21);
        world.send_all(device, "b/x", qos, 21..41);
        let came = world.serve(upstream, ms(500), |message| {
            if message.topic == "a/x" { QUOTA } else { OK }
        });
        assert_eq!(came, numbers(21..41));
        let came = world.serve(upstream, secs(30), |_| OK);
        assert_eq!(came, numbers(1..21));
        world.is_drained(bridge);
    }
}

/// A lane that goes on opens step by step.
#[test]
fn a_lane_in_ram_opens_step_by_step() {
    let (mut world, _, upstream, device) = connected(10);
    world.send_all(device, "a/x", QoS::AtLeastOnce, 1..21);
    for message in world.messages(upstream) {
        world.answer_with(upstream, &message, QUOTA);
    }
    while world.queue().paused > 0 {
        world.pass(ms(50));
    }
    for at_once in [1, 2, 4, 8] {
        let came = world.messages(upstream);
        assert_eq!(came.len(), at_once);
        for message in came {
            world.answer_with(upstream, &message, OK);
        }
        world.pass(ms(50));
    }
}

/// What may never be taken does not block its lane for ever: it is dropped, and counted.
#[test]
fn what_is_never_taken_is_dropped() {
    for code in [0x80, 0x83, 0x87, 0x90, 0x91] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let (mut world, bridge, upstream, device) = connected(5);
            world.send_all(device, "a/bad", qos, 1..2);
            world.send_all(device, "a/good", qos, 2..21);
            let mut tries = 0;
            let came = world.serve(upstream, secs(300), |message| {
                if message.topic == "a/good" {
                    return OK;
                }
                tries += 1;
                Reason(code)
            });
            assert_eq!(sorted(came), (2..21).collect::<Vec<_>>(), "{code:#x}");
            assert!((1..=8).contains(&tries), "{code:#x}: {tries}");
            assert_eq!(world.dropped_for(DropReason::Refused), 1, "{code:#x}");
            assert_eq!((world.queue().paused, world.dead()), (0, 0));
            world.is_drained(bridge);
        }
    }
}

/// What waits when the connection goes is lost with it, and counted; not so what was sent and has no
/// answer, for it may have arrived.
#[test]
fn what_waits_is_counted_when_the_connection_goes() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut world, bridge, upstream, device) = connected(5);
        world.send_all(device, "a/x", qos, 1..21);
        for message in world.messages(upstream) {
            world.answer_with(upstream, &message, QUOTA);
        }
        world.send_all(device, "b/x", qos, 21..24);
        assert_eq!(world.messages(upstream).len(), 3);
        world.cut(upstream);
        world.pass(secs(1));
        assert_eq!(world.dropped_for(DropReason::Offline), 20, "{qos:?}");
        assert_eq!(world.dropped_for(DropReason::SessionEnded), 0);
        assert_eq!(world.broker.counters().dropped(), 20);
        assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
    }
}
