//! What a listener has of its own: rules, mount point, limits.

use std::path::Path;

use super::world::Last;
use super::*;
use crate::config::{General, Listener, Security};
use crate::mqtt::Property;

/// A world with listeners 0, 1, … of these settings.
fn world(listeners: &[Listener]) -> World {
    let mut settings = settings();
    settings.security.allow_anonymous = Some(true);
    World::with_listeners(settings, listeners.to_vec())
}

/// A listener at whose clients' topics stands `m/`.
fn mounted() -> Listener {
    Listener {
        mount_point: "m/".to_owned(),
        ..Listener::on(2)
    }
}

impl World {
    /// Connects to a listener; the answer and the peer.
    fn dial_at(&mut self, listener: usize, dial: &Dial) -> (Peer, Option<Got>) {
        let peer = self.open_at(listener, dial.version);
        self.send_connect(peer, dial);
        self.pass(ms(50));
        let got = self.next(peer);
        (peer, got)
    }

    fn clean_at(&mut self, listener: usize, version: Version, id: &str) -> Peer {
        let (peer, got) = self.dial_at(listener, &Dial::clean(version, id));
        assert_eq!(got, Some(Got::ConnAck(false, OK)));
        peer
    }

    fn topics(&mut self, peer: Peer) -> Vec<String> {
        let messages = self.messages(peer);
        messages.into_iter().map(|m| m.topic).collect()
    }
}

#[test]
fn a_mount_point_stands_before_every_topic() {
    for version in VERSIONS {
        let mut world = world(&[Listener::on(1), mounted()]);
        let plain = world.clean_at(0, version, "plain");
        let inside = world.clean_at(1, version, "inside");
        world.listen(plain, "#", QoS::AtMostOnce);
        world.listen(inside, "#", QoS::AtMostOnce);
        world.publish(inside, "t", "1", Delivery::AtMostOnce);
        assert_eq!(world.topics(plain), ["m/t"]);
        assert_eq!(world.topics(inside), ["t"]);
        world.publish(plain, "m/x/y", "2", Delivery::AtMostOnce);
        world.publish(plain, "x", "3", Delivery::AtMostOnce);
        world.publish(plain, "m", "matches m/#", Delivery::AtMostOnce);
        assert_eq!(world.topics(inside), ["x/y"]);
        world.unsubscribe(inside, 7, "#");
        // No reason codes in 3.1.1.
        let reasons = vec![OK; usize::from(version == Version::V5)];
        assert_eq!(world.next(inside), Some(Got::UnsubAck(7, reasons)));
        world.publish(plain, "m/x", "4", Delivery::AtMostOnce);
        assert_eq!(world.topics(inside), [""; 0]);
    }
}

#[test]
fn wills_and_aliases_are_mounted() {
    let mut world = world(&[Listener::on(1), mounted()]);
    let plain = world.clean_at(0, Version::V5, "plain");
    world.listen(plain, "#", QoS::AtMostOnce);
    let dial = Dial {
        will: Some(Last {
            payload: "w",
            delay: 0,
            expiry: None,
        }),
        ..Dial::clean(Version::V5, "inside")
    };
    let (inside, _) = world.dial_at(1, &dial);
    let alias = [Property::TopicAlias(1)];
    world.publish_with(inside, "t", "1", Delivery::AtMostOnce, false, &alias);
    world.publish_with(inside, "", "2", Delivery::AtMostOnce, false, &alias);
    assert_eq!(world.topics(plain), ["m/t", "m/t"]);
    world.cut(inside);
    assert_eq!(world.topics(plain), ["m/will"]);
}

/// [MQTT-4.7.3-3]: a topic has at most 65,535 bytes, the mount point included.
#[test]
fn a_topic_that_the_mount_point_makes_too_long_ends_the_connection() {
    let mut world = world(&[mounted()]);
    let peer = world.clean_at(0, Version::V5, "c");
    world.publish(peer, &"t".repeat(65_533), "", Delivery::AtMostOnce);
    assert!(world.is_open(peer));
    world.publish(peer, &"t".repeat(65_534), "", Delivery::AtMostOnce);
    let told = Got::Disconnect(Reason::TOPIC_NAME_INVALID);
    assert_eq!(world.got(peer), [told, Got::Closed]);
}

