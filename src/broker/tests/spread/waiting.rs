//! Messages that wait behind one that goes in pieces, and what changes around them.

use super::*;
use crate::broker::routing::Receiver;
use crate::broker::sessions::DropReason;

/// SIGHUP in between: the number of a line that is gone goes to no other line while a message is still to come
/// to it.
#[test]
fn a_line_that_goes_in_between() {
    let (mut world, _peers) = world(7, QoS::AtLeastOnce);
    let [all, other] = ["all", "other"].map(overflow::line);
    overflow::add(&mut world, std::slice::from_ref(&all));
    let p = world.clean(Version::V5, "p");
    world.publish(p, "all", "x", qos1(1));
    overflow::add(&mut world, std::slice::from_ref(&other));
    world.spread_all();
    let owed = |world: &World| {
        let queue = world.broker.bridge_queues(world.now).next().unwrap();
        (queue.owed.messages, queue.lines[0].owed.messages)
    };
    assert_eq!(owed(&world), (1, 0));
    overflow::add(&mut world, &[all]);
    assert_eq!(owed(&world), (1, 1));
}

/// A member leaves its group in between, and joins another: what came by the first is not for the second.
#[test]
fn a_member_that_changes_its_group_in_between() {
    let (mut world, peers) = world(7, QoS::AtLeastOnce);
    // Those of the first piece have theirs at once.
    for (n, peer) in peers.iter().enumerate().take(5) {
        world.listen(*peer, &format!("$share/g{n}/all"), QoS::AtLeastOnce);
    }
    let p = world.clean(Version::V5, "p");
    world.publish(p, "all", "x", qos1(1));
    world.unsubscribe(peers[0], 7, "$share/g0/all");
    let other = Subscription::new("$share/h/other", QoS::AtLeastOnce);
    world.subscribe(peers[0], 8, &[other]);
    let core = &world.broker.core;
    let has_no_group = |receiver: &&Receiver| {
        let session = core.sessions.get(receiver.session).unwrap();
        receiver.owed.lane.is_share() && session.group(receiver.owed.lane).is_none()
    };
    let without = core.fan_outs.receivers().filter(has_no_group);
    assert_eq!(without.count(), 1, "its own");
    world.spread_all();
    assert_eq!(world.all_payloads(&peers[..1]), [["x", "x"]]);
}

/// Messages that wait without a connected publisher are bounded in number: the oldest go, and are counted. The
/// one that is under way stays.
#[test]
fn messages_without_a_publisher_are_bounded() {
    let (mut world, peers) = world(3, QoS::AtLeastOnce);
    let [p, q] = ["p", "q"].map(|id| world.clean(Version::V5, id));
    world.publish(p, "all", "first", qos1(1));
    world.publish(q, "all", "second", qos1(1));
    for n in 0..1_030 {
        let payload = n.to_string();
        world
            .broker
            .publish_own("all", payload.as_bytes(), false, world.now);
    }
    assert_eq!(world.broker.core.fan_outs.len(), 2 + 1024);
    let counters = world.broker.counters();
    assert_eq!(counters.dropped_for(DropReason::QueueFull), 6);
    for _ in 0..20 {
        world.go_on(1);
    }
    let came = world.all_payloads(&peers[..1]).concat();
    assert_eq!(came[..4], ["first", "second", "6", "7"]);
}

/// ... and in bytes, whatever the QoS: nothing was promised.
#[test]
fn bytes_without_a_publisher_are_bounded() {
    for limit in [0, 64 << 20] {
        let (mut world, peers) = world(3, QoS::AtLeastOnce);
        world.settings.memory_limit = Some(limit);
        let general = world.settings.clone();
        world.broker.set_general(&general, world.now);
        let [p, q] = ["p", "q"].map(|id| world.clean(Version::V5, id));
        world.publish(p, "all", "first", qos1(1));
        let left = if limit == 0 { 4 } else { 8 };
        for n in 0..12 {
            let publisher = world.clean(Version::V5, &format!("d{n}"));
            let payload = format!("{n} {}", "-".repeat(1_000_000));
            let delivery = if n % 2 == 0 {
                Delivery::AtMostOnce
            } else {
                qos1(1)
            };
            world.publish(publisher, "all", &payload, delivery);
            world.cut(publisher);
        }
        world.publish(q, "all", "last", Delivery::AtMostOnce);
        assert_eq!(world.broker.core.fan_outs.len(), 1 + left + 1);
        let dropped = world.broker.counters().dropped_for(DropReason::QueueFull);
        assert_eq!(dropped, 12 - left as u64);
        world.spread_all();
        let came = world.all_payloads(&peers[..1]).concat();
        assert_eq!(came[1].split(' ').next(), Some(&*(12 - left).to_string()));
        assert_eq!(world.got(p), [Got::PubAck(1, OK)]);
        assert!(world.is_read(q));
    }
}
