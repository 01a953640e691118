//! What the operator is told of a link: its state, since when, and when the upstream last did something.

use super::*;
use crate::bridge::Order;

/// State, seconds in it, seconds since there is no connection, seconds since the upstream did something.
fn seen(s: &Script) -> (&'static str, u64, Option<u64>, Option<u64>) {
    let status = s.link.status();
    let passed = |at: Time| s.now.since(at).as_secs();
    (
        status.phase.word(),
        passed(status.since),
        status.down_since.map(passed),
        status.progress.map(passed),
    )
}

#[test]
fn a_state_is_told_with_its_age() {
    let mut s = Script::new(spec(&["# in 1 - -"]));
    assert_eq!(seen(&s), ("waiting", 0, Some(0), None));
    let (waited, _) = s.wait();
    let down = waited.as_secs();
    assert_eq!(seen(&s), ("connecting", 0, Some(down), None));
    s.pass(secs(2));
    s.link.connected(s.now, &mut s.out).unwrap();
    s.pass(secs(1));
    assert_eq!(seen(&s), ("handshake", 1, Some(down + 3), None));
    s.sent();
    s.accept(false, &[]);
    assert_eq!(seen(&s), ("up", 0, None, Some(0)));
    s.pass(secs(3));
    s.suback(s.ids, Reason::GRANTED_QOS_1).unwrap();
    s.pass(secs(4));
    assert_eq!(seen(&s), ("up", 7, None, Some(4)));
    publish(&mut s);
    assert_eq!(seen(&s), ("up", 7, None, Some(0)));
    s.pass(secs(60));
    s.close();
    assert_eq!(seen(&s), ("waiting", 0, Some(0), Some(60)));
}

/// Each attempt is a state of its own, but the outage goes on, and what the link hears of its end again
/// changes nothing.
#[test]
fn an_outage_goes_on_over_attempts() {
    let mut s = Script::new(v311(spec(&["# in 1 - -"])));
    s.dial();
    s.accept(false, &[]);
    s.pass(secs(100));
    s.close();
    s.pass(secs(1));
    s.no_answer();
    assert_eq!(seen(&s), ("waiting", 1, Some(1), Some(101)));
    let lost = s.now - secs(1);
    for _ in 0..3 {
        s.dial();
        s.no_answer();
        let down = s.now.since(lost).as_secs();
        assert_eq!(seen(&s), ("waiting", 0, Some(down), Some(100 + down)));
    }
}

/// A bridge that the operator has stopped is not down.
#[test]
fn a_rest_is_no_outage() {
    let mut s = Script::new(spec(&["# in 1 - -"]));
    s.link = Link::new(Rc::clone(s.link.spec()), 1, s.now).with_order(Some(Order::Stop), s.now);
    s.pass(secs(9));
    s.link.drive(s.now, &mut s.out);
    assert_eq!(seen(&s), ("stopped", 9, None, None));
    s.no_answer();
    assert_eq!(seen(&s), ("stopped", 9, None, None));
}
