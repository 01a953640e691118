//! QoS 2 to an upstream: when the commit comes that PUBREL waits for.

use std::collections::BTreeSet;

use super::overflow::{add, line, up};
use super::*;
use crate::broker::BridgeId;
use crate::config::{Durability, General};

/// A bridge for which so many QoS 2 messages wait on disk.
fn waiting(count: u16) -> (World, BridgeId, Peer) {
    waiting_in(World::new(), count)
}

/// The same in this world.
fn waiting_in(mut world: World, count: u16) -> (World, BridgeId, Peer) {
    let bridge = add(&mut world, &[line("#")]);
    let device = world.clean(Version::V311, "device");
    for n in 1..=count {
        world.publish(device, "a", &n.to_string(), qos2(n));
    }
    world.pass(secs(2));
    world.got(device);
    (world, bridge, device)
}

/// An upstream that answers `delay` later, until `count` messages have come in order. How long that
/// took, and how many commits.
fn take(world: &mut World, upstream: Peer, count: u64, delay: Duration) -> (Duration, u64) {
    take_by(world, upstream, count, (delay, ms(0)))
}

/// The same, where a commit takes so long.
fn take_by(
    world: &mut World,
    upstream: Peer,
    count: u64,
    (delay, commit): (Duration, Duration),
) -> (Duration, u64) {
    let (start, batches) = (world.now, world.batches);
    let (mut come, mut completed) = (0, 0);
    let (mut begun, mut done) = (batches, start);
    while completed < count {
        assert!(world.now.since(start) < secs(100), "{completed} of {count}");
        let end = world.now + delay.max(ms(1));
        while world.now < end {
            world.held = commit > ms(0);
            world.pass(ms(1));
            if world.batches > begun {
                (begun, done) = (world.batches, world.now + commit);
            }
            if world.now >= done {
                world.held = false;
                world.pass(ms(0));
            }
        }
        for got in world.got(upstream) {
            match got {
                Got::Publish(message) => {
                    come += 1;
                    assert_eq!(message.payload, come.to_string());
                    world.pubrec(upstream, message.delivery.id().unwrap().get());
                }
                Got::PubRel(id, _) => {
                    completed += 1;
                    world.pubcomp(upstream, id);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    world.held = false;
    (world.now.since(start), world.batches - batches)
}

#[test]
fn a_backlog_goes_up_with_one_commit_a_window_which_comes_at_once() {
    let (mut world, bridge, _) = waiting(400);
    let upstream = up(&mut world, bridge, 20, false);
    let (time, commits) = take(&mut world, upstream, 400, ms(0));
    assert!(time < ms(100), "{time:?}");
    assert!((20..=22).contains(&commits), "{commits}");
    world.pass(secs(3));
    assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
    assert_eq!(world.rows(), []);
}

/// A quarter of the disk's time is for such commits, and on a slow disk they come within 20 ms.
#[test]
fn the_commit_of_a_window_lets_the_disk_rest() {
    for (commit, wanted) in [(2, 160..320), (50, 1_300..1_700)] {
        let (mut world, bridge, _) = waiting(400);
        let upstream = up(&mut world, bridge, 20, false);
        let (time, commits) = take_by(&mut world, upstream, 400, (ms(0), ms(commit)));
        assert!(wanted.contains(&time.as_millis()), "{time:?}");
        assert!((20..=22).contains(&commits), "{commits}");
    }
}

/// Where the upstream is far away, a commit that others can share makes no difference to the rate.
#[test]
fn the_commit_of_a_window_waits_as_long_as_makes_no_difference() {
    let (mut world, bridge, _) = waiting(40);
    let upstream = up(&mut world, bridge, 20, false);
    world.pass(ms(30));
    let messages = world.got(upstream);
    assert_eq!(messages.len(), 20);
    for got in messages {
        let Got::Publish(message) = got else {
            panic!("{got:?}");
        };
        world.pubrec(upstream, message.delivery.id().unwrap().get());
    }
    world.pass(ms(10));
    assert_eq!(world.got(upstream), []);
    world.pass(ms(10));
    assert_eq!(world.got(upstream).len(), 20);
}

/// Where nothing waits behind the window, the commit comes with the next that is due, and holds all.
#[test]
fn no_commit_comes_sooner_for_nothing() {
    let (mut world, bridge, device) = waiting(20);
    let upstream = up(&mut world, bridge, 20, false);
    world.pass(ms(1));
    let batches = world.batches;
    let messages = world.got(upstream);
    assert_eq!(messages.len(), 20);
    for n in 1..=20 {
        world.pubrec(upstream, n);
    }
    // This one is not on disk yet.
    world.publish(device, "a", "21", qos2(21));
    world.pass(ms(15));
    assert_eq!((world.got(upstream), world.batches), (vec![], batches));
    world.pass(ms(10));
    assert_eq!(world.got(upstream).len(), 20, "PUBREL of each");
    assert_eq!(world.batches, batches + 1);
}

/// A client's window asks for no more commits than before: there may be many clients.
#[test]
fn the_window_of_a_client_has_its_commit_within_20_ms() {
    let mut world = World::new();
    let client = world.durable(Version::V311, "c");
    world.listen(client, "a", QoS::ExactlyOnce);
    let device = world.clean(Version::V311, "device");
    for n in 1..=40 {
        world.publish(device, "a", &n.to_string(), qos2(n));
    }
    world.pass(secs(2));
    assert_eq!(world.got(client).len(), 20);
    for n in 1..=20 {
        world.pubrec(client, n);
    }
    world.pass(ms(15));
    assert_eq!(world.got(client), []);
    world.pass(ms(10));
    assert_eq!(world.got(client).len(), 20);
}

/// What only a release has asked for writes no message that its receivers may take in time.
#[test]
fn the_commit_of_a_release_leaves_messages_out() {
    let (mut world, bridge, device) = waiting(60);
    let upstream = up(&mut world, bridge, 20, false);
    take(&mut world, upstream, 20, ms(30));
    let last = *world.rows().last().unwrap();
    assert_eq!(world.got(upstream).len(), 20);
    world.publish(device, "b", "x", qos1(100));
    let batches = world.batches;
    for n in 21..=40 {
        world.pubrec(upstream, n);
    }
    world.pass(ms(2));
    assert_eq!(world.got(upstream).len(), 20, "PUBREL of each");
    assert_eq!(world.batches, batches + 1);
    assert_eq!(world.rows().last(), Some(&last), "not what has just come");
    world.pass(ms(50));
    assert!(world.rows().last() > Some(&last));
}

/// Where nothing waits for commits, none comes sooner.
#[test]
fn lazy_durability_commits_rarely_whatever_the_window() {
    let world = World::with(General {
        durability: Durability::Lazy(secs(5)),
        ..settings()
    });
    let (mut world, bridge, _) = waiting_in(world, 400);
    world.pass(secs(10));
    let upstream = up(&mut world, bridge, 20, true);
    let (time, commits) = take(&mut world, upstream, 400, ms(0));
    assert!(time < ms(100), "{time:?}");
    assert!(commits <= 2, "{commits}");
}

/// Whatever of a backlog the upstream has when the broker is killed, it gets the rest, and each once.
#[test]
fn a_crash_anywhere_in_a_backlog_repeats_and_loses_nothing() {
    for crash_at in 1..200 {
        let (mut world, mut bridge, _) = waiting(60);
        let mut peer = up(&mut world, bridge, 20, false);
        // What the upstream has of the handshakes, which outlasts the connection, and of messages.
        let (mut open, mut come) = (BTreeSet::new(), Vec::new());
        for step in 1.. {
            assert!(step < 2_000, "{crash_at}: {come:?}");
            match world.next(peer) {
                Some(Got::Publish(message)) => {
                    let id = message.delivery.id().unwrap().get();
                    if open.insert(id) {
                        come.push(message.payload);
                    }
                    world.pubrec(peer, id);
                }
                Some(Got::PubRel(id, _)) => {
                    open.remove(&id);
                    world.pubcomp(peer, id);
                }
                Some(other) => panic!("{other:?}"),
                None if come.len() >= 60 && open.is_empty() => break,
                None => world.pass(ms(1)),
            }
            if step == crash_at {
                world.crash(secs(1));
                bridge = add(&mut world, &[line("#")]);
                peer = up(&mut world, bridge, 20, true);
            }
        }
        world.pass(secs(3));
        assert_eq!(world.got(peer), [], "{crash_at}");
        let wanted: Vec<String> = (1..=60).map(|n| n.to_string()).collect();
        assert_eq!(come, wanted, "{crash_at}");
        assert_eq!(world.rows(), [], "{crash_at}");
    }
}

/// While our own commit is awaited the upstream owes nothing.
#[test]
fn an_upstream_owes_no_pubcomp_for_a_pubrel_that_waits_for_a_commit() {
    let (mut world, bridge, _) = waiting(2);
    let upstream = up(&mut world, bridge, 20, true);
    world.pass(ms(10));
    world.held = true;
    let mut ids = Vec::new();
    for got in world.got(upstream) {
        let Got::Publish(message) = got else {
            panic!("{got:?}")
        };
        ids.extend(message.delivery.id());
    }
    assert!(world.broker.bridge_oldest_sent(bridge).is_some());
    for id in &ids {
        world.pubrec(upstream, id.get());
    }
    world.pass(secs(70));
    assert_eq!(world.got(upstream), []);
    assert_eq!(world.broker.bridge_oldest_sent(bridge), None);
    world.held = false;
    world.pass(secs(1));
    assert_eq!(world.got(upstream).len(), ids.len());
    assert!(world.broker.bridge_oldest_sent(bridge).is_some());
}
