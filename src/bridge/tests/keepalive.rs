use super::*;
use crate::mqtt::{Delivery, Publish};

fn up() -> Script {
    let mut spec = spec(&[]);
    spec.notifications = false;
    let mut s = Script::new(spec);
    s.dial();
    s.accept(false, &[]);
    s
}

fn publish(s: &mut Script) {
    let publish = Publish {
        delivery: Delivery::AtMostOnce,
        retain: false,
        topic: "a",
        props: Props::EMPTY,
        payload: b"",
    };
    assert_eq!(s.receive(Packet::Publish(publish)), Ok(Step::Forward));
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
