//! SUBSCRIBE and UNSUBSCRIBE.

use super::*;

/// The UNSUBACK of these reasons; before 5.0 it has none.
fn unsuback(version: Version, id: u16, reasons: &[u8]) -> Vec<u8> {
    match version {
        Version::V5 => packet(0xb0, &[&id.to_be_bytes(), &b"\0"[..], reasons].concat()),
        _ => packet(0xb0, &id.to_be_bytes()),
    }
}

/// 3.1.1 [MQTT-3.8.4-1] to [MQTT-3.8.4-5], [MQTT-3.9.3-1], 5.0 [MQTT-3.8.4-1] to
/// [MQTT-3.8.4-7], [MQTT-3.9.3-1]: one SUBACK, with the id and a code for each filter in their
/// order, whatever the filters.
#[test]
fn each_filter_has_its_code() {
    for version in VERSIONS {
        let mut world = World::new();
        let c = world.hello(version, "c");
        let filters = [("a", 2), ("b", 0), ("a/+", 1), ("#", 2), ("a", 0)];
        let ask = subscribe(version, 0xabcd, &filters);
        world.ask(c, &ask, &suback(version, 0xabcd, &[2, 0, 1, 2, 0]));
    }
}

/// 3.1.1 [MQTT-3.8.4-5], [MQTT-3.9.3-2], 5.0 [MQTT-3.8.4-7], [MQTT-3.9.3-2]: a subscription that
/// failed, here one too many, has a code that says so, at its place.
#[test]
fn a_failure_has_its_code() {
    for (version, failure) in [(Version::V311, 0x80), (Version::V5, 0x97)] {
        let mut settings = settings();
        settings.max_subscriptions = 100;
        settings.doors.max_filters_per_packet = 0;
        let mut world = World::with(settings);
        let c = world.hello(version, "c");
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let filters: Vec<(&str, u8)> = names.iter().map(|name| (&**name, 0)).collect();
        world.say(c, &subscribe(version, 1, &filters));
        world.heard(c);
        let ask = subscribe(version, 3, &[("7", 1), ("one/more", 1), ("8", 2)]);
        world.ask(c, &ask, &suback(version, 3, &[1, failure, 2]));
        let missed = publish(version, 0, "one/more", None, b"x");
        world.ask(c, &missed, b"");
    }
}

/// [MQTT-3.8.4-3], 5.0 [MQTT-3.8.4-4]: the same filter again takes the place of the first, the
/// retained messages come again, and no message is lost on the way.
#[test]
fn subscribing_again_replaces() {
    for version in VERSIONS {
        let mut world = World::new();
        let p = world.hello(version, "p");
        world.say(p, &publish(version, 1, "a", None, b"kept"));
        let c = world.hello(version, "c");
        let kept = publish(version, 1, "a", None, b"kept");
        for (id, qos) in [(1, 0u8), (2, 2), (3, 1)] {
            let answer = [suback(version, id, &[qos]), kept.clone()].concat();
            world.ask(c, &subscribe(version, id, &[("a", qos)]), &answer);
            world.say(p, &publish(version, 4, "a", Some(id), b"new"));
            world.pass(ms(50));
            let sent = (qos > 0).then_some(id - 1);
            let new = publish(version, qos << 1, "a", sent, b"new");
            assert_eq!(world.heard(c), new, "once, at QoS {qos}");
        }
        // What is sent while the second SUBACK is due arrives, too.
        let c = world.hello_as(&connect(
            version,
            0,
            b"\x11\0\0\x0e\x10",
            &field(b"lasting"),
        ));
        world.ask(
            c,
            &subscribe(version, 1, &[("b", 1)]),
            &suback(version, 1, &[1]),
        );
        world.held = true;
        world.say(c, &subscribe(version, 2, &[("b", 1)]));
        world.say(p, &publish(version, 2, "b", Some(9), b"meanwhile"));
        world.held = false;
        world.pass(ms(100));
        let answer = [
            suback(version, 2, &[1]),
            publish(version, 2, "b", Some(1), b"meanwhile"),
        ];
        assert_eq!(world.heard(c), answer.concat());
    }
}

