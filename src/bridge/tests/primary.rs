//! A secondary address serves, and the primary is asked whether it is there again.

use super::*;
use crate::bridge::error::Awaited;

/// A link to `a`, with `b` standing by, that has ended up at `b`.
fn standing_in() -> Script {
    let mut two = spec(&["x out 1"]);
    two.addresses = ["a", "b"].map(|host| (host.to_owned(), 1).into()).into();
    two.restart = Restart::Constant(secs(20));
    two.try_private = false;
    let mut s = Script::new(two);
    s.wait();
    s.no_answer();
    serve(&mut s);
    s
}

/// The connection that is wanted next comes up, and its notification is acknowledged.
fn serve(s: &mut Script) {
    s.dial();
    s.accept(true, &[]);
    let id = s.ids;
    s.puback(id, Reason::SUCCESS).unwrap();
    s.link.heard(true, s.now);
}

fn host(s: &Script) -> &str {
    &s.link.status().address.unwrap().host
}

/// Lets time pass until a probe is due, while the connection goes well; how long that was.
fn until_probe(s: &mut Script) -> Duration {
    let from = s.now;
    let due = s.link.next_probe().expect("a probe");
    while s.now < due {
        s.now = due.min(s.now + secs(5));
        s.link.sent(s.now);
        s.link.heard(true, s.now);
        assert_eq!(s.drive(), "idle");
    }
    let now = s.now;
    let (address, deadline) = s.link.begin_probe(now).unwrap();
    assert_eq!((&*address.host, deadline), ("a", now + secs(10)));
    now.since(from)
}

/// The next probe ends like that; true if the bridge leaves.
fn probe(s: &mut Script, answer: Result<(), Error>) -> bool {
    until_probe(s);
    s.link.probed(answer, s.now)
}

fn refused(reason: Reason) -> Result<(), Error> {
    Err(Error::Refused(reason, Default::default()))
}

/// The bridge takes leave; what it says.
fn leave(s: &mut Script) -> Vec<String> {
    s.sent();
    assert_eq!(s.drive(), "leave");
    s.sent()
}

fn no_way() -> Result<(), Error> {
    Err(Error::Io("connection refused".into()))
}

#[test]
fn the_bridge_goes_back_to_a_primary_that_accepts_a_connect() {
    let mut s = standing_in();
    assert_eq!(host(&s), "b");
    assert!(!probe(&mut s, no_way()));
    assert!(probe(&mut s, Ok(())));
    let goodbye = leave(&mut s);
    assert_eq!(goodbye.last().unwrap(), "DISCONNECT");
    assert!(
        goodbye.iter().any(|line| line.contains(" 0 q0 retain")),
        "{goodbye:?}"
    );
    assert_eq!(s.drive(), "connect a:1", "at once");
    s.link.connected(s.now, &mut s.out).unwrap();
    s.sent();
    s.accept(true, &[]);
    assert_eq!(host(&s), "a");
    assert_eq!(s.link.next_probe(), None);
    assert!(s.link.wire().takes_message());
}

/// Nothing new goes out, and what is under way is waited for, but not for ever.
#[test]
fn what_is_under_way_is_waited_for() {
    for is_acknowledged in [true, false] {
        let mut s = standing_in();
        s.link.unacknowledged(Some(s.now));
        assert!(probe(&mut s, Ok(())));
        assert!(!s.link.wire().takes_message());
        let from = s.now;
        s.link.heard(true, s.now);
        s.link.unacknowledged(Some(s.now));
        assert_eq!(s.drive(), "idle");
        if is_acknowledged {
            s.pass(secs(2));
            s.link.unacknowledged(None);
        } else {
            while s.now < from + secs(5) {
                s.now = s.link.next_timeout();
            }
        }
        leave(&mut s);
        assert_eq!(s.drive(), "connect a:1");
    }
}

