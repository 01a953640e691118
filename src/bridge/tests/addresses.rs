//! Several addresses: failover, rounds, how long each attempt may take, whose session it is.

mod restart;

use super::closing::{limits, open, sends};
use super::said::{count, log_of};
use super::*;

fn addresses(hosts: &[&str]) -> Bridge {
    let mut spec = spec(&["cmd in 1", "x out 2"]);
    let hosts = hosts.iter().map(|host| ((*host).to_owned(), 1).into());
    spec.addresses = hosts.collect();
    spec.restart = Restart::Constant(secs(20));
    spec.notifications = false;
    spec.try_private = false;
    spec
}

/// The link is up at the address that it wants to connect to, which keeps a session or not.
fn up(s: &mut Script, session_present: bool) -> Limits {
    s.dial();
    match s.accept(session_present, &[]).0 {
        Step::Up(limits) => limits,
        other => panic!("{other:?}"),
    }
}

/// A connection that has held is cut.
fn cut(s: &mut Script) {
    s.pass(secs(60));
    s.close();
}

fn host(s: &Script) -> &str {
    &s.link.status().address.unwrap().host
}

#[test]
fn when_the_primary_is_cut_off_a_standby_is_tried_at_once() {
    let mut s = Script::new(addresses(&["a", "b", "c"]));
    up(&mut s, false);
    cut(&mut s);
    assert_eq!(s.drive(), "connect a:1", "it may have been the line");
    s.no_answer();
    assert_eq!(s.drive(), "connect b:1");
    s.no_answer();
    assert_eq!(s.drive(), "connect c:1");
    s.no_answer();
    assert_eq!(s.wait(), (secs(20), "connect a:1".into()));
}

/// A frozen node takes TCP, and answers nothing.
#[test]
fn an_upstream_that_is_silent_is_tried_last() {
    let mut s = Script::new(addresses(&["a", "b", "c"]));
    up(&mut s, false);
    let mut action = s.wait().1;
    while action == "idle" {
        action = s.wait().1;
    }
    assert_eq!(action, "close");
    s.lose(&Error::PingTimeout, 0);
    for host in ["b", "c", "a"] {
        assert_eq!(s.drive(), format!("connect {host}:1"));
        s.no_answer();
    }
    assert!(s.wait().0 == secs(20));
}

/// So does one that says that it goes.
#[test]
fn an_upstream_that_shuts_down_is_tried_last() {
    let mut s = Script::new(addresses(&["a", "b"]));
    up(&mut s, false);
    s.pass(secs(60));
    let reason = Reason::SERVER_SHUTTING_DOWN;
    let props = Props::EMPTY;
    let disconnect = Packet::Disconnect(crate::mqtt::Disconnect { reason, props });
    s.receive(disconnect).unwrap_err();
    s.link.judge(&UnderWay::default(), s.now);
    assert_eq!(s.drive(), "connect b:1");
}

/// Whatever the link does when the node freezes, the standby is called within the keep-alive.
#[test]
fn silence_is_noticed_within_the_keep_alive() {
    for keep_alive in [20, 60, 300] {
        for busy in [false, true] {
            let mut two = addresses(&["a", "b"]);
            two.keepalive = secs(keep_alive);
            let mut s = Script::new(two);
            up(&mut s, false);
            s.suback(1, Reason::SUCCESS).unwrap();
            s.pass(secs(7));
            s.link.heard(true, s.now);
            let frozen = s.now;
            while s.drive() != "close" {
                if busy {
                    s.link.sent(s.now);
                    s.link.unacknowledged(Some(frozen));
                }
                let next = s.link.next_timeout();
                s.now = if busy {
                    next.min(s.now + secs(1))
                } else {
                    next
                };
            }
            assert!(
                s.now.since(frozen) <= secs(keep_alive),
                "{keep_alive} {busy}"
            );
            s.lose(&Error::PingTimeout, 0);
            assert_eq!(s.drive(), "connect b:1");
        }
    }
}

