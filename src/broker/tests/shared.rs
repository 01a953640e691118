//! Shared subscriptions (5.0 §4.8.2): who gets a message.

mod hand_over;
mod leaving;
mod random;

use std::rc::Rc;

use super::*;
use crate::config::{General, Overflow};
use crate::lane::{Lane, ShareNo};
use crate::message::{Message, Parts};
use crate::owed::Owed;
use crate::session::Entry;

const A: &str = "$share/g/a/+";

fn sub(filter: &str, qos: QoS) -> Subscription<'_> {
    Subscription::new(filter, qos)
}

impl World {
    /// A member of the group at QoS 1.
    fn member(&mut self, dial: &Dial) -> Peer {
        self.member_at(dial, QoS::AtLeastOnce)
    }

    fn member_at(&mut self, dial: &Dial, qos: QoS) -> Peer {
        let (peer, present) = self.connect(dial);
        if !present {
            self.listen(peer, A, qos);
        }
        peer
    }

    /// Publishes `1` to `n` on `a/b`, QoS 1.
    fn publish_all(&mut self, publisher: Peer, n: u16) {
        for n in 1..=n {
            self.publish(publisher, "a/b", &n.to_string(), qos1(n));
        }
        self.pass(ms(50));
    }

    /// What came to each, taken together and sorted as numbers.
    fn together(&mut self, peers: &[Peer]) -> Vec<u32> {
        let mut all: Vec<u32> = peers
            .iter()
            .flat_map(|peer| self.payloads(*peer))
            .map(|payload| payload.parse().unwrap())
            .collect();
        all.sort_unstable();
        all
    }

    /// Acknowledges all that comes until nothing more does; the payloads in their order.
    fn drain(&mut self, peer: Peer) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..1000 {
            let messages = self.messages(peer);
            for message in &messages {
                if let Some(id) = message.delivery.id() {
                    self.puback(peer, id.get());
                }
            }
            all.extend(messages.into_iter().map(|m| m.payload));
            self.pass(ms(50));
            if self.waiting(peer) == 0 {
                break;
            }
        }
        all
    }

    /// Nothing is owed to anybody, in RAM and on disk.
    fn assert_idle(&mut self) {
        self.pass(secs(3));
        assert!(self.broker.core.ledger.store().is_idle());
        assert_eq!(self.rows(), []);
        assert!(self.broker.core.sessions.iter().all(|(_, s)| !s.is_ended()));
    }
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<u32> {
    range.collect()
}

fn clean(version: Version, id: &str) -> Dial {
    Dial::clean(version, id)
}

fn durable(version: Version, id: &str) -> Dial {
    Dial::durable(version, id)
}

/// §4.8.2: one member of each group gets a message, in turn; other groups and ordinary
/// subscriptions get theirs besides.
#[test]
fn one_member_of_each_group_gets_a_message() {
    for version in VERSIONS {
        let mut world = World::new();
        let members: Vec<Peer> = ["x", "y", "z"]
            .iter()
            .map(|id| world.member(&clean(version, id)))
            .collect();
        let other = world.clean(version, "o");
        world.listen(other, "$share/other/a/#", QoS::AtLeastOnce);
        let plain = world.clean(version, "l");
        world.listen(plain, "a/b", QoS::AtLeastOnce);
        let publisher = world.clean(Version::V311, "p");
        world.publish_all(publisher, 12);
        let counts: Vec<usize> = members.iter().map(|m| world.waiting(*m)).collect();
        assert_eq!(counts, [4, 4, 4]);
        assert_eq!(world.together(&members), numbers(1..=12));
        assert_eq!(world.together(&[other]), numbers(1..=12));
        assert_eq!(world.together(&[plain]), numbers(1..=12));
        let gauges = world.broker.gauges();
        assert_eq!((gauges.subscriptions, gauges.shared_subscriptions), (5, 4));
        world.publish(publisher, "other", "1", qos1(20));
        assert_eq!(world.together(&members), []);
    }
}

