//! `memory_limit`: what counts, what is refused when little is left, who is closed.

mod absent;
mod readers;
mod retained;

use super::upstream_faults::uplink;
use super::world::Last;
use super::*;
use crate::broker::Address;
use crate::broker::memory::Tightness;
use crate::held;
use crate::mqtt::{Packet, Props, Publish};

pub(super) const LIMIT: u64 = 8 << 20;

pub(super) fn limited(limit: u64) -> World {
    let mut settings = settings();
    settings.memory_limit = Some(limit);
    settings.max_retained_bytes = Some(0);
    World::with(settings)
}

/// A client somewhere on the LAN.
pub(super) fn far(world: &mut World, dial: &Dial) -> (Peer, Reason) {
    let address = Address::from(core::net::SocketAddr::from(([192, 0, 2, 7], 4711)));
    let peer = world.open_from(0, address, dial.version);
    world.send_connect(peer, dial);
    world.pass(ms(50));
    match world.next(peer) {
        Some(Got::ConnAck(_, reason)) => (peer, reason),
        other => panic!("no CONNACK but {other:?}"),
    }
}

/// What keeps as many bytes as make `part` tenths of the limit.
pub(super) fn fill(world: &World, tenths: u64) -> held::Charge<{ held::STORE }> {
    let wanted = LIMIT / 10 * tenths - world.broker.memory();
    held::Charge::new(usize::try_from(wanted).unwrap())
}

pub(super) fn will(payload: &'static str) -> Last {
    Last {
        payload,
        delay: 0,
        expiry: None,
    }
}

pub(super) fn state(world: &mut World) -> Tightness {
    world.broker.core.memory.look(Some(LIMIT));
    world.broker.core.memory.state()
}

/// At three quarters nothing large comes in, with the right code, and what exists goes on; when there is
/// room again, so does the rest.
#[test]
fn at_three_quarters_nothing_large_comes_in() {
    for version in [Version::V311, Version::V5] {
        let mut world = limited(LIMIT);
        let (known, _) = far(&mut world, &Dial::durable(version, "known"));
        world.listen(known, "t/#", QoS::AtMostOnce);
        world.publish_with(known, "t/kept", "old", qos1(1), true, &[]);
        world.pass(ms(50));
        world.got(known);
        let load = fill(&world, 8);
        let mut new = Dial::clean(version, "new");
        new.will = Some(will("x".repeat(2_000).leak()));
        assert_eq!(far(&mut world, &new).1, Reason::SERVER_UNAVAILABLE);
        // A session that there is comes back, and subscribes to what it has.
        world.cut(known);
        let (known, reason) = far(&mut world, &Dial::durable(version, "known"));
        assert_eq!(reason, OK);
        world.listen(known, "t/#", QoS::AtMostOnce);
        world.got(known);
        let long = "x".repeat(5_000);
        world.subscribe(known, 9, &[Subscription::new(&long, QoS::AtMostOnce)]);
        world.pass(ms(50));
        let refused = if version == Version::V5 {
            Reason::QUOTA_EXCEEDED
        } else {
            Reason::UNSPECIFIED
        };
        assert_eq!(world.got(known), [Got::SubAck(9, vec![refused])]);
        // A value that is retained may change, and go; no other comes to it.
        world.publish_with(known, "t/kept", "new", qos1(2), true, &[]);
        world.publish_with(known, "t/more", "x", qos1(3), true, &[]);
        assert_eq!(world.broker.core.router.retained_len(), 1);
        world.pass(ms(100));
        let got = world.got(known);
        let messages = got
            .iter()
            .filter(|got| matches!(got, Got::Publish(_)))
            .count();
        assert_eq!(messages, 2, "who is subscribed gets it: {got:?}");
        assert!(got.contains(&Got::PubAck(2, OK)), "{got:?}");
        let answer = if version == Version::V5 {
            Reason::QUOTA_EXCEEDED
        } else {
            OK
        };
        assert!(got.contains(&Got::PubAck(3, answer)), "{got:?}");
        world.publish_with(known, "t/kept", "", qos1(4), true, &[]);
        assert_eq!(world.broker.core.router.retained_len(), 0);
        assert!(world.broker.counters().refused_for_memory >= 3);
        drop(load);
        assert_eq!(far(&mut world, &new).1, OK);
    }
}

