//! The disk of the store: full, failing, and how often it is written to.

use super::*;
use crate::config::{Durability, FlashBudget};
use crate::store::{Error, Event};

/// A world in which `away` is owed what is published to `kept/#`.
fn with_absent(world: &mut World) -> Dial {
    let dial = Dial::durable(Version::V5, "away");
    let (away, _) = world.connect(&dial);
    world.listen(away, "kept/#", QoS::ExactlyOnce);
    world.cut(away);
    world.pass(secs(3));
    dial
}

fn tell(world: &mut World, event: Event) {
    world.broker.store_event(event, world.now);
    world.turn();
}

fn stalled() -> Event {
    let error = Error::Io(std::io::Error::other("broken"));
    Event::Stalled { error }
}

/// On a full disk a message that would have to be stored is refused, and held back from a
/// publisher that can't be told; all else goes on.
#[test]
fn a_full_disk_takes_no_messages_but_passes_on_the_rest() {
    let mut world = World::new();
    with_absent(&mut world);
    let listener = world.clean(Version::V5, "listener");
    world.listen(listener, "live/#", QoS::AtLeastOnce);
    let v5 = world.clean(Version::V5, "v5");
    let v3 = world.clean(Version::V311, "v3");
    tell(&mut world, Event::Full);
    assert_eq!(world.broker.disk().state(), "full");
    world.publish(v5, "kept/a", "1", qos1(1));
    world.publish(v5, "kept/a", "2", qos2(2));
    world.publish(v3, "kept/a", "3", qos1(3));
    world.publish(v5, "live/a", "4", qos1(4));
    world.publish(v5, "live/a", "5", Delivery::AtMostOnce);
    world.publish_with(v5, "value", "6", qos1(6), true, &[]);
    world.publish_with(v5, "value", "7", Delivery::AtMostOnce, true, &[]);
    world.pass(secs(1));
    let refused = Reason::QUOTA_EXCEEDED;
    let acks = [
        Got::PubAck(1, refused),
        Got::PubRec(2, refused),
        Got::PubAck(6, refused),
    ];
    let got = world.got(v5);
    assert!(acks.iter().all(|ack| got.contains(ack)), "{got:?}");
    assert!(world.got(v3).is_empty() && world.is_open(v3) && world.is_read(v3));
    let live = world.messages(listener);
    assert_eq!(
        live.iter().map(|m| &*m.payload).collect::<Vec<_>>(),
        ["4", "5"]
    );
}

/// When there is room again, what was held back goes through by itself.
#[test]
fn room_lets_everything_go_on() {
    let mut world = World::new();
    let dial = with_absent(&mut world);
    let v3 = world.clean(Version::V311, "v3");
    tell(&mut world, Event::Full);
    for n in 1..4 {
        world.publish(v3, "kept/a", &n.to_string(), qos1(n));
    }
    world.pass(secs(10));
    assert!(world.got(v3).is_empty());
    tell(&mut world, Event::Room);
    world.pass(secs(1));
    assert_eq!(world.broker.disk().state(), "ok");
    let acks: Vec<Got> = (1..4).map(|n| Got::PubAck(n, OK)).collect();
    assert_eq!(world.got(v3), acks);
    let (away, _) = world.connect(&dial);
    world.pass(secs(1));
    assert_eq!(world.payloads(away), ["1", "2", "3"]);
}

/// While the disk fails, acknowledgements wait; once a good deal waits, messages are refused.
/// No connection is left unread.
#[test]
fn a_failing_disk_holds_acknowledgements_and_then_refuses() {
    let mut world = World::new();
    with_absent(&mut world);
    let v5 = world.clean(Version::V5, "v5");
    world.held = true;
    tell(&mut world, stalled());
    assert_eq!(
        world.broker.disk().state(),
        "failing: the disk of the store fails: broken"
    );
    world.publish(v5, "kept/a", "first", qos1(1));
    world.pass(secs(1));
    assert!(world.got(v5).is_empty(), "nothing is promised");
    let large = "x".repeat(200_000);
    for id in 2..15 {
        world.publish(v5, "kept/a", &large, qos1(id));
        world.pass(ms(1));
    }
    assert!(world.is_read(v5));
    let refused = Got::PubAck(14, Reason::QUOTA_EXCEEDED);
    world.held = false;
    tell(&mut world, Event::Resumed);
    world.pass(secs(1));
    let got = world.got(v5);
    assert!(
        got.contains(&Got::PubAck(1, OK)) && got.contains(&refused),
        "{got:?}"
    );
}

/// A publisher that was not read because the disk is slow is read once it fails for good.
#[test]
fn a_disk_that_fails_leaves_nobody_unread() {
    let mut world = World::new();
    with_absent(&mut world);
    let peer = world.clean(Version::V311, "p");
    world.held = true;
    let large = "x".repeat(200_000);
    let mut sent = 0;
    while world.is_read(peer) {
        sent += 1;
        world.publish(peer, "kept/a", &large, qos1(sent));
    }
    tell(&mut world, stalled());
    assert!(world.is_read(peer));
    world.publish(peer, "live/a", "x", Delivery::AtMostOnce);
    assert!(world.is_read(peer));
}

