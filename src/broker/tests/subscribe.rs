//! SUBSCRIBE, its options, and retained messages.

use super::*;
use crate::mqtt::{Property, RetainHandling};

fn sub(filter: &str, qos: QoS) -> Subscription<'_> {
    Subscription::new(filter, qos)
}

/// SUBACK and UNSUBACK of a durable session promise: they wait for the commit; so do the
/// messages that the subscription brings.
#[test]
fn suback_waits_for_the_commit_and_comes_before_messages() {
    let mut world = World::new();
    let peer = world.durable(Version::V5, "c");
    let publisher = world.clean(Version::V311, "p");
    world.publish_with(publisher, "a", "kept", Delivery::AtMostOnce, true, &[]);
    world.pass(secs(2));
    world.held = true;
    world.subscribe(peer, 5, &[sub("#", QoS::AtLeastOnce)]);
    world.publish(publisher, "b", "0", Delivery::AtMostOnce);
    world.pass(ms(100));
    assert_eq!(world.got(peer), []);
    world.held = false;
    world.pass(ms(50));
    let reasons = vec![Reason::GRANTED_QOS_1];
    assert_eq!(world.next(peer), Some(Got::SubAck(5, reasons)));
    assert_eq!(world.payloads(peer), ["kept", "0"]);
    world.held = true;
    world.unsubscribe(peer, 6, "#");
    world.pass(ms(100));
    assert_eq!(world.got(peer), []);
    world.held = false;
    world.pass(ms(50));
    assert_eq!(world.got(peer), [Got::UnsubAck(6, vec![OK])]);
    world.unsubscribe(peer, 7, "#");
    let none = vec![Reason::NO_SUBSCRIPTION_EXISTED];
    assert_eq!(world.got(peer), [Got::UnsubAck(7, none)]);
    world.crash(secs(1));
    assert!(world.broker.core.router.is_empty());
}

/// [MQTT-3.3.4-2], [MQTT-3.3.4-3]: overlapping subscriptions bring one copy, at the highest QoS,
/// with all identifiers.
#[test]
fn overlapping_subscriptions_bring_one_copy() {
    let mut world = World::new();
    let peer = world.durable(Version::V5, "c");
    world.subscribe_with(peer, 1, &[sub("a/#", QoS::AtMostOnce)], Some(7));
    world.subscribe_with(peer, 2, &[sub("a/+", QoS::ExactlyOnce)], Some(300));
    world.subscribe(peer, 3, &[sub("a/b", QoS::AtLeastOnce)]);
    world.pass(ms(100));
    world.got(peer);
    world.crash(secs(1));
    let peer = world.durable(Version::V5, "c");
    let publisher = world.clean(Version::V311, "p");
    world.publish(publisher, "a/b", "1", qos2(1));
    world.pass(ms(100));
    let mut message = world.message(peer);
    message.sub_ids.sort_unstable();
    assert_eq!(message.sub_ids, [7, 300]);
    assert_eq!(message.delivery.qos(), QoS::ExactlyOnce);
}

/// [MQTT-3.8.3-3]: no-local keeps a client's own messages from it.
#[test]
fn no_local() {
    let mut world = World::new();
    let peer = world.clean(Version::V5, "c");
    let mut wanted = sub("#", QoS::AtMostOnce);
    wanted.no_local = true;
    world.subscribe(peer, 1, &[wanted]);
    world.got(peer);
    world.publish(peer, "a", "mine", Delivery::AtMostOnce);
    let other = world.clean(Version::V5, "other");
    world.publish(other, "a", "other's", Delivery::AtMostOnce);
    assert_eq!(world.payloads(peer), ["other's"]);
}

/// [MQTT-3.3.1-8], [MQTT-3.3.1-12], [MQTT-3.3.1-13]: the RETAIN flag says that a message was
/// kept, or with retain-as-published what the publisher said.
#[test]
fn the_retain_flag() {
    let mut world = World::new();
    let plain = world.clean(Version::V5, "plain");
    world.listen(plain, "a", QoS::AtMostOnce);
    let as_published = world.clean(Version::V5, "rap");
    let mut wanted = sub("a", QoS::AtMostOnce);
    wanted.retain_as_published = true;
    world.subscribe(as_published, 1, &[wanted]);
    world.got(as_published);
    let publisher = world.clean(Version::V311, "p");
    world.publish_with(publisher, "a", "1", Delivery::AtMostOnce, true, &[]);
    assert!(!world.message(plain).retain);
    assert!(world.message(as_published).retain);
    let late = world.clean(Version::V311, "late");
    world.listen(late, "#", QoS::AtMostOnce);
    assert!(world.message(late).retain);
}

