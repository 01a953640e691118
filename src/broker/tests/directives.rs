//! General directives that bound what clients may have and send.

use super::*;
use crate::config::General;

fn world(change: impl FnOnce(&mut General)) -> World {
    let mut settings = settings();
    change(&mut settings);
    World::with(settings)
}

impl World {
    /// The answer to a CONNECT.
    fn answer(&mut self, dial: &Dial) -> (Peer, Reason) {
        let peer = self.dial(dial);
        self.pass(ms(50));
        match self.next(peer) {
            Some(Got::ConnAck(_, reason)) => (peer, reason),
            other => panic!("no CONNACK but {other:?}"),
        }
    }
}

/// `max_keepalive`: MQTT 5 is given the longest there is [MQTT-3.1.2-21], for none too; before,
/// there is no way to say so, and Mosquitto refuses with return code 2.
#[test]
fn max_keepalive_binds_those_who_ask_for_more_or_none() {
    let mut world = world(|settings| settings.max_keepalive = 60);
    for (version, keep_alive, reason) in [
        (Version::V5, 0, OK),
        (Version::V5, 61, OK),
        (Version::V311, 60, OK),
        (Version::V311, 61, Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (Version::V311, 0, Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (Version::V31, 0, Reason::CLIENT_IDENTIFIER_NOT_VALID),
    ] {
        let dial = Dial {
            keep_alive,
            ..Dial::clean(version, "c")
        };
        let (peer, answer) = world.answer(&dial);
        assert_eq!(answer, reason, "{version:?} {keep_alive}");
        world.pass(secs(100));
        assert!(!world.is_open(peer), "{version:?} {keep_alive}");
    }
}

/// Without it, keep-alive 0 is none (5.0 §3.1.2.10).
#[test]
fn without_max_keepalive_no_keep_alive_is_none() {
    for version in VERSIONS {
        let mut world = World::new();
        let peer = world.clean(version, "c");
        world.pass(secs(200_000));
        assert!(world.is_open(peer));
    }
}

/// As Mosquitto: 0x80 in 5.0, identifier rejected before.
#[test]
fn clients_without_an_id_may_be_refused() {
    let mut world = world(|s| s.security.allow_zero_length_clientid = false);
    for (version, reason) in [
        (Version::V311, Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (Version::V5, Reason::UNSPECIFIED),
    ] {
        assert_eq!(world.answer(&Dial::clean(version, "")).1, reason);
        assert_eq!(world.answer(&Dial::clean(version, "c")).1, OK);
    }
}

#[test]
fn client_ids_begin_with_their_prefix() {
    let mut world = world(|s| {
        s.clientid_prefixes = "dev-".to_owned();
        s.security.auto_id_prefix = "dev-auto-".to_owned();
    });
    for version in VERSIONS {
        for (id, reason) in [
            ("dev-1", OK),
            ("dev", Reason::NOT_AUTHORIZED),
            ("x-dev-", Reason::NOT_AUTHORIZED),
            ("", OK),
        ] {
            assert_eq!(world.answer(&Dial::clean(version, id)).1, reason, "{id}");
        }
    }
}

/// `global_max_clients` counts sessions, connected or not; who has one may come back.
#[test]
fn sessions_are_counted() {
    let mut world = world(|s| s.global_max_clients = Some(2));
    let kept = world.durable(Version::V5, "kept");
    world.cut(kept);
    let clean = world.clean(Version::V5, "clean");
    let another = Dial::clean(Version::V5, "another");
    assert_eq!(world.answer(&another).1, Reason::SERVER_BUSY);
    let (_, present) = world.connect(&Dial::durable(Version::V5, "kept"));
    assert!(present);
    world.cut(clean);
    assert_eq!(world.answer(&another).1, OK);
}

/// `max_inflight_bytes` counts payloads; one message goes always, and all go in the end.
#[test]
fn bytes_in_flight_are_bounded() {
    let mut world = world(|s| s.max_inflight_bytes = 16);
    let sub = world.durable(Version::V5, "sub");
    world.listen(sub, "t", QoS::ExactlyOnce);
    let publisher = world.clean(Version::V5, "pub");
    let payloads = [
        "12345678",
        "12345678",
        "x",
        "a payload of more than sixteen",
        "y",
    ];
    for (n, payload) in payloads.into_iter().enumerate() {
        world.publish(publisher, "t", payload, qos1(n as u16 + 1));
    }
    world.pass(ms(50));
    assert_eq!(world.payloads(sub), ["12345678", "12345678"]);
    world.puback(sub, 1);
    world.pass(ms(50));
    let next = ["x", "a payload of more than sixteen"];
    assert_eq!(world.payloads(sub), next, "9 bytes are below 16");
    world.puback(sub, 2);
    world.puback(sub, 3);
    world.pass(ms(50));
    assert_eq!(world.payloads(sub), NONE);
    world.puback(sub, 4);
    world.pass(ms(50));
    assert_eq!(world.payloads(sub), ["y"]);
}

/// `memory_limit`: MQTT 5 is refused, older publishers wait, QoS 0 is dropped; who makes room may.
#[test]
fn memory_for_messages_is_bounded() {
    let mut world = World::new();
    let (old, new) = (
        world.clean(Version::V311, "old"),
        world.clean(Version::V5, "new"),
    );
    let taken = world.broker.memory();
    world.broker.core.settings.general.memory_limit = Some((taken + 2_000) / 3 * 4);
    let large = "x".repeat(1_400);
    world.publish_with(new, "kept", &large, qos1(1), true, &[]);
    world.pass(ms(50));
    assert!(matches!(world.got(new)[..], [Got::PubAck(1, reason)] if !reason.is_error()));
    assert!(world.broker.memory() >= taken + 1_400);
    world.publish_with(new, "more", &large, qos1(2), true, &[]);
    assert_eq!(world.got(new), [Got::PubAck(2, Reason::QUOTA_EXCEEDED)]);
    world.publish_with(new, "more", &large, Delivery::AtMostOnce, true, &[]);
    world.publish_with(old, "more", &large, qos1(3), true, &[]);
    world.pass(secs(2));
    assert_eq!(
        (world.got(old), world.broker.core.router.retained_len()),
        (vec![], 1)
    );
    world.publish_with(new, "kept", "", qos1(4), true, &[]);
    world.pass(secs(2));
    assert!(matches!(world.got(new)[..], [Got::PubAck(4, reason)] if !reason.is_error()));
    assert_eq!(world.got(old), [Got::PubAck(3, OK)]);
    assert_eq!(world.broker.core.router.retained_len(), 1);
}

/// Without persistence the store is memory.
#[test]
fn without_persistence_what_is_queued_counts() {
    let mut world = world(|s| {
        s.persistence = false;
        s.memory_limit = Some(1_000_000);
    });
    let sub = world.durable(Version::V5, "sub");
    world.listen(sub, "t", QoS::AtLeastOnce);
    world.cut(sub);
    let publisher = world.clean(Version::V5, "pub");
    let taken = world.broker.memory();
    world.publish(publisher, "t", &"x".repeat(1_000), qos1(1));
    world.pass(secs(5));
    assert!(world.broker.memory() >= taken + 1_000);
}

/// `persistent_client_expiration` holds for what is found at the start, and for 3.1.1.
#[test]
fn sessions_found_at_the_start_expire_too() {
    let mut world = World::new();
    for (version, id) in [(Version::V311, "old"), (Version::V5, "new")] {
        let dial = Dial {
            expiry: u32::MAX,
            ..Dial::durable(version, id)
        };
        let (peer, _) = world.connect(&dial);
        world.cut(peer);
    }
    world.pass(secs(1));
    world.settings.persistent_client_expiration = Some(secs(3_600));
    world.crash(secs(1_800));
    assert_eq!(world.broker.gauges().clients, 2);
    world.pass(secs(1_900));
    assert_eq!(world.broker.gauges().clients, 0);
}

/// `upgrade_outgoing_qos`: retained messages, too.
#[test]
fn messages_are_upgraded_to_the_subscription() {
    for (upgrade, qos) in [(true, QoS::AtLeastOnce), (false, QoS::AtMostOnce)] {
        let mut world = world(|s| s.upgrade_outgoing_qos = upgrade);
        let c = world.clean(Version::V5, "c");
        world.publish_with(c, "t", "kept", Delivery::AtMostOnce, true, &[]);
        world.listen(c, "t", QoS::AtLeastOnce);
        world.publish(c, "t", "live", Delivery::AtMostOnce);
        world.pass(ms(50));
        let messages = world.messages(c);
        let came: Vec<QoS> = messages.iter().map(|m| m.delivery.qos()).collect();
        assert_eq!(came, [qos, qos]);
    }
}

/// `retain_available false` ends the connection of who publishes retained (5.0 §3.2.2.3.5).
#[test]
fn retained_messages_may_be_unavailable() {
    for version in VERSIONS {
        let mut world = world(|s| s.retain_available = false);
        let c = world.clean(version, "c");
        world.publish_with(c, "t", "1", Delivery::AtMostOnce, true, &[]);
        let mut got = world.got(c);
        assert_eq!(got.pop(), Some(Got::Closed));
        let told = Got::Disconnect(Reason::RETAIN_NOT_SUPPORTED);
        assert_eq!(got.pop(), (version == Version::V5).then_some(told));
    }
}

/// `max_packet_size`: what is larger ends the connection, by its header alone [MQTT-3.2.2-15].
#[test]
fn packets_may_be_too_large() {
    for version in VERSIONS {
        let mut world = world(|s| s.max_packet_size = Some(100));
        let c = world.clean(version, "c");
        world.publish(c, "t", &"x".repeat(90), Delivery::AtMostOnce);
        assert!(world.is_open(c));
        world.publish(c, "t", &"x".repeat(100), Delivery::AtMostOnce);
        let mut got = world.got(c);
        assert_eq!(got.pop(), Some(Got::Closed));
        let told = Got::Disconnect(Reason::PACKET_TOO_LARGE);
        assert_eq!(got.pop(), (version == Version::V5).then_some(told));
    }
}
