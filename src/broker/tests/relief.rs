//! `memory_limit` after an attack: the site goes on by itself.

use super::memory::{LIMIT, far, fill, limited, state};
use super::*;
use crate::broker::memory::Tightness;
use crate::held;

/// SUBSCRIBEs to `count` filters of `length` bytes, `each` in a packet, until the connection is closed;
/// how many were granted.
fn bomb(world: &mut World, peer: Peer, (count, each, length): (usize, usize, usize)) -> usize {
    let mut granted = 0;
    let filters: Vec<String> = (0..count)
        .map(|n| format!("{n:06}{}", "x".repeat(length - 6)))
        .collect();
    for some in filters.chunks(each) {
        if !world.is_open(peer) {
            break;
        }
        let some: Vec<_> = some
            .iter()
            .map(|filter| Subscription::new(filter, QoS::AtMostOnce))
            .collect();
        world.subscribe(peer, 7, &some);
        world.pass(ms(20));
        granted += world
            .got(peer)
            .into_iter()
            .map(|got| match got {
                Got::SubAck(_, reasons) => reasons.iter().filter(|r| !r.is_error()).count(),
                _ => 0,
            })
            .sum::<usize>();
    }
    granted
}

/// A client that comes back without a session gets in at three quarters, and its few filters too; at
/// nine tenths it does not.
#[test]
fn a_plain_reconnect_goes_at_three_quarters() {
    for version in VERSIONS {
        let mut world = limited(LIMIT);
        let load = fill(&world, 8);
        assert_eq!(state(&mut world), Tightness::Tight);
        let (peer, reason) = far(&mut world, &Dial::clean(version, "new"));
        assert_eq!(reason, OK);
        world.listen(peer, "site/device/1/set", QoS::AtLeastOnce);
        world.listen(peer, "site/all/#", QoS::AtLeastOnce);
        assert!(bomb(&mut world, peer, (50, 1, 200)) < 10);
        drop(load);
        let _load = fill(&world, 10);
        let (_, reason) = far(&mut world, &Dial::clean(version, "another"));
        assert_eq!(reason, Reason::SERVER_UNAVAILABLE);
    }
}

/// One client's filters take an eighth of the limit, however they come.
#[test]
fn the_filters_of_one_client_leave_room_for_others() {
    for (count, each, length) in [
        (400, 1, 2_000),
        (800, 400, 2_000),
        (3_000, 1_000, 300),
        (15, 1, 60_000),
    ] {
        let mut world = limited(LIMIT);
        let (attacker, _) = far(&mut world, &Dial::durable(Version::V311, "attacker"));
        let before = world.broker.memory();
        let granted = bomb(&mut world, attacker, (count, each, length));
        assert!(granted > 0 && world.is_open(attacker));
        let taken = world.broker.memory() - before;
        assert!(taken < LIMIT / 4, "{taken}: {:?}", held::parts());
        assert_eq!(state(&mut world), Tightness::None);
        let (other, reason) = far(&mut world, &Dial::clean(Version::V311, "other"));
        assert_eq!(reason, OK);
        assert_eq!(bomb(&mut world, other, (30, 10, 50)), 30);
    }
}

/// One packet with a thousand filters does not go from below three quarters to above nine tenths.
#[test]
fn one_packet_stays_below_the_limit() {
    let mut world = limited(LIMIT);
    let (peer, _) = far(&mut world, &Dial::clean(Version::V5, "c"));
    let _load = fill(&world, 7);
    let granted = bomb(&mut world, peer, (1_000, 1_000, 2_000));
    assert!((10..200).contains(&granted), "{granted}");
    assert_ne!(state(&mut world), Tightness::Full);
}

