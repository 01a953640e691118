//! The account of what was dropped, and what a bound means in words.

use super::overflow::{absent, add, line, publish, with};
use super::*;
use crate::broker::DropReason;
use crate::config::{Bounds, BridgeTopic, Overflow};

/// Drops are counted by line and reason, and the table outlives a crash.
#[test]
fn the_account_of_drops_is_kept() {
    let mut world = World::new();
    let bounds = Bounds {
        messages: 1,
        bytes: 0,
    };
    let overflow = Some(Overflow::Oldest);
    let topics = [
        line("alarm/#"),
        BridgeTopic {
            bounds,
            overflow,
            ..line("t/#")
        },
    ];
    add(&mut world, &topics);
    let device = world.clean(Version::V311, "d");
    publish(&mut world, device, &[("t/a", "1"), ("t/a", "22")]);
    let first = world.now;
    world.pass(secs(100));
    publish(&mut world, device, &[("t/a", "333"), ("alarm/a", "4")]);
    world.pass(secs(100));
    for crashed in [false, true] {
        if crashed {
            world.crash(secs(1));
            add(&mut world, &topics);
        }
        let queue = world.broker.bridge_queues(world.now).next().unwrap();
        let dropped = queue.lines[1].dropped.unwrap();
        assert_eq!((dropped.messages, dropped.bytes), (2, 4 + 5));
        assert_eq!(DropReason::name_of(&dropped), "overflow-oldest");
        assert!(dropped.last.since(dropped.first) >= secs(100));
        assert!(first.since(dropped.first) < secs(1));
        assert!(queue.lines[0].dropped.is_none());
        assert_eq!(queue.dropped.unwrap().messages, 2);
        assert!(queue.oldest.unwrap() >= secs(100));
    }
}

/// A constantly dropping queue does not write the disk more often for it.
#[test]
fn the_account_costs_a_row_a_minute() {
    let mut world = with(0, 1, Overflow::Newest);
    absent(&mut world);
    let device = world.clean(Version::V311, "d");
    publish(&mut world, device, &[("a", "1")]);
    world.pass(secs(5));
    let drop_for = |world: &mut World, seconds| {
        let batches = world.batches;
        for _ in 0..seconds {
            publish(world, device, &[("a", "2")]);
            world.pass(secs(1));
        }
        world.batches - batches
    };
    let first = drop_for(&mut world, 120);
    assert!((3..=8).contains(&first), "{first} commits in 2 minutes");
    let next = drop_for(&mut world, 300);
    assert!((4..=6).contains(&next), "{next} commits in 5 minutes");
}

/// What the bound means is told at the start, and again once the rate is known.
#[test]
fn the_bound_is_put_in_words() {
    let mut world = with(256 << 20, 0, Overflow::Refuse);
    let topics = [BridgeTopic {
        ttl: Some(secs(86_400)),
        ..line("#")
    }];
    add(&mut world, &topics);
    let sentences = |world: &mut World| -> Vec<String> {
        let now = world.now;
        world.broker.describe_queues(now)
    };
    assert_eq!(
        sentences(&mut world),
        [
            "Clients: each with a session queues up to 256 MB, then refuses.",
            "Bridge b: queues up to 256 MB, then refuses; how fast it fills is not known yet; \
             nothing waits.",
            "Bridge b, topic #: queues up to 256 MB, then refuses, none older than 24 h.",
        ]
    );
    let device = world.clean(Version::V311, "d");
    let payload = "x".repeat(8191);
    for _ in 0..900 {
        publish(&mut world, device, &[("a", &payload)]);
        world.pass(ms(950));
    }
    world.crash(secs(20));
    add(&mut world, &topics);
    assert_eq!(
        sentences(&mut world)[1],
        "Bridge b: queues up to 256 MB, then refuses; about 9 h at the last known rate of 8 kB/s; \
         900 messages (7 MB) wait, the oldest 15 min old."
    );
}
