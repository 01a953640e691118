//! What is written for what a client sends: in proportion to that, not to what its session has.

use super::world::Last;
use super::*;
use crate::config::{FlashBudget, General};

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
        max_inflight_messages: Some(0),
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

/// Filters of 40 bytes or so.
fn filter(n: usize) -> String {
    format!("a/filter/of/about/forty/bytes/{n:06}/+")
}

/// Subscribes to `filters`, a hundred in a packet, and takes in the SUBACKs.
fn subscribe_each(world: &mut World, peer: Peer, filters: std::ops::Range<usize>, qos: QoS) {
    let filters: Vec<String> = filters.map(filter).collect();
    for some in filters.chunks(100) {
        let wanted: Vec<_> = some.iter().map(|f| Subscription::new(f, qos)).collect();
        world.subscribe(peer, 9, &wanted);
        world.pass(ms(50));
        let suback = Got::SubAck(9, vec![Reason(qos as u8); some.len()]);
        assert_eq!(world.got(peer), [suback]);
    }
}

/// The filters of a client's session.
fn filters(world: &World, client_id: &str) -> Vec<(String, QoS)> {
    let sessions = &world.broker.core.sessions;
    let session = sessions.get(sessions.find(client_id).unwrap()).unwrap();
    let subscribed = session.subscriptions.iter();
    let subscribed = subscribed.map(|s| (s.filter.to_string(), s.options().qos));
    subscribed.collect()
}

#[test]
fn subscriptions_write_in_proportion_with_9_000_filters() {
    let mut settings = settings();
    settings.max_subscription_levels = 0;
    let mut world = World::with(settings);
    let peer = world.durable(Version::V5, "s");
    subscribe_each(&mut world, peer, 0..9_000, QoS::AtLeastOnce);
    let wrote = |world: &mut World, what: &mut dyn FnMut(&mut World)| {
        let (bytes, batches) = (world.batch_bytes, world.batches);
        what(world);
        world.pass(secs(3));
        (world.batch_bytes - bytes, world.batches - batches)
    };
    let (bytes, _) = wrote(&mut world, &mut |world| {
        for n in 0..1_000 {
            subscribe_each(world, peer, n..n + 1, QoS::ExactlyOnce);
        }
    });
    assert!((40_000..1_000 * 80).contains(&bytes), "{bytes}");
    let again = wrote(&mut world, &mut |world| {
        subscribe_each(world, peer, 0..1_000, QoS::ExactlyOnce);
        subscribe_each(world, peer, 1_000..9_000, QoS::AtLeastOnce);
    });
    assert_eq!(again, (0, 0), "what is there already is not written");
    let (bytes, _) = wrote(&mut world, &mut |world| {
        for n in 0..1_000 {
            world.unsubscribe(peer, 7, &filter(n));
            world.pass(ms(50));
            assert_eq!(world.got(peer), [Got::UnsubAck(7, vec![OK])]);
        }
    });
    assert!(bytes < 1_000 * 80, "{bytes}");
    // Nor does who comes and goes write them.
    let (bytes, _) = wrote(&mut world, &mut |world| {
        for _ in 0..10 {
            world.durable(Version::V5, "s");
            world.pass(secs(2));
        }
    });
    assert!(bytes < 10 * 300, "{bytes}");
    let before = filters(&world, "s");
    assert_eq!(before.len(), 8_000);
    world.crash(secs(1));
    assert_eq!(filters(&world, "s"), before);
    let device = world.clean(Version::V311, "d");
    let peer = world.durable(Version::V5, "s");
    let matched = |n| filter(n).replace('+', "x");
    world.publish(device, &matched(999), "gone", qos1(1));
    world.publish(device, &matched(1_000), "there", qos1(2));
    world.pass(ms(50));
    assert_eq!(world.payloads(peer), ["there"]);
}

#[test]
fn subscriptions_do_not_write_the_will_again() {
    let mut world = World::new();
    let (peer, _) = world.connect(&Dial {
        will: Some(Last {
            payload: "x".repeat(10_000).leak(),
            delay: 60,
            expiry: None,
        }),
        ..Dial::durable(Version::V5, "w")
    });
    subscribe_each(&mut world, peer, 0..1, QoS::AtMostOnce);
    let before = world.batch_bytes;
    for n in 0..100 {
        let qos = QoS::from_bits(n % 2 + 1).unwrap();
        subscribe_each(&mut world, peer, 0..1, qos);
    }
    let bytes = world.batch_bytes - before;
    assert!((4_000..10_000).contains(&bytes), "{bytes}");
    world.crash(secs(1));
    assert_eq!(filters(&world, "w"), [(filter(0), QoS::ExactlyOnce)]);
    let listener = world.clean(Version::V5, "l");
    world.listen(listener, "will", QoS::AtMostOnce);
    world.pass(secs(61));
    assert_eq!(world.payloads(listener)[0].len(), 10_000);
}

/// Few filters and many, in one packet and in many: after a crash at any point all that was
/// acknowledged holds, and what was not is whole or absent.
#[test]
fn a_crash_between_any_two_commits_leaves_the_subscriptions_that_were_told() {
    for crash_at in 0..12 {
        let mut world = World::new();
        let peer = world.durable(Version::V5, "s");
        let mut told = filters(&world, "s");
        for n in 0..crash_at {
            match n % 4 {
                3 => {
                    world.unsubscribe(peer, 7, &filter(n - 1));
                    world.pass(ms(50));
                    assert_eq!(world.got(peer), [Got::UnsubAck(7, vec![OK])]);
                }
                2 => subscribe_each(&mut world, peer, n - 2..n + 1, QoS::AtMostOnce),
                _ => subscribe_each(&mut world, peer, n..n + 1, QoS::ExactlyOnce),
            }
            told = filters(&world, "s");
        }
        world.held = true;
        world.subscribe(peer, 8, &[Subscription::new("late", QoS::AtMostOnce)]);
        world.pass(ms(50));
        assert_eq!(world.got(peer), []);
        world.held = false;
        world.crash(secs(1));
        assert_eq!(filters(&world, "s"), told, "after {crash_at}");
    }
}

