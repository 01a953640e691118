use super::*;
use crate::mqtt::Disconnect;

/// The first words of a CONNECT: its protocol level.
fn level(connect: &str) -> &str {
    connect.split(' ').nth(1).unwrap()
}

#[test]
fn a_close_after_connect_walks_down_the_versions_at_once() {
    let mut s = Script::new(spec(&[]));
    assert_eq!(level(&s.dial()), "5");
    let start = s.now;
    s.close();
    assert_eq!(level(&s.dial()), "132", "3.1.1 with the bridge bit");
    s.close();
    assert_eq!(level(&s.dial()), "4");
    assert_eq!(s.now, start, "no waiting in between");
    // It may have been a proxy that closed, for a reason of its own: after an hour that is looked at,
    // the next time after a day, then after a week.
    for hours in [1, 24] {
        s.accept(false, &[]);
        s.close();
        assert_eq!(level(&s.dial()), "4", "remembered");
        s.accept(false, &[]);
        s.pass(secs(hours * 3600));
        s.close();
        let levels = [(); 3].map(|()| {
            let level = level(&s.dial()).to_owned();
            if level != "4" {
                s.close();
            }
            level
        });
        assert_eq!(levels, ["5", "132", "4"]);
    }
    s.accept(false, &[]);
    s.pass(secs(6 * 24 * 3600));
    s.close();
    assert_eq!(level(&s.dial()), "4", "remembered");
    assert!(s.now.since(start) >= secs(5));
}

#[test]
fn a_refused_version_walks_down_at_once() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.refuse(Reason::UNSUPPORTED_PROTOCOL_VERSION);
    assert_eq!(level(&s.dial()), "132");
    s.accept(false, &[]);
    s.puback(1, Reason::SUCCESS).unwrap();
    s.close();
    assert_eq!(level(&s.dial()), "132", "remembered");
}

#[test]
fn the_bridge_bit_is_dropped_when_refused() {
    let mut s = Script::new(v311(spec(&[])));
    assert_eq!(level(&s.dial()), "132");
    s.refuse(Reason::UNSUPPORTED_PROTOCOL_VERSION);
    assert_eq!(s.drive(), "connect up.example:1883");
    s.link.connected(s.now, &mut s.out).unwrap();
    assert_eq!(level(&s.sent()[0]), "4");
    s.accept(false, &[]);

    let mut without = v311(spec(&[]));
    without.try_private = false;
    assert_eq!(level(&Script::new(without).dial()), "4");
}

/// However often an upstream closes, there is one CONNECT of each kind an attempt.
#[test]
fn an_upstream_that_always_closes_is_no_tight_loop() {
    let mut s = Script::new(spec(&[]));
    for attempt in 1..=20 {
        let mut levels = vec!["5", "132", "4"];
        if [3, 6, 12].contains(&attempt) {
            // Perhaps it is the will, or the client id.
            levels = levels.repeat(4);
        }
        for expected in levels {
            assert_eq!(level(&s.dial()), expected);
            s.close();
        }
        let (wait, action) = s.wait();
        assert!(wait >= secs(5) && wait <= secs(30), "{wait:?}");
        assert_eq!(action, "connect up.example:1883");
        s.no_answer();
    }
}

/// The version found is given up when it fails three times itself: the upstream may be another now.
#[test]
fn a_remembered_version_that_fails_starts_the_search_again() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.refuse(Reason::UNSUPPORTED_PROTOCOL_VERSION);
    s.dial();
    s.accept(false, &[]);
    s.close();
    for _ in 0..2 {
        assert_eq!(level(&s.dial()), "132");
        s.close();
        assert_eq!(level(&s.dial()), "4");
        s.close();
    }
    assert_eq!(level(&s.dial()), "5");
}

#[test]
fn an_explicit_version_has_no_other() {
    let mut v5 = spec(&[]);
    v5.version = Some(Version::V5);
    let mut s = Script::new(v5);
    s.dial();
    let error = s.refuse(Reason::UNSUPPORTED_PROTOCOL_VERSION);
    assert!(error.to_string().contains("bridge_protocol_version"));
    assert!(s.wait().0 >= secs(5));
}

#[test]
fn other_refusals_wait_and_name_the_cure() {
    let cases = [
        (Reason::NOT_AUTHORIZED, "remote_username"),
        (Reason::BAD_USER_NAME_OR_PASSWORD, "remote_password"),
        (Reason::CLIENT_IDENTIFIER_NOT_VALID, "remote_clientid"),
        (Reason::SERVER_UNAVAILABLE, "server unavailable"),
    ];
    for (reason, cure) in cases {
        let mut spec = spec(&[]);
        spec.has_default_clientid = false;
        let mut s = Script::new(spec);
        s.dial();
        assert!(s.refuse(reason).to_string().contains(cure));
        let status = s.link.status().to_string();
        assert!(status.starts_with("bridge up: not connected, next is up.example:1883; "));
        assert!(status.contains(cure), "{status}");
        assert!(s.wait().0 >= secs(5));
    }
}

