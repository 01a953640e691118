//! An upstream that closes the connection, for the tests of what is made of that.

use super::*;
use crate::message::{Message, Parts};

/// A link towards an upstream that knows 3.1.1 only, and its notifications are off.
pub(super) fn quiet(topics: &[&str]) -> Script {
    let mut spec = v311(spec(topics));
    spec.try_private = false;
    spec.notifications = false;
    Script::new(spec)
}

/// Connects; what the link sends first.
pub(super) fn up(s: &mut Script) -> Vec<String> {
    s.sent();
    s.dial();
    s.accept(true, &[]).1
}

/// The limits that the session gets with the next connection.
pub(super) fn limits(s: &mut Script) -> Limits {
    s.sent();
    s.dial();
    match s.accept(true, &[]).0 {
        Step::Up(limits) => limits,
        other => panic!("{other:?}"),
    }
}

/// The broker has sent a message to `topic`, with packet id 1000.
pub(super) fn sends(s: &Script, topic: &str, qos: QoS) {
    let id = PacketId::new(1000).unwrap();
    s.link.wire().sent(topic, qos, id);
}

/// The broker has sent a message of some 10,000 bytes to `topic` at QoS 1.
pub(super) fn sends_large(s: &Script, topic: &str) {
    let parts = Parts {
        topic,
        props: &[],
        payload: &[b'x'; 10_000],
    };
    let message = Message::new(parts, s.now, Rc::default()).unwrap();
    let wire = s.link.wire();
    assert!(wire.outward(None, &message, &mut String::new(), s.now));
    sends(s, topic, QoS::AtLeastOnce);
}

/// What the link does next, at whatever time.
pub(super) fn step(s: &mut Script) -> String {
    match s.drive() {
        idle if idle == "idle" => s.wait().1,
        action => action,
    }
}

/// Lets the careful connection come to the point where messages go out.
pub(super) fn open(s: &mut Script) {
    for _ in 0..10_000 {
        match step(s).as_str() {
            "window 1" => return,
            "idle" => {}
            other => panic!("{other}"),
        }
        if s.sent().contains(&"PINGREQ".to_owned()) {
            s.receive(Packet::PingResp).unwrap();
        }
    }
    panic!("no message goes out");
}

/// One message under way.
pub(super) fn message(seq: u64, id: Option<u64>, qos: QoS) -> UnderWay {
    let first = Unanswered {
        seq,
        id: id.map(MessageId),
        qos,
    };
    UnderWay {
        count: 1,
        first: Some(first),
        ..UnderWay::default()
    }
}

/// The upstream closes the connection on that.
pub(super) fn close_on(s: &mut Script, under_way: &UnderWay) -> Option<Unanswered> {
    s.link.failed(&Error::Closed("gone".into()), s.now);
    s.link.judge(under_way, s.now)
}

/// Milliseconds.
pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