/// Retained messages and sessions below a mount point outlive the broker.
#[test]
fn a_mount_point_holds_over_a_restart() {
    let mut world = world(&[Listener::on(1), mounted()]);
    let dial = Dial::durable(Version::V5, "inside");
    let (inside, _) = world.dial_at(1, &dial);
    world.listen(inside, "q", QoS::AtLeastOnce);
    world.publish_with(inside, "kept", "1", qos1(1), true, &[]);
    world.pass(ms(50));
    world.crash(secs(1));
    let plain = world.clean_at(0, Version::V5, "plain");
    world.listen(plain, "#", QoS::AtMostOnce);
    assert_eq!(world.topics(plain), ["m/kept"]);
    world.publish(plain, "m/q", "2", qos1(1));
    world.pass(ms(50));
    world.crash(secs(1));
    let (inside, got) = world.dial_at(1, &dial);
    assert_eq!(got, Some(Got::ConnAck(true, OK)));
    world.pass(ms(50));
    assert_eq!(world.topics(inside), ["q"]);
}

/// A session that comes by another listener is not sent what lies outside of its mount point, and
/// does not owe it for ever.
#[test]
fn what_is_outside_of_the_mount_point_is_not_delivered() {
    let mut world = world(&[Listener::on(1), mounted()]);
    let dial = Dial::durable(Version::V5, "c");
    let (c, _) = world.dial_at(0, &dial);
    world.listen(c, "#", QoS::AtLeastOnce);
    world.cut(c);
    let other = world.clean_at(0, Version::V5, "other");
    for (n, topic) in ["a", "m/b", "c"].into_iter().enumerate() {
        world.publish(other, topic, "x", qos1(n as u16 + 1));
    }
    world.pass(ms(50));
    let (c, _) = world.dial_at(1, &dial);
    world.pass(ms(50));
    assert_eq!(world.topics(c), ["b"]);
    world.puback(c, 2);
    world.pass(ms(50));
    assert_eq!(world.broker.gauges().queued_messages, 0);
}

#[test]
fn connections_are_counted_by_listener_and_in_all() {
    let mut world = world(&[
        Listener {
            max_connections: Some(1),
            ..Listener::on(1)
        },
        Listener::on(2),
    ]);
    world.broker.core.settings.general.global_max_connections = Some(2);
    let first = world.open_at(0, Version::V5);
    let second = world.open_at(0, Version::V5);
    assert!(world.is_open(first) && !world.is_open(second));
    let other = world.open_at(1, Version::V5);
    let more = world.open_at(1, Version::V5);
    assert!(world.is_open(other) && !world.is_open(more));
    world.cut(first);
    let again = world.open_at(0, Version::V5);
    assert!(world.is_open(again));
}

#[test]
fn the_user_name_takes_the_place_of_the_client_id() {
    let listener = Listener {
        use_username_as_clientid: true,
        ..Listener::on(1)
    };
    for version in VERSIONS {
        let mut world = world(std::slice::from_ref(&listener));
        let named = |id: &str, username| Dial {
            username,
            ..Dial::clean(version, id)
        };
        let (a, _) = world.dial_at(0, &named("a", Some("ann")));
        let (b, _) = world.dial_at(0, &named("b", Some("ann")));
        assert!(!world.is_open(a) && world.is_open(b), "taken over");
        let (_, got) = world.dial_at(0, &named("c", None));
        let refused = Got::ConnAck(false, Reason::NOT_AUTHORIZED);
        assert_eq!(got, Some(refused));
    }
}

#[test]
fn a_listener_takes_the_versions_it_names() {
    let mut world = world(&[Listener {
        versions: vec![Version::V31, Version::V5],
        ..Listener::on(1)
    }]);
    for (version, takes) in [
        (Version::V31, true),
        (Version::V311, false),
        (Version::V5, true),
    ] {
        let (peer, got) = world.dial_at(0, &Dial::clean(version, "c"));
        let reason = if takes {
            OK
        } else {
            Reason::UNSUPPORTED_PROTOCOL_VERSION
        };
        assert_eq!(got, Some(Got::ConnAck(false, reason)), "{version:?}");
        assert_eq!(world.is_open(peer), takes);
    }
}

