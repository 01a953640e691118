//! What binds a bridge as a client of its upstream: the link's own packets.

use super::*;

/// 5.0 [MQTT-3.2.2-14]: no RETAIN flag to an upstream that retains nothing.
#[test]
fn nothing_is_retained_where_that_is_not_available() {
    for (props, retain) in [(&[][..], true), (&[Property::RetainAvailable(0)], false)] {
        let mut s = Script::new(spec(&["a out 1"]));
        s.dial();
        let (_, sent) = s.accept(false, props);
        assert_eq!(sent[0].ends_with("retain"), retain, "{sent:?}");
        assert_eq!(s.link.wire().retain(true), retain);
        assert!(!s.link.wire().retain(false));
    }
}

/// [MQTT-3.1.0-1], [MQTT-3.1.0-2]: CONNECT comes first, and once.
#[test]
fn connect_comes_first_and_once() {
    let mut s = Script::new(spec(&["a in 1", "b out 1", "c both 1"]));
    assert!(s.dial().starts_with("CONNECT 5 "));
    let (_, sent) = s.accept(false, &[]);
    assert!(sent.len() == 2 && !sent.iter().any(|line| line.starts_with("CONNECT")));
    s.wait();
    assert_eq!(s.sent(), ["PINGREQ"]);
}

/// 5.0 [MQTT-2.2.1-3], 3.1.1 [MQTT-2.3.1-2]: each request has an id of its own, none the 0.
#[test]
fn each_request_has_an_id_of_its_own() {
    let mut s = Script::new(spec(&["a in 1", "b out 1", "c both 2", "d in 0", "e in 1"]));
    s.dial();
    let (_, sent) = s.accept(false, &[]);
    let id = |line: &String| line.split(' ').nth(1).unwrap().parse::<u16>().unwrap();
    let mut ids: Vec<u16> = sent.iter().map(id).collect();
    for id in ids.clone() {
        s.suback(id, Reason::GRANTED_QOS_2).unwrap();
    }
    ids.extend(s.sent().iter().map(id));
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
}

/// 5.0 [MQTT-3.2.2-4]: after a clean start there is no session to go on with: an upstream that
/// says so is left.
#[test]
fn a_session_after_a_clean_start_ends_the_link() {
    let mut clean = spec(&["a in 1"]);
    clean.clean_session = true;
    let mut s = Script::new(clean);
    s.dial();
    let connack = ConnAck {
        session_present: true,
        reason: Reason::SUCCESS,
        props: Props::EMPTY,
    };
    let left = Err(Error::SessionPresent);
    assert_eq!(s.receive(Packet::ConnAck(connack)), left);
    assert_eq!(s.sent(), [""; 0], "nothing is asked of it");
    assert!(s.wait().1.starts_with("connect"), "it is tried again");
}