/// `durability lazy 5`: acknowledged at once, written at most every five seconds.
#[test]
fn lazy_durability_acknowledges_at_once_and_commits_rarely() {
    let mut settings = settings();
    settings.durability = Durability::Lazy(secs(5));
    let mut world = World::with(settings);
    let dial = with_absent(&mut world);
    let peer = world.durable(Version::V311, "p");
    world.held = true;
    world.publish(peer, "kept/a", "1", qos1(1));
    world.publish(peer, "kept/a", "2", qos2(2));
    let got = world.got(peer);
    assert!(
        got.ends_with(&[Got::PubAck(1, OK), Got::PubRec(2, OK)]),
        "{got:?}"
    );
    world.held = false;
    let before = world.batches;
    for n in 0..50 {
        world.publish(peer, "kept/a", "x", qos1(10 + n));
        world.pass(secs(1));
    }
    assert!(
        (9..=11).contains(&(world.batches - before)),
        "{}",
        world.batches - before
    );
    world.pass(secs(6));
    world.crash(secs(1));
    let (away, _) = world.connect(&dial);
    world.pass(secs(1));
    assert_eq!(world.payloads(away)[..2], ["1", "2"], "written in the end");
}

/// After a crash, what was not written is forgotten: a packet id that a publisher uses again must
/// not look like a duplicate, nor one of ours like one that the receiver has.
#[test]
fn after_a_crash_lazy_durability_trusts_no_packet_id() {
    let mut settings = settings();
    settings.durability = Durability::Lazy(secs(5));
    let mut world = World::with(settings);
    let dial = with_absent(&mut world);
    let publisher = Dial::durable(Version::V311, "p");
    let (peer, _) = world.connect(&publisher);
    world.publish(peer, "kept/a", "1", qos2(7));
    world.pass(secs(6));
    world.pubrel(peer, 7);
    // The PUBCOMP is out, the row still says that 7 is taken.
    world.crash(secs(1));
    let (peer, _) = world.connect(&publisher);
    world.publish(peer, "kept/a", "2", qos2(7));
    let (away, _) = world.connect(&dial);
    world.pass(secs(1));
    let messages = world.messages(away);
    assert_eq!(messages.len(), 2, "{messages:?}");
    let ids: Vec<u16> = messages
        .iter()
        .map(|m| m.delivery.id().unwrap().get())
        .collect();
    assert!(ids[1] - ids[0] > 10_000, "{ids:?}");
}

/// Retained values that nobody waits for are written once a minute a topic, and at a clean stop.
#[test]
fn retained_values_that_change_every_second_are_coalesced() {
    let mut world = World::new();
    let peer = world.clean(Version::V5, "p");
    world.pass(secs(5));
    let before = world.batches;
    for n in 0..300 {
        for topic in ["a", "b", "c"] {
            world.publish_with(peer, topic, &n.to_string(), Delivery::AtMostOnce, true, &[]);
        }
        world.pass(secs(1));
    }
    assert!(
        (5..=7).contains(&(world.batches - before)),
        "{}",
        world.batches - before
    );
    world.broker.commit_now(world.now);
    world.pass(secs(1));
    world.crash(secs(1));
    let listener = world.clean(Version::V5, "l");
    world.subscribe(listener, 1, &[Subscription::new("#", QoS::AtMostOnce)]);
    world.pass(secs(1));
    let got = world.got(listener);
    let last = |got: &Got| matches!(got, Got::Publish(m) if m.payload == "299");
    assert_eq!(got.iter().filter(|got| last(got)).count(), 3, "{got:?}");
}

/// `flash_budget`: what is ahead of the day makes commits rarer, and a new day forgives.
#[test]
fn a_flash_budget_widens_the_commit_interval() {
    let mut settings = settings();
    settings.flash_budget = Some(FlashBudget {
        bytes_a_day: 24 << 20,
        longest: secs(8),
    });
    let mut world = World::with(settings);
    with_absent(&mut world);
    let peer = world.clean(Version::V311, "p");
    let commits = |world: &mut World, today: u64| {
        world.written.today = today;
        world.publish(peer, "kept/a", "x", qos1(1));
        world.pass(secs(10));
        let before = world.batches;
        for n in 0..400u16 {
            world.publish(peer, "kept/a", "x", qos1(2 + n));
            world.pass(ms(100));
        }
        world.pass(secs(10));
        world.got(peer);
        world.batches - before
    };
    assert!(commits(&mut world, 0) >= 400);
    assert!(commits(&mut world, 24 << 20) <= 8);
    assert!(commits(&mut world, 0) >= 400);
}
