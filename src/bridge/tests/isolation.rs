//! An upstream that closes the connection on something: what it is, and what is done about it.

use super::closing::*;
use super::*;
use crate::bridge::{Awaited, Wire};
use crate::message::{Message, Parts};

/// The upstream acknowledges a message of the session.
fn acknowledges(s: &mut Script) {
    assert_eq!(s.puback(1000, Reason::SUCCESS), Ok(Step::Forward));
}

/// Three connections in a row end with so many messages under way; the next one is careful.
fn three_ends(s: &mut Script, count: usize) {
    for _ in 0..3 {
        assert!(limits(s).receive_maximum > 10);
        assert!(s.close_with(count).is_none());
    }
}

/// A message at QoS 2 that ends the connection, alone, twice, and at QoS 1 does not: QoS 2 is what the
/// upstream does not take. The verdict outlives the process.
#[test]
fn qos_2_is_given_up_where_a_message_goes_through_at_qos_1() {
    let mut s = quiet(&["# out 2"]);
    three_ends(&mut s, 20);
    for _ in 0..2 {
        let limits = limits(&mut s);
        let of_session = (
            limits.receive_maximum,
            limits.max_qos,
            limits.topic_alias_max,
        );
        assert_eq!(of_session, (1, QoS::ExactlyOnce, 0));
        assert!(!s.link.wire().takes_message(), "requests come first");
        open(&mut s);
        assert!(s.link.wire().takes_message());
        sends(&s, "a", QoS::ExactlyOnce);
        assert!(s.close_with(1).is_none());
    }
    assert_eq!(limits(&mut s).max_qos, QoS::AtLeastOnce);
    open(&mut s);
    sends(&s, "a", QoS::AtLeastOnce);
    acknowledges(&mut s);
    assert!(s.link.status().to_string().contains("without QoS 2"));
    // Once what was under way has gone through, the rest goes as ever.
    for _ in 0..20 {
        sends(&s, "a", QoS::AtLeastOnce);
        acknowledges(&mut s);
    }
    assert_eq!(step(&mut s), format!("window {}", u16::MAX));
    let known = s.link.take_given_up().unwrap();
    assert!(s.link.take_given_up().is_none());

    let spec = s.link.spec().clone();
    let mut later = quiet(&[]);
    later.link = Link::new(spec.clone(), 1, later.now).with_given_up(&known);
    assert_eq!(limits(&mut later).max_qos, QoS::AtLeastOnce);
    let mut other = (*spec).clone();
    other.topics.clear();
    later.link = Link::new(Rc::new(other), 1, later.now).with_given_up(&known);
    assert_eq!(
        limits(&mut later).max_qos,
        QoS::ExactlyOnce,
        "configured anew"
    );
    assert_eq!(
        later.link.take_given_up().map(|(_, list)| list.len()),
        Some(0)
    );
    later.link = Link::new(spec, 1, later.now).with_given_up(&known);
    later.link.forget_given_up();
    assert_eq!(limits(&mut later).max_qos, QoS::ExactlyOnce, "SIGHUP");
}

/// A message that ends the connection at any QoS is set aside; the second on its topic is proof that the
/// topic is to blame, and the next are not even sent.
#[test]
fn a_message_that_ends_the_connection_is_set_aside() {
    let mut s = quiet(&["# out 2"]);
    three_ends(&mut s, 3);
    let poison = |s: &mut Script| {
        limits(s);
        open(s);
        sends(s, "a b", QoS::ExactlyOnce);
        s.close_with(1)
    };
    assert!(
        (0..3).all(|_| poison(&mut s).is_none()),
        "at QoS 2, then once at QoS 1"
    );
    assert_eq!(poison(&mut s).map(|message| message.seq), Some(1));
    assert!(!s.link.wire().is_forbidden("a b"));
    // Other messages go through.
    limits(&mut s);
    open(&mut s);
    sends(&s, "a", QoS::ExactlyOnce);
    acknowledges(&mut s);
    assert!(s.link.take_given_up().is_none());
    sends(&s, "a b", QoS::ExactlyOnce);
    assert!(s.close_with(1).is_none(), "perhaps it is the QoS");
    assert!(poison(&mut s).is_some());
    assert!(s.link.wire().is_forbidden("a b"));
    assert!(s.link.take_given_up().is_some());
    assert!(s.link.status().to_string().contains("messages on a b"));
}

