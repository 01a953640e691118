//! Walks through what is retained while it changes.

use super::*;
use crate::broker::end_turn;
use crate::mqtt::{Packet, Props, Subscribe};

/// Publishes at QoS 0 without ending the turn.
fn publish(world: &mut World, peer: Peer, (topic, payload): (&str, &str), retain: bool) {
    let qos0 = Delivery::AtMostOnce;
    world.publish_in_turn(peer, (topic, payload), qos0, retain, &[]);
}

/// A value that is retained while a walk goes on, and that the subscriber can't be sent live, comes with
/// the walk: to a session that is away when it is back, to one that reads slowly as it reads.
#[test]
fn what_was_retained_meanwhile_and_not_sent_comes_with_the_walk() {
    for is_away in [true, false] {
        let mut world = World::new();
        let publisher = world.clean(Version::V311, "p");
        let names: Vec<String> = (0..3_000).map(|n| format!("t/{n:06}")).collect();
        for name in &names {
            publish(&mut world, publisher, (name, "old"), true);
        }
        world.turn();
        let mut a = if is_away {
            world.durable(Version::V311, "a")
        } else {
            world.clean(Version::V311, "a")
        };
        let packet = Subscribe {
            id: pid(1),
            props: Props::EMPTY,
            filters: vec![Subscription::new("#", QoS::AtMostOnce)],
        };
        let (conn, now) = (world.conn(a), world.now);
        world.broker.packet(conn, Packet::Subscribe(packet), now);
        assert!(end_turn(&mut world, now));
        let mut last = names[2_900..].to_vec();
        last.extend((0..100).map(|n| format!("u/{n}")));
        // It gets this one, which says nothing of values that come later.
        publish(&mut world, publisher, (&last[0], "live"), false);
        if is_away {
            world.cut(a);
        } else {
            // So much waits for it that it counts as slow.
            publish(&mut world, publisher, ("a", &"l".repeat(1_100_000)), true);
        }
        for topic in &last {
            publish(&mut world, publisher, (topic, "new"), true);
        }
        assert_eq!(world.broker.core.router.walks.len(), 1);
        if is_away {
            a = world.durable(Version::V311, "a");
        }
        world.pass(secs(1));
        let came = world.got(a);
        let is_new = |got: &&Got| matches!(got, Got::Publish(m) if m.payload == "new");
        let new = came.iter().filter(is_new).count();
        assert_eq!(new, last.len(), "away: {is_away}");
        assert_eq!(world.broker.core.router.walks.len(), 0);
    }
}

/// When the broker stops in good order, a durable session loses nothing of what it was still to get.
#[test]
fn a_walk_ends_on_disk_when_the_broker_stops() {
    let mut world = World::new();
    let publisher = world.clean(Version::V311, "p");
    for n in 0..3_000u16 {
        let name = format!("t/{n:05}");
        world.publish_with(publisher, &name, "v", qos1(n + 1), true, &[]);
    }
    world.pass(ms(50));
    let (peer, _) = world.connect(&Dial::durable(Version::V311, "d"));
    world.subscribe(peer, 1, &[Subscription::new("t/#", QoS::AtLeastOnce)]);
    world.pass(ms(50));
    assert!(matches!(world.next(peer), Some(Got::SubAck(..))));
    let mut came = topics(&mut world, peer);
    assert!(came.len() < 3_000);
    world.broker.shutdown(world.now);
    world.pass(ms(50));
    world.crash(ms(10));
    let (peer, is_present) = world.connect(&Dial::durable(Version::V311, "d"));
    assert!(is_present);
    loop {
        world.pass(ms(50));
        let more = topics(&mut world, peer);
        if more.is_empty() {
            break;
        }
        came.extend(more);
    }
    assert_eq!(came.len(), 3_000);
}

/// The topics of the messages that have come and were not there before, acknowledged.
fn topics(world: &mut World, peer: Peer) -> std::collections::BTreeSet<String> {
    let messages = world.messages(peer);
    for message in &messages {
        if let Some(id) = message.delivery.id() {
            world.puback(peer, id.get());
        }
    }
    messages.into_iter().map(|message| message.topic).collect()
}

/// All that comes to a peer until nothing comes any more, acknowledged.
fn all_topics(world: &mut World, peer: Peer) -> std::collections::BTreeSet<String> {
    let mut came = std::collections::BTreeSet::new();
    loop {
        world.pass(ms(50));
        let more = topics(world, peer);
        if more.is_empty() {
            return came;
        }
        came.extend(more);
    }
}

/// A world that retains `count` values, and a client with a session whose SUBACK has come.
fn subscribed(count: u16, version: Version) -> (World, Peer) {
    let mut world = World::new();
    let publisher = world.clean(Version::V311, "p");
    for n in 0..count {
        let name = format!("t/{n:05}");
        world.publish_with(publisher, &name, "v", qos1(n + 1), true, &[]);
    }
    world.pass(secs(2));
    let (peer, _) = world.connect(&Dial::durable(version, "d"));
    world.subscribe(peer, 1, &[Subscription::new("t/#", QoS::AtLeastOnce)]);
    world.pass(ms(50));
    assert!(matches!(world.next(peer), Some(Got::SubAck(..))));
    (world, peer)
}

/// kill -9 in the middle of a walk: it begins anew, on the next connection and over further crashes, until
/// all has come; then no more.
#[test]
fn after_a_crash_a_walk_begins_anew() {
    for version in VERSIONS {
        let (mut world, mut peer) = subscribed(3_000, version);
        let came = topics(&mut world, peer);
        assert!(came.len() < 3_000, "{}", came.len());
        for _ in 0..2 {
            world.crash(secs(1));
            let (again, is_present) = world.connect(&Dial::durable(version, "d"));
            assert!(is_present);
            peer = again;
        }
        assert_eq!(all_topics(&mut world, peer).len(), 3_000, "{version:?}");
        world.pass(secs(5));
        world.crash(secs(1));
        let (peer, _) = world.connect(&Dial::durable(version, "d"));
        assert_eq!(all_topics(&mut world, peer).len(), 0, "{version:?}");
    }
}

/// What a walk has brought last waits for its acknowledgement in memory, and a commit that is made for
/// something else leaves it out: then it leaves out that the walk is over, too.
#[test]
fn a_walk_is_over_on_disk_with_all_that_it_has_brought() {
    let (mut world, peer) = subscribed(1_500, Version::V5);
    let mut came = topics(&mut world, peer);
    while world.broker.core.router.walks.len() > 0 {
        world.pass(ms(1));
        came.extend(topics(&mut world, peer));
    }
    let now = world.now;
    world.broker.core.ledger.commit_by(now);
    world.pass(ms(1));
    world.crash(secs(1));
    let (peer, _) = world.connect(&Dial::durable(Version::V5, "d"));
    came.extend(all_topics(&mut world, peer));
    assert_eq!(came.len(), 1_500);
}
