//! `start_type`: when a link connects by itself.

use super::said::{count, log_of, only};
use super::*;
use crate::bridge::{Backlog, Order, Phase, Rest};
use crate::config::Config;

/// A link with these lines in its section.
fn link(lines: &str) -> Script {
    let text =
        format!("connection up\naddress up.example\nrestart_timeout 5\ntopic # both 1\n{lines}");
    let config = Config::parse(&text, "x", &Env::default()).unwrap().config;
    let mut spec = config.bridges.into_iter().next().unwrap();
    spec.notifications = false;
    Script::new(spec)
}

fn owe(s: &mut Script, messages: u64) {
    s.link.owes(Backlog {
        messages,
        unsent: messages,
        ..Backlog::default()
    });
}

fn rest(s: &Script) -> Option<Rest> {
    match s.link.status().phase {
        Phase::Resting(rest) => Some(rest),
        _ => None,
    }
}

/// Drives the link as its task does, for so long: true if it wants to connect.
fn connects_within(s: &mut Script, time: Duration) -> bool {
    let end = s.now + time;
    while s.now < end {
        match &*s.drive() {
            "idle" => s.now = s.link.next_timeout().max(s.now + Duration::from_millis(1)),
            connect => {
                assert!(connect.starts_with("connect"), "{connect}");
                return true;
            }
        }
    }
    false
}

/// Connects, with an upstream that has the session; what is owed is acknowledged.
fn take_up(s: &mut Script) {
    s.link.connected(s.now, &mut s.out).unwrap();
    s.accept(true, &[]);
    s.sent();
    s.suback(s.ids, Reason::GRANTED_QOS_1).unwrap();
    owe(s, 0);
}

#[test]
fn a_lazy_link_connects_at_its_threshold_and_leaves_when_it_was_idle() {
    let mut s = link("start_type lazy\nthreshold 3\nidle_timeout 20");
    let lines = log_of(|| {
        for _ in 0..2 {
            owe(&mut s, 2);
            assert!(!connects_within(&mut s, secs(3 * 86_400)));
            assert_eq!(rest(&s), Some(Rest::Idle));
            owe(&mut s, 3);
            assert!(connects_within(&mut s, secs(2)), "the threshold is reached");
            take_up(&mut s);
            s.pass(secs(15));
            publish(&mut s);
            assert_eq!(s.wait(), (secs(20), "leave".into()));
            assert_eq!(s.sent(), ["DISCONNECT"]);
            s.link.failed(&Error::Closed(String::new()), s.now);
            assert_eq!(rest(&s), Some(Rest::Idle));
        }
    });
    let idle = "INFO Bridge up: idle for 20 s, disconnected until 3 messages wait.";
    assert_eq!(count(&lines, idle), 2, "{lines:?}");
    assert_eq!(count(&lines, "WARN"), 0, "no alarm: {lines:?}");
}

#[test]
fn the_keep_alive_is_no_traffic_and_a_write_is() {
    let mut s = link("start_type lazy\nthreshold 1\nidle_timeout 100\nkeepalive_interval 30");
    owe(&mut s, 1);
    assert!(connects_within(&mut s, secs(2)));
    take_up(&mut s);
    s.pass(secs(10));
    s.link.sent(s.now);
    let wrote = s.now;
    loop {
        let (_, action) = s.wait();
        if action == "leave" {
            break;
        }
        assert_eq!(s.sent(), ["PINGREQ"]);
        s.link.sent(s.now);
        s.pass(Duration::from_millis(10));
        s.receive(Packet::PingResp).unwrap();
    }
    assert_eq!(s.now, wrote + secs(100));
}

#[test]
fn a_lazy_link_stays_as_long_as_something_waits() {
    let mut s = link("start_type lazy\nthreshold 2\nidle_timeout 10");
    owe(&mut s, 2);
    for _ in 0..5 {
        assert!(
            connects_within(&mut s, secs(6)),
            "what was begun is tried again"
        );
        s.no_answer();
    }
    assert!(connects_within(&mut s, secs(6)));
    take_up(&mut s);
    owe(&mut s, 1);
    s.pass(secs(25));
    assert_eq!(s.drive(), "idle");
    // One that is below the threshold does not wait for others, as the connection was lost over it.
    s.close_with(1);
    assert_eq!(rest(&s), None);
    assert!(connects_within(&mut s, secs(6)));
    take_up(&mut s);
    // Nothing waits: then there is no haste.
    s.close();
    assert_eq!(rest(&s), Some(Rest::Idle));
    assert!(!connects_within(&mut s, secs(3600)));
}