/// An upstream that takes no message at all, for want of rights say, does not turn the whole queue into
/// dead letters, and what comes in has the connection to itself for longer and longer.
#[test]
fn an_upstream_that_takes_nothing_is_tried_less_and_less() {
    let mut s = quiet(&["# out 1", "c in 1"]);
    for _ in 0..3 {
        up(&mut s);
        s.suback(s.ids, Reason::GRANTED_QOS_1).unwrap();
        s.close_with(5);
    }
    let (begun, mut aside) = (s.now, 0);
    let mut held = Vec::new();
    for n in 0..12 {
        up(&mut s);
        let ready = s.now;
        s.suback(s.ids, Reason::GRANTED_QOS_1).unwrap();
        open(&mut s);
        held.push(s.now.since(ready));
        sends(&s, &format!("t/{}", n / 2), QoS::AtLeastOnce);
        s.link.failed(&Error::Closed("gone".into()), s.now);
        let first = Unanswered {
            seq: n / 2,
            id: Some(MessageId(n / 2)),
            qos: QoS::AtLeastOnce,
        };
        let under_way = UnderWay {
            count: 1,
            first: Some(first),
            ..UnderWay::default()
        };
        aside += usize::from(s.link.judge(&under_way, s.now).is_some());
    }
    let long = held.iter().step_by(2).map(|held| held.as_secs());
    assert_eq!(long.collect::<Vec<_>>(), [0, 10, 20, 40, 80, 160]);
    assert_eq!(aside, 6);
    assert!(s.now.since(begun) > secs(200));
}

/// ejabberd closes on a shared subscription before MQTT 5: the other lines go on without it.
#[test]
fn a_subscription_that_ends_the_connection_is_left_out() {
    let mut s = quiet(&["$share/g/a in 1", "b in 1"]);
    for _ in 0..3 {
        assert_eq!(up(&mut s).len(), 2);
        s.close();
    }
    for _ in 0..2 {
        let sent = up(&mut s);
        assert!(
            sent.len() == 1 && sent[0].contains("$share/g/a"),
            "{sent:?}"
        );
        s.close();
    }
    // Perhaps the upstream closes on anything: the other one goes first, and then that one again.
    let sent = up(&mut s);
    assert!(sent.len() == 1 && sent[0].contains(" b "), "{sent:?}");
    assert!(s.link.take_given_up().is_none());
    s.suback(s.ids, Reason::GRANTED_QOS_1).unwrap();
    assert!(s.sent()[0].contains("$share/g/a"));
    s.close();
    assert!(s.link.take_given_up().is_some());
    assert_eq!(up(&mut s).len(), 1);
    s.suback(s.ids, Reason::GRANTED_QOS_1).unwrap();
    let status = s.link.status().to_string();
    assert!(
        status.contains("without the subscription to $share/g/a"),
        "{status}"
    );
    open(&mut s);
    s.pass(secs(50));
    assert_eq!(step(&mut s), "idle");
    s.pass(secs(10));
    s.link.sent(s.now);
    while step(&mut s) == "idle" {
        s.receive(Packet::PingResp).unwrap();
    }
    s.close();
    assert_eq!(up(&mut s).len(), 1);
}

/// An upstream that closes on every request is not to blame for one of them: nothing is given up, and it
/// is tried less and less often.
#[test]
fn an_upstream_that_closes_on_everything_is_left_alone_for_minutes() {
    let mut s = quiet(&["a in 1", "b in 1", "c in 1", "d in 1", "e in 1"]);
    let mut asked = std::collections::BTreeSet::new();
    let mut wait = secs(0);
    for _ in 0..25 {
        let before = s.now;
        asked.extend(
            up(&mut s)
                .iter()
                .filter_map(|line| line.split(' ').nth(2).map(str::to_owned)),
        );
        wait = s.now.since(before);
        s.close();
    }
    assert!(s.link.take_given_up().is_none());
    assert!(wait >= secs(200) && wait <= secs(400), "{wait:?}");
    assert_eq!(asked.len(), 5);
}