/// 3.1.1 [MQTT-3.8.4-4], 5.0 [MQTT-3.8.4-5]: many filters in one packet do what as many packets
/// do; but one that stands there twice brings what is retained once.
#[test]
fn many_filters_are_as_many_subscribes() {
    for version in VERSIONS {
        let mut world = World::new();
        let p = world.hello(version, "p");
        for topic in ["a", "b", "c"] {
            world.say(p, &publish(version, 1, topic, None, b"kept"));
        }
        let filters = [("a", 0), ("+", 0), ("b", 0), ("a", 1), ("d", 1)];
        let one = world.hello(version, "one");
        world.say(one, &subscribe(version, 1, &filters));
        let many = world.hello(version, "many");
        for filter in filters {
            world.say(many, &subscribe(version, 1, &[filter]));
        }
        for topic in ["a", "b", "c", "d"] {
            world.say(p, &publish(version, 2, topic, Some(1), b"new"));
        }
        world.pass(ms(50));
        let of = |world: &mut World, c| {
            let mut all = Vec::new();
            world.each_heard(c, |packet| {
                if let Packet::Publish(p) = packet {
                    all.push((p.topic.to_owned(), p.payload.to_vec(), p.retain, p.delivery));
                }
            });
            all.sort_by_key(|(topic, payload, ..)| (payload.clone(), topic.clone()));
            all
        };
        let mut expected = of(&mut world, many);
        assert!(expected.len() > 8);
        // The second "a" takes the place of the first before that brings anything.
        let kept = expected
            .iter()
            .position(|(topic, _, retain, _)| topic == "a" && *retain);
        expected.remove(kept.unwrap());
        assert_eq!(of(&mut world, one), expected);
    }
}

/// 3.1.1 [MQTT-3.3.5-1], 5.0 [MQTT-3.3.4-2]: where subscriptions overlap, the highest QoS.
#[test]
fn overlapping_subscriptions_bring_the_highest_qos() {
    for version in VERSIONS {
        let mut world = World::new();
        let c = world.hello(version, "c");
        let filters = [("a/b", 0), ("a/+", 2), ("#", 1)];
        world.ask(
            c,
            &subscribe(version, 1, &filters),
            &suback(version, 1, &[0, 2, 1]),
        );
        let p = world.hello(version, "p");
        world.say(p, &publish(version, 4, "a/b", Some(1), b"x"));
        world.pass(ms(50));
        let mut came = Vec::new();
        world.each_heard(c, |packet| match packet {
            Packet::Publish(p) => came.push(p.delivery.qos() as u8),
            other => panic!("{other:?}"),
        });
        assert_eq!(came.iter().max(), Some(&2), "{came:?}");
    }
}

/// 5.0 [MQTT-3.3.4-3] to [MQTT-3.3.4-5]: with the identifiers of those that have one.
#[test]
fn identifiers_of_all_matching_subscriptions_are_sent() {
    let mut world = World::new();
    let c = world.hello(Version::V5, "c");
    for (id, filter) in [(7u8, "a/b"), (0, "a/+"), (9, "#"), (11, "other")] {
        let props: &[u8] = &match id {
            0 => vec![0],
            id => vec![2, 0x0b, id],
        };
        let body = [b"\0\x01", props, &field(filter.as_bytes()), b"\0"].concat();
        world.ask(c, &packet(0x82, &body), &suback(Version::V5, 1, &[0]));
    }
    let p = world.hello(Version::V5, "p");
    world.say(p, &publish(Version::V5, 0, "a/b", None, b"x"));
    let mut ids = Vec::new();
    world.each_heard(c, |packet| match packet {
        Packet::Publish(p) => ids.extend(p.props.subscription_ids()),
        other => panic!("{other:?}"),
    });
    ids.sort_unstable();
    assert_eq!(ids, [7, 9]);
}

/// 3.1.1 [MQTT-3.10.4-4] to [MQTT-3.10.4-6], 5.0 [MQTT-3.10.4-4] to [MQTT-3.10.4-6],
/// [MQTT-3.11.3-1], [MQTT-3.11.3-2]: one UNSUBACK with the id, even if nothing ends; in 5.0 with
/// a reason for each filter, in their order.
#[test]
fn every_unsubscribe_is_answered() {
    for version in VERSIONS {
        let mut world = World::new();
        let c = world.hello(version, "c");
        world.ask(
            c,
            &subscribe(version, 1, &[("a", 0), ("b", 0), ("c", 0)]),
            &suback(version, 1, &[0, 0, 0]),
        );
        let ask = unsubscribe(version, 0x1234, &[b"b", b"none", b"a", b"a"]);
        world.ask(c, &ask, &unsuback(version, 0x1234, &[0, 0x11, 0, 0x11]));
        world.ask(
            c,
            &unsubscribe(version, 2, &[b"a"]),
            &unsuback(version, 2, &[0x11]),
        );
        for topic in ["a", "b", "c"] {
            world.say(c, &publish(version, 0, topic, None, b"x"));
        }
        assert_eq!(world.heard(c), publish(version, 0, "c", None, b"x"));
    }
}