/// Retained values alone keep nobody out: they may take half.
#[test]
fn retained_values_leave_room_for_others() {
    let mut world = limited(LIMIT);
    let (device, _) = far(&mut world, &Dial::clean(Version::V5, "device"));
    let value = "x".repeat(4_000);
    for n in 0..2_000 {
        let topic = format!("t/{n}");
        world.publish_with(device, &topic, &value, Delivery::AtMostOnce, true, &[]);
    }
    let retained = world.broker.core.router.retained_bytes();
    assert!(
        (LIMIT / 5 * 2..LIMIT / 5 * 3).contains(&retained),
        "{retained}"
    );
    assert_eq!(state(&mut world), Tightness::None);
    assert_eq!(far(&mut world, &Dial::clean(Version::V311, "new")).1, OK);
    assert!(world.broker.counters().refused_for_memory > 500);
}

/// Retained values of one client that take what they may: others, who can be told nothing, are
/// acknowledged and read on, at each QoS, and who is subscribed gets their messages.
#[test]
fn who_finds_no_room_to_retain_is_acknowledged() {
    let mut world = limited(LIMIT);
    let (greedy, _) = far(&mut world, &Dial::clean(Version::V5, "greedy"));
    let (reader, _) = far(&mut world, &Dial::durable(Version::V311, "reader"));
    world.listen(reader, "t/#", QoS::AtLeastOnce);
    let value = "x".repeat(90_000);
    for n in 0..50 {
        let topic = format!("greedy/{n}");
        world.publish_with(greedy, &topic, &value, Delivery::AtMostOnce, true, &[]);
    }
    let refused = world.broker.counters().refused_for_memory;
    let (device, _) = far(&mut world, &Dial::clean(Version::V311, "device"));
    let value = "x".repeat(500);
    for n in 1..301 {
        let delivery = if n % 2 == 0 { qos2(n) } else { qos1(n) };
        world.publish_with(device, &format!("t/{n}"), &value, delivery, true, &[]);
    }
    world.pass(secs(1));
    let answers = world.got(device);
    for n in 1..301 {
        let answer = if n % 2 == 0 {
            Got::PubRec(n, OK)
        } else {
            Got::PubAck(n, OK)
        };
        assert!(answers.contains(&answer), "{n}");
    }
    assert!(world.is_read(device));
    let counters = world.broker.counters();
    assert_eq!(counters.refused_for_memory - refused, 300);
    assert!(world.broker.core.router.retained_at("t/1").is_none());
    let queued = world.broker.core.sessions.find("reader").unwrap();
    let session = world.broker.core.sessions.get(queued).unwrap();
    assert_eq!(session.outbound.len(), 300);
}

/// 20,000 retained values and fifty readers that don't acknowledge: 185 KB sent, and 235 MB held
/// once.
#[test]
fn readers_of_everything_that_is_retained_stay_within_the_limit() {
    let mut world = limited(LIMIT);
    let (device, _) = far(&mut world, &Dial::clean(Version::V311, "device"));
    for n in 1..20_001 {
        world.publish_with(device, &format!("t/{n}"), "1", qos1(n), true, &[]);
        if n % 100 == 0 {
            world.pass(ms(50));
        }
    }
    assert_eq!(world.got(device).len(), 20_000);
    let mut most = 0;
    for n in 0..50 {
        let (reader, reason) = far(&mut world, &Dial::clean(Version::V311, &format!("r{n}")));
        if reason == OK {
            world.subscribe(reader, 1, &[Subscription::new("#", QoS::AtLeastOnce)]);
        }
        most = most.max(world.broker.memory());
        world.pass(ms(50));
    }
    assert!(most < LIMIT, "{:?}", held::parts());
    world.publish(device, "still", "1", qos1(1));
    assert!(matches!(world.got(device)[..], [Got::PubAck(1, reason)] if !reason.is_error()));
}

/// 500 subscribers that never acknowledge: 40 KB sent, and 115 MB held once.
#[test]
fn subscribers_that_never_acknowledge_stay_within_the_limit() {
    let mut world = limited(LIMIT);
    for n in 0..500 {
        let (reader, _) = far(&mut world, &Dial::clean(Version::V311, &format!("r{n}")));
        world.subscribe(reader, 1, &[Subscription::new("#", QoS::AtLeastOnce)]);
    }
    let (device, _) = far(&mut world, &Dial::clean(Version::V311, "device"));
    let mut most = 0;
    for n in 1..1_001 {
        world.publish(device, "t", "1", qos1(n));
        most = most.max(world.broker.memory());
    }
    world.pass(ms(100));
    assert!(most < LIMIT, "{:?}", held::parts());
    assert!(held::of(held::QUEUES) > LIMIT / 4, "{:?}", held::parts());
    let acks = world.got(device);
    assert_eq!(acks.len(), 1_000, "the publisher waits for nobody");
}

