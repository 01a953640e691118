//! What the upstream's session for a bridge is subscribed to is kept for the next link, and for the
//! next process.

use super::overflow::{add, line};
use super::*;
use crate::store::GivenUpRecord;

fn boxed(filters: &[&str]) -> Vec<Box<str>> {
    filters.iter().map(|filter| (*filter).into()).collect()
}

#[test]
fn what_is_subscribed_upstream_is_kept() {
    let mut world = World::new();
    let bridge = add(&mut world, &[line("#")]);
    assert_eq!(world.broker.bridge_subscriptions(bridge), boxed(&[]));
    for known in [boxed(&["a/#", "b"]), boxed(&["b"]), boxed(&[])] {
        let now = world.now;
        world.broker.bridge_subscribed(bridge, known.clone(), now);
        world.turn();
        // A reload: the bridge is added again, with other lines.
        let again = add(&mut world, &[line("t/#")]);
        assert_eq!(again, bridge);
        assert_eq!(world.broker.bridge_subscriptions(bridge), known);
        world.crash(secs(1));
        let again = add(&mut world, &[line("#")]);
        assert_eq!(world.broker.bridge_subscriptions(again), known);
    }
}

/// It costs a commit only when it changes.
#[test]
fn what_is_subscribed_upstream_is_written_when_it_changes() {
    let mut world = World::new();
    let bridge = add(&mut world, &[line("#")]);
    let tell = |world: &mut World, known: &[&str]| {
        let before = world.batches;
        let now = world.now;
        world.broker.bridge_subscribed(bridge, boxed(known), now);
        world.pass(secs(3));
        world.batches - before
    };
    world.pass(secs(3));
    assert_eq!(tell(&mut world, &[]), 0);
    assert_eq!(tell(&mut world, &["a"]), 1);
    assert_eq!(tell(&mut world, &["a"]), 0);
    assert_eq!(tell(&mut world, &["a", "b"]), 1);
}

/// What the bridge does without towards its upstream is kept over a restart, and told while it holds.
#[test]
fn what_is_given_up_is_kept_and_told() {
    let mut world = World::new();
    let lines = [line("#")];
    let bridge = add(&mut world, &lines);
    let record = GivenUpRecord {
        upstream: 7,
        feature: 7,
        about: "".into(),
        why: "closed".into(),
        seen: 1,
        until: world.now + secs(3600),
    };
    let known = (5, vec![record]);
    world
        .broker
        .bridge_gives_up(bridge, known.clone(), world.now);
    world.pass(secs(1));
    world.crash(secs(60));
    let bridge = add(&mut world, &lines);
    assert_eq!(world.broker.bridge_given_up(bridge), known);
    let told = |world: &World| {
        let mut queues = world.broker.bridge_queues(world.now);
        let queue = queues.next().unwrap();
        let given_up = queue.given_up.iter();
        given_up.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told(&world), ["without QoS 2 (closed)"]);
    world.pass(secs(3600));
    assert_eq!(told(&world), NONE);
}
