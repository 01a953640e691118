use super::*;

fn up() -> Script {
    let mut spec = spec(&[]);
    spec.notifications = false;
    let mut s = Script::new(spec);
    s.dial();
    s.accept(false, &[]);
    s
}

/// [MQTT-3.1.2-20]
#[test]
fn a_quiet_link_is_pinged() {
    let mut s = up();
    for _ in 0..3 {
        assert_eq!(s.wait(), (secs(60), "idle".into()));
        assert_eq!(s.sent(), ["PINGREQ"]);
        let pinged = s.now;
        s.pass(secs(1));
        // What was sent before the PINGREQ has arrived.
        assert_eq!(s.receive(Packet::PingResp), Ok(Step::Answered(pinged)));
        assert_eq!(s.receive(Packet::PingResp), Ok(Step::None));
        s.pass(secs(59));
        s.link.sent(s.now);
        publish(&mut s);
    }
}

#[test]
fn a_link_that_only_sends_or_only_receives_is_pinged() {
    let mut s = up();
    s.pass(secs(30));
    s.link.sent(s.now);
    assert_eq!(s.wait(), (secs(30), "idle".into()));
    assert_eq!(s.sent(), ["PINGREQ"]);

    let mut s = up();
    s.pass(secs(30));
    publish(&mut s);
    assert_eq!(s.wait(), (secs(30), "idle".into()));
    assert_eq!(s.sent(), ["PINGREQ"]);
}

#[test]
fn a_ping_without_answer_ends_the_link() {
    let mut s = up();
    s.wait();
    assert_eq!(s.wait(), (secs(30), "close".into()));
    assert_eq!(s.link.status().last_error, Some("no answer to PINGREQ"));
    assert!(s.wait().1.starts_with("connect"));
}

/// What the upstream has sent may wait to be taken in: the PINGRESP or the acknowledgement may be there.
#[test]
fn an_upstream_whose_input_waits_has_missed_nothing() {
    for owes in [false, true] {
        let mut s = up();
        s.link.read_until(s.now);
        let begun = s.now;
        if owes {
            s.link.unacknowledged(Some(s.now));
        }
        s.pass(secs(60));
        let mut pings = 0;
        for _ in 0..100 {
            assert_eq!(s.drive(), "idle");
            pings += s.sent().len();
            s.pass(secs(1));
        }
        assert_eq!(pings, 1, "it is asked all the same");
        s.link.read_until(begun + secs(61));
        assert_eq!(s.drive(), if owes { "close" } else { "idle" });
        s.link.read_until(s.now);
        assert_eq!(s.drive(), if owes { "idle" } else { "close" });
    }
}

/// Behind a backlog the PINGRESP is late; what arrives meanwhile shows that the link is alive.
#[test]
fn whatever_arrives_prolongs_the_wait_for_the_answer() {
    let mut s = up();
    s.wait();
    for _ in 0..10 {
        s.pass(secs(29));
        publish(&mut s);
        assert_eq!(s.drive(), "idle");
    }
    assert_eq!(s.wait(), (secs(30), "close".into()));
}

#[test]
fn connecting_and_the_connack_have_deadlines() {
    let mut s = Script::new(spec(&[]));
    assert!(s.wait().1.starts_with("connect"));
    assert_eq!(s.wait(), (secs(10), "close".into()));
    assert_eq!(s.link.connected(s.now, &mut s.out), Err(Error::GivenUp));
    assert!(s.out.is_empty());

    assert!(s.dial().starts_with("CONNECT 5"));
    assert_eq!(s.wait(), (secs(20), "close".into()));
    assert!(s.link.status().last_error.unwrap().contains("no CONNACK"));
    // amqtt does not answer a version that it does not know.
    assert!(s.dial().starts_with("CONNECT 132"));
}

/// An upstream whose CONNACK takes 29 seconds each time: after three in vain it is waited for, until it
/// is quick again.
#[test]
fn an_upstream_that_is_slow_to_accept_is_waited_for() {
    let mut s = Script::new(spec(&[]));
    let patience = |s: &mut Script| {
        s.dial();
        s.link.next_timeout().since(s.now)
    };
    for _ in 0..3 {
        assert_eq!(patience(&mut s), secs(20));
        assert_eq!(s.wait().1, "close");
    }
    for takes in [29, 1] {
        assert_eq!(patience(&mut s), secs(60));
        s.pass(secs(takes));
        assert_eq!(s.drive(), "idle");
        assert!(matches!(s.accept(false, &[]).0, Step::Up(_)));
        s.close();
    }
    assert_eq!(patience(&mut s), secs(20));
}

/// How many PINGREQ go out in a minute in which nothing else does, with a round trip of 50 ms and a standby.
fn pings_a_minute(keep_alive: u64, by_server: Option<u16>) -> usize {
    let mut spec = spec(&[]);
    spec.addresses = ["a", "b"].map(|host| (host.to_owned(), 1).into()).into();
    spec.notifications = false;
    spec.keepalive = secs(keep_alive);
    let mut s = Script::new(spec);
    s.dial();
    let by_server = by_server.map(Property::ServerKeepAlive);
    s.accept(true, by_server.as_slice());
    let (end, mut count) = (s.now + secs(60), 0);
    while s.now < end {
        assert_eq!(s.drive(), "idle");
        let pings = s.sent().len();
        if pings > 0 {
            count += pings;
            s.link.sent(s.now);
            s.pass(Duration::from_millis(50));
            s.link.heard(true, s.now);
            s.receive(Packet::PingResp).unwrap();
        } else {
            s.now = s.link.next_timeout().max(s.now + Duration::from_millis(1));
        }
    }
    count
}

/// That a standby waits makes the link ask earlier, but no more than twice as often as the keep-alive says.
#[test]
fn a_short_keep_alive_with_a_standby_is_no_storm_of_pings() {
    for keep_alive in [5, 6, 7, 10, 20, 60] {
        let count = pings_a_minute(keep_alive, None);
        let usual = 60 / usize::try_from(keep_alive).unwrap();
        assert!(
            (usual..=2 * usual).contains(&count),
            "{keep_alive}: {count}"
        );
    }
    for keep_alive in [1_u16, 3, 5] {
        let count = pings_a_minute(60, Some(keep_alive));
        assert!(
            count <= 120 / usize::from(keep_alive),
            "{keep_alive}: {count}"
        );
    }
}
