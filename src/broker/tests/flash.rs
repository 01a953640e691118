//! What is written for what a client sends: in proportion to that, not to what its session has.

use super::*;
use crate::config::General;

/// How many packet ids of QoS 2 messages a client's session holds.
fn open_ids(world: &World, client_id: &str) -> Vec<u16> {
    let sessions = &world.broker.core.sessions;
    let session = sessions.get(sessions.find(client_id).unwrap()).unwrap();
    session.inbound.received().map(|id| id.get()).collect()
}

/// Publishes at QoS 2 under each of `ids`, a hundred at a time, and takes in each PUBREC.
fn open_each(world: &mut World, peer: Peer, ids: std::ops::RangeInclusive<u16>) {
    let ids: Vec<u16> = ids.collect();
    for some in ids.chunks(100) {
        for id in some {
            world.publish(peer, "t", "x", qos2(*id));
        }
        world.pass(ms(50));
        let wanted: Vec<Got> = some.iter().map(|id| Got::PubRec(*id, OK)).collect();
        assert_eq!(world.got(peer), wanted);
    }
}

#[test]
fn handshakes_write_in_proportion_with_60_000_open_ids() {
    let mut world = World::with(General {
        max_inflight_messages: 0,
        ..settings()
    });
    let peer = world.durable(Version::V311, "p");
    open_each(&mut world, peer, 1..=60_000);
    let before = world.batch_bytes;
    for n in 60_001..=61_000 {
        world.publish(peer, "t", "x", qos2(n));
        world.pass(ms(50));
        world.pubrel(peer, n);
        world.pass(ms(50));
        assert_eq!(world.got(peer), [Got::PubRec(n, OK), Got::PubComp(n, OK)]);
    }
    // Of each, PUBREC and PUBCOMP wait for a row of 50 bytes.
    let bytes = world.batch_bytes - before;
    assert!(bytes <= 1_000 * 110, "{bytes}");
    world.crash(secs(1));
    assert_eq!(open_ids(&world, "p").len(), 60_000);
    let (peer, is_known) = world.connect(&Dial::durable(Version::V311, "p"));
    assert!(is_known);
    // What was open is still known, and what was released is new.
    let before = world.broker.core.counters.publish_received;
    world.publish(peer, "t", "x", Delivery::ExactlyOnce(pid(60_000), true));
    world.publish(peer, "t", "x", qos2(60_001));
    world.pass(ms(50));
    assert_eq!(
        world.got(peer),
        [Got::PubRec(60_000, OK), Got::PubRec(60_001, OK)]
    );
    assert_eq!(world.broker.core.counters.publish_received - before, 2);
    assert_eq!(open_ids(&world, "p").len(), 60_001);
}

/// At every commit of a run, the ids that a crash leaves are those that were promised.
#[test]
fn a_crash_between_any_two_commits_leaves_the_ids_that_were_told() {
    for crash_at in 0..=22 {
        let mut world = World::new();
        let peer = world.durable(Version::V311, "p");
        let (mut told, mut open) = (Vec::new(), Vec::new());
        for n in 0..22u16 {
            if n == crash_at {
                break;
            }
            // Two are opened for each that is released, and at the end more are released.
            if n % 3 == 2 || n > 15 {
                let id = open.remove(0);
                world.pubrel(peer, id);
                world.pass(ms(50));
                assert_eq!(world.got(peer), [Got::PubComp(id, OK)]);
            } else {
                open_each(&mut world, peer, n * 300 + 1..=n * 300 + 1);
                open.push(n * 300 + 1);
            }
            told.clone_from(&open);
        }
        // One more comes, and is not told.
        world.held = true;
        world.publish(peer, "t", "x", qos2(60_000));
        world.turn();
        assert_eq!(world.got(peer), []);
        world.held = false;
        world.crash(secs(1));
        assert_eq!(open_ids(&world, "p"), told, "after {crash_at}");
    }
}

/// A client has as many open as it was told; before MQTT 5, where it is told nothing, more.
#[test]
fn open_packet_ids_are_bounded() {
    let mut world = World::new();
    let peer = world.durable(Version::V311, "old");
    open_each(&mut world, peer, 1..=1_020);
    assert_eq!(open_ids(&world, "old").len(), 1_020);
    open_each(&mut world, peer, 1_021..=1_100);
    assert_eq!(
        open_ids(&world, "old"),
        (81..=1_100).collect::<Vec<_>>(),
        "the oldest are forgotten"
    );
    // PUBREL of one that was forgotten is answered all the same.
    world.pubrel(peer, 5);
    world.pass(ms(50));
    assert_eq!(world.got(peer), [Got::PubComp(5, OK)]);
    // One that comes again and again, and knows nothing of its session.
    for round in 0..5u16 {
        let peer = world.durable(Version::V5, "new");
        open_each(&mut world, peer, round * 20 + 1..=round * 20 + 20);
        world.cut(peer);
    }
    assert_eq!(open_ids(&world, "new"), (81..=100).collect::<Vec<_>>());
}
