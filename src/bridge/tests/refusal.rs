//! What is done about messages that an upstream refuses, and how long it waits.

use std::time::Duration;

use crate::bridge::{Loudness, Refusal, Refusals, Verdict};
use crate::lane::{Lane, LineNo};
use crate::message::MessageId;
use crate::mqtt::Reason;
use crate::time::Time;

const LANE: Lane = Lane::Client;
const QUOTA: Reason = Reason::QUOTA_EXCEEDED;
const UNCLEAR: Reason = Reason::UNSPECIFIED;

fn at(secs: u64) -> Time {
    Time::from_secs(1000 + secs)
}

/// The place in the sequence and the number of a message.
fn id(n: u64) -> (u64, Option<MessageId>) {
    (n, Some(MessageId(n)))
}

fn is_paused(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Paused(..))
}

/// Reasons from 0x80 up that have no class of their own are not clear: nothing is lost by what
/// nobody knows.
#[test]
fn classes() {
    for (class, reasons) in [
        (Refusal::Never, &[0x90, 0x95, 0x99, 0x9a, 0x9b][..]),
        (Refusal::Perhaps, &[0x87, 0x91]),
        (Refusal::NotNow, &[0x89, 0x93, 0x96, 0x97]),
        (Refusal::Unclear, &[0x80, 0x83, 0x8a, 0xc0, 0xff]),
    ] {
        for reason in reasons {
            assert_eq!(Refusal::of(Reason(*reason)), class, "{reason:#x}");
        }
    }
}

#[test]
fn waits_grow_until_something_is_accepted() {
    let mut refusals = Refusals::new("b");
    let (mut now, mut waits) = (at(0), Vec::new());
    for _ in 0..60 {
        let verdict = refusals.refused(LANE, id(1), QUOTA, now);
        assert!(is_paused(verdict));
        assert_eq!(refusals.refused(LANE, id(2), QUOTA, now), Verdict::Waits);
        assert_eq!(refusals.take_due(false, now), None);
        let next = refusals.next().unwrap();
        waits.push(next.since(now));
        now = next;
        assert_eq!(refusals.take_due(false, now), Some((LANE, 1)));
    }
    let limits = Duration::from_secs(1)..=Duration::from_secs(60);
    assert!(waits.iter().all(|wait| limits.contains(wait)), "{waits:?}");
    let longest = waits.iter().max().unwrap();
    assert!(*longest > Duration::from_secs(30), "{waits:?}");
    assert_eq!(refusals.count, 120);
    assert!(refusals.accepted(LANE, 1).is_some());
    assert!(is_paused(refusals.refused(LANE, id(2), QUOTA, now)));
    assert!(refusals.next().unwrap().since(now) <= Duration::from_secs(3));
}

/// A new connection does not wait, and one lane does not pause another.
#[test]
fn a_new_connection_asks_at_once() {
    let mut refusals = Refusals::new("b");
    let other = Lane::Bridge(LineNo::new(1).unwrap());
    refusals.refused(LANE, id(1), QUOTA, at(0));
    refusals.refused(other, id(2), QUOTA, at(0));
    assert_eq!(refusals.paused().count(), 2);
    for lane in [LANE, other] {
        assert_eq!(refusals.take_due(true, at(0)), Some((lane, 1)));
    }
    assert_eq!(refusals.take_due(true, at(0)), None);
    assert_eq!(refusals.paused().count(), 0);
}

#[test]
fn what_can_never_be_is_set_aside_at_once() {
    let mut refusals = Refusals::new("b");
    let reason = Reason::TOPIC_NAME_INVALID;
    assert_eq!(refusals.refused(LANE, id(1), reason, at(0)), Verdict::Never);
    assert_eq!(refusals.next(), None);
}

