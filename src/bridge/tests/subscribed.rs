//! What is unsubscribed upstream: only what the session there is known to have, and ought not to.

use super::*;
use crate::mqtt::UnsubAck;

/// A link that knows that these filters are subscribed upstream.
fn knowing(spec: Bridge, filters: &[&str]) -> Script {
    let mut s = Script::new(spec);
    let filters = filters.iter().map(|filter| (*filter).into()).collect();
    let link = Link::new(s.link.spec().clone(), 1, s.now);
    s.link = link.with_subscribed(filters);
    s
}

/// What the link asks for when it is up.
fn up(s: &mut Script, session_present: bool) -> Vec<String> {
    s.sent();
    s.dial();
    let (_, sent) = s.accept(session_present, &[]);
    let is_request = |line: &String| line.contains("SUBSCRIBE ");
    let requests = sent.into_iter().filter(is_request);
    // Without the packet ids.
    requests
        .map(|line| {
            line.split(' ')
                .step_by(2)
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

fn unsuback(s: &mut Script, id: u16, reasons: &[Reason]) {
    let ack = UnsubAck {
        id: PacketId::new(id).unwrap(),
        props: Props::EMPTY,
        reasons: reasons.to_vec(),
    };
    assert_eq!(s.receive(Packet::UnsubAck(ack)), Ok(Step::None));
}

fn subscribed(s: &mut Script) -> Option<Vec<String>> {
    let filters = s.link.take_subscribed()?;
    Some(filters.into_iter().map(String::from).collect())
}

/// At ejabberd an UNSUBSCRIBE for a filter that the session does not have takes it from all others.
#[test]
fn what_is_not_known_to_be_subscribed_is_not_unsubscribed() {
    let topics = ["a out 1", "b in 1", "c out 1 - r/"];
    for session_present in [false, true] {
        let mut s = Script::new(spec(&topics));
        assert_eq!(up(&mut s, session_present), ["SUBSCRIBE b"]);
    }
    let mut s = knowing(spec(&topics), &["a", "b"]);
    let new = up(&mut s, false);
    assert_eq!(new, ["SUBSCRIBE b"], "a new session has none");
}

#[test]
fn what_is_no_longer_configured_is_unsubscribed() {
    let mut s = knowing(spec(&["a out 1", "b in 1"]), &["a", "b", "gone/#"]);
    let asked = up(&mut s, true);
    assert_eq!(
        asked,
        ["SUBSCRIBE b", "UNSUBSCRIBE a", "UNSUBSCRIBE gone/#"]
    );
    s.suback(1, Reason::GRANTED_QOS_1).unwrap();
    unsuback(&mut s, 2, &[Reason::SUCCESS]);
    unsuback(&mut s, 3, &[Reason::NO_SUBSCRIPTION_EXISTED]);
    assert_eq!(subscribed(&mut s), Some(vec!["b".to_owned()]));
    assert_eq!(subscribed(&mut s), None, "nothing new");
    s.close();
    assert_eq!(up(&mut s, true), ["SUBSCRIBE b"], "once");

    let mut never = spec(&["a out 1"]);
    never.attempt_unsubscribe = false;
    assert_eq!(up(&mut knowing(never, &["a"]), true), [""; 0]);
}

#[test]
fn what_upstream_acknowledges_is_known() {
    let mut s = Script::new(spec(&["a in 1", "b in 1", "c in 2"]));
    up(&mut s, false);
    s.suback(1, Reason::SUCCESS).unwrap();
    s.suback(2, Reason::NOT_AUTHORIZED).unwrap();
    assert_eq!(subscribed(&mut s), None, "one is still to come");
    s.suback(3, Reason::GRANTED_QOS_2).unwrap();
    let known = Some(vec!["a".to_owned(), "c".to_owned()]);
    assert_eq!(subscribed(&mut s), known);
    // A session that is new has none of them, and that is told before it has others.
    s.close();
    up(&mut s, false);
    assert_eq!(subscribed(&mut s), Some(Vec::new()));
    for id in s.ids - 2..=s.ids {
        s.suback(id, Reason::SUCCESS).unwrap();
    }
    assert_eq!(subscribed(&mut s).map(|known| known.len()), Some(3));
}

/// rumqttd answers no UNSUBSCRIBE for a filter that it does not know. The link goes on, and once a
/// later request was answered it does not ask again.
#[test]
fn an_unsuback_that_never_comes_holds_up_nothing() {
    for v5 in [false, true] {
        let mut spec = spec(&["a out 1", "b in 1"]);
        spec.notifications = false;
        if !v5 {
            spec.version = Some(Version::V311);
        }
        let mut s = knowing(spec, &["a"]);
        assert_eq!(up(&mut s, true), ["SUBSCRIBE b", "UNSUBSCRIBE a"]);
        s.suback(1, Reason::GRANTED_QOS_1).unwrap();
        s.link.unacknowledged(None);
        for _ in 0..5 {
            assert_eq!(s.wait(), (secs(60), "idle".into()), "a ping, not the end");
            assert_eq!(s.sent(), ["PINGREQ"]);
            s.receive(Packet::PingResp).unwrap();
            s.link.unacknowledged(None);
        }
        assert_eq!(subscribed(&mut s), Some(vec!["b".to_owned()]));
        s.close();
        assert_eq!(up(&mut s, true), ["SUBSCRIBE b"]);
    }
}

/// A connection that ended before the upstream can have seen it.
#[test]
fn an_unsubscribe_that_was_lost_is_sent_again() {
    let mut s = knowing(spec(&["a out 1"]), &["a"]);
    for _ in 0..2 {
        assert_eq!(up(&mut s, true), ["UNSUBSCRIBE a"]);
        s.close();
    }
    assert_eq!(up(&mut s, true), ["UNSUBSCRIBE a"]);
    let id = s.ids;
    unsuback(&mut s, id, &[Reason::NOT_AUTHORIZED]);
    assert_eq!(subscribed(&mut s), None, "it is still there");
}
