//! What a receiver gets again after a reconnection or a crash, and the two handshakes.

use super::*;
use crate::broker::DropReason;

fn receiver(world: &mut World, dial: &Dial, qos: QoS) -> Peer {
    let (peer, present) = world.connect(dial);
    if !present {
        world.listen(peer, "#", qos);
    }
    peer
}

/// [MQTT-4.4.0-1], [MQTT-3.3.1-1]: what was not acknowledged comes again after a reconnection,
/// with DUP and the same packet id, in order.
#[test]
fn unacknowledged_messages_come_again() {
    for version in VERSIONS {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut world = World::new();
            let dial = Dial::durable(version, "r");
            let peer = receiver(&mut world, &dial, qos);
            let publisher = world.clean(Version::V311, "p");
            for n in 1..4 {
                world.publish(publisher, "a", "x", Delivery::new(qos, pid(n), false));
            }
            world.pass(secs(2));
            let first = world.messages(peer);
            assert_eq!(first.len(), 3);
            world.cut(peer);
            let peer = receiver(&mut world, &dial, qos);
            world.pass(ms(100));
            let again = world.messages(peer);
            for (first, again) in first.iter().zip(&again) {
                let id = first.delivery.id().unwrap();
                assert_eq!(first.delivery, Delivery::new(qos, id, false));
                assert_eq!(again.delivery, Delivery::new(qos, id, true));
            }
            assert_eq!(again.len(), 3);
        }
    }
}

/// After a crash the packet ids are the same, and new messages get others, though the session's
/// row was not written with each message.
#[test]
fn packet_ids_survive_a_crash() {
    let mut world = World::new();
    let dial = Dial::durable(Version::V311, "r");
    let peer = receiver(&mut world, &dial, QoS::ExactlyOnce);
    world.pass(secs(2));
    let publisher = world.clean(Version::V311, "p");
    for n in 1..4 {
        world.publish(publisher, "a", "x", qos2(n));
    }
    world.pass(ms(50));
    let ids = |messages: Vec<Arrived>| -> Vec<u16> {
        let id = |m: &Arrived| m.delivery.id().unwrap().get();
        messages.iter().map(id).collect()
    };
    assert_eq!(ids(world.messages(peer)), [1, 2, 3]);
    world.crash(secs(1));
    let publisher = world.clean(Version::V311, "p");
    world.publish(publisher, "a", "new", qos2(1));
    let peer = receiver(&mut world, &dial, QoS::ExactlyOnce);
    world.pass(ms(100));
    assert_eq!(ids(world.messages(peer)), [1, 2, 3, 4]);
}

/// A QoS 2 message leaves for a durable session only after the commit that holds it: a second
/// delivery after a crash must find its packet id again. QoS 1 need not wait.
#[test]
fn a_qos_2_message_to_a_durable_session_leaves_after_its_commit() {
    let mut world = World::new();
    let durable = receiver(
        &mut world,
        &Dial::durable(Version::V311, "d"),
        QoS::ExactlyOnce,
    );
    let clean = receiver(&mut world, &Dial::clean(Version::V5, "c"), QoS::ExactlyOnce);
    let publisher = world.clean(Version::V311, "p");
    world.held = true;
    world.publish(publisher, "a", "1", qos1(1));
    world.publish(publisher, "a", "2", qos2(2));
    world.pass(ms(100));
    assert_eq!(world.payloads(durable), ["1"]);
    assert_eq!(world.payloads(clean), ["1", "2"]);
    world.held = false;
    world.pass(ms(50));
    assert_eq!(world.payloads(durable), ["2"]);
}

