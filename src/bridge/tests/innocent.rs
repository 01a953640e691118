//! What must not lead to a verdict, or not for ever: outages, slow lines, other clients.

use super::closing::*;
use super::*;
use crate::bridge::wire::Inward;
use crate::message::{Message, Parts};

/// An upstream that can store nothing for less than a minute, and one topic.
#[test]
fn a_minute_of_trouble_upstream_forbids_no_topic_for_ever() {
    let mut s = quiet(&["# out 1"]);
    for n in 0..6 {
        up(&mut s);
        if n >= 3 {
            open(&mut s);
        }
        sends(&s, "site/data", QoS::AtLeastOnce);
        let seq = if n < 5 { 1 } else { 2 };
        close_on(&mut s, &message(seq, Some(seq), QoS::AtLeastOnce));
    }
    // From now on the upstream works.
    for _ in 0..30 {
        up(&mut s);
        s.pass(secs(24 * 3600));
        s.lose(&Error::PingTimeout, 0);
    }
    assert!(!s.link.wire().is_forbidden("site/data"));
}

/// The upstream takes what is sent again, and more, on each connection: there is nothing to find out.
#[test]
fn a_line_that_cuts_is_no_upstream_that_closes() {
    let mut s = quiet(&["# out 1"]);
    let cut = |s: &mut Script, taken: u16, first| {
        up(s);
        let is_careful = !s.link.wire().takes_message();
        for id in 1..=taken {
            let ack = Ack::new(PacketId::new(id).unwrap(), Reason::SUCCESS);
            s.receive(Packet::PubAck(ack)).unwrap();
        }
        let under_way = UnderWay {
            count: 20,
            ..message(first, Some(first), QoS::AtLeastOnce)
        };
        close_on(s, &under_way);
        is_careful
    };
    for n in 1..30 {
        assert!(!cut(&mut s, 20, n * 100), "{n}");
    }
    // One that is left each time is suspect, however much comes before it.
    for n in 0..4 {
        assert!(!cut(&mut s, 20, 3_000), "{n}");
    }
    assert!(cut(&mut s, 0, 3_000));
}

/// The hold counts as time in which nothing went wrong.
#[test]
fn a_held_connection_is_careful_when_it_opens() {
    let mut s = quiet(&["# out 1"]);
    for _ in 0..3 {
        up(&mut s);
        close_on(&mut s, &message(1, Some(1), QoS::AtLeastOnce));
    }
    for n in 0..20 {
        up(&mut s);
        let ready = s.now;
        open(&mut s);
        let held = s.now.since(ready);
        sends(&s, &format!("t/{}", n / 2), QoS::AtLeastOnce);
        let opened = s.now;
        if held >= secs(60) {
            let next = step(&mut s);
            let after = s.now.since(opened);
            assert_eq!(
                next, "idle",
                "after a hold of {held:?}, {after:?} after it opened"
            );
        }
        close_on(&mut s, &message(n / 2, Some(n / 2), QoS::AtLeastOnce));
    }
}

/// At QoS 0, that a topic arrives is no excuse: another client with the same client id.
#[test]
fn what_arrives_at_qos_0_is_innocent() {
    let mut s = quiet(&["# out 0"]);
    for _ in 0..3 {
        up(&mut s);
        sends(&s, "t", QoS::AtMostOnce);
        s.close();
    }
    for _ in 0..2 {
        up(&mut s);
        open(&mut s);
        for _ in 0..20 {
            sends(&s, "t", QoS::AtMostOnce);
            while !s.sent().contains(&"PINGREQ".to_owned()) {
                step(&mut s);
            }
            s.pass(ms(600));
            s.receive(Packet::PingResp).unwrap();
            assert!(s.link.wire().takes_message());
        }
        // Just then the other one takes over.
        sends(&s, "t", QoS::AtMostOnce);
        s.close();
    }
    up(&mut s);
    assert!(!s.link.wire().is_forbidden("t"));
}

/// A queue in RAM, and an upstream that takes no QoS 2.
#[test]
fn a_queue_in_ram_finds_that_it_is_the_qos() {
    let mut s = quiet(&["# out 2"]);
    for n in 0..3 {
        up(&mut s);
        sends(&s, "a", QoS::ExactlyOnce);
        close_on(&mut s, &message(n, None, QoS::ExactlyOnce));
    }
    for n in 0..10 {
        if limits(&mut s).max_qos < QoS::ExactlyOnce {
            return;
        }
        open(&mut s);
        assert!(!s.link.wire().is_forbidden("a"), "{}", s.link.status());
        sends(&s, "a", QoS::ExactlyOnce);
        close_on(&mut s, &message(3 + n, None, QoS::ExactlyOnce));
    }
    panic!("QoS 2 is never doubted");
}

/// A window once made small, on a line that is cut every 23 hours, or never.
#[test]
fn a_small_window_is_for_a_day() {
    for hold in [23 * 3600, 24 * 3600 * 365] {
        let mut s = quiet(&["# out 1"]);
        for _ in 0..3 {
            up(&mut s);
            s.close_with(50);
        }
        up(&mut s);
        open(&mut s);
        for _ in 0..51 {
            s.puback(1000, Reason::SUCCESS).unwrap();
        }
        assert!(step(&mut s).starts_with("window"));
        s.close_with(50);
        for _ in 0..2 {
            up(&mut s);
            s.close_with(50);
        }
        let mut window = limits(&mut s).receive_maximum;
        assert_eq!(window, 10);
        for _ in 0..30 {
            s.pass(secs(hold));
            while let "window 65535" = s.drive().as_str() {
                window = u16::MAX;
            }
            if hold > 100_000 {
                break;
            }
            s.lose(&Error::PingTimeout, 0);
            window = limits(&mut s).receive_maximum;
        }
        assert_eq!(window, u16::MAX, "{hold}");
    }
}

