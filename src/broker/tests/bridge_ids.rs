//! The packet ids of a bridge over a connection that was lost in the middle.

use std::collections::HashMap;

use super::bridge::{add, limits, prefix};
use super::*;
use crate::bridge::Limits;
use crate::broker::BridgeId;

fn up(world: &mut World, bridge: BridgeId, present: bool) -> Peer {
    let limits = Limits {
        version: Version::V311,
        ..limits(present)
    };
    let conn = world.broker.bridge_up(bridge, &limits, prefix(), world.now);
    let peer = world.adopt(conn.unwrap(), Version::V311);
    world.broker.bridge_start(world.conn(peer), world.now);
    world.pass(ms(100));
    peer
}

/// Some of what was sent is acknowledged, out of order, and the connection is lost; so again and again. What
/// is sent again keeps its packet id [MQTT-4.4.0-1], no other message has that until it is acknowledged
/// [MQTT-2.2.1-3], and no message is sent anew that was acknowledged.
#[test]
fn packet_ids_are_free_only_once_they_are_acknowledged() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = World::new();
        let bridge = add(&mut world);
        let device = world.clean(Version::V311, "device");
        for n in 1..101 {
            world.publish(device, "a", &n.to_string(), qos1(n));
        }
        world.pass(secs(1));
        // By packet id, what the upstream has not acknowledged on any connection.
        let mut open: HashMap<u16, String> = HashMap::new();
        let mut done = Vec::new();
        let mut present = false;
        while done.len() < 100 {
            let peer = up(&mut world, bridge, present);
            present = true;
            for _ in 0..3 {
                let messages = world.messages(peer);
                for message in messages {
                    let id = message.delivery.id().unwrap().get();
                    let payload = message.payload.clone();
                    assert!(!done.contains(&payload), "{seed}: {payload} again");
                    let other = open.insert(id, payload.clone());
                    assert!(
                        other.is_none_or(|other| other == payload),
                        "{seed}: id {id}"
                    );
                }
                let mut ids: Vec<u16> = open.keys().copied().collect();
                ids.sort_unstable();
                rng.shuffle(&mut ids);
                for id in ids.iter().take(ids.len() / 2 + 1) {
                    world.puback(peer, *id);
                    done.push(open.remove(id).unwrap());
                }
                world.pass(ms(100));
            }
            // What was under way then is on the wire, and read.
            for message in world.messages(peer) {
                let id = message.delivery.id().unwrap().get();
                let payload = message.payload.clone();
                let other = open.insert(id, payload.clone());
                assert!(
                    other.is_none_or(|other| other == payload),
                    "{seed}: id {id}"
                );
            }
            world.cut(peer);
            world.pass(secs(1));
        }
        assert_eq!(world.broker.bridge_backlog(bridge).0, 0);
    }
}