/// What is sent at QoS 0 has no answer: a ping behind it tells whether it arrived.
#[test]
fn a_topic_that_ends_the_connection_at_qos_0_is_found() {
    let mut s = quiet(&["# out 0"]);
    for _ in 0..3 {
        up(&mut s);
        sends(&s, "a.b", QoS::AtMostOnce);
        s.close();
    }
    for n in 0..2 {
        up(&mut s);
        open(&mut s);
        sends(&s, "good", QoS::AtMostOnce);
        assert!(
            !s.link.wire().takes_message(),
            "the next waits for the answer"
        );
        step(&mut s);
        assert_eq!(s.sent(), ["PINGREQ"]);
        assert!(matches!(s.receive(Packet::PingResp), Ok(Step::Answered(_))));
        assert!(s.link.wire().takes_message());
        assert!(!s.link.wire().is_forbidden("a.b"), "{n}");
        sends(&s, "a.b", QoS::AtMostOnce);
        s.close();
    }
    up(&mut s);
    assert!(s.link.wire().is_forbidden("a.b") && !s.link.wire().is_forbidden("good"));
}

/// Where each message goes through by itself, it is how many there are at once.
#[test]
fn a_window_that_ends_the_connection_shrinks() {
    let mut s = quiet(&["# out 1"]);
    let mut windows = Vec::new();
    for _ in 0..2 {
        let limits = limits(&mut s);
        windows.push(limits.receive_maximum);
        let count = usize::from(limits.receive_maximum.min(50));
        s.close_with(count);
        for _ in 0..2 {
            up(&mut s);
            s.close_with(count);
        }
        up(&mut s);
        open(&mut s);
        for _ in 0..51 {
            sends(&s, "a", QoS::AtLeastOnce);
            acknowledges(&mut s);
        }
        assert!(step(&mut s).starts_with("window"));
        for _ in 0..2 {
            s.close_with(count);
            up(&mut s);
        }
        s.close_with(count);
    }
    windows.push(limits(&mut s).receive_maximum);
    assert_eq!(windows, [u16::MAX, 10, 1]);
}

/// A link that breaks, an upstream that stops or says that it is busy, and one that another client has
/// taken over from: nothing that was sent is to blame.
#[test]
fn a_broken_link_is_nobodys_fault() {
    let innocent = [
        Error::Io("Connection timed out".into()),
        Error::PingTimeout,
        Error::AckTimeout(Awaited::Message),
        Error::Disconnected(Reason::SERVER_SHUTTING_DOWN, Default::default()),
        Error::Disconnected(Reason::SESSION_TAKEN_OVER, Default::default()),
    ];
    for error in innocent {
        let mut s = quiet(&["# out 1"]);
        for _ in 0..10 {
            assert!(limits(&mut s).receive_maximum > 1, "{error}");
            s.lose(&error, 1);
        }
    }
}

/// An upstream that answers pings and never acknowledges a message: the same as one that closes on it.
#[test]
fn a_message_that_is_never_acknowledged_is_set_aside() {
    let mut s = quiet(&["# out 1"]);
    let mut aside = None;
    let mut connections = 0;
    while aside.is_none() {
        connections += 1;
        assert!(connections < 10);
        up(&mut s);
        let since = s.now;
        loop {
            s.link.unacknowledged(Some(since));
            match step(&mut s).as_str() {
                "close" => break,
                "window 1" => sends(&s, "a", QoS::AtLeastOnce),
                _ => {}
            }
            if s.sent().contains(&"PINGREQ".to_owned()) {
                s.receive(Packet::PingResp).unwrap();
            }
        }
        let under_way = UnderWay {
            count: 1,
            first: Some(Unanswered {
                seq: 1,
                id: Some(MessageId(1)),
                qos: QoS::AtLeastOnce,
            }),
            ..UnderWay::default()
        };
        aside = s.link.judge(&under_way, s.now);
    }
    assert_eq!(connections, 5);
}

