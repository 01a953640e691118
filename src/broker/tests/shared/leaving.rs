//! What a member leaves behind that leaves its group, and then goes or joins others, before all of it
//! was given away.

use super::*;
use crate::broker::end_turn;
use crate::mqtt::{Disconnect, Packet, Property, Props, PropsBuf, Subscribe, Unsubscribe};

impl World {
    /// UNSUBSCRIBE; the turn goes on.
    fn leave(&mut self, peer: Peer, filter: &str) {
        let unsubscribe = Unsubscribe {
            id: pid(99),
            props: Props::EMPTY,
            filters: vec![filter],
        };
        self.hand_in(peer, &Packet::Unsubscribe(unsubscribe));
    }

    /// DISCONNECT that ends the session; the turn goes on.
    fn quit(&mut self, peer: Peer, version: Version) {
        let mut props = PropsBuf::new();
        if version == Version::V5 {
            props.push(Property::SessionExpiry(0));
        }
        self.hand_in(
            peer,
            &Packet::Disconnect(Disconnect {
                reason: OK,
                props: props.as_props(),
            }),
        );
    }

    /// A connection breaks; the turn goes on.
    fn lose(&mut self, peer: Peer) {
        let (conn, now) = (self.conn(peer), self.now);
        self.broker.closed(conn, "cut", now);
    }

    /// The payloads of the messages that came since, as numbers.
    fn sent(&mut self, peer: Peer) -> Vec<u32> {
        let messages = self.got(peer).into_iter().filter_map(|got| match got {
            Got::Publish(message) => message.payload.parse().ok(),
            _ => None,
        });
        messages.collect()
    }

    /// Acknowledges all that comes, whose payloads are numbers; those, sorted.
    fn drain_numbers(&mut self, peer: Peer) -> Vec<u32> {
        let mut numbers = Vec::new();
        loop {
            self.pass(ms(50));
            let got = self.got(peer);
            if got.is_empty() {
                numbers.sort_unstable();
                return numbers;
            }
            for got in got {
                if let Got::Publish(message) = got {
                    numbers.push(message.payload.parse().unwrap());
                    self.puback(peer, message.delivery.id().unwrap().get());
                }
            }
        }
    }
}

/// A client leaves its group and ends in the same turn, while messages wait behind its full window: the
/// others get them.
#[test]
fn what_waits_goes_to_others_though_its_session_ends_at_once() {
    for version in VERSIONS {
        for cut in [true, false] {
            ends_at_once(&clean(version, "a"), version, cut);
        }
    }
    ends_at_once(&durable(Version::V5, "a"), Version::V5, false);
}

fn ends_at_once(dial: &Dial, version: Version, cut: bool) {
    let mut world = World::new();
    let a = world.member(dial);
    let publisher = world.clean(Version::V311, "p");
    world.publish_all(publisher, 25);
    assert_eq!(world.together(&[a]), numbers(1..=20));
    let b = world.member(&clean(version, "b"));
    world.leave(a, A);
    if cut {
        world.lose(a);
    } else {
        world.quit(a, version);
    }
    world.turn();
    let came = world.drain_numbers(b);
    assert!(
        numbers(21..=25).iter().all(|n| came.contains(n)),
        "{came:?}"
    );
    assert_eq!(world.broker.core.sessions.find("a"), None);
    world.assert_idle();
}

/// A client leaves its group while the rest of what it was owed by it lies on disk, and ends later: the
/// others get it, though the broker is killed in between.
#[test]
fn a_backlog_goes_to_others_though_its_session_ends_later() {
    for (at_once, crash) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut world = World::new();
        let dial = durable(Version::V5, "a");
        let a = world.member(&dial);
        world.cut(a);
        let publisher = world.clean(Version::V311, "p");
        world.publish_all(publisher, 300);
        world.pass(secs(2));
        let (a, _) = world.connect(&dial);
        world.pass(ms(50));
        assert!(world.waiting(a) > 0);
        let b = world.member(&durable(Version::V5, "b"));
        world.leave(a, A);
        if !at_once {
            world.turn();
            world.pass(ms(50));
        }
        world.quit(a, Version::V5);
        world.turn();
        world.pass(ms(50));
        let sent = world.sent(a);
        assert!(sent.len() < 100, "{}", sent.len());
        let mut came = world.sent(b);
        let b = if crash {
            world.crash(secs(1));
            world.connect(&durable(Version::V5, "b")).0
        } else {
            for id in 1..=came.len() {
                world.puback(b, u16::try_from(id).unwrap());
            }
            world.pass(ms(50));
            b
        };
        came.extend(world.drain_numbers(b));
        let lost = (1..=300).filter(|n| !came.contains(n) && !sent.contains(n));
        assert_eq!(
            lost.collect::<Vec<_>>(),
            [],
            "at once {at_once}, crash {crash}"
        );
    }
}

