//! A bridge as a client: what it and its upstream announce to each other, and what it may say.

use super::limits::named;
use super::overflow::{add, line, plain};
use super::*;
use crate::bridge::{Announced, Limits};
use crate::mqtt::{self, Property};

/// A bridge with an upstream that takes `aliases`, and was told what `announced` says.
fn uplink(world: &mut World, aliases: u16, announced: Announced) -> Peer {
    let bridge = add(world, &[line("#")]);
    let limits = Limits {
        receive_maximum: 20,
        topic_alias_max: aliases,
        session_present: true,
        announced,
        ..Limits::unnamed(Version::V5, secs(60))
    };
    let conn = world.broker.bridge_up(bridge, &limits, plain(), world.now);
    let peer = world.adopt(conn.unwrap(), Version::V5);
    world.broker.bridge_start(world.conn(peer), world.now);
    peer
}

/// [MQTT-3.2.2-17]: the bridge uses the aliases that the upstream takes, for topics that come again.
#[test]
fn a_bridge_uses_aliases_upstream() {
    let mut world = World::new();
    let upstream = uplink(&mut world, 5, Announced::default());
    let sender = world.clean(Version::V311, "s");
    for payload in ["1", "2", "3"] {
        world.publish(sender, "alias/one", payload, Delivery::AtMostOnce);
    }
    let expected = [
        named("alias/one", None, "1"),
        named("alias/one", Some(1), "2"),
        named("", Some(1), "3"),
    ];
    assert_eq!(world.named(upstream), expected);
}

/// [MQTT-3.1.2-24] [MQTT-3.1.2-26]: what an upstream sends beyond what it was told is not taken. The link
/// stays: a message that is not acknowledged would only come again. Mosquitto does not count the fixed
/// header of a packet.
#[test]
fn an_upstream_must_keep_to_what_it_was_told() {
    let announced = Announced {
        max_packet: Some(30),
        topic_alias_max: 20,
    };
    let alias = |n| [Property::TopicAlias(n)];
    for (told, alias, size, is_taken) in [
        (announced, &alias(20)[..], 1, true),
        (announced, &alias(21), 1, false),
        (Announced::default(), &alias(1), 1, false),
        (announced, &[], 27, true),
        (announced, &[], 28, false),
    ] {
        let mut world = World::new();
        let upstream = uplink(&mut world, 0, told);
        let reader = world.clean(Version::V311, "r");
        world.listen(reader, "#", QoS::AtMostOnce);
        let payload = "x".repeat(size);
        world.publish_with(upstream, "t", &payload, qos1(1), false, alias);
        world.pass(ms(100));
        assert_eq!(world.got(upstream), [Got::PubAck(1, OK)]);
        // Without aliases, the name does.
        let is_seen = is_taken || !alias.is_empty();
        assert_eq!(world.messages(reader).len(), usize::from(is_seen));
        if !alias.is_empty() {
            world.publish_with(upstream, "", &payload, qos1(2), false, alias);
            world.pass(ms(100));
            assert_eq!(world.got(upstream), [Got::PubAck(2, OK)]);
            assert_eq!(world.messages(reader).len(), usize::from(is_taken));
        }
        let lost = world.broker.counters().dropped();
        assert_eq!(lost, u64::from(!is_taken), "{told:?} {size}");
    }
}

/// [MQTT-3.4.2-1]: PUBACK and PUBREC carry what a client may say: that there are no subscribers only
/// a server says.
#[test]
fn a_bridge_acknowledges_as_a_client() {
    let mut settings = settings();
    settings.message_size_limit = Some(3);
    let mut world = World::with(settings);
    let upstream = uplink(&mut world, 0, Announced::default());
    for (delivery, payload, answer) in [
        (qos1(1), "yes", Got::PubAck(1, OK)),
        (
            qos1(2),
            "large",
            Got::PubAck(2, Reason::IMPLEMENTATION_SPECIFIC),
        ),
        (
            qos2(3),
            "large",
            Got::PubRec(3, Reason::IMPLEMENTATION_SPECIFIC),
        ),
        (qos2(4), "yes", Got::PubRec(4, OK)),
    ] {
        world.publish(upstream, "t", payload, delivery);
        world.pass(ms(100));
        assert_eq!(world.got(upstream), [answer]);
    }
}

/// [MQTT-3.14.2-1]: the bridge says to its upstream what a client may say, and nothing else.
#[test]
fn a_bridge_says_goodbye_as_a_client() {
    for (reason, said) in [
        (Reason::MALFORMED_PACKET, true),
        (Reason::SERVER_SHUTTING_DOWN, false),
    ] {
        let mut world = World::new();
        let upstream = uplink(&mut world, 0, Announced::default());
        let conn = world.conn(upstream);
        if said {
            world
                .broker
                .malformed(conn, &[], mqtt::Error::RemainingLength, world.now);
        } else {
            world.broker.shutdown(world.now);
        }
        world.turn();
        let said = said.then_some(Got::Disconnect(reason)).into_iter();
        assert_eq!(
            world.got(upstream),
            said.chain([Got::Closed]).collect::<Vec<_>>()
        );
    }
}
