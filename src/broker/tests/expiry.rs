//! Messages that expire while they wait [MQTT-3.3.2-5]: they leave every queue, and nothing is
//! refused or dropped on their account.

use super::overflow::{absent, add, line, up, with};
use super::*;
use crate::broker::DropReason;
use crate::config::{BridgeTopic, Overflow};
use crate::mqtt::Property;

const POLICIES: [Overflow; 4] = [
    Overflow::Refuse,
    Overflow::Newest,
    Overflow::Oldest,
    Overflow::LatestPerTopic,
];

impl World {
    /// Publishes under QoS 1 what expires after `expiry` seconds; 0 is never. What came before is
    /// acknowledged first.
    fn publish_for(&mut self, peer: Peer, topic: &str, payload: &str, expiry: u32) {
        let props = [Property::MessageExpiry(expiry)];
        let props = &props[..usize::from(expiry > 0)];
        let id = 1 + payload.parse::<u16>().unwrap();
        if id % 16 == 0 {
            self.pass(ms(50));
        }
        self.publish_with(peer, topic, payload, qos1(id), false, props);
    }

    /// The PUBACKs that came, all of them good, by payload.
    fn accepted(&mut self, peer: Peer) -> Vec<u16> {
        self.pass(ms(50));
        let number = |got| match got {
            Got::PubAck(id, OK) => id - 1,
            other => panic!("not accepted: {other:?}"),
        };
        self.got(peer).into_iter().map(number).collect()
    }

    fn queued(&self) -> (u64, u64) {
        let gauges = self.broker.gauges();
        (gauges.queued_messages, gauges.queued_bytes)
    }

    fn expired(&self) -> u64 {
        self.broker.counters().dropped_for(DropReason::Expired)
    }
}

/// A message leaves the queue of an absent session when it expires, wherever it stands, and the
/// disk; over a restart too.
#[test]
fn expired_messages_leave_an_absent_queue() {
    let mut world = World::new();
    let dial = absent(&mut world);
    let device = world.clean(Version::V5, "d");
    for (payload, expiry) in [("1", 0), ("2", 10), ("3", 100), ("4", 20), ("5", 0)] {
        world.publish_for(device, "a", payload, expiry);
    }
    assert_eq!(world.accepted(device), [1, 2, 3, 4, 5]);
    world.pass(secs(9));
    assert_eq!((world.queued(), world.expired()), ((5, 10), 0));
    world.pass(secs(2));
    assert_eq!((world.queued(), world.expired()), ((4, 8), 1));
    world.pass(secs(13));
    assert_eq!((world.queued(), world.expired()), ((3, 6), 2));
    assert_eq!(world.rows().len(), 3);
    let key = world.broker.core.sessions.find("away").unwrap();
    let session = world.broker.core.sessions.get(key).unwrap();
    assert_eq!(session.drops().unwrap().sum(None).unwrap().messages, 2);
    world.crash(secs(100));
    world.pass(secs(3));
    assert_eq!((world.queued(), world.expired()), ((2, 4), 1));
    assert_eq!(world.rows().len(), 2);
    let (away, _) = world.connect(&dial);
    world.pass(ms(100));
    assert_eq!(world.payloads(away), ["1", "5"]);
}

/// A queue that is full of what has expired takes a fresh message at once, and loses none that has
/// not expired.
#[test]
fn a_queue_full_of_expired_messages_takes_a_fresh_one() {
    for overflow in POLICIES {
        for version in VERSIONS {
            let mut world = with(0, 200, overflow);
            let dial = absent(&mut world);
            let device = world.clean(Version::V5, "d");
            for n in 1..=200 {
                let expiry = if n == 1 { 0 } else { 10 };
                world.publish_for(device, &format!("t/{n}"), &n.to_string(), expiry);
            }
            assert_eq!(world.accepted(device).len(), 200);
            let other = world.clean(version, "o");
            // Nothing else looks before the message comes.
            world.now += secs(10);
            world.publish_for(other, "t", "201", 0);
            let acked = world.got(other);
            world.pass(ms(50));
            let late = world.got(other);
            assert_eq!(
                [acked, late].concat(),
                [Got::PubAck(202, OK)],
                "{overflow:?}"
            );
            assert_eq!(world.broker.counters().refused_full, 0);
            assert_eq!(world.broker.counters().dropped(), world.expired());
            let (away, _) = world.connect(&dial);
            world.pass(ms(100));
            assert_eq!(
                world.payloads(away),
                ["1", "201"],
                "{overflow:?} {version:?}"
            );
        }
    }
}

