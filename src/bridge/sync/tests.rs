//! What is known of an upstream, step by step.

use super::*;

fn at(secs: u64) -> Time {
    Time::from_secs(secs)
}

/// A pass from the start that sends one message of this QoS in place 0, at 10.
fn passing(sync: &mut RetainedSync, qos: QoS) {
    sync.connected(1, true, true, at(3));
    assert_eq!(sync.begin(None, at(10)), None);
    sync.sent("t", qos, at(10));
    sync.reached(Some(b"t"), 1);
    sync.reached(None, 1);
}

#[test]
fn what_was_sent_at_qos_0_has_arrived_once_something_later_is_answered() {
    let mut sync = RetainedSync::restore(None);
    passing(&mut sync, QoS::AtMostOnce);
    let sent = Outcome {
        topics: 1,
        ..Outcome::default()
    };
    assert_eq!(sync.look(None, at(10)), Some(sent));
    assert!(!sync.is_under_way(), "there is nothing more to send");
    sync.answered(at(10));
    assert_eq!(
        sync.look(None, at(11)),
        None,
        "that was sent at the same time"
    );
    assert!(!sync.has(at(5), None));
    sync.answered(at(12));
    assert!(sync.look(None, at(12)).unwrap().is_over);
    assert!(sync.has(at(11), None) && !sync.has(at(12), None));
    // What came later, over the link that is up, is known by the same.
    sync.answered(at(20));
    assert!(sync.has(at(19), None) && !sync.has(at(20), None));
    assert!(!sync.has(at(19), Some(at(15))), "something is outstanding");
    sync.lose((at(15), at(15)));
    assert!(sync.has(at(14), None) && !sync.has(at(15), None));
}

#[test]
fn what_was_sent_at_qos_1_has_arrived_when_it_is_acknowledged() {
    let mut sync = RetainedSync::restore(None);
    sync.configure(7, false, at(3));
    passing(&mut sync, QoS::AtLeastOnce);
    assert!(sync.is_due(at(3), true) && !sync.is_due(at(4), true));
    assert!(sync.is_due(at(10), false) && !sync.is_due(at(11), false));
    assert_eq!(sync.look(Some(0), at(10)), None);
    assert_eq!(sync.record().need, Some((at(0), at(3))));
    let over = sync.look(Some(1), at(10)).unwrap();
    assert_eq!(
        (over.topics, over.is_over, over.was_needed),
        (1, true, true)
    );
    assert_eq!(sync.record().need, None);
    assert_eq!(sync.record().synced, Time::ZERO, "a kill may cost values");
    sync.disconnected(None, at(20));
    sync.finish();
    assert_eq!(sync.record().synced, before(at(10)));
    sync.configure(7, false, at(30));
    assert_eq!(sync.record().need, None, "nothing has changed");
}

/// What is refused for now is sent again, ever later; what is refused for good on the next connection.
#[test]
fn what_is_refused_is_sent_again_later() {
    let mut sync = RetainedSync::restore(None);
    passing(&mut sync, QoS::AtLeastOnce);
    let mut now = at(11);
    for pause in [10, 20, 40] {
        assert_eq!(
            sync.refuse("t", false, now),
            Some(Duration::from_secs(pause))
        );
        assert_eq!(sync.refuse("u", false, now), None, "the same pause");
        let _ = sync.look(Some(1), now);
        while let Some(later) = sync.begin(None, now) {
            assert!(later > now);
            now = later;
        }
        assert!(sync.is_wanted("t") && sync.is_wanted("u"));
        sync.sent("t", QoS::AtLeastOnce, now);
        sync.sent("u", QoS::AtLeastOnce, now);
        sync.reached(None, 1);
    }
    sync.taken();
    assert_eq!(sync.refuse("t", true, now), None);
    let _ = sync.look(Some(1), now);
    assert!(!sync.is_active(), "it is not tried here again");
    sync.finish();
    assert!(!sync.record().is_final(), "a start sends it");
    sync.disconnected(None, now);
    sync.connected(1, true, true, now);
    assert_eq!(sync.begin(None, now), None);
    assert!(sync.is_wanted("t"));
}

#[test]
fn what_is_lost_is_saved_now_and_then() {
    let mut sync = RetainedSync::restore(None);
    let saves = (100..400).filter(|n| sync.lose((at(*n), at(*n)))).count();
    assert_eq!(saves, 5);
    let (from, to) = sync.record().need.unwrap();
    assert_eq!(from, at(100));
    assert!(to >= at(399));
}