/// The first round is quick, for others wait; if it finds nothing, it may be the line that is slow.
#[test]
fn an_address_gets_little_time_while_others_wait() {
    let mut s = Script::new(addresses(&["a", "b"]));
    assert_eq!(s.wait().1, "connect a:1");
    assert_eq!(s.wait(), (secs(5), "close".into()));
    assert_eq!(s.drive(), "connect b:1");
    assert_eq!(s.wait(), (secs(10), "close".into()));
    assert_eq!(s.wait(), (secs(20), "connect a:1".into()));
    assert_eq!(
        s.wait(),
        (secs(10), "close".into()),
        "all the time there is"
    );
}

/// It is not asked again in another version of MQTT, either.
#[test]
fn a_connect_without_answer_leaves_for_the_standby() {
    let mut s = Script::new(addresses(&["a", "b"]));
    assert!(s.dial().starts_with("CONNECT 5 "));
    assert_eq!(s.wait(), (secs(5), "close".into()));
    assert_eq!(s.drive(), "connect b:1");
    s.link.connected(s.now, &mut s.out).unwrap();
    s.sent();
    assert_eq!(
        s.wait(),
        (secs(20), "close".into()),
        "nobody waits behind it"
    );
    assert_eq!(s.drive(), "connect b:1", "in 3.1.1");
}

/// RabbitMQ with classic queues takes the CONNECT, and closes on the SUBSCRIBE.
#[test]
fn connections_that_end_at_once_make_a_round_and_then_a_wait() {
    let mut s = Script::new(addresses(&["a", "b", "c"]));
    for _ in 0..2 {
        for at in ["a", "b", "c"] {
            up(&mut s, false);
            assert_eq!(host(&s), at);
            s.close();
            let waits = s.link.next_timeout().since(s.now);
            assert_eq!(waits > Duration::ZERO, at == "c", "after {at}");
        }
    }
}

/// What closes every node is found, for each has a count of its own.
#[test]
fn a_message_that_every_node_closes_on_is_set_aside() {
    for round_robin in [false, true] {
        let mut two = v311(addresses(&["a", "b"]));
        two.topics = vec![topic("# out 2")];
        two.round_robin = round_robin;
        let mut s = Script::new(two);
        for at in ["a", "b", "a", "b", "a"] {
            limits(&mut s);
            assert_eq!(host(&s), at);
            assert!(s.close_with(3).is_none());
        }
        let mut poison = || {
            limits(&mut s);
            assert_eq!(host(&s), "a", "it is being looked into");
            open(&mut s);
            sends(&s, "x", QoS::ExactlyOnce);
            s.close_with(1)
        };
        assert!((0..3).all(|_| poison().is_none()));
        assert!(poison().is_some());
    }
}

#[test]
fn round_robin_goes_on_with_the_next_at_once_and_stays() {
    let mut three = addresses(&["a", "b", "c"]);
    three.round_robin = true;
    let mut s = Script::new(three);
    assert_eq!(s.wait().1, "connect a:1");
    s.no_answer();
    for at in ["b", "c", "a", "b"] {
        up(&mut s, false);
        assert_eq!(host(&s), at);
        cut(&mut s);
    }
    for at in ["c", "a", "b"] {
        assert_eq!(s.drive(), format!("connect {at}:1"));
        s.no_answer();
    }
    assert_eq!(s.wait(), (secs(20), "connect c:1".into()));
}

/// The nodes of a cluster know the session: what is unacknowledged goes on.
#[test]
fn a_session_that_is_shared_is_resumed() {
    let mut s = Script::new(addresses(&["a", "b"]));
    assert!(!up(&mut s, false).session_present);
    let first = s.link.wire().upstream();
    for at in ["b", "a", "b"] {
        s.pass(secs(60));
        s.lose(&Error::PingTimeout, 0);
        assert!(up(&mut s, true).session_present);
        assert_eq!(host(&s), at);
        assert_eq!(s.link.wire().upstream(), first, "it has what is retained");
    }
    s.pass(secs(60));
    s.lose(&Error::PingTimeout, 0);
    assert!(!up(&mut s, false).session_present);
}