/// A session with an ordinary subscription on the topic gets that copy, and the shared one when it
/// is its turn; overlapping ordinary subscriptions bring one copy.
#[test]
fn an_ordinary_subscription_brings_its_own_copy() {
    let mut world = World::new();
    let both = world.durable(Version::V5, "both");
    world.subscribe_with(both, 1, &[sub(A, QoS::AtMostOnce)], Some(7));
    world.subscribe_with(both, 2, &[sub("a/#", QoS::ExactlyOnce)], Some(8));
    world.subscribe_with(both, 3, &[sub("a/b", QoS::AtLeastOnce)], Some(9));
    world.pass(ms(300));
    world.got(both);
    let publisher = world.clean(Version::V311, "p");
    world.publish(publisher, "a/b", "1", qos1(1));
    world.pass(ms(50));
    let mut got = world.messages(both);
    got.iter_mut().for_each(|m| m.sub_ids.sort_unstable());
    got.sort_by_key(|m| m.sub_ids.clone());
    let found: Vec<_> = got
        .iter()
        .map(|m| (m.delivery.qos(), m.sub_ids.clone()))
        .collect();
    let expected = [(QoS::AtMostOnce, vec![7]), (QoS::AtLeastOnce, vec![8, 9])];
    assert_eq!(found, expected, "[MQTT-4.8.2-3]");
}

/// [MQTT-4.8.2-1], [MQTT-4.8.2-2], [MQTT-4.7.1-1]: malformed ones end the connection;
/// [MQTT-3.8.3-4]: so does No Local.
#[test]
fn malformed_shared_subscriptions_are_refused() {
    for filter in [
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$share/g#/a",
    ] {
        for version in VERSIONS {
            let mut world = World::new();
            let peer = world.clean(version, "c");
            world.subscribe(peer, 1, &[sub(filter, QoS::AtMostOnce)]);
            let got = world.got(peer);
            assert_eq!(got.last(), Some(&Got::Closed), "{filter}");
            assert!(world.broker.core.router.is_empty());
        }
    }
    let mut world = World::new();
    let peer = world.clean(Version::V5, "c");
    let mut wanted = sub(A, QoS::AtMostOnce);
    wanted.no_local = true;
    world.subscribe(peer, 1, &[wanted]);
    assert_eq!(
        world.got(peer),
        [Got::Disconnect(Reason::PROTOCOL_ERROR), Got::Closed]
    );
}

/// §4.8.2: retained messages are not sent for a shared subscription, and the RETAIN flag is kept
/// only if that was asked for.
#[test]
fn no_retained_messages_for_a_share() {
    let mut world = World::new();
    let publisher = world.clean(Version::V311, "p");
    world.publish_with(publisher, "a/b", "kept", qos1(1), true, &[]);
    let member = world.member(&clean(Version::V5, "m"));
    world.pass(ms(50));
    assert_eq!(world.payloads(member), NONE);
    world.publish_with(publisher, "a/b", "new", qos1(2), true, &[]);
    world.pass(ms(50));
    assert!(!world.message(member).retain);
}

/// A member with a full window is passed over while another is free; of those that are not, the
/// one with the shortest queue gets the message, and the publisher waits for none.
#[test]
fn a_slow_member_is_passed_over() {
    for version in VERSIONS {
        let mut world = World::new();
        let slow = world.member(&clean(version, "slow"));
        let quick = world.member(&clean(version, "quick"));
        let publisher = world.clean(Version::V311, "p");
        let (mut to_slow, mut to_quick) = (0, 0);
        for n in 1..=100 {
            world.publish(publisher, "a/b", "x", qos1(n));
            for message in world.messages(quick) {
                world.puback(quick, message.delivery.id().unwrap().get());
                to_quick += 1;
            }
            to_slow += world.messages(slow).len();
        }
        assert_eq!((to_slow, to_quick), (20, 80), "the window is 20");
        let acks = world.got(publisher).len();
        assert_eq!(acks, 100);
    }
}

