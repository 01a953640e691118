//! Properties: what is passed on, what is not said, topic aliases.

use super::*;

const V: Version = Version::V5;

/// A PUBLISH at QoS 0 on `topic` with these properties.
fn with(topic: &str, props: &[u8]) -> Vec<u8> {
    let mut body = field(topic.as_bytes());
    body.push(props.len() as u8);
    body.extend_from_slice(props);
    packet(0x30, &[&*body, b"x"].concat())
}

/// One that takes `#`.
fn receiver(world: &mut World, props: &[u8]) -> ConnId {
    let c = world.hello_as(&connect(V, 2, props, &field(b"r")));
    world.ask(c, &subscribe(V, 1, &[("#", 1)]), &suback(V, 1, &[1]));
    c
}

/// [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-18], [MQTT-3.3.2-20]: what the publisher says
/// of its message reaches every receiver unaltered, user properties in their order; also from
/// what is retained.
#[test]
fn properties_are_passed_on_unaltered() {
    let props = b"\x01\x01\x08\0\x03r/t\x09\0\x02\0\xff\x03\0\x04text\
                  \x26\0\x01b\0\x011\x26\0\x01a\0\0\x26\0\x01b\0\x010";
    let mut world = World::new();
    let p = world.hello(V, "p");
    let c = receiver(&mut world, b"");
    let sent = with("a", props);
    world.say(p, &sent);
    assert_eq!(world.heard(c), sent);
    let mut retained = sent.clone();
    retained[0] |= 1;
    world.say(p, &retained);
    let late = world.hello(V, "late");
    let answer = [suback(V, 1, &[1]), retained].concat();
    world.ask(late, &subscribe(V, 1, &[("a", 1)]), &answer);
}

/// [MQTT-3.3.2-13], [MQTT-3.3.2-14], [MQTT-3.3.2-19], [MQTT-1.5.7-1]: the strings among them are
/// UTF-8, and a response topic has no wildcard.
#[test]
fn the_strings_of_properties_are_utf_8() {
    for wrong in [
        &b"\x08\0\x01\xff"[..],
        b"\x08\0\x02a\0",
        b"\x08\0\x03a/+",
        b"\x08\0\x01#",
        b"\x03\0\x01\xff",
        b"\x26\0\x01\xff\0\x01a",
        b"\x26\0\x01a\0\x01\xff",
    ] {
        let mut world = World::new();
        let p = world.hello(V, "p");
        world.say(p, &with("a", wrong));
        assert!(world.is_over(p), "{wrong:02x?}");
    }
}

/// [MQTT-3.3.2-12], [MQTT-3.3.2-7]: every alias up to the maximum of the CONNACK is taken; one
/// beyond it is not, nor one of an earlier connection.
#[test]
fn aliases_are_taken_up_to_the_maximum_and_for_one_connection() {
    let mut world = World::new();
    let c = receiver(&mut world, b"");
    let p = world.tcp();
    world.say(p, &connect(V, 2, b"", &field(b"p")));
    world.pass(ms(50));
    let mut most = 0;
    world.each_heard(p, |packet| match packet {
        Packet::ConnAck(connack) => most = connack.props.topic_alias_maximum().unwrap_or(0),
        other => panic!("{other:?}"),
    });
    assert!(most > 0);
    let alias = |n: u16| [&[0x23][..], &n.to_be_bytes()].concat();
    for topic in ["first", "second"] {
        for n in 1..=most {
            world.say(p, &with(&format!("{topic}/{n}"), &alias(n)));
            world.heard(c);
            world.say(p, &with("", &alias(n)));
            let expected = publish(V, 0, &format!("{topic}/{n}"), None, b"x");
            assert_eq!(world.heard(c), expected);
        }
    }
    world.break_off(p);
    let p = world.hello(V, "p");
    world.say(p, &with("", &alias(1)));
    assert!(world.is_over(p), "an alias of the last connection");
    let p = world.hello(V, "p");
    world.say(p, &with("a", &alias(most + 1)));
    assert!(world.is_over(p));
    assert_eq!(world.heard(p), b"\xe0\x01\x94");
    assert_eq!(world.heard(c), b"");
}