/// Two brokers that have nothing to do with each other. The primary still has the session of last week:
/// its packet ids are not those of today.
#[test]
fn a_session_of_an_earlier_connection_elsewhere_is_none() {
    let mut s = Script::new(addresses(&["a", "b"]));
    up(&mut s, false);
    let first = s.link.wire().upstream();
    s.pass(secs(60));
    s.lose(&Error::PingTimeout, 0);
    assert!(!up(&mut s, false).session_present);
    assert_ne!(s.link.wire().upstream(), first);
    s.pass(secs(60));
    s.lose(&Error::PingTimeout, 0);
    assert!(!up(&mut s, true).session_present, "an older one");
    assert_eq!(s.link.wire().upstream(), first);
    cut(&mut s);
    assert!(up(&mut s, true).session_present, "that is its own");
}

/// A cluster that has lost everything has lost it on each of its nodes.
#[test]
fn a_shared_session_that_is_lost_is_lost_everywhere() {
    let mut s = Script::new(addresses(&["a", "b"]));
    up(&mut s, false);
    for present in [true, false, true] {
        s.pass(secs(60));
        s.lose(&Error::PingTimeout, 0);
        assert_eq!(up(&mut s, present).session_present, present);
    }
}

/// RabbitMQ closes on the SUBSCRIBE while the node with the session's queue is down: the log says so.
#[test]
fn a_subscribe_that_is_closed_on_is_named() {
    let mut s = Script::new(addresses(&["a", "b"]));
    up(&mut s, true);
    s.close();
    let status = s.link.status();
    let error = status.last_error.unwrap();
    assert!(error.ends_with("without a SUBACK for topic cmd"), "{error}");
}

/// How many connections there are in an hour, where each ends after so long.
fn connections_an_hour(spec: Bridge, hold: Duration) -> usize {
    let mut s = Script::new(spec);
    let (end, mut count) = (s.now + secs(3600), 0);
    while s.now < end {
        while s.drive() == "idle" {
            s.now = s.link.next_timeout();
        }
        s.link.connected(s.now, &mut s.out).unwrap();
        s.sent();
        s.accept(true, &[]);
        count += 1;
        s.pass(hold);
        s.close();
    }
    count
}

/// Each costs a TLS handshake, SUBSCRIBEs, and the window once more: `restart_timeout` bounds that with a
/// standby as it does without.
#[test]
fn connections_that_hold_for_seconds_wait_for_restart_timeout() {
    for hold in [11, 30, 59] {
        let with_restart = |hosts| {
            let mut spec = addresses(hosts);
            spec.topics = vec![topic("x out 2")];
            spec.restart = Restart::Constant(secs(60));
            connections_an_hour(spec, secs(hold))
        };
        let (with, without) = (with_restart(&["a", "b"]), with_restart(&["a"]));
        assert!(with <= without + 1, "{hold}: {with} for {without}");
    }
}

/// One that was cut soon is replaced at once all the same, if that does not go on.
#[test]
fn the_first_short_connection_is_replaced_at_once() {
    let mut two = addresses(&["a", "b"]);
    two.topics = vec![topic("x out 2")];
    let mut s = Script::new(two);
    up(&mut s, true);
    for _ in 0..3 {
        s.pass(secs(60));
        s.close();
        assert_eq!(s.link.next_timeout(), s.now);
        up(&mut s, true);
        s.pass(secs(11));
        s.close();
        assert_eq!(s.link.next_timeout(), s.now);
        up(&mut s, true);
    }
    s.pass(secs(11));
    s.close();
    assert_eq!(s.link.next_timeout(), s.now + secs(20));
}