#[test]
fn a_full_queue_makes_a_lazy_link_connect() {
    let mut s = link("start_type lazy");
    assert!(!connects_within(&mut s, secs(60)));
    s.link.owes(Backlog {
        messages: 4,
        unsent: 4,
        is_full: true,
    });
    assert!(
        connects_within(&mut s, secs(2)),
        "below the threshold of 10"
    );
}

#[test]
fn once_is_one_round_of_all_addresses() {
    let mut s = link("start_type once\naddress b.example c.example");
    let lines = log_of(|| {
        for address in ["up.example", "b.example", "c.example"] {
            assert!(connects_within(&mut s, secs(2)), "{address}");
            s.no_answer();
        }
    });
    assert_eq!(rest(&s), Some(Rest::Once));
    only(
        &lines,
        "(c.example:1883): connection refused; not connected again (start_type once)",
    );
    owe(&mut s, 1000);
    let lines = log_of(|| assert!(!connects_within(&mut s, secs(7 * 86_400))));
    assert_eq!(lines, [""; 0], "it is as wanted");
    let status = s.link.status().to_string();
    let says = "bridge up: not connected again (start_type once), next is up.example:1883; ";
    assert!(status.starts_with(says), "{status}");
}

/// A board without a clock of its own refuses the certificate of its upstream until it has the time: that
/// was no attempt.
#[test]
fn once_and_lazy_try_again_when_the_clock_is_set() {
    for (start_type, rests) in [("once", Rest::Once), ("lazy", Rest::Idle)] {
        let mut s = link(&format!("start_type {start_type}"));
        owe(&mut s, 10);
        assert!(connects_within(&mut s, secs(2)));
        owe(&mut s, 0);
        s.no_answer();
        assert_eq!(rest(&s), Some(rests));
        s.link.try_now(s.now);
        assert!(connects_within(&mut s, secs(1)), "{start_type}");
    }
    for order in [None, Some(Order::Stop)] {
        let mut s = link("start_type manual");
        s.link = s.link.with_order(order, s.now);
        s.link.try_now(s.now);
        assert!(!connects_within(&mut s, secs(86_400)), "{order:?}");
    }
}

#[test]
fn once_is_not_again_when_the_connection_is_lost() {
    let mut s = link("start_type once");
    assert!(connects_within(&mut s, secs(2)));
    take_up(&mut s);
    s.pass(secs(5));
    s.close();
    assert_eq!(rest(&s), Some(Rest::Once));
    assert!(!connects_within(&mut s, secs(86_400)));
}

#[test]
fn a_manual_link_needs_the_word_of_the_operator() {
    let mut s = link("start_type manual");
    owe(&mut s, 1000);
    assert_eq!(rest(&s), Some(Rest::Manual));
    assert!(!connects_within(&mut s, secs(7 * 86_400)));
    let mut s = link("start_type manual");
    s.link = s.link.with_order(Some(Order::Start), s.now);
    assert!(connects_within(&mut s, secs(2)));
    take_up(&mut s);
    s.close();
    assert!(
        connects_within(&mut s, secs(6)),
        "it goes on like an automatic one"
    );
}

#[test]
fn a_stopped_link_does_nothing_whatever_its_type() {
    for start_type in ["automatic", "lazy", "once", "manual"] {
        let mut s = link(&format!("start_type {start_type}"));
        s.link = s.link.with_order(Some(Order::Stop), s.now);
        owe(&mut s, 1000);
        let lines = log_of(|| assert!(!connects_within(&mut s, secs(7 * 86_400)), "{start_type}"));
        assert_eq!(lines, [""; 0], "no reminder of an outage that is none");
        assert_eq!(rest(&s), Some(Rest::Stopped));
    }
}