/// The queue of a session that lives in RAM, likewise.
#[test]
fn expired_messages_leave_a_queue_in_ram() {
    for overflow in POLICIES {
        let mut world = with(0, 4, overflow);
        let dial = Dial {
            receive_maximum: Some(1),
            ..Dial::clean(Version::V5, "c")
        };
        let (slow, _) = world.connect(&dial);
        world.listen(slow, "#", QoS::AtLeastOnce);
        let device = world.clean(Version::V5, "d");
        for (payload, expiry) in [("1", 10), ("2", 0), ("3", 10), ("4", 20)] {
            world.publish_for(device, "a", payload, expiry);
        }
        assert_eq!(world.message(slow).payload, "1");
        world.now += secs(11);
        world.publish_for(device, "a", "5", 0);
        assert_eq!(world.expired(), 1, "{overflow:?}");
        assert_eq!(world.accepted(device), [1, 2, 3, 4, 5]);
        assert_eq!(world.queued().0, 4, "what was sent stays");
        world.pass(secs(11));
        assert_eq!((world.queued().0, world.expired()), (3, 2));
        assert_eq!(world.broker.counters().dropped(), 2);
        world.puback(slow, 1);
        assert_eq!(world.message(slow).payload, "2");
    }
}

/// What waits in RAM for a durable session whose window is full, likewise.
#[test]
fn expired_messages_leave_a_full_window_behind() {
    let mut world = World::new();
    let dial = Dial {
        receive_maximum: Some(1),
        ..Dial::durable(Version::V5, "c")
    };
    let (slow, _) = world.connect(&dial);
    world.listen(slow, "#", QoS::AtLeastOnce);
    let device = world.clean(Version::V5, "d");
    let count = 300u32;
    for n in 0..count {
        world.publish_for(device, "a", &n.to_string(), 10 + n % 2 * 10);
    }
    assert_eq!(world.message(slow).payload, "0");
    for left in [1 + count / 2, 1] {
        // Some come from the disk meanwhile, one second after the other.
        world.pass(secs(11));
        assert_eq!(world.queued().0, u64::from(left));
    }
    world.pass(secs(3));
    assert_eq!(world.rows().len(), 1);
    // [MQTT-4.4.0-1]: that it has expired does not matter.
    world.cut(slow);
    world.pass(secs(30));
    let (slow, _) = world.connect(&dial);
    world.pass(ms(100));
    let again = world.message(slow);
    let dup = Delivery::AtLeastOnce(again.delivery.id().unwrap(), true);
    assert_eq!((again.payload.as_str(), again.delivery), ("0", dup));
    world.puback(slow, again.delivery.id().unwrap().get());
    world.pass(secs(3));
    assert_eq!((world.queued().0, world.rows()), (0, vec![]));
    assert_eq!(world.expired(), u64::from(count) - 1);
}

/// The queue of a bridge, before its configuration is read again after a start too.
#[test]
fn expired_messages_leave_the_queue_of_a_bridge() {
    let mut world = World::new();
    let ttl = BridgeTopic {
        ttl: Some(secs(60)),
        ..line("t/#")
    };
    let topics = [ttl, line("a/#")];
    let bridge = add(&mut world, &topics);
    let device = world.clean(Version::V5, "d");
    for (topic, payload, expiry) in [
        ("t/a", "1", 0),
        ("t/a", "2", 5),
        ("t/a", "3", 3600),
        ("a/a", "4", 0),
        ("a/a", "5", 5),
        ("a/a", "6", 100),
    ] {
        world.publish_for(device, topic, payload, expiry);
    }
    world.pass(secs(6));
    assert_eq!(world.broker.bridge_backlog(bridge), (4, 16));
    world.pass(secs(60));
    assert_eq!(world.broker.bridge_backlog(bridge), (2, 8));
    assert_eq!((world.expired(), world.rows().len()), (4, 2));
    world.crash(secs(50));
    world.pass(secs(3));
    assert_eq!((world.expired(), world.rows().len()), (1, 1));
    let bridge = add(&mut world, &topics);
    let uplink = up(&mut world, bridge, 20, true);
    world.pass(ms(100));
    assert_eq!(world.message(uplink).payload, "4");
}