/// Once the budget of the day is used up, a client that waits for its acknowledgements gets them with
/// a commit that comes late, and one that does not is not read.
#[test]
fn a_flash_budget_holds_for_all_that_a_client_does() {
    let mut world = World::with(General {
        flash_budget: Some(FlashBudget {
            bytes_a_day: 24 << 20,
            longest: secs(8),
        }),
        ..settings()
    });
    world.written.today = 1 << 40;
    let peer = world.durable(Version::V5, "c");
    subscribe_each_late(&mut world, peer);
    // Runs `what` until 100 s are over, as often as it is answered.
    let commits = |world: &mut World, what: &mut dyn FnMut(&mut World)| {
        let (before, end) = (world.batches, world.now + secs(100));
        while world.now < end {
            what(world);
        }
        world.pass(secs(20));
        assert!(
            (5..=15).contains(&(world.batches - before)),
            "{}",
            world.batches - before
        );
    };
    let mut n = 0;
    commits(&mut world, &mut |world| {
        n += 1;
        let qos = QoS::from_bits(n % 2).unwrap();
        world.subscribe(peer, 9, &[Subscription::new("a/b", qos)]);
        until_answered(world, peer);
    });
    commits(&mut world, &mut |world| {
        world.publish(peer, "t", "x", qos2(1));
        until_answered(world, peer);
        world.pubrel(peer, 1);
        until_answered(world, peer);
    });
    for version in VERSIONS {
        commits(&mut world, &mut |world| {
            let peer = world.dial(&Dial::durable(version, "c"));
            until_answered(world, peer);
            world.disconnect(peer, OK);
            world.pass(ms(100));
        });
    }
    // The window of a receiver hastens no commit.
    let peer = world.dial(&Dial {
        receive_maximum: Some(1),
        ..Dial::durable(Version::V5, "r")
    });
    until_answered(&mut world, peer);
    world.subscribe(peer, 9, &[Subscription::new("q/#", QoS::ExactlyOnce)]);
    until_answered(&mut world, peer);
    let device = world.clean(Version::V311, "d");
    for n in 1..=50 {
        world.publish(device, "q/x", "x", qos1(n));
    }
    for n in 51..=100 {
        world.publish(device, "q/x", "x", qos2(n));
    }
    commits(&mut world, &mut |world| {
        world.pass(ms(100));
        for got in world.got(peer) {
            match got {
                Got::Publish(arrived) => match arrived.delivery {
                    Delivery::ExactlyOnce(id, _) => world.pubrec(peer, id.get()),
                    Delivery::AtLeastOnce(id, _) => world.puback(peer, id.get()),
                    Delivery::AtMostOnce => {}
                },
                Got::PubRel(id, _) => world.pubcomp(peer, id),
                other => panic!("{other:?}"),
            }
        }
    });
}

/// One that sends QoS 2 messages without waiting for a PUBREC is not read while thousands wait for a
/// commit, and it gets all of them.
#[test]
fn replies_that_wait_for_a_late_commit_are_bounded() {
    let mut world = World::new();
    let peer = world.durable(Version::V311, "p");
    world.held = true;
    for n in 1..=5_000 {
        assert!(world.is_read(peer), "{n}");
        world.publish(peer, "t", "x", qos2(n));
        if !world.is_read(peer) {
            assert_eq!(n, 4_096);
            break;
        }
    }
    assert!(!world.is_read(peer));
    assert_eq!(world.got(peer), []);
    world.held = false;
    world.pass(secs(1));
    assert!(world.is_read(peer));
    assert_eq!(world.got(peer).len(), 4_096);
    // Where nothing waits for the disk, nor does it.
    let mut world = World::with(General {
        persistence: false,
        ..settings()
    });
    let peer = world.durable(Version::V311, "p");
    world.held = true;
    for n in 1..=5_000 {
        world.publish(peer, "t", "x", qos2(n));
    }
    assert!(world.is_read(peer));
    assert_eq!(world.got(peer).len(), 5_000);
}

/// Lets time pass until something comes.
fn until_answered(world: &mut World, peer: Peer) {
    for _ in 0..300 {
        if !world.got(peer).is_empty() {
            return;
        }
        world.pass(ms(100));
    }
    panic!("no answer in 30 s");
}

/// Changes subscriptions without waiting, until the client is not read any more.
fn subscribe_each_late(world: &mut World, peer: Peer) {
    subscribe_late(world, peer, 0);
    let most = (1..300).find(|n| {
        subscribe_late(world, peer, *n);
        !world.is_read(peer)
    });
    assert!(most.is_some_and(|n| n < 120), "{most:?}");
    world.pass(secs(20));
    assert!(world.is_read(peer));
    world.got(peer);
}

fn subscribe_late(world: &mut World, peer: Peer, n: usize) {
    world.subscribe(peer, 9, &[Subscription::new(&filter(n), QoS::AtMostOnce)]);
    if n < 3 {
        until_answered(world, peer);
    }
}