/// The wire of a link whose connection is not careful lets everything through.
#[test]
fn an_ordinary_connection_holds_nothing_up() {
    let wire = Wire::new(Rc::new(crate::bridge::Map::new(&[])));
    wire.sent("a", QoS::AtMostOnce, PacketId::new(1).unwrap());
    assert!(wire.takes_message() && !wire.is_forbidden("a"));
    let parts = Parts {
        topic: "a",
        props: &[],
        payload: b"1",
    };
    let message = Message::new(parts, Time::from_secs(1), Rc::default()).unwrap();
    assert!(!wire.outward(None, &message, &mut String::new(), Time::from_secs(1)));
}

/// A bridge whose queue lives in RAM: its messages do not come again, but others on the topic do.
#[test]
fn a_topic_that_ends_the_connection_is_found_without_a_store() {
    let mut s = quiet(&["# out 1"]);
    let poison = |s: &mut Script, seq| {
        sends(s, "a.b", QoS::AtLeastOnce);
        s.link.failed(&Error::Closed("gone".into()), s.now);
        let first = Unanswered {
            seq,
            id: None,
            qos: QoS::AtLeastOnce,
        };
        let under_way = UnderWay {
            count: 1,
            first: Some(first),
            ..UnderWay::default()
        };
        assert!(s.link.judge(&under_way, s.now).is_none());
    };
    for seq in 0..3 {
        up(&mut s);
        poison(&mut s, seq);
    }
    for seq in 3..5 {
        up(&mut s);
        open(&mut s);
        assert!(!s.link.wire().is_forbidden("a.b"));
        poison(&mut s, seq);
    }
    assert!(s.link.wire().is_forbidden("a.b"));
}

/// SIGHUP in the middle of it: everything goes out as ever.
#[test]
fn a_careful_connection_ends_with_what_is_forgotten() {
    let mut s = quiet(&["# out 1"]);
    three_ends(&mut s, 3);
    limits(&mut s);
    open(&mut s);
    s.link.forget_given_up();
    assert_eq!(step(&mut s), format!("window {}", u16::MAX));
}

/// How many messages go out at once may have had another reason: it is tried again after a day.
#[test]
fn a_smaller_window_is_for_a_day() {
    let mut s = quiet(&["# out 1"]);
    three_ends(&mut s, 50);
    up(&mut s);
    open(&mut s);
    for _ in 0..51 {
        acknowledges(&mut s);
    }
    assert!(step(&mut s).starts_with("window"));
    s.close_with(50);
    for _ in 0..2 {
        up(&mut s);
        s.close_with(50);
    }
    assert_eq!(limits(&mut s).receive_maximum, 10);
    s.pass(secs(24 * 3600));
    s.close_with(1);
    assert_eq!(limits(&mut s).receive_maximum, u16::MAX);
}

/// An upstream that closes on PUBREL: QoS 2 is given up once a message has gone through at QoS 1. It has
/// forgotten the session each time, or sends the PUBRELs of an earlier connection to its end.
#[test]
fn an_upstream_that_closes_on_pubrel_gets_qos_1() {
    for is_known in [false, true] {
        let mut s = quiet(&["# out 2", "a in 1", "b in 1"]);
        let mut released = message(7, Some(7), QoS::ExactlyOnce);
        released.released = 1;
        let mut ends = 0;
        while limits(&mut s).max_qos == QoS::ExactlyOnce {
            if !is_known && ends >= 3 {
                for _ in 0..2 {
                    s.suback(s.ids, Reason::GRANTED_QOS_1).unwrap();
                }
                open(&mut s);
                sends(&s, "x", QoS::ExactlyOnce);
            }
            assert!(close_on(&mut s, &released).is_none());
            assert!(s.link.take_given_up().is_none());
            ends += 1;
            assert!(ends < 10);
        }
        assert_eq!(ends, 5, "three, and two careful ones");
        for _ in 0..2 {
            s.suback(s.ids, Reason::GRANTED_QOS_1).unwrap();
        }
        open(&mut s);
        sends(&s, "x", QoS::AtLeastOnce);
        acknowledges(&mut s);
        assert!(s.link.status().to_string().contains("without QoS 2"));
    }
}