/// A primary that accepts the probe and not the bridge, or ends each connection at once, is left alone
/// for longer and longer.
#[test]
fn a_primary_that_does_not_hold_is_no_flapping() {
    let mut s = standing_in();
    let mut waits = Vec::new();
    for n in 0..8 {
        waits.push(until_probe(&mut s));
        assert!(s.link.probed(Ok(()), s.now));
        leave(&mut s);
        if n % 2 == 0 {
            assert_eq!(s.drive(), "connect a:1");
            s.no_answer();
        } else {
            serve(&mut s);
            s.close();
        }
        let now = s.now;
        serve(&mut s);
        assert_eq!((host(&s), s.now), ("b", now), "at once");
    }
    assert!(waits[0] >= secs(15) && waits[0] <= secs(25), "{waits:?}");
    assert!(waits[1] >= secs(30) && waits[1] <= secs(50), "{waits:?}");
    assert!(waits[7] >= secs(225) && waits[7] <= secs(375), "{waits:?}");
}

/// The bridge is back at the primary, which has accepted its CONNECT.
fn back(s: &mut Script) {
    assert!(probe(s, Ok(())));
    leave(s);
    s.dial();
    s.accept(true, &[]);
    assert_eq!(host(s), "a");
}

/// One that accepts CONNECT and then does not serve costs one connection, and is left alone for an hour,
/// then two: whether it closes on the first request, or never answers anything.
#[test]
fn a_primary_that_accepts_and_does_not_serve_is_left_alone() {
    let closed = Error::Closed("connection closed by the peer".into());
    for error in [
        closed,
        Error::PingTimeout,
        Error::AckTimeout(Awaited::Message),
    ] {
        let mut s = standing_in();
        for hours in [1, 2, 4] {
            back(&mut s);
            s.pass(secs(if is_silence(&error) { 90 } else { 0 }));
            s.lose(&error, 1);
            let now = s.now;
            serve(&mut s);
            assert_eq!((host(&s), s.now), ("b", now), "at once, after {error}");
            assert!(s.link.next_probe().unwrap() >= now + secs(hours * 3600));
        }
    }
}

fn is_silence(error: &Error) -> bool {
    matches!(error, Error::PingTimeout | Error::AckTimeout(_))
}

/// One that has had nothing to do for a minute but to answer does serve: it is looked for as soon as ever.
#[test]
fn a_primary_that_has_nothing_to_do_serves() {
    let mut s = standing_in();
    back(&mut s);
    s.pass(secs(60));
    let id = s.ids;
    s.puback(id, Reason::SUCCESS).unwrap();
    s.link.heard(true, s.now);
    s.pass(secs(60));
    s.lose(&Error::PingTimeout, 0);
    serve(&mut s);
    assert_eq!(host(&s), "b");
    assert!(until_probe(&mut s) <= secs(25));
}

/// A primary that does not answer the CONNECT of the bridge is not offered all that may be done without:
/// the standby serves.
#[test]
fn a_primary_that_answers_the_probe_only_is_left_at_once() {
    let mut s = standing_in();
    assert!(probe(&mut s, Ok(())));
    leave(&mut s);
    s.dial();
    s.lose(&Error::ConnAckTimeout, 0);
    let now = s.now;
    serve(&mut s);
    assert_eq!((host(&s), s.now), ("b", now), "at once");
    assert!(s.link.next_probe().unwrap() >= now + secs(3600));
}

/// One that holds is a good one again.
#[test]
fn a_primary_that_holds_is_looked_for_as_soon_as_ever() {
    let mut s = standing_in();
    for _ in 0..6 {
        assert!(!probe(&mut s, no_way()));
    }
    assert!(probe(&mut s, Ok(())));
    leave(&mut s);
    serve(&mut s);
    s.pass(secs(60));
    s.link.heard(true, s.now);
    s.lose(&Error::PingTimeout, 0);
    serve(&mut s);
    assert_eq!(host(&s), "b");
    assert!(until_probe(&mut s) <= secs(25));
}

