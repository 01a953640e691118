//! Requests and offers that an outage makes look refused: they are made again.

use super::closing::*;
use super::*;

/// RabbitMQ, a node down: it takes CONNECT and closes at SUBSCRIBE, for a minute.
#[test]
fn a_minute_of_trouble_upstream_ends_no_subscription_for_ever() {
    let mut s = quiet(&["cmd in 1", "other in 1"]);

    for _ in 0..5 {
        up(&mut s);
        s.close();
    }
    // From now on the upstream works.
    let mut asked = Vec::new();
    for _ in 0..30 {
        let mut lines = up(&mut s);
        while let Some(line) = lines.pop() {
            let id = line.split(' ').nth(1).unwrap().parse().unwrap();
            asked.push(line);
            s.suback(id, Reason::GRANTED_QOS_1).unwrap();
            lines.extend(s.sent());
        }
        s.pass(secs(24 * 3600));
        s.lose(&Error::PingTimeout, 0);
    }
    let cmd = asked.iter().filter(|line| line.contains(" cmd "));
    assert_eq!(cmd.count(), 30);
}

/// An upstream that answers the ping before it closes on whatever was asked.
#[test]
fn a_ping_that_is_answered_proves_nothing_about_requests() {
    let mut s = quiet(&["a in 1", "b in 1", "c in 1", "d in 1", "e in 1"]);

    for _ in 0..25 {
        up(&mut s);
        step(&mut s);
        if s.sent().contains(&"PINGREQ".to_owned()) {
            s.receive(Packet::PingResp).unwrap();
        }
        s.close();
    }
    assert!(s.link.take_given_up().is_none());
}

/// One innocent end within the round trip of the notification.
#[test]
fn one_end_is_no_proof_against_the_notification() {
    let mut s = Script::new(v311(spec(&["a out 1"])));
    s.dial();
    s.accept(true, &[]);
    s.pass(ms(300));
    s.close();
    s.dial();
    s.accept(true, &[]);
    s.pass(secs(6));
    s.lose(&Error::PingTimeout, 0);
    for _ in 0..30 {
        s.dial();
        s.accept(true, &[]);
        s.sent();
        s.pass(secs(24 * 3600));
        s.lose(&Error::PingTimeout, 0);
    }
    assert!(s.dial().contains("will"), "{}", s.link.status());
}

/// A PUBACK that refuses for now.
#[test]
fn a_refusal_for_now_is_no_verdict() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.accept(false, &[]);
    s.puback(1, Reason::QUOTA_EXCEEDED).unwrap();
    s.close();
    for _ in 0..30 {
        s.dial();
        s.accept(true, &[]);
        s.sent();
        s.pass(secs(24 * 3600));
        s.lose(&Error::PingTimeout, 0);
    }
    assert!(s.dial().contains("will"), "{}", s.link.status());
}

/// The upstream comes back in the middle of the third attempt: CONNACKs were late so far.
#[test]
fn an_upstream_that_comes_back_mid_attempt_is_not_judged_for_good() {
    let mut wrong = 0;
    for works_from in 1..12 {
        let mut s = Script::new(spec(&[]));
        for _ in 0..6 {
            s.dial();
            s.wait();
        }
        let mut offers = Vec::new();
        for n in 0.. {
            offers.push(s.dial());
            if n == works_from {
                break;
            }
            s.wait();
        }
        // From now on the upstream works, for months.
        for _ in 0..60 {
            s.accept(true, &[]);
            s.sent();
            s.pass(secs(24 * 3600));
            s.lose(&Error::PingTimeout, 0);
            offers.push(s.dial());
        }
        let last = offers.last().unwrap();
        let is_best = last.starts_with("CONNECT 5 box.up") && last.contains("will");
        wrong += usize::from(!is_best);
    }
    assert_eq!(wrong, 0);
}

/// What was left out at the primary is held against the backup.
#[test]
fn the_backup_is_not_judged_for_the_primary() {
    let mut two = v311(spec(&["cmd in 1", "b in 1"]));
    two.try_private = false;
    two.notifications = false;
    two.addresses = ["a", "b"].map(|host| (host.to_owned(), 1).into()).into();
    let mut s = Script::new(two);
    for _ in 0..9 {
        up(&mut s);
        s.close();
        if s.link.status().address.unwrap().host == "b" {
            // It goes well, until the line is cut.
            up(&mut s);
            s.pass(secs(60));
            s.lose(&Error::PingTimeout, 0);
        }
    }
    while s.link.status().address.unwrap().host == "a" {
        up(&mut s);
        s.close();
    }
    let sent = up(&mut s);
    assert_eq!(s.link.status().address.unwrap().host, "b");
    assert!(sent.iter().any(|line| line.contains(" cmd ")), "{sent:?}");
}

/// The first attempt after a long connection mostly fails: that is why it has ended.
#[test]
fn what_is_not_certain_is_tried_again_after_an_outage() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.close();
    s.dial();
    s.accept(true, &[]);
    for _ in 0..30 {
        s.sent();
        s.pass(secs(24 * 3600));
        s.lose(&Error::PingTimeout, 0);
        s.wait();
        s.no_answer();
        let connect = s.dial();
        s.accept(true, &[]);
        if connect.starts_with("CONNECT 5") {
            return;
        }
    }
    panic!("{}", s.link.status());
}

/// SIGHUP while the CONNACK is due.
#[test]
fn sighup_counts_during_a_handshake() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.refuse(Reason::UNSUPPORTED_PROTOCOL_VERSION);
    s.dial();
    s.accept(true, &[]);
    s.close();
    s.dial();
    s.link.forget_given_up();
    s.accept(true, &[]);
    s.lose(&Error::PingTimeout, 0);
    s.sent();
    assert!(s.dial().starts_with("CONNECT 5"));
}

/// An upstream that closes on four subscriptions, and takes the fifth.
#[test]
fn four_subscriptions_that_end_the_connection() {
    let filters = [
        "$share/g/a in 1",
        "$share/g/b in 1",
        "$share/g/c in 1",
        "$share/g/d in 1",
        "e in 1",
    ];
    let mut s = quiet(&filters);

    for _ in 0..200 {
        // The log is reminded while it waits.
        while s.link.next_timeout() > s.now && s.wait().1 == "idle" {}
        s.link.connected(s.now, &mut s.out).unwrap();
        s.sent();
        let sent = s.accept(true, &[]).1;
        if sent.iter().all(|line| !line.contains("$share")) {
            return;
        }
        s.close();
    }
    panic!("never asked");
}

/// A poison among the first messages, sent within the round trip of the notification.
#[test]
fn a_notification_is_not_to_blame_for_a_message() {
    let mut s = Script::new(v311(spec(&["a out 1"])));
    s.dial();
    s.accept(true, &[]);
    // Two messages follow the notification; the second is what the upstream closes on.
    s.link.unacknowledged(Some(s.now));
    s.pass(ms(600));
    s.close_with(2);
    assert!(
        s.dial().contains("will"),
        "it was not the only thing unanswered"
    );
}

/// As F22; on the next connection the first message is acknowledged before the poison.
#[test]
fn a_notification_is_not_given_up_for_a_message() {
    let mut s = Script::new(v311(spec(&["a out 1"])));
    for _ in 0..2 {
        s.dial();
        s.accept(true, &[]);
        s.link.unacknowledged(Some(s.now));
        s.pass(ms(600));
        s.puback(1000, Reason::SUCCESS).unwrap();
        s.close_with(1);
    }
    let status = s.link.status().to_string();
    assert!(!status.contains("without state notifications"), "{status}");
}