/// A client that leaves one group and joins another in the same turn gets another number for it: what
/// comes by the second goes to nobody of the first.
#[test]
fn a_number_is_free_only_when_nothing_is_given_away_by_it() {
    let mut world = World::new();
    let a = world.clean(Version::V5, "a");
    world.listen(a, "$share/g1/x", QoS::AtLeastOnce);
    let b = world.clean(Version::V5, "b");
    world.listen(b, "$share/g1/x", QoS::AtLeastOnce);
    let publisher = world.clean(Version::V311, "p");
    world.leave(a, "$share/g1/x");
    let joins = Subscribe {
        id: pid(100),
        props: Props::EMPTY,
        filters: vec![sub("$share/g2/y", QoS::AtLeastOnce)],
    };
    world.hand_in(a, &Packet::Subscribe(joins));
    for n in 1..=30 {
        world.publish_in_turn(publisher, ("y", &n.to_string()), qos1(n), false, &[]);
    }
    world.turn();
    assert_eq!(world.sent(b), []);
    assert_eq!(world.drain_numbers(a), numbers(1..=30));
    world.assert_idle();
}

/// Nor does it go to those who join the first later, where something of it was left once.
#[test]
fn a_number_that_is_used_again_is_no_place_of_the_group_before() {
    let mut world = World::new();
    let dial = durable(Version::V5, "a");
    let a = world.member(&dial);
    world.cut(a);
    let publisher = world.clean(Version::V311, "p");
    world.publish_all(publisher, 300);
    world.pass(secs(2));
    let (a, _) = world.connect(&dial);
    let b = world.member(&clean(Version::V5, "b"));
    world.unsubscribe(a, 99, A);
    while world.waiting(a) + world.waiting(b) > 0 {
        world.drain_numbers(b);
        world.drain_numbers(a);
    }
    world.assert_idle();
    world.listen(a, "$share/g2/y", QoS::AtLeastOnce);
    world.cut(a);
    for n in 1..=10 {
        world.publish(publisher, "y", &n.to_string(), qos1(n));
    }
    world.pass(secs(2));
    let c = world.member(&clean(Version::V5, "c"));
    world.pass(ms(100));
    assert_eq!(world.together(&[b, c]), []);
    let (a, _) = world.connect(&dial);
    assert_eq!(world.drain_numbers(a), numbers(1..=10));
    world.assert_idle();
}

/// A member in RAM goes that has taken over what has rows, in a turn that has much else to do: wherever the
/// broker is killed, nothing is lost.
#[test]
fn what_has_rows_has_an_owner_in_each_commit() {
    for steps in 0..10 {
        let mut world = World::new();
        let d = world.member(&durable(Version::V5, "d"));
        world.cut(d);
        let publisher = world.clean(Version::V311, "p");
        world.publish_all(publisher, 10);
        world.pass(secs(2));
        let slow = Dial {
            receive_maximum: Some(1),
            ..clean(Version::V5, "x")
        };
        let (x, _) = world.connect(&slow);
        world.listen(x, "$share/h/t", QoS::AtLeastOnce);
        for n in 1..=5_000 {
            world.publish_in_turn(publisher, ("t", "x"), qos1(n), false, &[]);
        }
        world.turn();
        let y = world.clean(Version::V5, "y");
        world.listen(y, "$share/h/t", QoS::AtLeastOnce);
        let a = world.member(&clean(Version::V5, "a"));
        world.pass(ms(100));
        assert_eq!(world.together(&[a]), numbers(1..=10));
        let b = world.member(&durable(Version::V5, "b"));
        world.pass(secs(1));
        world.lose(x);
        world.lose(a);
        for _ in 0..steps {
            let now = world.now;
            end_turn(&mut world, now);
            while world.store() {}
            world.now += ms(10);
        }
        world.crash(secs(1));
        assert!(!world.is_open(b));
        let mut came = Vec::new();
        for id in ["b", "d"] {
            let (peer, _) = world.connect(&durable(Version::V5, id));
            came.extend(world.drain_numbers(peer));
        }
        came.sort_unstable();
        assert_eq!(came, numbers(1..=10), "{steps}");
    }
}