#[test]
fn a_link_that_held_starts_over_with_the_shortest_wait() {
    let mut s = Script::new(spec(&[]));
    for _ in 0..5 {
        s.wait();
        s.no_answer();
    }
    s.dial();
    s.accept(false, &[]);
    s.puback(1, Reason::SUCCESS).unwrap();
    s.pass(secs(10));
    s.close();
    assert_eq!(s.wait().0, secs(5));
}

fn three_addresses() -> Bridge {
    let mut spec = spec(&[]);
    spec.addresses = ["a", "b", "c"]
        .map(|host| (host.to_owned(), 1).into())
        .into();
    spec.restart = Restart::Constant(secs(20));
    spec
}

#[test]
fn secondary_addresses_stand_by() {
    let mut s = Script::new(three_addresses());
    assert_eq!(s.wait().1, "connect a:1");
    s.no_answer();
    assert_eq!(s.drive(), "connect b:1", "at once");
    assert_eq!(s.wait(), (secs(5), "close".into()));
    assert_eq!(s.drive(), "connect c:1");
    s.no_answer();
    assert_eq!(s.wait(), (secs(20), "connect a:1".into()));
    s.no_answer();

    assert_eq!(s.drive(), "connect b:1");
    s.link.connected(s.now, &mut s.out).unwrap();
    s.sent();
    s.accept(false, &[]);
    assert_eq!(s.link.status().address.unwrap().host, "b");
    s.close();
    assert_eq!(s.drive(), "connect c:1", "it did not hold");
    s.no_answer();
    assert_eq!(
        s.wait(),
        (secs(20), "connect a:1".into()),
        "the primary first"
    );
}

/// What kept it from connecting is over: it does not wait any longer, and goes on as before.
#[test]
fn a_link_that_may_try_now_does() {
    let mut s = Script::new(three_addresses());
    s.wait();
    for _ in 0..2 {
        s.no_answer();
        s.drive();
    }
    s.no_answer();
    assert_eq!(s.drive(), "idle");
    s.link.try_now(s.now);
    assert_eq!(s.drive(), "connect a:1");
    s.link.try_now(s.now);
    assert_eq!(s.drive(), "idle", "it is at it");
}

/// ejabberd refuses publishes to `$…`: an MQTT 5 PUBACK says so.
#[test]
fn notifications_that_upstream_refuses_stay_local() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.accept(false, &[]);
    assert_eq!(s.puback(1, Reason::NOT_AUTHORIZED), Ok(Step::None));
    s.close();
    assert!(!s.dial().contains("will"));
    assert_eq!(s.accept(false, &[]).1, [""; 0]);
    assert!(s.link.state_topic().is_some(), "here they go on");
}

/// An upstream that knows no other way to say no closes the connection.
#[test]
fn notifications_that_end_the_link_stay_local() {
    let mut s = Script::new(v311(spec(&[])));
    s.dial();
    s.accept(false, &[]);
    s.pass(secs(1));
    s.close();
    assert!(!s.dial().contains("will"));

    s.accept(false, &[]);
    s.close();
    assert!(s.dial().contains("will"), "they were not to blame");

    // aedes: what is found out holds over a restart.
    let mut s = Script::new(v311(spec(&["a out 1"])));
    s.dial();
    s.accept(false, &[]);
    s.close();
    s.dial();
    s.accept(false, &[]);
    s.puback(9, Reason::SUCCESS).unwrap();
    s.close();
    assert!(s.link.take_given_up().is_some());
    assert!(!s.dial().contains("will"));

    let mut later = Script::new(v311(spec(&[])));
    later.dial();
    later.accept(false, &[]);
    later.pass(secs(5));
    later.close();
    assert!(
        later.dial().contains("will"),
        "a link that held was not closed for that"
    );
}

/// With MQTT 5 a connection that just ends says nothing about the notification.
#[test]
fn a_cut_after_connack_keeps_the_notifications() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.accept(false, &[]);
    s.close();
    assert!(s.dial().contains("will"));
    s.accept(false, &[]);
    let reason = Reason::NOT_AUTHORIZED;
    s.receive(Packet::Disconnect(Disconnect {
        reason,
        props: Props::EMPTY,
    }))
    .unwrap_err();
    s.link.judge(&UnderWay::default(), s.now);
    assert!(!s.dial().contains("will"));
}

#[test]
fn a_failure_known_already_changes_nothing() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.accept(false, &[]);
    s.close();
    let next = s.link.next_timeout();
    s.pass(secs(1));
    s.no_answer();
    assert_eq!(s.link.next_timeout(), next);
    assert_eq!(
        s.link.status().last_error,
        Some("connection closed by upstream")
    );
}

/// A directive longer than a string of MQTT can be is an error, not a loop.
#[test]
fn a_connect_that_cannot_be_encoded_waits() {
    let mut spec = spec(&[]);
    spec.remote_username = Some("u".repeat(65_536));
    let mut s = Script::new(spec);
    assert!(s.wait().1.starts_with("connect"));
    assert!(matches!(
        s.link.connected(s.now, &mut s.out),
        Err(Error::Encode(_))
    ));
    assert!(s.out.is_empty());
    assert!(s.wait().0 >= secs(5));
}
