//! What ends, leaves, waits or has other bounds in thousands goes on in pieces: no turn does more than so
//! many units of work, and in the end all is done.

use super::pieces::{MOST, queued, take_all};
use super::*;
use crate::broker::feed_store;
use crate::config::{General, Overflow};
use crate::mqtt::{Packet, Props, Unsubscribe};

const GROUP: &str = "$share/g/t";

/// Publishes `count` messages on `t` at QoS 1 in one turn, whose payloads are their numbers.
fn flood(world: &mut World, count: u32) {
    let publisher = world.clean(Version::V311, "p");
    for n in 0..count {
        let id = 1 + u16::try_from(n % 60_000).unwrap();
        let named = ("t", &*n.to_string());
        world.publish_in_turn(publisher, named, qos1(id), false, &[]);
    }
    world.turn();
    world.pass(secs(1));
}

/// A session `a` that is away, lasts for a while, and is owed so many messages.
fn owed(count: u32, settings: General) -> World {
    let mut world = World::with(settings);
    let dial = Dial {
        expiry: 100,
        ..Dial::durable(Version::V5, "a")
    };
    let (a, _) = world.connect(&dial);
    world.listen(a, "t", QoS::AtLeastOnce);
    world.cut(a);
    flood(&mut world, count);
    assert_eq!(queued(&world), u64::from(count));
    world
}

/// Time passes until something is due; then turns follow each other until nothing is.
fn turns_when_due(world: &mut World, after: Duration) -> usize {
    world.now += after;
    let due = world.broker.next_timeout().unwrap_or(world.now);
    world.now = due.max(world.now);
    world.turns()
}

/// The store is told of each message that it is owed to nobody, some each turn.
#[test]
fn the_queue_of_a_session_that_ends_goes_in_pieces() {
    let mut world = owed(20_000, settings());
    let turns = turns_when_due(&mut world, secs(100));
    assert!(turns > 4, "{turns}");
    assert_eq!(world.broker.core.sessions.find("a"), None);
    world.pass(secs(5));
    assert_eq!(world.rows(), []);
    assert!(world.broker.core.ledger.store().is_idle());
}

/// The rest of a queue that is for others stays when its session ends; what was its own goes in pieces.
#[test]
fn what_is_not_for_others_goes_in_pieces() {
    let mut world = World::new();
    let (b, _) = world.connect(&Dial::durable(Version::V5, "b"));
    let dial = Dial {
        expiry: 100,
        ..Dial::durable(Version::V5, "a")
    };
    let (a, _) = world.connect(&dial);
    world.listen(a, "t", QoS::AtLeastOnce);
    world.listen(a, GROUP, QoS::AtLeastOnce);
    world.cut(a);
    flood(&mut world, 10_000);
    assert_eq!(queued(&world), 20_000);
    world.listen(b, GROUP, QoS::AtLeastOnce);
    world.cut(b);
    let turns = turns_when_due(&mut world, secs(100));
    assert!(turns > 2, "{turns}");
    world.pass(secs(5));
    assert_eq!(world.rows().len(), 10_000);
    let (b, _) = world.connect(&Dial::durable(Version::V5, "b"));
    assert_eq!(take_all(&mut world, b).len(), 10_000);
    world.pass(secs(5));
    assert_eq!(world.rows(), []);
}

/// Members in RAM of one group: the first has many messages, and takes them one by one; the second
/// comes after them.
fn members(world: &mut World, count: u32) -> [Peer; 2] {
    let dial = Dial {
        receive_maximum: Some(1),
        ..Dial::clean(Version::V5, "a")
    };
    let (a, _) = world.connect(&dial);
    world.listen(a, GROUP, QoS::AtLeastOnce);
    flood(world, count);
    assert_eq!(queued(world), u64::from(count));
    let b = world.clean(Version::V5, "b");
    world.listen(b, GROUP, QoS::AtLeastOnce);
    [a, b]
}