/// Sessions whose filters fill the memory end at nine tenths, those that hold most first, be their
/// clients connected or not; others keep what they have and new ones come in, after a restart too.
#[test]
fn sessions_that_hold_most_end_at_nine_tenths() {
    let mut world = limited(LIMIT);
    let (kept, _) = far(&mut world, &Dial::durable(Version::V311, "kept"));
    bomb(&mut world, kept, (20, 20, 50));
    for (id, stays) in [("present", true), ("absent", false)] {
        let (peer, _) = far(&mut world, &Dial::durable(Version::V311, id));
        assert!(bomb(&mut world, peer, (300, 100, 2_000)) > 100);
        if !stays {
            world.cut(peer);
        }
    }
    world.pass(secs(2));
    world.crash(secs(1));
    let before = world.broker.core.sessions.len();
    assert_eq!(before, 3);
    let load = fill(&world, 10);
    world.pass(secs(3));
    assert!(world.broker.core.sessions.find("kept").is_some());
    assert!(world.broker.core.sessions.len() < before);
    drop(load);
    let (kept, _) = far(&mut world, &Dial::durable(Version::V311, "kept"));
    assert!(world.is_open(kept));
    let found = world.broker.core.sessions.find("kept").unwrap();
    let session = world.broker.core.sessions.get(found).unwrap();
    assert_eq!(session.subscriptions.len(), 20);
    let (_, reason) = far(&mut world, &Dial::clean(Version::V311, "new"));
    assert_eq!(reason, OK);
}

/// A durable client goes with its session if its filters are what holds, so that it is not closed
/// again and again; who has many short filters is not closed for who has few long ones.
#[test]
fn long_filters_go_before_many_short_ones() {
    let mut world = limited(LIMIT);
    let (short, _) = far(&mut world, &Dial::durable(Version::V311, "short"));
    assert_eq!(bomb(&mut world, short, (200, 200, 20)), 200);
    let (long, _) = far(&mut world, &Dial::durable(Version::V311, "long"));
    assert!(bomb(&mut world, long, (7, 1, 60_000)) > 5);
    let taken = world.broker.memory();
    let _load =
        held::Charge::<{ held::STORE }>::new(usize::try_from(LIMIT / 100 * 91 - taken).unwrap());
    world.pass(secs(3));
    assert!(world.is_open(short) && !world.is_open(long));
    assert!(world.broker.core.sessions.find("long").is_none());
    assert_eq!(world.broker.counters().closed_for_memory, 1);
    assert_ne!(state(&mut world), Tightness::Full);
}

/// Thousands of sessions that hold next to nothing each: the latest without a client end.
#[test]
fn many_small_sessions_make_room() {
    let mut world = limited(LIMIT);
    let (first, _) = far(&mut world, &Dial::durable(Version::V311, "first"));
    world.listen(first, "t", QoS::AtLeastOnce);
    world.cut(first);
    for n in 0..3_000 {
        let (peer, _) = far(&mut world, &Dial::durable(Version::V311, &format!("s{n}")));
        world.cut(peer);
    }
    let taken = world.broker.memory();
    let _load =
        held::Charge::<{ held::STORE }>::new(usize::try_from(LIMIT / 100 * 91 - taken).unwrap());
    for _ in 0..50 {
        world.pass(ms(200));
    }
    assert_ne!(state(&mut world), Tightness::Full, "{:?}", held::parts());
    assert!(world.broker.core.sessions.find("first").is_some());
    assert!(world.broker.core.sessions.find("s2999").is_none());
    let (_, reason) = far(&mut world, &Dial::clean(Version::V311, "new"));
    assert_eq!(reason, OK);
}

/// Where no client's memory is what fills it, nobody is closed, and a client that is known gets in.
#[test]
fn nobody_is_closed_for_what_others_hold() {
    let mut world = limited(LIMIT);
    let (known, _) = far(&mut world, &Dial::durable(Version::V311, "known"));
    world.listen(known, "t", QoS::AtLeastOnce);
    world.cut(known);
    let _load = fill(&world, 10);
    for _ in 0..3 {
        let (known, reason) = far(&mut world, &Dial::durable(Version::V311, "known"));
        assert_eq!(reason, OK);
        world.pass(secs(2));
        assert!(world.is_open(known));
        world.cut(known);
    }
    assert_eq!(world.broker.counters().closed_for_memory, 0);
}