/// [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-8], [MQTT-3.3.2-11]: a receiver is sent no alias
/// beyond what it said that it takes, and every topic all the same.
#[test]
fn a_receiver_gets_no_alias_beyond_its_maximum() {
    for most in [0u16, 1, 3] {
        let props = [&[0x22][..], &most.to_be_bytes()].concat();
        let props: &[u8] = if most == 0 { b"" } else { &props };
        let mut world = World::new();
        let c = receiver(&mut world, props);
        let p = world.hello(V, "p");
        let mut known = vec![None; usize::from(most)];
        for round in 0..5 {
            for topic in ["topic/1", "topic/2", "topic/3", "topic/4", "topic/5"] {
                world.say(p, &publish(V, 0, topic, None, b"x"));
                world.each_heard(c, |packet| {
                    let Packet::Publish(p) = packet else {
                        panic!("{packet:?}")
                    };
                    let named = match p.props.topic_alias() {
                        None => p.topic.to_owned(),
                        Some(n) => {
                            assert!((1..=most).contains(&n), "alias {n} of {most}");
                            let slot = &mut known[usize::from(n) - 1];
                            if !p.topic.is_empty() {
                                *slot = Some(p.topic.to_owned());
                            }
                            slot.clone().expect("an alias that was set")
                        }
                    };
                    assert_eq!(named, topic, "round {round}");
                });
            }
        }
    }
}

/// [MQTT-3.1.2-29], and with a Maximum Packet Size that leaves no room for them
/// [MQTT-3.2.2-19], [MQTT-3.2.2-20], [MQTT-3.4.2-2], [MQTT-3.4.2-3] and so on for each packet: no
/// reason string, no user property of the broker's own.
#[test]
fn nothing_is_explained_to_those_who_have_no_room_for_it() {
    let mut world = World::new();
    let mut heard = Vec::new();
    // Request Problem Information 0, Maximum Packet Size 100.
    let ask = b"\x17\0\x27\0\0\0\x64";
    for bytes in [
        publish(V, 2, "$SYS/x", Some(1), b""),
        publish(V, 4, "$SYS/x", Some(2), b""),
        publish(V, 2, "nobody", Some(3), b""),
        packet(0x62, b"\0\x09"),
        packet(0x50, b"\0\x09"),
        subscribe(V, 4, &[("a", 0), ("$share/g/a", 0)]),
        unsubscribe(V, 5, &[b"none"]),
        b"\x36\0".to_vec(),
        b"\xf0\0".to_vec(),
        connect(V, 2, b"", &field(b"c")),
        with("", b"\x23\0\x63"),
    ] {
        let c = world.tcp();
        world.say(c, &connect(V, 2, ask, &field(b"c")));
        world.pass(ms(50));
        world.say(c, &bytes);
        world.pass(ms(50));
        let said = world.heard(c);
        let mut rest = &said[..];
        while !rest.is_empty() {
            let (packet, size) = decode(rest, V, 100).unwrap().unwrap();
            let props = match &packet {
                Packet::ConnAck(p) => p.props,
                Packet::PubAck(p) | Packet::PubRec(p) | Packet::PubRel(p) | Packet::PubComp(p) => {
                    p.props
                }
                Packet::SubAck(p) => p.props,
                Packet::UnsubAck(p) => p.props,
                Packet::Disconnect(p) => p.props,
                other => panic!("{other:?}"),
            };
            let explains = |p: &crate::mqtt::Property<'_>| {
                use crate::mqtt::Property::{ReasonString, User};
                matches!(p, ReasonString(_) | User(..))
            };
            let allowed = matches!(packet, Packet::ConnAck(_) | Packet::Disconnect(_));
            assert!(allowed || !props.iter().any(|p| explains(&p)), "{packet:?}");
            heard.push(said[said.len() - rest.len()] >> 4);
            rest = &rest[size..];
        }
    }
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(
        heard,
        [2, 4, 5, 6, 7, 9, 11, 14],
        "each kind of packet was looked at"
    );
}