/// A secondary that is lost now and then does not put the probe off for ever.
#[test]
fn a_probe_is_due_whatever_happens_to_the_secondary() {
    let mut s = standing_in();
    for _ in 0..6 {
        assert!(!probe(&mut s, no_way()));
    }
    let due = s.link.next_probe().unwrap();
    while s.now < due {
        s.pass(secs(30));
        s.close();
        serve(&mut s);
        assert_eq!(host(&s), "b");
        assert!(s.link.next_probe().unwrap() <= due);
    }
    assert!(s.link.begin_probe(s.now).is_some());
}

/// Azure's and AWS' allow a device its own client id only: what refuses the probe for that may well take
/// the bridge. If it does not, it is not tried again for an hour.
#[test]
fn a_primary_that_knows_the_client_id_of_the_bridge_only_is_tried() {
    let mut s = standing_in();
    assert!(!probe(&mut s, refused(Reason::SERVER_UNAVAILABLE)));
    assert!(probe(&mut s, refused(Reason::NOT_AUTHORIZED)));
    leave(&mut s);
    s.dial();
    s.refuse(Reason::NOT_AUTHORIZED);
    serve(&mut s);
    assert_eq!(host(&s), "b");
    let from = s.now;
    while !probe(&mut s, refused(Reason::CLIENT_IDENTIFIER_NOT_VALID)) {}
    let first = s.now.since(from);
    assert!(first >= secs(3540) && first < secs(3600 + 400), "{first:?}");
    leave(&mut s);
    s.no_answer();
    s.drive();
    s.no_answer();
    serve(&mut s);
    s.link.heard(true, s.now);
}

/// A proxy closes where no broker stands behind it, AWS where the client id is not allowed.
#[test]
fn a_primary_that_closes_on_the_probe_is_tried_after_an_hour() {
    let mut s = standing_in();
    let from = s.now;
    while !probe(&mut s, Err(Error::Closed("gone".into()))) {}
    let first = s.now.since(from);
    assert!(first >= secs(3600) && first < secs(3600 + 400), "{first:?}");
}

/// A slow line: what the probe could take its time for, the bridge must not be hurried at.
#[test]
fn the_way_back_may_take_as_long_as_the_probe() {
    let mut s = standing_in();
    assert!(probe(&mut s, Ok(())));
    leave(&mut s);
    assert_eq!(s.drive(), "connect a:1");
    s.pass(secs(9));
    assert_eq!(s.drive(), "idle");
    s.link.connected(s.now, &mut s.out).unwrap();
    s.pass(secs(19));
    assert_eq!(s.drive(), "idle");
}

#[test]
fn there_is_no_primary_where_all_are_equal_and_no_probe_while_it_serves() {
    let mut two = spec(&["x out 1"]);
    two.addresses = ["a", "b"].map(|host| (host.to_owned(), 1).into()).into();
    let mut s = Script::new(two.clone());
    serve(&mut s);
    assert_eq!(s.link.next_probe(), None);
    two.round_robin = true;
    let mut s = Script::new(two);
    s.wait();
    s.no_answer();
    serve(&mut s);
    assert_eq!(host(&s), "b");
    assert_eq!(s.link.next_probe(), None);
}

/// In a cluster the client id of the bridge would take the session over from the connection that serves.
#[test]
fn the_probe_has_a_client_id_of_its_own_and_leaves_nothing() {
    let mut s = standing_in();
    until_probe(&mut s);
    s.sent();
    s.link.probe_connect(None, &mut s.out).unwrap();
    assert_eq!(s.sent(), ["CONNECT 5 box.up-probe keep 60 clean"]);

    let mut out = Vec::new();
    let connack = |code| [0x20, 3, 0, code, 0];
    let mut answer = |bytes: &[u8]| s.link.probe_answer(bytes, 1000, &mut out);
    assert_eq!(answer(&connack(0)[..3]), Ok(false));
    assert!(matches!(
        answer(&connack(0x87)),
        Err(Error::Refused(Reason::NOT_AUTHORIZED, _))
    ));
    assert!(matches!(
        answer(&[0xd0, 0]),
        Err(Error::Unexpected("PINGRESP"))
    ));
    assert!(matches!(
        answer(b"HTTP/1.1 400 Bad Request\r\n"),
        Err(Error::NotMqtt(_))
    ));
    assert_eq!(answer(&connack(0)), Ok(true));
    s.out = out;
    assert_eq!(s.sent(), ["DISCONNECT"]);
}

