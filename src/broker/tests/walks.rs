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
