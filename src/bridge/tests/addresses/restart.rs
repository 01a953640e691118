//! Whose session it is after a restart of the process.

use super::*;
use crate::bridge::upstream::addresses::Addresses;

/// After a restart too: what is under way belongs to the last session, and not to an older one elsewhere.
#[test]
fn after_a_restart_an_older_session_elsewhere_is_none() {
    for hosts in [["b", "a"], ["b", "c"]] {
        let mut s = Script::new(addresses(&["a", "b"]));
        for present in [false, false, true] {
            assert!(!up(&mut s, present).session_present, "each has its own");
            s.pass(secs(60));
            s.lose(&Error::PingTimeout, 0);
        }
        // The last connection was to `a`, with another session than `b` has.
        let kept = s.link.take_given_up().expect("something to keep");
        let restart = |s: &mut Script, hosts: &[&str]| {
            s.link = Link::new(Rc::new(addresses(hosts)), 1, s.now).with_given_up(&kept);
        };
        restart(&mut s, &hosts);
        assert!(!up(&mut s, true).session_present, "{hosts:?}");
        assert_eq!(host(&s), "b");
        assert!(
            s.link.take_given_up().is_some(),
            "the last session is another"
        );
        cut(&mut s);
        assert!(up(&mut s, true).session_present, "that is its own");
        restart(&mut s, &["a", "b"]);
        assert!(up(&mut s, true).session_present, "that was the last");
        assert_eq!(host(&s), "a");
    }
}

/// The store is written where addresses have sessions of their own, and not for each connection.
#[test]
fn whose_session_is_whose_is_kept_once() {
    let mut s = Script::new(addresses(&["a", "b"]));
    for (present, is_kept) in [(false, false), (true, false), (false, false), (true, false)] {
        up(&mut s, present);
        assert_eq!(s.link.take_given_up().is_some(), is_kept, "one session");
        s.pass(secs(60));
        s.lose(&Error::PingTimeout, 0);
    }
    let mut s = Script::new(addresses(&["a", "b"]));
    up(&mut s, false);
    s.pass(secs(60));
    s.lose(&Error::PingTimeout, 0);
    for (present, is_kept) in [(false, true), (true, false), (false, false)] {
        up(&mut s, present);
        assert_eq!(host(&s), "b");
        assert_eq!(s.link.take_given_up().is_some(), is_kept, "two sessions");
        cut(&mut s);
    }
}

/// Nodes that share a session do after a restart; which of them had it first stands for all.
#[test]
fn groups_come_back_as_they_were() {
    let mut old = Addresses::new(3, true);
    for present in [false, false, true] {
        old.accepted(present);
        old.failed();
    }
    // The second and the third share one, the first has its own.
    let groups = old.groups();
    assert_eq!(groups, [(0, 1), (1, 0), (2, 0)]);
    let numbers: Vec<u32> = groups.iter().map(|(_, group)| *group).collect();
    let mut new = Addresses::new(3, true);
    new.restore(&numbers, &[Some(2), Some(0), Some(1)]);
    assert_eq!(new.groups(), [(1, 1), (2, 0), (0, 0)]);
    assert!(new.accepted(true), "it is shared with the last");
    assert_eq!(new.first_of_session(), 2);
    new.failed();
    assert!(!new.accepted(true), "that is another");
}