/// [MQTT-3.10.4-1], 3.1.1 [MQTT-3.10.4-2]: filters are compared byte for byte; a wildcard ends
/// nothing but itself.
#[test]
fn filters_are_compared_byte_for_byte() {
    for version in VERSIONS {
        let mut world = World::new();
        let c = world.hello(version, "c");
        world.ask(
            c,
            &subscribe(version, 1, &[("a/b", 0)]),
            &suback(version, 1, &[0]),
        );
        let others: [&[u8]; 6] = [b"a/+", b"#", b"a/B", b"a/b/", b"/a/b", b"a/b/#"];
        for other in others {
            let ask = unsubscribe(version, 2, &[other]);
            world.ask(c, &ask, &unsuback(version, 2, &[0x11]));
        }
        let x = publish(version, 0, "a/b", None, b"x");
        world.ask(c, &x, &x);
        world.ask(
            c,
            &unsubscribe(version, 3, &[b"a/b"]),
            &unsuback(version, 3, &[0]),
        );
        world.ask(c, &x, b"");
    }
}

/// [MQTT-3.8.3-1], [MQTT-4.7.3-2]: filters of SUBSCRIBE are UTF-8 without U+0000.
#[test]
fn filters_of_subscribe_are_utf_8() {
    for version in VERSIONS {
        for bad in [&b"\xff"[..], b"a\0", b"\xed\xa0\x80"] {
            let mut world = World::new();
            let c = world.hello(version, "c");
            let body = [b"\0\x01", &*field(bad), b"\0"].concat();
            world.say(c, &with_props(version, 0x82, &body, 2));
            assert!(world.is_over(c), "{bad:02x?}");
        }
    }
}

/// 5.0 [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1], [MQTT-4.8.2-1], [MQTT-4.8.2-2]: no filter is
/// empty, has a wildcard that is not a level or `#` before the end, or is half a share; not in
/// SUBSCRIBE, nor in UNSUBSCRIBE.
#[test]
fn a_malformed_filter_is_refused() {
    for version in VERSIONS {
        for bad in [
            "",
            "a#",
            "#/a",
            "a/#/b",
            "a+",
            "+a",
            "a/b+/c",
            "##",
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/g#/a",
            "$share/g/a#",
        ] {
            for ask in [
                subscribe(version, 1, &[("fine", 0), (bad, 0)]),
                unsubscribe(version, 1, &[b"fine", bad.as_bytes()]),
            ] {
                let mut world = World::new();
                let c = world.hello(version, "c");
                world.say(c, &ask);
                let said = world.heard(c);
                let closed = world.is_over(c);
                assert!(closed, "{bad:?} in {version:?}: {said:02x?}");
                assert!(world.broker.core.router.is_empty());
            }
        }
    }
}

/// [MQTT-3.10.3-1]: filters of UNSUBSCRIBE are UTF-8.
#[test]
fn filters_of_unsubscribe_are_utf_8() {
    for version in VERSIONS {
        for bad in [&b"\xff"[..], b"a\0", b"\xed\xa0\x80"] {
            let mut world = World::new();
            let c = world.hello(version, "c");
            world.say(c, &unsubscribe(version, 1, &[bad]));
            assert!(world.is_over(c));
        }
    }
}

/// [MQTT-3.10.4-3]: what was begun at QoS 1 and 2 is completed after the UNSUBSCRIBE.
#[test]
fn what_was_begun_is_completed() {
    for version in VERSIONS {
        let mut world = World::new();
        let dial = connect(version, 0, b"\x11\0\0\x0e\x10", &field(b"c"));
        let c = world.hello_as(&dial);
        world.ask(
            c,
            &subscribe(version, 1, &[("a", 2)]),
            &suback(version, 1, &[2]),
        );
        let p = world.hello(version, "p");
        world.say(p, &publish(version, 2, "a", Some(1), b"1"));
        world.say(p, &publish(version, 4, "a", Some(2), b"2"));
        world.pass(ms(50));
        world.heard(c);
        world.ask(
            c,
            &unsubscribe(version, 2, &[b"a"]),
            &unsuback(version, 2, &[0]),
        );
        world.say(p, &publish(version, 4, "a", Some(3), b"3"));
        world.break_off(c);
        let c = world.tcp();
        world.say(c, &dial);
        world.pass(ms(50));
        let heard = world.heard(c);
        let again = [
            publish(version, 10, "a", Some(1), b"1"),
            publish(version, 12, "a", Some(2), b"2"),
        ];
        assert_eq!(heard[2 + usize::from(heard[1])..], again.concat());
        world.ask(c, b"\x40\x02\0\x01\x50\x02\0\x02", b"\x62\x02\0\x02");
        world.ask(c, b"\x70\x02\0\x02", b"");
    }
}