/// What the probe has found out the bridge does not find out again.
#[test]
fn the_bridge_goes_back_in_the_version_that_the_probe_found() {
    let mut s = standing_in();
    assert!(!probe(
        &mut s,
        refused(Reason::UNSUPPORTED_PROTOCOL_VERSION)
    ));
    assert_eq!(
        until_probe(&mut s),
        Duration::ZERO,
        "in another version at once"
    );
    assert_eq!(s.link.probe_version(), Version::V311);
    assert!(s.link.probed(Ok(()), s.now));
    leave(&mut s);
    assert!(s.dial().starts_with("CONNECT 4 box.up keep"));
}

/// A node that is frozen or restarts answers nothing, or a proxy closes for it. That says nothing of the
/// versions of MQTT it knows: what is found out after it is kept for a week.
#[test]
fn a_primary_that_was_frozen_or_restarted_is_offered_mqtt_5() {
    for error in [Error::ConnAckTimeout, Error::Closed("gone".into())] {
        let mut s = standing_in();
        assert!(!probe(&mut s, Err(error.clone())));
        assert_eq!(s.link.probe_version(), Version::V5, "{error}");
        goes_back_with_mqtt_5(&mut s);
    }
}

/// The same where the attempt of the bridge itself met the primary as it went down.
#[test]
fn a_primary_that_closed_while_it_went_down_is_offered_mqtt_5() {
    let mut s = standing_in();
    assert!(probe(&mut s, Ok(())));
    leave(&mut s);
    serve(&mut s);
    s.pass(secs(60));
    s.link.heard(true, s.now);
    s.close();
    assert!(s.dial().starts_with("CONNECT 5"));
    s.close();
    assert!(s.drive().starts_with("connect a"), "in 3.1.1");
    s.no_answer();
    serve(&mut s);
    assert_eq!(host(&s), "b");
    goes_back_with_mqtt_5(&mut s);
}

/// What was refused in so many words holds for the probe that follows at once, and not for one that comes
/// when the primary may be another program.
#[test]
fn what_a_probe_was_refused_holds_for_that_probe_only() {
    let mut s = standing_in();
    let unsupported = Reason::UNSUPPORTED_PROTOCOL_VERSION;
    assert!(!probe(&mut s, refused(unsupported)));
    until_probe(&mut s);
    assert_eq!(s.link.probe_version(), Version::V311);
    assert!(!s.link.probed(no_way(), s.now));
    goes_back_with_mqtt_5(&mut s);
}

/// What is forgotten while another address serves the probe does not know, either.
#[test]
fn a_probe_begins_with_the_best_again_once_all_is_forgotten() {
    let mut s = standing_in();
    let unsupported = Reason::UNSUPPORTED_PROTOCOL_VERSION;
    assert!(!probe(&mut s, refused(unsupported)));
    until_probe(&mut s);
    assert!(s.link.probed(Ok(()), s.now));
    leave(&mut s);
    serve(&mut s);
    assert!(s.link.take_given_up().is_some());
    s.pass(secs(60));
    s.lose(&Error::PingTimeout, 0);
    serve(&mut s);
    assert_eq!(host(&s), "b");
    s.link.forget_given_up();
    assert!(s.link.take_given_up().is_some());
    goes_back_with_mqtt_5(&mut s);
}

/// The next probe is accepted: the bridge goes back, and nothing is given up for it.
fn goes_back_with_mqtt_5(s: &mut Script) {
    assert!(probe(s, Ok(())));
    leave(s);
    let connect = s.dial();
    assert!(connect.starts_with("CONNECT 5"), "{connect}");
    s.accept(true, &[]);
    assert_eq!(host(s), "a");
    assert!(s.link.take_given_up().is_none());
}
