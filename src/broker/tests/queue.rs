//! Queues that are full, receivers that are slow, messages that expire or are too large.

use super::*;
use crate::broker::DropReason;
use crate::config::Overflow;
use crate::mqtt::Property;

fn small(messages: u64) -> World {
    let mut settings = settings();
    settings.max_queued_messages = messages;
    settings.queue_overflow = Overflow::Refuse;
    settings.queue_qos0_messages = true;
    World::with(settings)
}

fn absent(world: &mut World, qos: QoS) -> Dial {
    let dial = Dial::durable(Version::V5, "away");
    let (away, _) = world.connect(&dial);
    world.listen(away, "#", qos);
    world.cut(away);
    world.pass(secs(2));
    dial
}

/// A full queue: 5.0 is told 0x97, the message is nobody's.
#[test]
fn a_full_queue_refuses_mqtt_5() {
    let mut world = small(2);
    let dial = absent(&mut world, QoS::ExactlyOnce);
    let peer = world.clean(Version::V5, "p");
    for n in 1..3 {
        world.publish(peer, "a", &n.to_string(), qos1(n));
    }
    world.publish(peer, "a", "3", qos1(3));
    world.publish(peer, "a", "4", qos2(4));
    world.pass(ms(50));
    let full = Reason::QUOTA_EXCEEDED;
    let acks = [
        Got::PubAck(1, OK),
        Got::PubAck(2, OK),
        Got::PubAck(3, full),
        Got::PubRec(4, full),
    ];
    assert_eq!(world.got(peer), acks);
    let (away, _) = world.connect(&dial);
    world.pass(ms(100));
    assert_eq!(world.payloads(away), ["1", "2"]);
}

/// A full queue: before 5.0 a refusal can't be said, so the publisher waits until there is room.
#[test]
fn a_full_queue_holds_an_mqtt_3_publisher() {
    let mut world = small(2);
    let dial = absent(&mut world, QoS::AtLeastOnce);
    let peer = world.clean(Version::V311, "p");
    for n in 1..4 {
        world.publish(peer, "a", &n.to_string(), qos1(n));
    }
    world.pass(secs(5));
    assert_eq!(world.got(peer), [Got::PubAck(1, OK), Got::PubAck(2, OK)]);
    assert_eq!(world.broker.counters().refused_full, 1, "counted once");
    // Pings and acknowledgements are still read, but not publishes without end.
    world.send(peer, &crate::mqtt::Packet::PingReq);
    assert_eq!(world.got(peer), [Got::PingResp]);
    for n in 4..131 {
        assert!(world.is_read(peer), "{n}");
        world.publish(peer, "a", &n.to_string(), qos1(n));
    }
    assert!(!world.is_read(peer) && world.is_open(peer));
    let (away, _) = world.connect(&dial);
    world.pass(ms(100));
    let mut taken = 0;
    while taken < 130 {
        for message in world.messages(away) {
            taken += 1;
            assert_eq!(message.payload, taken.to_string());
            world.puback(away, message.delivery.id().unwrap().get());
        }
        world.pass(secs(1));
    }
    assert!(world.is_read(peer));
    let acks: Vec<Got> = (3..131).map(|n| Got::PubAck(n, OK)).collect();
    assert_eq!(world.got(peer), acks);
}

/// `queue_qos0_messages` queues within the bound, in order; what is beyond is dropped, for that
/// receiver only.
#[test]
fn queued_qos_0_messages_are_bounded_and_in_order() {
    let mut world = small(3);
    let dial = absent(&mut world, QoS::AtMostOnce);
    let present = world.clean(Version::V311, "present");
    world.listen(present, "#", QoS::AtMostOnce);
    let peer = world.clean(Version::V311, "p");
    for n in 1..6 {
        world.publish(peer, "a", &n.to_string(), Delivery::AtMostOnce);
    }
    assert_eq!(world.payloads(present), ["1", "2", "3", "4", "5"]);
    assert_eq!(
        world.broker.counters().dropped_for(DropReason::QueueFull),
        2
    );
    world.pass(secs(1));
    world.held = true;
    let away = world.dial(&dial);
    world.publish(peer, "a", "6", Delivery::AtMostOnce);
    world.held = false;
    world.pass(secs(1));
    assert_eq!(world.next(away), Some(Got::ConnAck(true, OK)));
    let payloads = world.payloads(away);
    assert_eq!(payloads[..3], ["1", "2", "3"], "{payloads:?}");
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6]: what is left of the expiry counts down, and then the message
/// is dropped.
#[test]
fn expired_messages_are_not_delivered() {
    let mut world = small(0);
    let dial = absent(&mut world, QoS::AtLeastOnce);
    let peer = world.clean(Version::V5, "p");
    for (n, expiry) in [(1, 10), (2, 100)] {
        let expiry = [Property::MessageExpiry(expiry)];
        world.publish_with(peer, "a", &n.to_string(), qos1(n), false, &expiry);
    }
    world.pass(secs(5));
    world.crash(secs(25));
    let (away, _) = world.connect(&dial);
    world.pass(ms(100));
    let message = world.message(away);
    assert_eq!(message.payload, "2");
    assert!((69..=70).contains(&message.expiry.unwrap()), "{message:?}");
    world.puback(away, message.delivery.id().unwrap().get());
    world.pass(secs(3));
    assert_eq!(world.broker.counters().dropped_for(DropReason::Expired), 1);
    assert_eq!(world.rows(), []);
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]: what is too large for the receiver counts as delivered.
#[test]
fn messages_too_large_for_the_receiver_are_dropped() {
    let mut world = small(0);
    let dial = Dial {
        max_packet: Some(100),
        ..Dial::durable(Version::V5, "r")
    };
    let (receiver, _) = world.connect(&dial);
    world.listen(receiver, "#", QoS::ExactlyOnce);
    let peer = world.clean(Version::V311, "p");
    for (n, size) in [(1, 10), (2, 1000), (3, 10)] {
        world.publish(peer, "a", &"x".repeat(size), qos2(n));
    }
    world.pass(secs(1));
    let sizes: Vec<usize> = world.payloads(receiver).iter().map(String::len).collect();
    assert_eq!(sizes, [10, 10]);
    assert_eq!(world.broker.counters().dropped_for(DropReason::TooLarge), 1);
}

/// While too much waits for the disk, publishers are not read; then they are.
#[test]
fn publishers_wait_for_a_slow_disk() {
    let mut world = small(0);
    absent(&mut world, QoS::AtLeastOnce);
    let peer = world.clean(Version::V311, "p");
    world.held = true;
    let large = "x".repeat(200_000);
    let mut sent = 0;
    while world.is_read(peer) {
        sent += 1;
        world.publish(peer, "a", &large, qos1(sent));
        assert!(sent < 100);
    }
    assert!(sent > 5);
    world.held = false;
    world.pass(secs(1));
    assert!(world.is_read(peer));
    assert_eq!(world.resumed, [world.conn(peer)]);
    assert_eq!(world.got(peer).len(), usize::from(sent));
}