/// A full queue that refuses is passed over while another member can take the message; only when
/// all are full is the publisher told.
#[test]
fn the_publisher_is_refused_only_when_all_members_are_full() {
    let mut world = World::with(General {
        max_queued_messages: 3,
        queue_overflow: Overflow::Refuse,
        ..settings()
    });
    for id in ["x", "y"] {
        let member = world.member(&durable(Version::V5, id));
        world.disconnect(member, OK);
    }
    let publisher = world.clean(Version::V5, "p");
    for n in 1..=7 {
        world.publish(publisher, "a/b", "x", qos1(n));
    }
    world.pass(ms(100));
    let mut expected: Vec<Got> = (1..=6).map(|n| Got::PubAck(n, OK)).collect();
    expected.push(Got::PubAck(7, Reason::QUOTA_EXCEEDED));
    let mut got = world.got(publisher);
    got.sort_by_key(|got| match got {
        Got::PubAck(n, _) => *n,
        _ => 0,
    });
    assert_eq!(got, expected);
}

/// A session that gets a message several times, by shares and by a subscription of its own, has room
/// for all of them or for none.
#[test]
fn all_copies_of_a_message_count_for_the_bound_of_a_queue() {
    for overflow in [Overflow::Refuse, Overflow::Oldest, Overflow::Newest] {
        let mut world = World::with(General {
            max_queued_messages: 5,
            queue_overflow: overflow,
            ..settings()
        });
        let member = world.durable(Version::V5, "m");
        for filter in ["a/+", "$share/g/a/+", "$share/h/a/+", "$share/i/+/b"] {
            world.listen(member, filter, QoS::AtLeastOnce);
        }
        world.disconnect(member, OK);
        let publisher = world.clean(Version::V5, "p");
        world.publish(publisher, "a/b", "1", qos1(1));
        world.publish(publisher, "a/b", "2", qos1(2));
        world.pass(ms(100));
        let (queued, second) = match overflow {
            Overflow::Refuse => (4, Reason::QUOTA_EXCEEDED),
            _ => (5, OK),
        };
        let mut got = world.got(publisher);
        got.sort_by_key(|got| matches!(got, Got::PubAck(2, _)));
        let expected = [Got::PubAck(1, OK), Got::PubAck(2, second)];
        assert_eq!(got, expected, "{overflow:?}");
        let owed = world.broker.gauges().queued_messages;
        assert_eq!(owed, queued, "{overflow:?}");
    }
}

/// Who may not read a topic is passed over.
#[test]
fn a_member_that_may_not_read_is_passed_over() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "topic write a/b\nuser u\ntopic readwrite a/b\n",
    )
    .unwrap();
    let mut settings = settings();
    settings.security.acl_file = Some(file.path().to_owned());
    let mut world = World::with(settings);
    let no = world.member(&clean(Version::V5, "no"));
    let yes = world.member(&Dial {
        username: Some("u"),
        ..clean(Version::V5, "yes")
    });
    let publisher = world.clean(Version::V311, "p");
    world.publish_all(publisher, 6);
    assert_eq!(world.together(&[yes]), numbers(1..=6));
    assert_eq!(world.together(&[no]), []);
}

/// Absent members get messages only if no other is connected, in turn, and QoS 0 not at all.
#[test]
fn absent_members_come_last() {
    for version in VERSIONS {
        let mut world = World::new();
        for id in ["x", "y"] {
            let peer = world.member(&durable(version, id));
            world.disconnect(peer, OK);
        }
        let here = world.member(&clean(version, "here"));
        let publisher = world.clean(Version::V311, "p");
        world.publish_all(publisher, 4);
        assert_eq!(world.together(&[here]), numbers(1..=4));
        for n in 1..=4 {
            world.puback(here, n);
        }
        world.disconnect(here, OK);
        world.publish(publisher, "a/b", "0", Delivery::AtMostOnce);
        world.publish_all(publisher, 4);
        let queued: Vec<u64> = world
            .broker
            .core
            .sessions
            .iter()
            .filter(|(_, s)| s.is_durable())
            .map(|(_, s)| s.outbound.len())
            .collect();
        assert_eq!(queued, [2, 2]);
    }
}

