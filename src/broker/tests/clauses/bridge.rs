//! What binds a bridge as a client of its upstream: its messages.

use super::super::bridge::{add, limits, prefix};
use super::*;
use crate::bridge::Limits;
use crate::broker::BridgeId;

/// The uplink of `bridge` comes up with these limits.
fn up(world: &mut World, bridge: BridgeId, limits: &Limits) -> Peer {
    let wire = prefix();
    let conn = world.broker.bridge_up(bridge, limits, wire, world.now);
    let peer = world.adopt(conn.unwrap(), limits.version);
    world.broker.bridge_start(world.conn(peer), world.now);
    world.turn();
    world.pass(ms(100));
    peer
}

/// A bridge that is up, and a device.
fn start(limits: &Limits) -> (World, BridgeId, Peer, Peer) {
    let mut world = World::new();
    let bridge = add(&mut world);
    let uplink = up(&mut world, bridge, limits);
    let device = world.clean(Version::V311, "device");
    (world, bridge, uplink, device)
}

/// 5.0 [MQTT-3.2.2-15]: no packet larger than the upstream takes.
#[test]
fn what_is_too_large_for_the_upstream_is_not_sent() {
    let limits = Limits {
        max_packet: Some(100),
        ..limits(false)
    };
    let (mut world, _, uplink, device) = start(&limits);
    for (n, size) in [(1, 80), (2, 100), (3, 80)] {
        world.publish(device, "a", &"x".repeat(size), qos1(n));
    }
    world.pass(secs(1));
    let sizes: Vec<usize> = world.payloads(uplink).iter().map(String::len).collect();
    assert_eq!(sizes, [80, 80]);
}

/// 5.0 [MQTT-3.2.2-11]: no QoS above the upstream's maximum.
#[test]
fn no_message_is_above_the_maximum_qos() {
    for most in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let limits = Limits {
            max_qos: most,
            ..limits(false)
        };
        let (mut world, _, uplink, device) = start(&limits);
        world.publish(device, "a", "0", Delivery::AtMostOnce);
        world.publish(device, "a", "1", qos1(1));
        world.publish(device, "a", "2", qos2(2));
        world.pass(secs(1));
        let messages = world.messages(uplink);
        let sent: Vec<QoS> = messages.iter().map(|m| m.delivery.qos()).collect();
        let expected = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        assert_eq!(sent, expected.map(|qos| qos.min(most)));
    }
}

/// 5.0 [MQTT-3.3.4-7], [MQTT-3.3.4-8]: no more under way than the receive maximum of the upstream;
/// and what the upstream sends is acknowledged meanwhile.
#[test]
fn a_full_window_holds_back_no_acknowledgement() {
    let limits = Limits {
        receive_maximum: 3,
        ..limits(false)
    };
    let (mut world, _, uplink, device) = start(&limits);
    for n in 1..11 {
        world.publish(device, "a", "x", qos1(n));
    }
    world.pass(ms(100));
    assert_eq!(world.messages(uplink).len(), 3);
    world.publish(uplink, "up/b", "1", qos1(7));
    world.publish(uplink, "up/b", "2", qos2(8));
    world.pass(ms(100));
    let got = world.got(uplink);
    assert!(
        matches!(got[..], [Got::PubAck(7, _), Got::PubRec(8, _)]),
        "{got:?}"
    );
    world.puback(uplink, 1);
    assert_eq!(world.messages(uplink).len(), 1);
}

/// [MQTT-4.4.0-1], [MQTT-4.6.0-1], 3.1.1 [MQTT-2.3.1-3]: what was under way when the link broke
/// goes up again in its order, with its packet ids, and ids of the link's own are others.
#[test]
fn what_was_under_way_goes_up_again_in_order() {
    let (mut world, bridge, uplink, device) = start(&limits(false));
    for n in 1..7 {
        let delivery = if n % 2 == 0 { qos1(n) } else { qos2(n) };
        world.publish(device, "a", &n.to_string(), delivery);
    }
    world.pass(ms(100));
    let first = world.messages(uplink);
    assert_eq!(first.len(), 6);
    world.cut(uplink);
    let uplink = up(&mut world, bridge, &limits(true));
    let again = world.messages(uplink);
    for (first, again) in first.iter().zip(&again) {
        let (qos, id) = (first.delivery.qos(), first.delivery.id().unwrap());
        assert_eq!(again.delivery, Delivery::new(qos, id, true));
        assert_eq!(again.payload, first.payload);
    }
    assert_eq!(again.len(), 6);
}

/// 5.0 [MQTT-3.2.2-18]: an upstream that takes no topic aliases gets none.
#[test]
fn an_upstream_without_aliases_gets_names() {
    let (mut world, _, uplink, device) = start(&limits(false));
    for n in 1..21 {
        world.publish(device, "some/topic", "x", qos1(n));
    }
    world.pass(ms(100));
    let messages = world.messages(uplink);
    assert_eq!(messages.len(), 20);
    // A topic that is empty is named by an alias.
    assert!(messages.iter().all(|m| m.topic == "up/some/topic"));
}

/// 5.0 [MQTT-3.3.4-6]: no subscription identifier goes up, whoever here has one.
#[test]
fn no_subscription_identifier_goes_up() {
    let (mut world, _, uplink, _) = start(&limits(false));
    let device = world.clean(Version::V5, "new");
    let filters = [Subscription::new("a", QoS::AtMostOnce)];
    world.subscribe_with(device, 1, &filters, Some(9));
    world.pass(ms(100));
    world.got(device);
    world.publish(device, "a", "x", Delivery::AtMostOnce);
    assert_eq!(world.message(device).sub_ids, [9], "the device's own");
    assert_eq!(world.message(uplink).sub_ids, []);
}

/// 5.0 [MQTT-3.2.2-17], [MQTT-3.3.2-9]: no alias beyond what the upstream takes, and each stands
/// for the topic it was given.
#[test]
fn no_alias_goes_up_beyond_what_the_upstream_takes() {
    for most in [0, 1, 2, 100] {
        let limits = Limits {
            topic_alias_max: most,
            ..limits(false)
        };
        let (mut world, _, uplink, device) = start(&limits);
        let mut given = std::collections::BTreeMap::new();
        for _ in 0..3 {
            for topic in ["long/topic/1", "long/topic/2", "long/topic/3"] {
                world.publish(device, topic, "x", Delivery::AtMostOnce);
                let came = world.message(uplink);
                let name = match came.alias {
                    None => came.topic,
                    Some(alias) => {
                        assert!((1..=most).contains(&alias), "{alias} of {most}");
                        let name = given.entry(alias).or_insert_with(String::new);
                        if !came.topic.is_empty() {
                            name.clone_from(&came.topic);
                        }
                        name.clone()
                    }
                };
                assert_eq!(name, format!("up/{topic}"));
            }
        }
        assert_eq!(given.is_empty(), most == 0);
    }
}
