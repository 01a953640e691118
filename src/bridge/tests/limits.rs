//! What the two ends tell each other in CONNECT and CONNACK, and what an upstream may not do.

use super::*;
use crate::bridge::Announced;
use crate::mqtt::{Auth, Disconnect};

/// [MQTT-3.2.2-4]: a session where a clean start was asked for.
#[test]
fn a_session_that_was_not_asked_for_ends_the_connection() {
    let mut clean = spec(&[]);
    clean.clean_session = true;
    let mut s = Script::new(clean);
    s.dial();
    let connack = Packet::ConnAck(ConnAck {
        session_present: true,
        reason: Reason::SUCCESS,
        props: Props::EMPTY,
    });
    assert_eq!(s.receive(connack), Err(Error::SessionPresent));
    assert!(s.link.limits().is_none());
    assert!(s.wait().0 >= secs(5), "no tight loop");
}

/// What the broker holds the upstream to is what the CONNECT said, in the version that was spoken.
#[test]
fn the_upstream_is_held_to_what_it_was_told() {
    let mut spec = spec(&[]);
    spec.max_packet_size = Some(1000);
    spec.max_topic_alias = Some(3);
    let told = Announced {
        max_packet: Some(1000),
        topic_alias_max: 3,
    };
    for (spec, told) in [(spec.clone(), told), (v311(spec), Announced::default())] {
        let mut s = Script::new(spec);
        s.dial();
        let (Step::Up(limits), _) = s.accept(false, &[]) else {
            panic!("the link is not up");
        };
        assert_eq!(limits.announced, told);
    }
}

/// [MQTT-3.2.2-15]: requests keep to the upstream's Maximum Packet Size, too.
#[test]
fn no_request_is_larger_than_the_upstream_takes() {
    let mut s = Script::new(spec(&["short in 0", "much/too/long in 0"]));
    s.dial();
    let (_, sent) = s.accept(false, &[Property::MaximumPacketSize(13)]);
    assert_eq!(sent, ["SUBSCRIBE 1 short q0 nl rap"]);
    let refused = ("much/too/long".into(), Reason::PACKET_TOO_LARGE);
    assert_eq!(s.link.status().refused, [refused]);
    s.suback(1, Reason::SUCCESS).unwrap();
    assert_eq!(s.sent(), [""; 0], "the notification is too large as well");
    s.link.unacknowledged(None);
    assert_eq!(s.wait(), (secs(60), "idle".into()), "nothing is awaited");
}

/// 5.0 §3.2.2.3.11 and §3.2.2.3.13; [MQTT-3.8.3-4]: no No Local on a shared subscription.
#[test]
fn filters_that_the_upstream_does_not_take_are_not_sent() {
    let topics = ["$share/g/a in 0", "b/# in 0", "c in 0"];
    let without = [
        Property::SharedSubscriptionAvailable(0),
        Property::WildcardSubscriptionAvailable(0),
    ];
    let mut s = Script::new(spec(&topics));
    s.dial();
    let (_, sent) = s.accept(false, &without);
    assert_eq!(sent, ["SUBSCRIBE 1 c q0 nl rap"]);
    assert_eq!(s.link.status().refused.len(), 2);
    s.close();
    s.dial();
    let (_, sent) = s.accept(false, &[]);
    assert_eq!(sent[0], "SUBSCRIBE 2 $share/g/a q0 rap");
    assert_eq!(sent.len(), 3);
}

/// [MQTT-3.2.2-12] [MQTT-3.2.2-13]: an upstream that does not take the will gets none.
#[test]
fn a_refused_will_is_left_out() {
    for reason in [Reason::QOS_NOT_SUPPORTED, Reason::RETAIN_NOT_SUPPORTED] {
        let mut s = Script::new(spec(&[]));
        assert!(s.dial().contains("will"));
        s.refuse(reason);
        assert!(!s.dial().contains("will"));
        assert_eq!(s.accept(false, &[]).1, [""; 0], "and no notification");
        assert!(s.link.state_topic().is_some(), "the local clients are told");
    }
}

/// [MQTT-4.12.0-7]: the bridge names no method, and an AUTH gets no answer.
#[test]
fn auth_without_a_method_is_passed_over() {
    let props = Props::EMPTY;
    let reason = Reason::CONTINUE_AUTHENTICATION;
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.accept(false, &[]);
    let auth = Packet::Auth(Auth { reason, props });
    assert_eq!(s.receive(auth), Ok(Step::OutOfPlace));
    assert_eq!(s.sent(), [""; 0]);
}

/// 5.0 §4.11: the other server is named in the log, with the words of the upstream.
#[test]
fn the_log_has_what_the_upstream_says() {
    let mut props = PropsBuf::new();
    props.push(Property::ReasonString("maintenance"));
    props.push(Property::ServerReference("b.example"));
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.accept(false, &[]);
    let disconnect = Disconnect {
        reason: Reason::SERVER_MOVED,
        props: props.as_props(),
    };
    s.receive(Packet::Disconnect(disconnect)).unwrap_err();
    let status = s.link.status();
    assert_eq!(
        status.last_error,
        Some(
            "disconnected by upstream: server moved (0x9d), \"maintenance\", names b.example \
             instead: change address"
        )
    );
    assert_eq!(s.dial().split(' ').next(), Some("CONNECT"), "not followed");
}