fn numbers(came: &[String]) -> Vec<u32> {
    let number = |came: &String| came.rsplit(' ').next()?.parse().ok();
    let mut numbers: Vec<u32> = came.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn what_a_member_in_ram_leaves_is_given_to_others_in_pieces() {
    const COUNT: u32 = 5_000;
    let mut world = World::new();
    let [a, b] = members(&mut world, COUNT);
    let (conn, now) = (world.conn(a), world.now);
    let took = world.effort(|world| world.broker.closed(conn, "cut", now));
    assert!(took <= MOST, "{took}");
    let turns = world.turns();
    assert!(turns > 2, "{turns}");
    let came = take_all(&mut world, b);
    assert!(numbers(&came).into_iter().eq(0..COUNT), "{}", came.len());
}

/// What it was sent already stays its own.
#[test]
fn what_a_client_leaves_with_its_group_is_given_to_others_in_pieces() {
    const COUNT: u32 = 5_000;
    let mut world = World::new();
    let [a, b] = members(&mut world, COUNT);
    let packet = Packet::Unsubscribe(Unsubscribe {
        id: pid(7),
        props: Props::EMPTY,
        filters: vec![GROUP],
    });
    let took = world.effort(|world| world.hand_in(a, &packet));
    assert!(took <= MOST, "{took}");
    let turns = world.turns();
    assert!(turns > 2, "{turns}");
    let came = take_all(&mut world, b);
    assert!(numbers(&came).into_iter().eq(1..COUNT), "{}", came.len());
    assert_eq!(numbers(&take_all(&mut world, a)), [0]);
}

/// The broker stops while what a member has left is still to be given to one that is away: it gets it.
#[test]
fn what_is_left_in_ram_is_given_to_others_before_the_broker_stops() {
    const COUNT: u32 = 3_000;
    let mut world = World::new();
    let dial = Dial {
        receive_maximum: Some(1),
        ..Dial::clean(Version::V5, "a")
    };
    let (a, _) = world.connect(&dial);
    world.listen(a, GROUP, QoS::AtLeastOnce);
    flood(&mut world, COUNT);
    let b = world.durable(Version::V5, "b");
    world.listen(b, GROUP, QoS::AtLeastOnce);
    world.cut(b);
    let now = world.now;
    world.broker.shutdown(now);
    // The last commit has all of it.
    feed_store(&mut world, now);
    assert!(world.store());
    world.crash(secs(1));
    let b = world.durable(Version::V5, "b");
    let came = take_all(&mut world, b);
    assert!(numbers(&came).into_iter().eq(0..COUNT), "{}", came.len());
}

/// Bounds that are tighter by now hold at once for what comes; what is beyond them goes in pieces.
#[test]
fn a_tighter_bound_takes_hold_in_pieces() {
    let mut world = owed(10_000, settings());
    let general = General {
        max_queued_messages: 10,
        queue_overflow: Overflow::Oldest,
        ..settings()
    };
    let now = world.now;
    let took = world.effort(|world| world.broker.set_general(&general, now));
    assert!(took <= MOST, "{took}");
    let turns = world.turns();
    assert!(turns > 5, "{turns}");
    assert_eq!(queued(&world), 10);
}

/// That hundreds of queues drop something is told in several turns.
#[test]
fn drops_are_told_in_pieces() {
    let mut world = World::with(General {
        max_queued_messages: 1,
        ..settings()
    });
    for n in 0..600 {
        let peer = world.durable(Version::V311, &format!("c{n}"));
        world.listen(peer, "t", QoS::AtLeastOnce);
        world.cut(peer);
    }
    let publisher = world.clean(Version::V311, "p");
    for n in 1..3 {
        world.publish_in_turn(publisher, ("t", "x"), qos1(n), false, &[]);
    }
    let turns = world.turns();
    assert!(world.broker.core.watches.dropping.len() >= 600);
    let more = turns_when_due(&mut world, secs(3_600));
    assert!(turns + more > 3, "{turns} {more}");
    assert_eq!(world.broker.core.watches.drops_left, 0);
}

/// Thousands of messages that wait for room are tried again in several turns, each publisher's in order.
#[test]
fn what_waits_for_room_is_tried_again_in_pieces() {
    let refuses = |most| General {
        max_queued_messages: most,
        queue_overflow: Overflow::Refuse,
        ..settings()
    };
    let mut world = World::with(refuses(1));
    let away = world.durable(Version::V5, "a");
    world.listen(away, "t", QoS::AtLeastOnce);
    world.cut(away);
    let publishers: Vec<Peer> = (0..20)
        .map(|n| {
            let publisher = world.clean(Version::V311, &format!("p{n}"));
            for id in 1..101 {
                let payload = format!("{n}-{id}");
                world.publish_in_turn(publisher, ("t", &payload), qos1(id), false, &[]);
            }
            publisher
        })
        .collect();
    let parked = |world: &World| world.broker.core.connections.all_parked().count();
    world.turns();
    assert_eq!(parked(&world), 1_999);
    let turns = turns_when_due(&mut world, ms(200));
    assert!(turns > 3, "{turns}");
    assert_eq!((parked(&world), queued(&world)), (1_999, 1));
    let now = world.now;
    world.broker.set_general(&refuses(0), now);
    let turns = world.turns();
    assert!(turns > 3, "{turns}");
    assert_eq!((parked(&world), queued(&world)), (0, 2_000));
    world.pass(secs(1));
    for publisher in publishers {
        let acks: Vec<Got> = (1..101).map(|id| Got::PubAck(id, OK)).collect();
        assert_eq!(world.got(publisher), acks);
    }
    let away = world.durable(Version::V5, "a");
    let came = take_all(&mut world, away);
    for n in 0..20 {
        let start = format!("t {n}-");
        let ids = came.iter().filter_map(|came| came.strip_prefix(&start));
        assert!(ids.eq((1..101).map(|id| id.to_string())), "{n}");
    }
}

/// The memory of thousands of filters that are gone comes back in pieces, while what stays is subscribed
/// all the time, by members of groups too.
#[test]
fn filters_that_stay_move_to_another_tree_in_pieces() {
    let mut world = World::with(General {
        max_subscriptions: 0,
        max_subscription_levels: 0,
        ..settings()
    });
    let stay: Vec<(Peer, String)> = (0..1_000)
        .map(|n| {
            let peer = world.clean(Version::V311, &format!("c{n}"));
            let start = if n % 2 == 0 { "" } else { "$share/g/" };
            let filter = format!("{start}s/{n}");
            world.listen(peer, &filter, QoS::AtMostOnce);
            (peer, filter)
        })
        .collect();
    let a = world.clean(Version::V5, "a");
    let filters: Vec<String> = (0..4_000)
        .map(|n| format!("{n}{}", "/l".repeat(29)))
        .collect();
    let wanted: Vec<_> = filters
        .iter()
        .map(|f| Subscription::new(f, QoS::AtMostOnce))
        .collect();
    let small = world.broker.core.router.tree_bytes();
    world.subscribe(a, 1, &wanted);
    let large = world.broker.core.router.tree_bytes();
    let (conn, now) = (world.conn(a), world.now);
    world.broker.closed(conn, "cut", now);
    let mut moves = 0;
    while world
        .broker
        .next_timeout()
        .is_some_and(|at| at <= world.now)
    {
        let took = world.effort(|world| world.broker.tick(now));
        assert!(took <= MOST, "{took}");
        moves += usize::from(world.broker.core.router.is_to_move());
        let found = world.broker.core.router.subscriptions();
        assert!(found >= stay.len(), "{found}");
    }
    assert!(moves > 1, "{moves}");
    let left = world.broker.core.router.tree_bytes();
    assert!(
        small <= left && left < small + (large - small) / 8,
        "{small} {large} {left}"
    );
    let publisher = world.clean(Version::V311, "p");
    for (n, (peer, filter)) in stay.into_iter().enumerate() {
        world.publish(publisher, &format!("s/{n}"), "x", Delivery::AtMostOnce);
        assert_eq!(world.payloads(peer), ["x"], "{filter}");
        world.unsubscribe(peer, 2, &filter);
    }
    world.turn();
    assert!(world.broker.core.router.is_empty());
}

/// A message that supersedes thousands makes room for itself at once; the store is told in pieces.
#[test]
fn what_a_newer_message_supersedes_goes_in_pieces() {
    let mut world = World::with(General {
        max_queued_messages: 20_000,
        queue_overflow: Overflow::LatestPerTopic,
        ..settings()
    });
    let a = world.durable(Version::V5, "a");
    world.listen(a, "t", QoS::AtLeastOnce);
    world.cut(a);
    flood(&mut world, 20_000);
    assert_eq!(queued(&world), 20_000);
    let publisher = world.clean(Version::V311, "q");
    let took = world.effort(|world| {
        world.publish_in_turn(publisher, ("t", "last"), qos1(1), false, &[]);
    });
    assert!(took <= MOST, "{took}");
    assert_eq!(queued(&world), 1);
    let turns = world.turns();
    assert!(turns > 4, "{turns}");
    world.pass(secs(5));
    assert_eq!(world.rows().len(), 1);
    let a = world.durable(Version::V5, "a");
    assert_eq!(take_all(&mut world, a), ["t last"]);
}

/// Where thousands have subscribed to one filter, each that comes or goes moves others in a list, which is
/// work.
#[test]
fn to_leave_a_filter_that_thousands_have_is_work() {
    let mut world = World::new();
    let peers: Vec<Peer> = (0..3_000)
        .map(|n| {
            let peer = world.clean(Version::V5, &format!("c{n}"));
            world.listen(peer, "t", QoS::AtMostOnce);
            peer
        })
        .collect();
    let now = world.now;
    let took = world.effort(|world| {
        for peer in peers {
            let conn = world.conn(peer);
            world.broker.closed(conn, "cut", now);
        }
        world.turns();
    });
    // Half of them stand behind each on the average.
    let moves = 3_000 * 1_500 / 1_024;
    assert!(took > 3_000 * 9 + moves, "{took}");
}

/// Sessions end that were members of many groups each: it takes several turns until all is looked at.
#[test]
fn groups_of_sessions_that_end_are_looked_at_in_pieces() {
    let shares: Vec<String> = (0..100).map(|n| format!("$share/g{n}/t")).collect();
    let shares: Vec<_> = shares
        .iter()
        .map(|share| Subscription::new(share, QoS::AtMostOnce))
        .collect();
    let mut world = World::new();
    let peers: Vec<Peer> = (0..50)
        .map(|n| world.clean(Version::V5, &format!("c{n}")))
        .collect();
    for peer in &peers {
        world.subscribe(*peer, 1, &shares);
    }
    assert_eq!(world.broker.gauges().shared_subscriptions, 5_000);
    for peer in peers {
        let (conn, now) = (world.conn(peer), world.now);
        world.broker.closed(conn, "cut", now);
    }
    let turns = world.turns();
    assert!(turns > 4, "{turns}");
    assert!(world.broker.core.router.is_empty());
}

/// A client leaves many groups by which it is owed nothing, while much waits for it: that it is looked
/// through for each of them is work.
#[test]
fn a_long_queue_without_anything_for_others_is_looked_through_in_pieces() {
    let names: Vec<String> = (0..50).map(|n| format!("$share/g{n}/u")).collect();
    let filters: Vec<&str> = names.iter().map(|name| &**name).collect();
    let subscriptions: Vec<_> = filters
        .iter()
        .map(|name| Subscription::new(name, QoS::AtMostOnce))
        .collect();
    let mut world = World::new();
    let dial = Dial {
        receive_maximum: Some(1),
        ..Dial::clean(Version::V5, "a")
    };
    let (a, _) = world.connect(&dial);
    world.listen(a, "t", QoS::AtLeastOnce);
    flood(&mut world, 5_000);
    let b = world.clean(Version::V5, "b");
    for peer in [a, b] {
        world.subscribe(peer, 1, &subscriptions);
    }
    let packet = Packet::Unsubscribe(Unsubscribe {
        id: pid(7),
        props: Props::EMPTY,
        filters,
    });
    world.hand_in(a, &packet);
    let turns = world.turns();
    assert!(turns > 8, "{turns}");
    assert_eq!(queued(&world), 5_000);
}