/// Groups and their members come back from the rows of their sessions.
#[test]
fn shared_subscriptions_survive_a_restart() {
    let mut world = World::new();
    for id in ["a", "b"] {
        let peer = world.member(&durable(Version::V5, id));
        world.disconnect(peer, OK);
    }
    world.pass(secs(2));
    world.crash(secs(1));
    let gauges = world.broker.gauges();
    assert_eq!((gauges.subscriptions, gauges.shared_subscriptions), (2, 2));
    let peers = ["a", "b"].map(|id| world.connect(&durable(Version::V5, id)).0);
    let publisher = world.clean(Version::V311, "p");
    world.publish_all(publisher, 10);
    assert_eq!(peers.map(|peer| world.waiting(peer)), [5, 5]);
    assert_eq!(world.together(&peers), numbers(1..=10));
}

/// A client may have a thousand shared subscriptions if it is let; each brings a message, and all of them go
/// with its session.
#[test]
fn shared_subscriptions_are_bounded() {
    let mut settings = settings();
    settings.doors.max_shared_subscriptions = 1000;
    settings.doors.max_filters_per_packet = 0;
    let mut world = World::with(settings);
    let member = world.clean(Version::V5, "c");
    let filters: Vec<String> = (0..1001).map(|n| format!("$share/g{n}/a/b")).collect();
    let wanted: Vec<Subscription<'_>> = filters.iter().map(|f| sub(f, QoS::AtMostOnce)).collect();
    world.subscribe(member, 1, &wanted);
    let Some(Got::SubAck(1, reasons)) = world.next(member) else {
        panic!("no SUBACK");
    };
    assert_eq!(reasons.iter().filter(|r| r.is_error()).count(), 1);
    assert_eq!(reasons.last(), Some(&Reason::QUOTA_EXCEEDED));
    let publisher = world.clean(Version::V311, "p");
    world.publish(publisher, "a/b", "x", Delivery::AtMostOnce);
    assert_eq!(world.waiting(member), 1000);
    world.cut(member);
    assert!(world.broker.core.router.is_empty() && world.broker.core.router.groups.is_empty());
}

/// A client that keeps to itself what came by shares it has left may use up their numbers.
#[test]
fn a_share_without_a_number_is_refused() {
    let mut world = World::new();
    let peer = world.clean(Version::V5, "c");
    let parts = Parts {
        topic: "a/b",
        props: &[],
        payload: b"x",
    };
    let message = Message::new(parts, world.now, Rc::default()).unwrap();
    let message = Rc::new(message);
    let core = &mut world.broker.core;
    let key = core.sessions.find("c").unwrap();
    let session = core.sessions.get_mut(key).unwrap();
    // Two numbers are left.
    for number in ShareNo::all().skip(2) {
        let owed = Owed {
            session: session.id,
            lane: Lane::Share(number),
            seq: session.outbound.next_seq(),
            qos: QoS::AtLeastOnce,
            retain: false,
            sub_ids: Box::default(),
        };
        let entry = Entry::new(Rc::clone(&message), None, owed);
        session.outbound.push(entry, false);
    }
    let filters = ["$share/g/x", "$share/h/x", "$share/i/x"];
    let wanted = filters.map(|filter| sub(filter, QoS::AtMostOnce));
    world.subscribe(peer, 1, &wanted);
    let reasons = vec![OK, OK, Reason::QUOTA_EXCEEDED];
    assert_eq!(world.next(peer), Some(Got::SubAck(1, reasons)));
}

/// A QoS 2 message changes hands with a commit, also to a member whose session lives in RAM: it is
/// sent once that is done, without anything else that would wake the member.
#[test]
fn qos_2_goes_to_a_member_in_ram_after_its_commit() {
    let mut world = World::new();
    let a = world.member_at(&durable(Version::V311, "a"), QoS::ExactlyOnce);
    world.disconnect(a, OK);
    let publisher = world.clean(Version::V311, "p");
    for n in 1..=3 {
        world.publish(publisher, "a/b", &n.to_string(), qos2(n));
    }
    world.pass(secs(2));
    let b = world.member_at(&clean(Version::V311, "b"), QoS::ExactlyOnce);
    world.pass(secs(2));
    assert_eq!(world.together(&[b]), numbers(1..=3));
}