/// What the upstream lost with its session goes out again as new, and may expire until then.
#[test]
fn messages_that_the_upstream_forgot_may_expire() {
    let mut world = World::new();
    let bridge = add(&mut world, &[line("#")]);
    let device = world.clean(Version::V5, "d");
    let uplink = up(&mut world, bridge, 20, true);
    world.publish_for(device, "a", "1", 10);
    world.publish_for(device, "a", "2", 10);
    assert_eq!(world.payloads(uplink).len(), 2);
    world.pass(secs(1));
    world.cut(uplink);
    world.pass(secs(20));
    assert_eq!(world.broker.bridge_backlog(bridge).0, 2, "they were sent");
    let uplink = up(&mut world, bridge, 20, false);
    world.pass(secs(3));
    assert_eq!(world.payloads(uplink), NONE);
    assert_eq!((world.expired(), world.rows()), (2, vec![]));
    for n in 3..=5 {
        world.publish_for(device, "a", &n.to_string(), 20);
    }
    assert_eq!(world.payloads(uplink).len(), 3);
    world.cut(uplink);
    let uplink = up(&mut world, bridge, 1, false);
    world.pass(secs(3));
    assert_eq!(world.message(uplink).payload, "3");
    world.pass(secs(20));
    assert_eq!(world.broker.bridge_backlog(bridge).0, 1);
    assert_eq!(world.expired(), 4);
}

/// A session that has ended stays only for what others may still be sent.
#[test]
fn expired_messages_do_not_keep_an_ended_session() {
    let mut world = World::new();
    let group = "$share/g/a";
    let short = Dial {
        expiry: 5,
        ..Dial::durable(Version::V5, "gone")
    };
    let (gone, _) = world.connect(&short);
    world.listen(gone, group, QoS::AtLeastOnce);
    let device = world.clean(Version::V5, "d");
    world.cut(gone);
    for n in 1..=3 {
        world.publish_for(device, "a", &n.to_string(), 60 + 60 * n);
    }
    let other = world.durable(Version::V5, "other");
    world.listen(other, "b", QoS::AtLeastOnce);
    world.subscribe(other, 7, &[Subscription::new(group, QoS::AtLeastOnce)]);
    world.cut(other);
    world.pass(secs(10));
    let ended = |world: &World| {
        let sessions = world.broker.core.sessions.iter();
        sessions.filter(|(_, session)| session.is_ended()).count()
    };
    let before = (ended(&world), world.queued().0);
    world.pass(secs(115));
    let between = (ended(&world), world.queued().0);
    world.pass(secs(120));
    assert_eq!((ended(&world), world.queued().0), (0, 0));
    assert_eq!((before, between), ((1, 3), (1, 2)));
    world.pass(secs(3));
    assert_eq!((world.expired(), world.rows()), (3, vec![]));
}

/// A message of an upstream that waits for room and expires is for nobody: it is acknowledged, and
/// those behind it go on.
#[test]
fn an_expired_message_does_not_wait_for_room() {
    let mut world = with(0, 1, Overflow::Refuse);
    let dial = absent(&mut world);
    let bridge = add(&mut world, &[line("none")]);
    let uplink = up(&mut world, bridge, 20, true);
    for (payload, expiry) in [("1", 0), ("2", 5), ("3", 0)] {
        world.publish_for(uplink, "a", payload, expiry);
    }
    world.pass(secs(3));
    assert_eq!(world.accepted(uplink), [1]);
    world.pass(secs(4));
    assert_eq!(world.accepted(uplink), [2]);
    assert_eq!(world.expired(), 1);
    let (away, _) = world.connect(&dial);
    world.pass(ms(100));
    assert_eq!(world.message(away).payload, "1");
    world.puback(away, 1);
    world.pass(secs(2));
    assert_eq!(world.message(away).payload, "3");
    assert_eq!(world.accepted(uplink), [3]);
}

/// A publisher that can't be told waits for room only until what fills the queue has expired.
#[test]
fn a_publisher_goes_on_when_the_queue_expires() {
    let mut world = with(0, 3, Overflow::Refuse);
    absent(&mut world);
    let device = world.clean(Version::V5, "d");
    for payload in ["1", "2", "3"] {
        world.publish_for(device, "a", payload, 10);
    }
    let old = world.clean(Version::V311, "old");
    world.publish_for(old, "a", "4", 0);
    world.pass(secs(5));
    assert_eq!(world.accepted(old), [0; 0]);
    world.pass(secs(6));
    assert_eq!(world.accepted(old), [4]);
    assert_eq!((world.queued().0, world.expired()), (1, 3));
}

