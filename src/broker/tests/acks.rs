//! When a publisher is acknowledged: after the commit, or at once where nobody is owed anything.

use super::*;
use crate::mqtt::{Property, RetainHandling, Subscription};

/// A durable receiver that is away, so that what it is owed must be written.
fn with_absent_receiver(world: &mut World, qos: QoS) {
    let away = world.durable(Version::V311, "away");
    world.listen(away, "#", qos);
    world.cut(away);
    world.pass(secs(2));
}

/// PUBACK promises that the message survives.
#[test]
fn puback_waits_for_the_commit() {
    for version in VERSIONS {
        let mut world = World::new();
        with_absent_receiver(&mut world, QoS::AtLeastOnce);
        let peer = world.clean(version, "p");
        world.held = true;
        world.publish(peer, "a", "1", qos1(7));
        world.pass(ms(100));
        assert_eq!(world.got(peer), []);
        world.held = false;
        world.pass(ms(1));
        assert_eq!(world.got(peer), [Got::PubAck(7, OK)]);
        world.crash(secs(1));
        let away = world.durable(Version::V311, "away");
        world.pass(ms(100));
        assert_eq!(world.payloads(away), ["1"]);
    }
}

/// A message that every durable receiver has before the commit began is never written.
#[test]
fn puback_leaves_early_when_all_have_the_message() {
    let mut world = World::new();
    let one = world.durable(Version::V311, "one");
    let two = world.durable(Version::V5, "two");
    world.listen(one, "#", QoS::AtLeastOnce);
    world.listen(two, "#", QoS::AtLeastOnce);
    world.pass(secs(2));
    let peer = world.clean(Version::V5, "p");
    world.held = true;
    world.publish(peer, "a", "1", qos1(7));
    for receiver in [one, two] {
        assert_eq!(world.got(peer), []);
        let id = world.message(receiver).delivery.id().unwrap();
        world.puback(receiver, id.get());
    }
    assert_eq!(world.got(peer), [Got::PubAck(7, OK)]);
    assert_eq!(world.broker.core.ledger.store().never_written(), 1);
    world.held = false;
    world.pass(secs(3));
    assert_eq!(world.rows(), []);
}

/// Once the commit has begun, the acknowledgement waits for its end.
#[test]
fn a_late_delivery_does_not_open_the_acknowledgement() {
    let mut world = World::new();
    let receiver = world.durable(Version::V311, "r");
    world.listen(receiver, "#", QoS::AtLeastOnce);
    world.pass(secs(2));
    let peer = world.clean(Version::V5, "p");
    world.held = true;
    world.publish(peer, "a", "1", qos1(7));
    world.pass(ms(30));
    world.puback(receiver, 1);
    assert_eq!(world.got(peer), []);
    world.held = false;
    world.pass(secs(3));
    assert_eq!(world.got(peer), [Got::PubAck(7, OK)]);
    assert_eq!(world.rows(), []);
}