/// `upgrade_outgoing_qos` holds for what was retained, too.
#[test]
fn a_retained_message_is_upgraded() {
    let mut settings = settings();
    settings.upgrade_outgoing_qos = true;
    let mut world = World::with(settings);
    let publisher = world.clean(Version::V311, "p");
    world.publish_with(publisher, "a", "1", Delivery::AtMostOnce, true, &[]);
    let late = world.clean(Version::V311, "late");
    world.listen(late, "a", QoS::AtLeastOnce);
    assert_eq!(world.message(late).delivery.qos(), QoS::AtLeastOnce);
}

/// [MQTT-3.3.1-9] to [MQTT-3.3.1-11]: retain handling.
#[test]
fn retain_handling() {
    let mut world = World::new();
    let publisher = world.clean(Version::V311, "p");
    world.publish_with(publisher, "a", "1", Delivery::AtMostOnce, true, &[]);
    let peer = world.clean(Version::V5, "c");
    for (handling, first, again) in [
        (RetainHandling::Send, 1, 1),
        (RetainHandling::SendIfNew, 1, 0),
        (RetainHandling::DontSend, 0, 0),
    ] {
        let mut wanted = sub("a", QoS::AtMostOnce);
        wanted.retain_handling = handling;
        for n in [first, again] {
            world.subscribe(peer, 1, &[wanted]);
            assert!(matches!(world.next(peer), Some(Got::SubAck(..))));
            assert_eq!(world.messages(peer).len(), n, "{handling:?}");
        }
        world.unsubscribe(peer, 2, "a");
        world.got(peer);
    }
}

/// [MQTT-3.3.1-5], [MQTT-3.3.1-6]: the newest message is kept, an empty one deletes; over
/// restarts too, and expiry ends it.
#[test]
fn retained_messages_are_replaced_deleted_and_expire() {
    let mut world = World::new();
    let peer = world.clean(Version::V5, "p");
    let expiry = [Property::MessageExpiry(60)];
    world.publish_with(peer, "kept", "1", qos1(1), true, &[]);
    world.publish_with(peer, "kept", "2", qos1(2), true, &[]);
    world.publish_with(peer, "gone", "1", qos1(3), true, &[]);
    world.publish_with(peer, "expires", "1", qos1(4), true, &expiry);
    world.pass(secs(1));
    world.publish_with(peer, "gone", "", qos1(5), true, &[]);
    world.pass(secs(1));
    world.crash(secs(8));
    let reader = world.clean(Version::V5, "r");
    world.listen(reader, "#", QoS::AtMostOnce);
    let messages = world.messages(reader);
    let topics: Vec<_> = messages.iter().map(|m| (&*m.topic, &*m.payload)).collect();
    assert_eq!(topics, [("expires", "1"), ("kept", "2")]);
    assert!((49..=51).contains(&messages[0].expiry.unwrap()));
    world.pass(secs(55));
    assert_eq!(world.broker.core.router.retained_len(), 1);
    world.pass(secs(2));
    world.crash(secs(1));
    assert_eq!(world.broker.core.router.retained_len(), 1);
}

/// Nobody but the broker publishes under `$SYS`.
#[test]
fn sys_is_the_brokers() {
    let mut world = World::new();
    let reader = world.clean(Version::V5, "r");
    world.listen(reader, "$SYS/#", QoS::AtMostOnce);
    let peer = world.clean(Version::V5, "p");
    world.publish(peer, "$SYS/broker/version", "fake", qos1(1));
    let denied = Reason::NOT_AUTHORIZED;
    assert_eq!(world.got(peer), [Got::PubAck(1, denied)]);
    assert_eq!(world.payloads(reader), NONE);
    world
        .broker
        .publish_own("$SYS/broker/version", b"real", true, world.now);
    world.turn();
    assert_eq!(world.payloads(reader), ["real"]);
}