/// Once a second try has shown that it is the topic, other such topics do not hold up the lane;
/// unless nothing of the lane is accepted at all.
#[test]
fn what_is_not_authorized_is_tried_twice() {
    let mut refusals = Refusals::new("b");
    let reason = Reason::NOT_AUTHORIZED;
    assert!(is_paused(refusals.refused(LANE, id(1), reason, at(0))));
    refusals.take_due(false, at(3)).unwrap();
    assert_eq!(refusals.refused(LANE, id(1), reason, at(3)), Verdict::Never);
    assert!(is_paused(refusals.refused(LANE, id(2), reason, at(4))));
    refusals.take_due(false, at(100)).unwrap();
    assert_eq!(
        refusals.refused(LANE, id(2), reason, at(100)),
        Verdict::Never
    );
    refusals.accepted(LANE, 3);
    for n in 4..6 {
        assert_eq!(
            refusals.refused(LANE, id(n), reason, at(101)),
            Verdict::Again
        );
        assert_eq!(
            refusals.refused(LANE, id(n), reason, at(101)),
            Verdict::Never
        );
    }
    // One that is let in the second time: it is not the topic after all.
    assert_eq!(
        refusals.refused(LANE, id(7), reason, at(102)),
        Verdict::Again
    );
    refusals.accepted(LANE, 7);
    assert!(is_paused(refusals.refused(LANE, id(8), reason, at(103))));
}

/// Of very many that are refused the oldest are remembered: they are tried first. Also where messages
/// have no numbers, and not after they were dropped.
#[test]
fn the_first_of_many_is_remembered() {
    let reason = Reason::NOT_AUTHORIZED;
    for dropped in [false, true] {
        let mut refusals = Refusals::new("b");
        let verdict = refusals.refused(LANE, (1, None), reason, at(0));
        assert!(is_paused(verdict));
        for n in 2..2000 {
            refusals.refused(LANE, (n, None), reason, at(0));
        }
        if dropped {
            refusals.keep_suspects(|known| known.seq != 1);
        }
        refusals.take_due(false, at(10)).unwrap();
        let verdict = refusals.refused(LANE, (1, None), reason, at(10));
        assert_eq!(verdict == Verdict::Never, !dropped);
    }
}

/// A message that is refused again and again without a clear reason, while others of its lane
/// are accepted, does not stop the lane for ever; one whose whole lane is refused stays.
#[test]
fn one_that_alone_is_refused_is_found_out() {
    for others in [true, false] {
        let mut refusals = Refusals::new("b");
        let (mut now, mut verdict) = (at(0), Verdict::Again);
        for n in 0..12 {
            verdict = refusals.refused(LANE, id(1), UNCLEAR, now);
            if verdict == Verdict::Never {
                break;
            }
            now = refusals.next().unwrap();
            let (_, limit) = refusals.take_due(false, now).unwrap();
            assert_eq!(limit, if n < 2 { 1 } else { 2 });
            if limit == 2 && others {
                refusals.accepted(LANE, 10 + n);
            }
        }
        assert_eq!(verdict == Verdict::Never, others);
    }
}

#[test]
fn the_log_hears_of_it_once() {
    let mut refusals = Refusals::new("b");
    let said = |verdict| match verdict {
        Verdict::Paused(_, loudness) => loudness,
        other => panic!("{other:?}"),
    };
    let mut ends = Vec::new();
    for (n, expected) in [(0, Loudness::News), (1, Loudness::Repeat)] {
        let now = at(10 * n);
        assert_eq!(said(refusals.refused(LANE, id(n), QUOTA, now)), expected);
        // What was under way already does not end the pause.
        assert_eq!(refusals.accepted(LANE, 50), None);
        refusals.take_due(false, at(10 * n + 5)).unwrap();
        ends.extend(refusals.accepted(LANE, n));
        assert_eq!(refusals.accepted(LANE, 60), None, "it went on");
    }
    assert_eq!(ends, [Loudness::News, Loudness::Repeat]);
    let late = refusals.refused(LANE, id(9), QUOTA, at(700));
    assert_eq!(said(late), Loudness::News);
}