/// Nobody owed, nothing retained: nothing to wait for. A PUBACK of 5.0 says that nobody was
/// there; a subscriber that does not want its own messages is somebody.
#[test]
fn without_a_durable_receiver_the_acknowledgement_leaves_at_once() {
    let mut world = World::new();
    world.held = true;
    let nobody = Reason::NO_MATCHING_SUBSCRIBERS;
    let old = world.clean(Version::V311, "old");
    world.publish(old, "a", "1", qos1(1));
    assert_eq!(world.got(old), [Got::PubAck(1, OK)]);
    let new = world.clean(Version::V5, "new");
    world.publish(new, "a", "1", qos1(1));
    world.publish(new, "a", "1", qos2(2));
    assert_eq!(world.got(new), [Got::PubAck(1, nobody), Got::PubRec(2, OK)]);
    let own = Subscription {
        filter: "a",
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    world.subscribe(new, 3, &[own]);
    world.publish(new, "a", "1", qos1(4));
    assert_eq!(world.got(new).last(), Some(&Got::PubAck(4, OK)));
}

/// PUBREC of a durable publisher promises the packet id too, even with nobody to send to; and
/// PUBCOMP that it is free again.
#[test]
fn pubrec_and_pubcomp_of_a_durable_publisher_wait_for_their_commits() {
    for version in VERSIONS {
        let mut world = World::new();
        let peer = world.durable(version, "p");
        world.pass(secs(2));
        world.held = true;
        world.publish(peer, "a", "1", qos2(9));
        world.pass(ms(100));
        assert_eq!(world.got(peer), []);
        world.held = false;
        world.pass(ms(1));
        assert!(matches!(world.got(peer)[..], [Got::PubRec(9, _)]));
        world.held = true;
        world.pubrel(peer, 9);
        world.pass(ms(100));
        assert_eq!(world.got(peer), []);
        world.held = false;
        world.pass(ms(1));
        assert_eq!(world.got(peer), [Got::PubComp(9, OK)]);
    }
}

/// [MQTT-4.3.3-10]: a QoS 2 message is routed once, however often it comes before PUBREL.
#[test]
fn a_qos_2_message_sent_again_is_routed_once() {
    for version in VERSIONS {
        let mut world = World::new();
        let receiver = world.durable(Version::V311, "r");
        world.listen(receiver, "#", QoS::AtLeastOnce);
        let dial = Dial::durable(version, "p");
        let (peer, _) = world.connect(&dial);
        world.publish(peer, "a", "1", qos2(9));
        world.pass(ms(100));
        assert_eq!(world.payloads(receiver), ["1"]);
        world.crash(secs(1));
        let (receiver, _) = world.connect(&Dial::durable(Version::V311, "r"));
        world.pass(ms(100));
        assert_eq!(world.payloads(receiver), ["1"], "it was not acknowledged");
        let (peer, _) = world.connect(&dial);
        world.publish(peer, "a", "1", Delivery::ExactlyOnce(pid(9), true));
        world.pass(ms(100));
        assert_eq!(world.got(peer), [Got::PubRec(9, OK)]);
        world.pubrel(peer, 9);
        world.pass(ms(100));
        assert_eq!(world.got(peer), [Got::PubComp(9, OK)]);
        assert_eq!(world.payloads(receiver), NONE);
        world.publish(peer, "a", "2", qos2(9));
        world.pass(ms(100));
        assert_eq!(world.payloads(receiver), ["2"], "the id is free");
    }
}

/// [MQTT-4.3.3-11]: PUBREL for an id that is not known is answered all the same.
#[test]
fn pubrel_without_publish_is_answered() {
    let mut world = World::new();
    let peer = world.clean(Version::V5, "p");
    world.pubrel(peer, 3);
    assert_eq!(world.got(peer), [Got::PubComp(3, OK)]);
}

/// [MQTT-4.6.0-2]: acknowledgements leave in the order of the messages, whatever opens first.
#[test]
fn acknowledgements_keep_their_order() {
    let mut world = World::new();
    with_absent_receiver(&mut world, QoS::AtLeastOnce);
    let away = world.durable(Version::V5, "other");
    world.listen(away, "#", QoS::AtLeastOnce);
    let peer = world.clean(Version::V311, "p");
    world.held = true;
    world.publish(peer, "a", "1", qos1(1));
    world.publish(peer, "a", "2", qos2(2));
    world.pass(ms(30));
    let nobody = Delivery::AtMostOnce;
    world.publish(peer, "a", "3", nobody);
    world.publish(peer, "a", "4", qos1(4));
    assert_eq!(world.got(peer), []);
    world.held = false;
    world.pass(ms(50));
    let acks = [Got::PubAck(1, OK), Got::PubRec(2, OK), Got::PubAck(4, OK)];
    assert_eq!(world.got(peer), acks);
}

/// A retained message is a promise too, with nobody subscribed.
#[test]
fn puback_of_a_retained_message_waits_for_the_commit() {
    let mut world = World::new();
    for (payload, left) in [("on", 1), ("", 0)] {
        let peer = world.clean(Version::V5, "p");
        world.held = true;
        world.publish_with(peer, "a", payload, qos1(1), true, &[]);
        world.pass(ms(100));
        assert_eq!(world.got(peer), []);
        world.held = false;
        world.pass(ms(1));
        assert!(matches!(world.got(peer)[..], [Got::PubAck(1, _)]));
        world.crash(secs(1));
        assert_eq!(world.broker.core.router.retained_len(), left);
    }
}

/// With `persistence false` nothing survives, so nothing waits.
#[test]
fn without_persistence_nothing_waits() {
    let mut settings = settings();
    settings.persistence = false;
    let mut world = World::with(settings);
    world.held = true;
    let receiver = world.dial(&Dial::durable(Version::V5, "r"));
    assert_eq!(world.got(receiver), [Got::ConnAck(false, OK)]);
    world.subscribe(receiver, 1, &[Subscription::new("#", QoS::ExactlyOnce)]);
    assert!(matches!(world.got(receiver)[..], [Got::SubAck(..)]));
    let peer = world.dial(&Dial::durable(Version::V5, "p"));
    world.publish(peer, "a", "1", qos2(1));
    assert_eq!(
        world.got(peer),
        [Got::ConnAck(false, OK), Got::PubRec(1, OK)]
    );
    assert_eq!(world.payloads(receiver), ["1"]);
    world.pubrec(receiver, 1);
    assert_eq!(world.got(receiver), [Got::PubRel(1, OK)]);
}

/// 5.0 §4.9: QoS 0 does not count against the receive maximum, more than that at QoS 1 and 2 is
/// an error [MQTT-3.3.4-9].
#[test]
fn only_unacknowledged_messages_count_against_the_receive_maximum() {
    let mut settings = settings();
    settings.max_inflight_messages = Some(2);
    let mut world = World::with(settings);
    with_absent_receiver(&mut world, QoS::ExactlyOnce);
    let peer = world.clean(Version::V5, "p");
    for n in 1..10 {
        world.publish(peer, "a", "0", Delivery::AtMostOnce);
        world.publish(peer, "a", "1", qos1(n));
        world.pass(ms(50));
        assert_eq!(world.got(peer), [Got::PubAck(n, OK)]);
    }
    for n in 11..14 {
        world.publish(peer, "a", "2", qos2(n));
    }
    let told = Got::Disconnect(Reason::RECEIVE_MAXIMUM_EXCEEDED);
    assert_eq!(world.got(peer), [told, Got::Closed]);
}

/// 5.0 §3.3.2.3.4: a topic alias set by a message that turned out to be known counts.
#[test]
fn a_topic_alias_stands_for_its_topic() {
    let mut world = World::new();
    let receiver = world.clean(Version::V311, "r");
    world.listen(receiver, "#", QoS::AtMostOnce);
    let dial = Dial::durable(Version::V5, "p");
    let (peer, _) = world.connect(&dial);
    world.publish(peer, "long/topic", "1", qos2(1));
    world.pass(ms(100));
    let (peer, _) = world.connect(&dial);
    let alias = [Property::TopicAlias(3)];
    let again = Delivery::ExactlyOnce(pid(1), true);
    world.publish_with(peer, "long/topic", "1", again, false, &alias);
    world.publish_with(peer, "", "2", Delivery::AtMostOnce, false, &alias);
    let topics: Vec<_> = world
        .messages(receiver)
        .into_iter()
        .map(|m| m.topic)
        .collect();
    assert_eq!(topics, ["long/topic", "long/topic"]);
    let unknown = [Property::TopicAlias(4)];
    world.publish_with(peer, "", "3", Delivery::AtMostOnce, false, &unknown);
    assert!(!world.is_open(peer), "[MQTT-3.3.2-8]");
}

/// The topic is clear already, but its row is still there: the change that nobody waited for rests.
#[test]
fn an_acknowledged_clear_of_a_clear_topic_outlives_a_crash() {
    let mut world = World::new();
    let publisher = world.clean(Version::V5, "publisher");
    let clear = Delivery::AtMostOnce;
    for (payload, delivery) in [("on", qos1(1)), ("", clear), ("", qos1(2))] {
        world.publish_with(publisher, "t", payload, delivery, true, &[]);
        world.pass(ms(300));
    }
    let nobody = Reason::NO_MATCHING_SUBSCRIBERS;
    let acks = [Got::PubAck(1, nobody), Got::PubAck(2, nobody)];
    assert_eq!(world.got(publisher), acks);
    world.crash(secs(1));
    let subscriber = world.clean(Version::V5, "subscriber");
    world.listen(subscriber, "t", QoS::AtLeastOnce);
    assert_eq!(world.payloads(subscriber), NONE);
}