/// A QoS 0 message that came while SUBACK waited is not overtaken by a later one.
#[test]
fn messages_held_back_keep_their_order() {
    let mut world = World::new();
    let peer = world.durable(Version::V311, "c");
    world.listen(peer, "a", QoS::AtLeastOnce);
    let publisher = world.clean(Version::V311, "p");
    world.settings.max_inflight_messages = Some(20);
    for n in 1..22 {
        world.publish(publisher, "a", "x", qos1(n));
    }
    world.pass(ms(100));
    world.held = true;
    world.subscribe(peer, 2, &[sub("b", QoS::AtMostOnce)]);
    world.publish(publisher, "b", "1", Delivery::AtMostOnce);
    world.held = false;
    world.pass(ms(100));
    world.publish(publisher, "b", "2", Delivery::AtMostOnce);
    for n in 1..22 {
        world.puback(peer, n);
    }
    let of_b = |got: &Got| match got {
        Got::Publish(m) if m.topic == "b" => Some(m.payload.clone()),
        _ => None,
    };
    let came: Vec<String> = world.got(peer).iter().filter_map(of_b).collect();
    assert_eq!(came, ["1", "2"]);
}

/// A client whose filters all match costs a message a look at each, and the message carries a bounded
/// number of identifiers; of what it may not read it is asked once.
#[test]
fn thousands_of_overlapping_filters_cost_little() {
    let mut world = World::new();
    let peer = world.clean(Version::V5, "c");
    let levels = 11;
    for n in 0..1u32 << levels {
        let level = |at: u32| if n >> at & 1 == 0 { "l" } else { "+" };
        let filter = (0..levels).map(level).collect::<Vec<_>>().join("/");
        world.subscribe_with(peer, 1, &[sub(&filter, QoS::AtMostOnce)], Some(n + 1));
        world.got(peer);
    }
    let publisher = world.clean(Version::V311, "p");
    let topic = vec!["l"; levels as usize].join("/");
    let before = world.broker.work();
    world.publish(publisher, &topic, "x", Delivery::AtMostOnce);
    let work = world.broker.work() - before;
    let message = world.message(peer);
    assert_eq!(world.messages(peer).len(), 0, "once");
    assert_eq!(message.sub_ids.len(), 1024);
    let nodes = 2 << levels;
    assert!(work > nodes / 16 && work < nodes / 4, "{work}");
}

/// Thousands of filters of a session that ends leave the tree in pieces; meanwhile they match nothing,
/// and in the end their memory is back.
#[test]
fn filters_of_a_session_that_ends_go_in_pieces() {
    let mut world = World::new();
    let empty = world.broker.core.router.tree_bytes();
    let publisher = world.clean(Version::V5, "p");
    let peer = world.clean(Version::V5, "c");
    let filter = |n: usize| format!("{n}{}", "/l".repeat(29));
    let filters: Vec<String> = (0..1500).map(filter).collect();
    let wanted: Vec<_> = filters.iter().map(|f| sub(f, QoS::AtMostOnce)).collect();
    world.subscribe(peer, 1, &wanted);
    world.got(peer);
    let (conn, now) = (world.conn(peer), world.now);
    world.broker.closed(conn, "cut", now);
    assert!(!world.broker.core.router.is_empty());
    world.publish_in_turn(publisher, (&filters[0], "x"), qos1(1), false, &[]);
    let mut pieces = 0;
    while !world.broker.core.router.is_empty() {
        let before = world.broker.work();
        world.now = world.broker.next_timeout().unwrap().max(world.now);
        world.broker.tick(world.now);
        let work = world.broker.work() - before;
        assert!(work < 2500, "{work} at once");
        pieces += 1;
        assert!(pieces < 50);
    }
    assert!(pieces > 2, "{pieces}");
    assert!(!world.broker.core.router.has_gone());
    world.turn();
    let nobody = Reason::NO_MATCHING_SUBSCRIBERS;
    assert_eq!(world.got(publisher), [Got::PubAck(1, nobody)]);
    let left = world.broker.core.router.tree_bytes();
    assert!(left < empty + 65_536, "{empty} and then {left}");
}
