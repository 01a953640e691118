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