/// PUBREL leaves after the commit that holds the release, and again after a crash
/// [MQTT-4.3.3-1]; the message does not come again.
#[test]
fn pubrel_waits_for_its_commit_and_comes_again() {
    for version in VERSIONS {
        let mut world = World::new();
        let dial = Dial::durable(version, "r");
        let peer = receiver(&mut world, &dial, QoS::ExactlyOnce);
        let publisher = world.clean(Version::V311, "p");
        world.publish(publisher, "a", "1", qos2(1));
        world.pass(ms(50));
        assert_eq!(world.payloads(peer), ["1"]);
        world.held = true;
        world.pubrec(peer, 1);
        world.pass(ms(100));
        assert_eq!(world.got(peer), []);
        world.held = false;
        world.pass(ms(1));
        assert_eq!(world.got(peer), [Got::PubRel(1, OK)]);
        world.crash(secs(1));
        let peer = receiver(&mut world, &dial, QoS::ExactlyOnce);
        world.pass(ms(100));
        assert_eq!(world.got(peer), [Got::PubRel(1, OK)]);
        world.pubcomp(peer, 1);
        world.pass(secs(2));
        world.crash(secs(1));
        let peer = receiver(&mut world, &dial, QoS::ExactlyOnce);
        world.pass(ms(100));
        assert_eq!(world.got(peer), []);
        assert!(world.rows().is_empty());
    }
}

/// [MQTT-4.3.3-4]: a PUBREC with a failure ends the handshake.
#[test]
fn a_refused_message_is_done_with() {
    use crate::mqtt::{Ack, Packet};
    let mut world = World::new();
    let dial = Dial::durable(Version::V5, "r");
    let peer = receiver(&mut world, &dial, QoS::ExactlyOnce);
    let publisher = world.clean(Version::V311, "p");
    world.publish(publisher, "a", "1", qos2(1));
    world.pass(ms(50));
    assert_eq!(world.payloads(peer), ["1"]);
    let refusal = Ack::new(pid(1), Reason::UNSPECIFIED);
    world.send(peer, &Packet::PubRec(refusal));
    world.pass(secs(3));
    assert_eq!(world.got(peer), []);
    assert_eq!(world.broker.counters().dropped_for(DropReason::Refused), 1);
    assert_eq!(world.rows(), []);
}

/// On a full disk reads are answered while commits wait: what is not written yet is not lost.
#[test]
fn reads_that_overtake_a_commit_lose_nothing() {
    let mut world = World::new();
    let dial = Dial::durable(Version::V311, "r");
    let peer = receiver(&mut world, &dial, QoS::AtLeastOnce);
    world.cut(peer);
    world.pass(secs(2));
    let publisher = world.clean(Version::V311, "p");
    world.held = true;
    world.publish(publisher, "a", "1", qos1(1));
    world.pass(ms(100));
    let peer = world.dial(&dial);
    world.pass(ms(100));
    while world.store_full() {}
    world.held = false;
    world.pass(ms(100));
    assert_eq!(world.next(peer), Some(Got::ConnAck(true, OK)));
    assert_eq!(world.payloads(peer), ["1"]);
    assert_eq!(world.broker.counters().dropped_for(DropReason::Damaged), 0);
}

/// 5.0 §4.9: no more unacknowledged than the receive maximum of the client, and than
/// `max_inflight_messages`.
#[test]
fn the_window_is_the_smaller_of_both_limits() {
    for (own, peers, window) in [
        (0, None, 30),
        (3, None, 3),
        (20, Some(2), 2),
        (2, Some(20), 2),
    ] {
        let mut settings = settings();
        settings.max_inflight_messages = Some(own);
        let mut world = World::with(settings);
        let dial = Dial {
            receive_maximum: peers,
            ..Dial::durable(Version::V5, "r")
        };
        let peer = receiver(&mut world, &dial, QoS::AtLeastOnce);
        let publisher = world.clean(Version::V311, "p");
        for n in 1..31 {
            world.publish(publisher, "a", "x", qos1(n));
        }
        world.pass(secs(1));
        let mut all = 0;
        loop {
            let messages = world.messages(peer);
            if messages.is_empty() {
                break;
            }
            assert!(messages.len() <= window, "{own} {peers:?}");
            all += messages.len();
            for message in messages {
                world.puback(peer, message.delivery.id().unwrap().get());
            }
            world.pass(ms(100));
        }
        assert_eq!(all, 30);
    }
}