/// Wills of 60 KB, from as many as come.
#[test]
fn wills_stay_within_the_limit() {
    let mut world = limited(LIMIT);
    let payload: &str = "x".repeat(60_000).leak();
    let mut refused = 0;
    for n in 0..200 {
        let mut dial = Dial::clean(Version::V5, &format!("c{n}"));
        dial.will = Some(will(payload));
        refused += u32::from(far(&mut world, &dial).1 == Reason::SERVER_UNAVAILABLE);
        assert!(world.broker.memory() < LIMIT, "{:?}", held::parts());
    }
    assert!((80..120).contains(&refused), "{refused}");
}

/// At nine tenths whoever holds most is closed and told, and nobody else is.
#[test]
fn who_holds_most_is_closed_at_nine_tenths() {
    let mut world = limited(LIMIT);
    let (large, _) = far(&mut world, &Dial::clean(Version::V5, "large"));
    let (kept, _) = far(&mut world, &Dial::durable(Version::V5, "kept"));
    let (small, _) = far(&mut world, &Dial::clean(Version::V5, "small"));
    world.listen(large, "#", QoS::AtLeastOnce);
    world.listen(kept, "k", QoS::AtLeastOnce);
    let value = "x".repeat(10_000);
    for n in 1..101 {
        world.publish(small, "t", &value, qos1(n));
    }
    world.publish(small, "k", "owed", qos1(200));
    world.pass(ms(100));
    let taken = world.broker.memory();
    assert!(taken > 700_000);
    let _load =
        held::Charge::<{ held::STORE }>::new(usize::try_from(LIMIT / 100 * 91 - taken).unwrap());
    world.pass(ms(10));
    assert_eq!(world.got(large).last(), Some(&Got::Closed));
    assert!(world.is_open(kept) && world.is_open(small));
    assert_eq!(world.broker.counters().closed_for_memory, 1);
    assert_ne!(state(&mut world), Tightness::Full);
    assert_eq!(world.payloads(kept), ["owed"]);
}

/// Where nobody holds much, those go that have not said who they are; clients stay.
#[test]
fn strangers_go_before_clients() {
    let mut world = limited(LIMIT);
    let (client, _) = far(&mut world, &Dial::clean(Version::V5, "client"));
    let strangers: Vec<Peer> = (0..10).map(|_| world.open(Version::V311)).collect();
    let _load = fill(&world, 10);
    // What it is answered lies in a buffer with room for much more.
    let conn = world.conn(client);
    world.broker.packet(conn, Packet::PingReq, world.now);
    world.pass(ms(500));
    assert!(strangers.iter().all(|peer| world.is_open(*peer)));
    world.pass(secs(2));
    assert!(strangers.into_iter().all(|peer| !world.is_open(peer)));
    assert!(world.is_open(client));
}

/// Everything that is held is counted out again.
#[test]
fn what_is_gone_counts_no_more() {
    let mut world = limited(LIMIT);
    let before = held::parts();
    for version in VERSIONS {
        let mut dial = Dial::clean(version, "c");
        dial.will = Some(will("will"));
        let (peer, _) = world.connect(&dial);
        world.listen(peer, "#", QoS::AtLeastOnce);
        for n in 1..8 {
            world.publish(peer, "t", "x", qos1(n));
            world.publish_with(peer, "r", "x", qos1(100 + n), true, &[]);
        }
        world.publish_with(peer, "r", "", qos1(200), true, &[]);
        world.pass(secs(2));
        world.disconnect(peer, Reason::SUCCESS);
        world.pass(secs(2));
    }
    for ((name, old), (_, new)) in before.into_iter().zip(held::parts()) {
        // Spare buffers are kept, and counted; so are an empty tree, and when a topic was written last.
        let spare = match name {
            "outboxes" => 100_000,
            "filters" => 1_000,
            "retained" => 100,
            _ => 0,
        };
        assert!(new <= old + spare, "{name}: {old}, {new}");
    }
}

/// So many durable sessions that are subscribed to `t`, and away.
fn all_absent(world: &mut World, count: usize) -> Vec<Dial> {
    let dials = (0..count).map(|n| Dial::durable(Version::V5, &format!("c{n}")));
    let dials: Vec<Dial> = dials.collect();
    for dial in &dials {
        let (peer, _) = world.connect(dial);
        world.listen(peer, "t", QoS::AtLeastOnce);
        world.pass(ms(50));
        world.got(peer);
        world.cut(peer);
    }
    dials
}