/// TLS or the CONNACK takes 6 s each time: an address that works is not given up for that.
#[test]
fn an_address_gets_the_time_that_it_took_before() {
    for (dialling, answering) in [(0, 6), (6, 0), (9, 15)] {
        let mut s = Script::new(addresses(&["a", "b"]));
        let mut attempts = Vec::new();
        for _ in 0..4 {
            let mut count = 0;
            loop {
                while s.drive() == "idle" {
                    s.now = s.link.next_timeout();
                }
                count += 1;
                let is_late = |s: &mut Script, takes| {
                    let late = s.link.next_timeout() < s.now + secs(takes);
                    s.now = s.link.next_timeout().min(s.now + secs(takes));
                    assert_eq!(s.drive(), if late { "close" } else { "idle" });
                    late
                };
                if is_late(&mut s, dialling) {
                    continue;
                }
                s.link.connected(s.now, &mut s.out).unwrap();
                s.sent();
                if !is_late(&mut s, answering) {
                    break;
                }
            }
            s.accept(true, &[]);
            attempts.push(count);
            cut(&mut s);
        }
        assert_eq!(attempts[1..], [1, 1, 1], "{dialling} {answering}");
    }
}

/// The log says what the session does: an old one elsewhere is not gone on with, so the messages go again.
#[test]
fn the_log_says_of_an_old_session_elsewhere_that_ours_is_new() {
    let mut s = Script::new(addresses(&["a", "b"]));
    let lines = log_of(|| {
        for present in [false, false, true] {
            up(&mut s, present);
            s.pass(secs(60));
            s.lose(&Error::PingTimeout, 0);
        }
    });
    assert_eq!(count(&lines, "new session"), 3, "{lines:#?}");
}

/// `bridge start` and SIGHUP make a link anew, perhaps with other addresses: what is under way still belongs
/// to the last session, and not to an older one elsewhere.
#[test]
fn a_link_that_is_made_anew_knows_whose_session_is_whose() {
    for hosts in [["b", "a"], ["b", "c"], ["c", "b"]] {
        let mut s = Script::new(addresses(&["a", "b"]));
        for present in [false, false, true] {
            assert!(!up(&mut s, present).session_present, "each has its own");
            s.pass(secs(60));
            s.lose(&Error::PingTimeout, 0);
        }
        // The last connection was to `a`, with another session than `b` has.
        anew(&mut s, addresses(&hosts));
        let mut action = s.wait().1;
        if action == "connect c:1" {
            s.no_answer();
            action = s.drive();
        }
        assert_eq!(action, "connect b:1");
        s.link.connected(s.now, &mut s.out).unwrap();
        s.sent();
        let Step::Up(limits) = s.accept(true, &[]).0 else {
            panic!()
        };
        assert!(!limits.session_present, "{hosts:?}");
        cut(&mut s);
        assert!(up(&mut s, true).session_present, "that is its own");
    }
}

#[test]
fn a_link_that_is_made_anew_resumes_a_session_that_is_shared() {
    let mut s = Script::new(addresses(&["a", "b"]));
    up(&mut s, false);
    let first = s.link.wire().upstream();
    for hosts in [["b", "a"], ["a", "b"]] {
        s.pass(secs(60));
        s.lose(&Error::PingTimeout, 0);
        anew(&mut s, addresses(&hosts));
        assert!(up(&mut s, true).session_present);
        assert_eq!(host(&s), hosts[0]);
        assert_eq!(s.link.wire().upstream(), first, "it has what is retained");
    }
    // Under another client id there may be another one.
    let mut other = addresses(&["b", "a"]);
    other.remote_clientid = "other".to_owned();
    cut(&mut s);
    anew(&mut s, other);
    assert!(up(&mut s, true).session_present);
    assert_ne!(s.link.wire().upstream(), first);
}

fn anew(s: &mut Script, spec: Bridge) {
    let mut link = Link::new(Rc::new(spec), 1, s.now);
    link.take_over(&s.link);
    s.link = link;
}