/// Another client upstream that repeats a value, once: then what it says later is lost.
#[test]
fn a_value_repeated_by_another_client_is_no_echo() {
    let mut s = Script::new(spec(&["# both 0"]));
    s.dial();
    s.accept(false, &[]);
    let mut topic = String::new();
    let message = |payload: &[u8], at| {
        let parts = Parts {
            topic: "lamp",
            props: &[],
            payload,
        };
        Message::new(parts, at, Rc::default()).unwrap()
    };
    let wire = s.link.wire().clone();
    // Switched here, and on an app upstream two seconds later.
    assert!(wire.outward(None, &message(b"on", s.now), &mut topic, s.now));
    s.pass(secs(2));
    let first = wire.inward(("lamp", b"on"), false, &mut topic, s.now);
    // A minute later: on here, off and on again by the app.
    s.pass(secs(60));
    assert!(wire.outward(None, &message(b"on", s.now), &mut topic, s.now));
    s.pass(secs(5));
    let off = wire.inward(("lamp", b"off"), false, &mut topic, s.now);
    s.pass(secs(5));
    let on = wire.inward(("lamp", b"on"), false, &mut topic, s.now);
    assert_eq!([first, off, on], [Inward::Taken; 3]);
}

/// SIGHUP on a careful connection: it has not proven that nothing alone is to blame.
#[test]
fn what_was_forgotten_is_no_proof() {
    let mut s = quiet(&["# out 1"]);
    for _ in 0..3 {
        up(&mut s);
        s.close_with(50);
    }
    up(&mut s);
    open(&mut s);
    s.link.forget_given_up();
    assert!(step(&mut s).starts_with("window"));
    s.close_with(50);
    for _ in 0..2 {
        up(&mut s);
        s.close_with(50);
    }
    assert!(
        s.link
            .take_given_up()
            .is_none_or(|(_, list)| list.is_empty()),
        "{}",
        s.link.status()
    );
}

/// A poison at the end of the window, on a line with a long round trip.
#[test]
fn a_slow_line_gets_to_the_end_of_the_window() {
    let mut s = quiet(&["# out 1"]);
    for _ in 0..3 {
        up(&mut s);
        s.close_with(100);
    }
    up(&mut s);
    open(&mut s);
    for acknowledged in 0..100 {
        sends(&s, "t", QoS::AtLeastOnce);
        let answer = s.now + ms(1000);
        while s.link.next_timeout() < answer {
            let next = step(&mut s);
            assert_eq!(next, "idle", "{acknowledged} of 100 were tried");
            if s.sent().contains(&"PINGREQ".to_owned()) {
                s.receive(Packet::PingResp).unwrap();
            }
        }
        s.now = answer;
        s.puback(1000, Reason::SUCCESS).unwrap();
    }
}

/// QoS 2 given up for an upstream that was down for a minute.
#[test]
fn a_minute_of_trouble_upstream_does_not_end_qos_2() {
    let mut s = quiet(&["# out 2"]);
    for n in 0..5 {
        up(&mut s);
        if n >= 3 {
            open(&mut s);
        }
        sends(&s, "t", QoS::ExactlyOnce);
        close_on(&mut s, &message(1, Some(1), QoS::ExactlyOnce));
    }
    // From now on the upstream works.
    up(&mut s);
    open(&mut s);
    sends(&s, "t", QoS::AtLeastOnce);
    s.puback(1000, Reason::SUCCESS).unwrap();
    for _ in 0..30 {
        s.pass(secs(24 * 3600));
        s.lose(&Error::PingTimeout, 0);
        s.sent();
        up(&mut s);
    }
    s.lose(&Error::PingTimeout, 0);
    assert_eq!(
        limits(&mut s).max_qos,
        QoS::ExactlyOnce,
        "{}",
        s.link.status()
    );
}

/// A PUBCOMP for what an earlier connection sent comes while a large message is under way: it does not
/// prove that the large one was taken.
#[test]
fn the_end_of_another_message_proves_no_size() {
    let mut s = quiet(&["# out 2"]);
    for (seq, topic) in (1..).zip(["a", "b", "c"]) {
        for attempt in 0.. {
            assert!(attempt < 20, "{topic}: {}", s.link.status());
            up(&mut s);
            let is_careful = !s.link.wire().takes_message();
            if is_careful {
                open(&mut s);
            }
            sends_large(&s, topic);
            if !is_careful {
                let id = PacketId::new(7).unwrap();
                s.receive(Packet::PubComp(Ack::new(id, Reason::SUCCESS)))
                    .unwrap();
            }
            if close_on(&mut s, &message(seq, Some(seq), QoS::AtLeastOnce)).is_some() {
                break;
            }
        }
    }
    assert!(
        s.link
            .status()
            .to_string()
            .contains("messages of more than"),
        "{}",
        s.link.status()
    );
}

/// A careful connection goes on as others do with one message under way: its end proves nothing about a
/// large one that follows.
#[test]
fn what_was_under_way_on_a_careful_connection_proves_no_size() {
    let s = quiet(&["# out 1"]);
    let wire = s.link.wire();
    wire.begin(true);
    wire.open();
    let first = PacketId::new(1).unwrap();
    wire.sent("a", QoS::AtLeastOnce, first);
    assert!(!wire.takes_message(), "one at a time");
    wire.end_careful();
    sends_large(&s, "b");
    assert_eq!(wire.acknowledged(first), None);
    let large = PacketId::new(1000).unwrap();
    assert!(wire.acknowledged(large).is_some_and(|size| size > 10_000));
    assert_eq!(wire.acknowledged(large), None);
}