/// 5.0 §3.3.2.3.4: an alias above the maximum that was announced, or any where none was.
#[test]
fn topic_aliases_are_bounded_by_the_listener() {
    let with = |max_topic_alias| Listener {
        max_topic_alias,
        ..Listener::on(1)
    };
    let mut world = world(&[with(0), with(3), with(u16::MAX)]);
    for (listener, alias, fits) in [
        (0, 1, false),
        (1, 3, true),
        (1, 4, false),
        (2, u16::MAX, true),
    ] {
        let c = world.clean_at(listener, Version::V5, "c");
        let alias = [Property::TopicAlias(alias)];
        world.publish_with(c, "t", "1", Delivery::AtMostOnce, false, &alias);
        assert_eq!(world.is_open(c), fits, "{listener} {alias:?}");
        if !fits {
            let told = Got::Disconnect(Reason::TOPIC_ALIAS_INVALID);
            assert_eq!(world.next(c), Some(told));
        }
    }
}

/// Two listeners with rules of their own: `topic a` and `topic b`.
fn ruled(dir: &Path) -> World {
    let listener = |port, topic: &str| {
        let path = dir.join(topic);
        std::fs::write(&path, format!("topic {topic}\n")).unwrap();
        Listener {
            security: Security {
                allow_anonymous: Some(true),
                acl_file: Some(path),
                auto_id_prefix: format!("{topic}-"),
                ..Security::default()
            },
            ..Listener::on(port)
        }
    };
    let settings = General {
        per_listener_settings: true,
        ..settings()
    };
    World::with_listeners(settings, vec![listener(1, "a"), listener(2, "b")])
}

#[test]
fn each_listener_has_its_own_rules() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = ruled(dir.path());
    let (a, b) = (
        world.clean_at(0, Version::V5, "a"),
        world.clean_at(1, Version::V5, ""),
    );
    world.listen(a, "#", QoS::AtMostOnce);
    world.listen(b, "#", QoS::AtMostOnce);
    for (peer, topic, may) in [
        (a, "a", true),
        (a, "b", false),
        (b, "a", false),
        (b, "b", true),
    ] {
        world.publish(peer, topic, "x", qos1(1));
        let reason = if may { OK } else { Reason::NOT_AUTHORIZED };
        let mut got = world.got(peer);
        assert_eq!(got.pop(), Some(Got::PubAck(1, reason)), "{topic}");
        assert_eq!(got.len(), usize::from(may), "who may write it reads it");
    }
    let generated = |id: &&str| id.starts_with("b-");
    let ids: Vec<&str> = world.broker.core.sessions.client_ids().collect();
    assert_eq!(ids.iter().filter(|id| generated(id)).count(), 1, "{ids:?}");
}

/// An absent client has the rules of the listener it used last (mosquitto.conf(5)), also after a
/// restart; if that listener is gone, it gets nothing.
#[test]
fn an_absent_client_keeps_the_rules_of_its_listener() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = ruled(dir.path());
    let dial = Dial::durable(Version::V5, "c");
    let (c, _) = world.dial_at(0, &dial);
    world.listen(c, "#", QoS::AtLeastOnce);
    world.cut(c);
    world.pass(ms(50));
    for kept in [true, false] {
        if !kept {
            world.listeners[0].port = 3;
        }
        world.crash(secs(1));
        for (listener, topic) in [(0, "a"), (1, "b")] {
            let writer = world.clean_at(listener, Version::V5, "w");
            world.publish(writer, topic, "x", qos1(1));
            world.pass(ms(50));
        }
        let queued = world.broker.gauges().queued_messages;
        assert_eq!(queued, 1, "only a, and only while listener 1 is there");
    }
}

/// `check_retain_source`: by the rules of the listener that the publisher used.
#[test]
fn a_retained_message_needs_the_rights_of_its_publishers_listener() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = ruled(dir.path());
    let a = world.clean_at(0, Version::V5, "a");
    world.publish_with(a, "a", "1", qos1(1), true, &[]);
    world.pass(ms(50));
    world.cut(a);
    world.crash(secs(1));
    std::fs::write(dir.path().join("b"), "topic read a\n").unwrap();
    world.reload();
    for (rules, source, arrives) in [
        ("topic a\n", true, true),
        ("topic read a\n", true, false),
        ("topic read a\n", false, true),
    ] {
        std::fs::write(dir.path().join("a"), rules).unwrap();
        world.reload();
        world.broker.core.settings.general.check_retain_source = source;
        let b = world.clean_at(1, Version::V5, "b");
        world.listen(b, "a", QoS::AtMostOnce);
        assert_eq!(world.messages(b).len(), usize::from(arrives), "{rules}");
    }
}