/// Tighter bounds cost no message that has not expired, if others have.
#[test]
fn a_tighter_bound_drops_what_has_expired_first() {
    let mut world = with(0, 0, Overflow::Oldest);
    absent(&mut world);
    let device = world.clean(Version::V5, "d");
    for (payload, expiry) in [("1", 0), ("2", 10), ("3", 0), ("4", 10)] {
        world.publish_for(device, "a", payload, expiry);
    }
    world.pass(secs(1));
    world.settings.max_queued_messages = 2;
    world.now += secs(10);
    let settings = world.settings.clone();
    world.broker.set_general(&settings, world.now);
    world.turn();
    assert_eq!((world.queued().0, world.expired()), (2, 2));
    assert_eq!(world.broker.counters().dropped(), 2);
}

/// What a member has left and has expired meanwhile is handed to nobody.
#[test]
fn an_expired_message_does_not_change_hands() {
    let mut world = World::new();
    let group = "$share/g/a";
    let gone = world.durable(Version::V5, "gone");
    world.listen(gone, group, QoS::AtLeastOnce);
    world.cut(gone);
    let device = world.clean(Version::V5, "d");
    let other = world.durable(Version::V5, "other");
    // Before they are written: it has them at once, and nothing else looks before.
    world.held = true;
    for (payload, expiry) in [("1", 10), ("2", 0), ("3", 10)] {
        world.publish_for(device, "a", payload, expiry);
    }
    world.now += secs(10);
    world.subscribe(other, 7, &[Subscription::new(group, QoS::AtLeastOnce)]);
    world.held = false;
    world.pass(secs(3));
    assert_eq!(world.expired(), 2);
    let got = world.got(other);
    assert!(got.contains(&Got::SubAck(7, vec![Reason(1)])), "{got:?}");
    let messages = got.iter().filter_map(|got| match got {
        Got::Publish(arrived) => Some(arrived.payload.as_str()),
        _ => None,
    });
    assert_eq!(messages.collect::<Vec<_>>(), ["2"]);
    let key = world.broker.core.sessions.find("gone").unwrap();
    let session = world.broker.core.sessions.get(key).unwrap();
    assert_eq!(session.drops().unwrap().sum(None).unwrap().messages, 2);
}

/// However many expire at once, a turn drops a bounded number of them, and devices are served in
/// between.
#[test]
fn what_expires_at_once_is_dropped_bit_by_bit() {
    let mut world = World::new();
    absent(&mut world);
    let device = world.clean(Version::V5, "d");
    let count = 10_000;
    let end = world.now + secs(100);
    for n in 0..count {
        let left = end.since(world.now).as_secs() as u32;
        world.publish_for(device, "a", &(n % 960).to_string(), left);
    }
    world.pass(secs(10));
    assert_eq!((world.queued().0, world.expired()), (count, 0));
    world.pass(end.since(world.now) - secs(2));
    assert_eq!(world.expired(), 0);
    let (mut turns, mut before) = (0, 0);
    while world.expired() < count {
        world.now = world.broker.next_timeout().unwrap().max(world.now);
        world.broker.tick(world.now);
        let more = world.expired() - before;
        assert!(more <= 1_200, "{more} at once");
        before = world.expired();
        turns += 1;
        assert!(turns < 100);
    }
    assert!(turns > 8, "{turns}");
    let late = world.now.since(end);
    assert!(late <= secs(1), "{late:?}");
    world.pass(secs(3));
    assert_eq!((world.queued(), world.rows()), ((0, 0), vec![]));
}

/// A link that is up leaves nothing behind, whenever its messages would have expired.
#[test]
fn what_was_sent_is_not_waited_for() {
    let mut world = World::new();
    let dial = Dial::durable(Version::V5, "reader");
    let (mut reader, _) = world.connect(&dial);
    world.listen(reader, "#", QoS::AtLeastOnce);
    let device = world.clean(Version::V5, "d");
    let year = 365 * 86_400;
    for n in 1..=100 {
        let is_away = n % 10 == 0;
        if is_away {
            world.cut(reader);
        }
        world.publish_for(
            device,
            "a",
            "1",
            [0, 10, year + n, year - n][n as usize % 4],
        );
        if is_away {
            world.pass(secs(5));
            reader = world.connect(&dial).0;
            world.pass(ms(100));
        }
        let message = world.message(reader);
        world.puback(reader, message.delivery.id().unwrap().get());
        world.got(device);
        let looks = world.broker.core.watches.purges.len();
        assert!(looks <= usize::from(n >= 10), "after {n}: {looks}");
    }
    assert_eq!(world.queued(), (0, 0));
}