/// A large message for forty durable sessions, which come back at the same time: it is read and decoded
/// once. It was 40 times 5 MB once.
#[test]
fn what_many_sessions_are_owed_is_read_once() {
    let mut world = limited(LIMIT);
    let dials = all_absent(&mut world, 40);
    let device = world.clean(Version::V311, "device");
    let large = "x".repeat(1_000_000);
    world.publish(device, "t", &large, qos1(1));
    world.pass(secs(2));
    for n in 2..5 {
        world.publish(device, "t", &n.to_string(), qos1(n));
    }
    world.pass(secs(2));
    assert_eq!(world.got(device).len(), 4);
    assert!(world.broker.memory() < 500_000, "{:?}", held::parts());
    world.held = true;
    let peers: Vec<Peer> = dials.iter().map(|dial| world.dial(dial)).collect();
    world.pass(ms(50));
    while world.waiting(peers[39]) == 0 {
        assert!(world.store(), "no CONNACK");
    }
    // One question at a time is so large.
    let mut reads = 0;
    while world.store_full() {
        reads += 1;
        assert!(world.broker.memory() < 4_000_000, "{:?}", held::parts());
    }
    // Once the large one, and not forty times what comes behind it.
    assert!(reads < 45, "{reads} reads");
    for peer in peers {
        assert_eq!(world.next(peer), Some(Got::ConnAck(true, OK)));
        let payloads = world.payloads(peer);
        assert_eq!(payloads.len(), 4);
        assert_eq!((payloads[0].len(), &*payloads[3]), (large.len(), "4"));
    }
}

/// What was read back for many sessions is forgotten once they have acknowledged it, or some have while
/// the others stay away.
#[test]
fn what_was_read_back_does_not_stay() {
    for back in [1, 20] {
        let mut world = limited(LIMIT);
        let dials = all_absent(&mut world, 20);
        world.pass(secs(60));
        let before = held::of(held::STORE);
        let device = world.clean(Version::V311, "device");
        for n in 1..61 {
            world.publish(device, "t", "x", qos1(n));
        }
        world.pass(secs(60));
        let peers: Vec<Peer> = dials[..back].iter().map(|dial| world.dial(dial)).collect();
        for _ in 0..10 {
            world.pass(ms(50));
            for peer in &peers {
                for got in world.got(*peer) {
                    if let Got::Publish(message) = got
                        && let Delivery::AtLeastOnce(id, _) = message.delivery
                    {
                        world.puback(*peer, id.get());
                    }
                }
            }
        }
        world.pass(secs(60));
        let key = world.broker.core.sessions.find("c0").unwrap();
        assert_eq!(
            world.broker.core.sessions.get(key).unwrap().outbound.len(),
            0
        );
        let held = held::of(held::STORE);
        assert!(held <= before + 1_000, "{back}: {before}, {held}");
    }
}

/// An upstream with more retained values than there is memory: all are delivered and acknowledged, half
/// the limit is retained, and what comes behind them comes through.
#[test]
fn what_an_upstream_retains_stays_within_the_limit() {
    let mut world = limited(LIMIT);
    let (client, _) = far(&mut world, &Dial::clean(Version::V311, "c"));
    world.listen(client, "#", QoS::AtMostOnce);
    let upstream = uplink(&mut world, Version::V311);
    let value = "x".repeat(10_000);
    for n in 1..1_001 {
        world.publish_with(upstream, &format!("r/{n}"), &value, qos1(n), true, &[]);
        if n % 20 == 0 {
            world.pass(ms(30));
        }
        assert!(world.broker.memory() < LIMIT / 4 * 3, "{:?}", held::parts());
    }
    world.publish(upstream, "command", "go", qos1(2_000));
    world.pass(secs(1));
    let acks = world.got(upstream);
    let acks = acks.iter().filter(|got| matches!(got, Got::PubAck(_, OK)));
    assert_eq!(acks.count(), 1_001);
    let payloads = world.payloads(client);
    assert_eq!((payloads.len(), payloads[1_000].as_str()), (1_001, "go"));
    assert!((350..500).contains(&world.broker.core.router.retained_len()));
    assert!(world.broker.counters().refused_for_memory > 500);
}

/// The operator can look and clear up: `footbridge status` gets in when next to nothing is left.
#[test]
fn who_comes_from_the_box_itself_gets_in() {
    let mut world = limited(LIMIT);
    let _load = fill(&world, 10);
    let near = world.clean(Version::V5, "status");
    world.subscribe(near, 1, &[Subscription::new("$SYS/#", QoS::AtMostOnce)]);
    world.pass(ms(50));
    assert_eq!(world.next(near), Some(Got::SubAck(1, vec![OK])));
    assert_eq!(
        far(&mut world, &Dial::clean(Version::V5, "new")).1,
        Reason::SERVER_UNAVAILABLE
    );
}