/// SIGHUP: those who are still admitted stay, the others go, absent and new ones too.
#[test]
fn a_reload_looks_at_each_listener() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = ruled(dir.path());
    let (a, b) = (
        world.clean_at(0, Version::V5, "a"),
        world.clean_at(1, Version::V5, "b"),
    );
    world.reload();
    world.listeners[1].security.allow_anonymous = Some(false);
    world.reload();
    assert!(world.is_open(a) && !world.is_open(b));
    // From now on one set of rules for all, and back.
    let own = world.listeners.clone();
    for listener in &mut world.listeners {
        listener.security.acl_file = None;
    }
    world.settings.per_listener_settings = false;
    world.settings.security.allow_anonymous = Some(true);
    world.reload();
    world.publish(a, "b", "x", qos1(1));
    assert_eq!(
        world.got(a),
        [Got::PubAck(1, Reason::NO_MATCHING_SUBSCRIBERS)]
    );
    world.listeners = own;
    world.settings.per_listener_settings = true;
    world.reload();
    world.publish(a, "b", "x", qos1(2));
    assert_eq!(world.got(a), [Got::PubAck(2, Reason::NOT_AUTHORIZED)]);
    // Files of their own are enough for that (`plugin_use`).
    world.settings.per_listener_settings = false;
    world.reload();
    for (topic, told) in [
        ("a", Reason::NO_MATCHING_SUBSCRIBERS),
        ("b", Reason::NOT_AUTHORIZED),
    ] {
        world.publish(a, topic, "x", qos1(3));
        assert_eq!(world.got(a), [Got::PubAck(3, told)], "{topic}");
    }
}

/// What was queued before the client lost the right to read it is not sent.
#[test]
fn a_queued_message_needs_the_right_to_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = ruled(dir.path());
    let dial = Dial::durable(Version::V311, "c");
    let (c, _) = world.dial_at(0, &dial);
    world.listen(c, "#", QoS::AtLeastOnce);
    world.cut(c);
    let writer = world.clean_at(0, Version::V5, "w");
    world.publish(writer, "a", "1", qos1(1));
    std::fs::write(dir.path().join("a"), "topic b\n").unwrap();
    world.reload();
    world.publish(writer, "b", "2", qos1(2));
    let (c, got) = world.dial_at(0, &dial);
    assert_eq!(got, Some(Got::ConnAck(true, OK)));
    world.pass(ms(50));
    assert_eq!(world.topics(c), ["b"]);
    world.puback(c, 2);
    world.pass(ms(50));
    assert_eq!(world.broker.gauges().queued_messages, 0);
}

/// [MQTT-3.2.2-11], [MQTT-3.2.2-12]: above `max_qos` a PUBLISH ends the connection, and a will
/// keeps a client out.
#[test]
fn publishers_keep_to_max_qos() {
    let listener = Listener {
        max_qos: QoS::AtMostOnce,
        ..Listener::on(1)
    };
    for version in VERSIONS {
        let mut world = world(&[listener.clone(), Listener::on(2)]);
        let c = world.clean_at(0, version, "c");
        world.publish(c, "t", "1", Delivery::AtMostOnce);
        assert!(world.is_open(c));
        world.publish(c, "t", "2", qos1(1));
        let mut got = world.got(c);
        assert_eq!(got.pop(), Some(Got::Closed));
        let told = Got::Disconnect(Reason::QOS_NOT_SUPPORTED);
        assert_eq!(got.pop(), (version == Version::V5).then_some(told));
        let dial = Dial {
            will: Some(Last {
                payload: "at QoS 1",
                delay: 0,
                expiry: None,
            }),
            ..Dial::clean(version, "willed")
        };
        for (listener, enters) in [(0, false), (1, true)] {
            let (peer, _) = world.dial_at(listener, &dial);
            assert_eq!(world.is_open(peer), enters, "{version:?}");
        }
    }
}
