//! What becomes of messages when the member that was to deliver them goes.

use super::*;
use crate::mqtt::{Ack, Packet};
use crate::store::Event;

/// What a lost connection leaves unacknowledged or unsent goes to the others at once, in order,
/// whether its session goes on or not; nothing is left of it in the ledger.
#[test]
fn what_a_lost_member_leaves_goes_to_the_others() {
    for version in VERSIONS {
        for dial in [clean, durable] {
            let mut world = World::new();
            let gone = world.member(&dial(version, "gone"));
            let publisher = world.clean(Version::V311, "p");
            world.publish_all(publisher, 30);
            assert_eq!(world.payloads(gone).len(), 20);
            for n in 1..=5 {
                world.puback(gone, n);
            }
            assert_eq!(world.payloads(gone).len(), 5);
            let heir = world.member(&dial(version, "heir"));
            world.pass(ms(50));
            world.cut(gone);
            world.pass(ms(50));
            let got = world.drain(heir);
            let expected: Vec<String> = (6..=30).map(|n: u32| n.to_string()).collect();
            assert_eq!(got, expected);
            if dial(version, "").clean {
                world.assert_idle();
            } else {
                let (back, present) = world.connect(&dial(version, "gone"));
                assert!(present);
                world.pass(ms(50));
                assert_eq!(world.payloads(back), NONE, "nothing comes twice");
                world.assert_idle();
            }
        }
    }
}

/// What a member leaves while the disk is full goes to the others once there is room, without
/// anything else that would wake them.
#[test]
fn what_is_left_while_the_disk_is_full_is_not_forgotten() {
    let mut world = World::new();
    let gone = world.member(&durable(Version::V5, "gone"));
    let publisher = world.clean(Version::V311, "p");
    world.publish_all(publisher, 3);
    assert_eq!(world.payloads(gone).len(), 3);
    let heir = world.member(&durable(Version::V5, "heir"));
    world.pass(ms(50));
    world.broker.store_event(Event::Full, world.now);
    world.cut(gone);
    world.pass(secs(1));
    assert_eq!(world.payloads(heir), NONE);
    world.broker.store_event(Event::Room, world.now);
    world.pass(ms(50));
    assert_eq!(world.payloads(heir), ["1", "2", "3"]);
}

/// With nobody else there, an absent member keeps its messages; whoever connects or subscribes
/// while it is away gets them, and it gets what is left.
#[test]
fn an_absent_member_keeps_what_nobody_takes() {
    for version in VERSIONS {
        let mut world = World::new();
        let dial = durable(version, "a");
        let a = world.member(&dial);
        let publisher = world.clean(Version::V311, "p");
        world.publish_all(publisher, 3);
        world.cut(a);
        world.pass(secs(1));
        let (a, _) = world.connect(&dial);
        world.pass(ms(50));
        assert_eq!(
            world.payloads(a),
            ["1", "2", "3"],
            "no other, so it resumes"
        );
        world.cut(a);
        let b = world.member(&clean(version, "b"));
        world.pass(ms(50));
        assert_eq!(world.payloads(b), ["1", "2", "3"]);
        world.puback(b, 1);
        world.cut(b);
        world.pass(ms(50));
        let (a, _) = world.connect(&dial);
        assert_eq!(world.drain(a), ["2", "3"]);
        world.assert_idle();
    }
}

/// What did not fit into the queue of the others goes on once they have room again.
#[test]
fn what_finds_the_others_full_waits_for_them() {
    let mut settings = settings();
    settings.max_queued_messages = 5;
    let mut world = World::with(settings);
    let gone = world.member(&durable(Version::V5, "gone"));
    let publisher = world.clean(Version::V311, "p");
    world.publish_all(publisher, 5);
    assert_eq!(world.payloads(gone).len(), 5);
    let heir = world.member(&durable(Version::V5, "heir"));
    world.listen(heir, "own", QoS::AtLeastOnce);
    for n in 11..14 {
        world.publish(publisher, "own", "own", qos1(n));
    }
    world.pass(ms(50));
    assert_eq!(world.payloads(heir), ["own"; 3]);
    world.cut(gone);
    world.pass(ms(50));
    assert_eq!(world.payloads(heir), ["1", "2"], "five in all");
    for n in 1..=5 {
        world.puback(heir, n);
    }
    world.pass(ms(50));
    assert_eq!(world.payloads(heir), ["3", "4", "5"]);
}

/// A take-over is no leaving: the session resumes.
#[test]
fn a_take_over_keeps_what_is_under_way() {
    for version in VERSIONS {
        let mut world = World::new();
        let dial = durable(version, "a");
        let a = world.member(&dial);
        let publisher = world.clean(Version::V311, "p");
        world.publish_all(publisher, 3);
        assert_eq!(world.together(&[a]), numbers(1..=3));
        let b = world.member(&clean(version, "b"));
        let (a, present) = world.connect(&dial);
        assert!(present);
        assert_eq!(world.drain(a), ["1", "2", "3"]);
        assert_eq!(world.together(&[b]), []);
        world.assert_idle();
    }
}

/// [MQTT-4.8.2-4]: a QoS 2 message that was sent is completed with its session, and goes to nobody
/// if that session ends [MQTT-4.8.2-5]; one that was not sent goes to another.
#[test]
fn qos_2_under_way_stays_with_its_session() {
    for version in VERSIONS {
        for ends in [false, true] {
            let mut world = World::new();
            let dial = Dial {
                receive_maximum: (version == Version::V5).then_some(20),
                ..durable(version, "a")
            };
            let a = world.member_at(&dial, QoS::ExactlyOnce);
            let publisher = world.clean(Version::V311, "p");
            for n in 1..=25 {
                world.publish(publisher, "a/b", &n.to_string(), qos2(n));
            }
            world.pass(ms(100));
            assert_eq!(world.together(&[a]), numbers(1..=20));
            let b = world.member_at(&durable(version, "b"), QoS::ExactlyOnce);
            world.cut(a);
            world.pass(ms(100));
            assert_eq!(world.together(&[b]), numbers(21..=25));
            let again = Dial {
                clean: ends,
                ..dial.clone()
            };
            let (a, present) = world.connect(&again);
            assert_eq!(present, !ends);
            world.pass(ms(200));
            let kept = if ends { vec![] } else { numbers(1..=20) };
            assert_eq!(world.together(&[a]), kept);
            assert_eq!(world.together(&[b]), []);
            if ends {
                let owed = world.broker.gauges().queued_messages;
                assert_eq!(owed, 5, "what b has");
                assert!(
                    world
                        .broker
                        .core
                        .sessions
                        .iter()
                        .all(|(_, s)| !s.is_ended())
                );
            }
        }
    }
}

/// [MQTT-4.8.2-6]: a message that its receiver refuses is done with.
#[test]
fn a_refused_message_goes_to_nobody() {
    let mut world = World::new();
    let a = world.member_at(&durable(Version::V5, "a"), QoS::ExactlyOnce);
    let publisher = world.clean(Version::V5, "p");
    world.publish(publisher, "a/b", "1", qos1(1));
    world.publish(publisher, "a/b", "2", qos2(2));
    world.pass(ms(100));
    assert_eq!(world.together(&[a]), [1, 2]);
    let b = world.member(&durable(Version::V5, "b"));
    let no = Reason::UNSPECIFIED;
    world.send(a, &Packet::PubAck(Ack::new(pid(1), no)));
    world.send(a, &Packet::PubRec(Ack::new(pid(2), no)));
    world.pubrel(publisher, 2);
    world.cut(a);
    world.pass(ms(100));
    assert_eq!(world.together(&[b]), []);
    world.assert_idle();
}

/// UNSUBSCRIBE: what was sent is completed [MQTT-3.10.4-3], what was not goes to the others; the
/// group goes with its last member.
#[test]
fn unsubscribe_leaves_what_was_not_sent() {
    for version in VERSIONS {
        for dial in [clean, durable] {
            let mut world = World::new();
            let a = world.member(&dial(version, "a"));
            let publisher = world.clean(Version::V311, "p");
            world.publish_all(publisher, 25);
            assert_eq!(world.together(&[a]), numbers(1..=20));
            let b = world.member(&dial(version, "b"));
            world.unsubscribe(a, 99, A);
            world.pass(ms(100));
            let got = world.got(a);
            assert!(matches!(got[..], [Got::UnsubAck(99, _)]), "{got:?}");
            assert_eq!(world.drain(b), ["21", "22", "23", "24", "25"]);
            for n in 1..=20 {
                world.puback(a, n);
            }
            world.assert_idle();
            world.unsubscribe(b, 99, A);
            world.pass(ms(100));
            assert!(world.broker.core.router.is_empty());
            assert_eq!(world.broker.gauges().shared_subscriptions, 0);
            world.publish(publisher, "a/b", "late", qos1(1));
            world.pass(ms(50));
            world.assert_idle();
        }
    }
}

/// A session that ends with a backlog on disk leaves it to the others, and is gone only then, even
/// if the broker stops in between; its client id is free at once.
#[test]
fn an_ended_session_leaves_its_backlog() {
    for crash in [false, true] {
        let mut world = World::new();
        let dial = durable(Version::V311, "a");
        let a = world.member(&dial);
        world.listen(a, "own", QoS::AtLeastOnce);
        let b = world.member(&durable(Version::V311, "b"));
        world.disconnect(b, OK);
        world.disconnect(a, OK);
        let publisher = world.clean(Version::V311, "p");
        world.publish_all(publisher, 300);
        world.publish(publisher, "own", "lost", qos1(1));
        world.pass(secs(2));
        // The client begins anew, and is no member any more.
        let (new, present) = world.connect(&Dial {
            clean: true,
            ..dial.clone()
        });
        assert!(!present);
        world.pass(ms(50));
        if crash {
            world.crash(secs(1));
        }
        assert_eq!(world.broker.gauges().clients, if crash { 1 } else { 3 });
        let (b, present) = world.connect(&durable(Version::V311, "b"));
        assert!(present);
        let mut all: Vec<u32> = world.drain(b).iter().map(|p| p.parse().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, numbers(1..=300));
        assert_eq!(
            world.waiting(new),
            usize::from(crash),
            "but that it was closed"
        );
        world.assert_idle();
        world.crash(secs(1));
        assert_eq!(world.broker.core.sessions.len(), 1);
    }
}

/// The last member of a group takes its messages with it.
#[test]
fn a_group_ends_with_its_last_member() {
    let mut world = World::new();
    for id in ["a", "b"] {
        let peer = world.member(&Dial {
            expiry: 60,
            ..durable(Version::V5, id)
        });
        world.disconnect(peer, OK);
    }
    let publisher = world.clean(Version::V311, "p");
    world.publish_all(publisher, 10);
    world.pass(secs(2));
    world.pass(secs(70));
    assert_eq!(world.broker.core.sessions.len(), 1, "the publisher");
    assert!(world.broker.core.router.is_empty());
    world.assert_idle();
}

/// A backlog that lies on disk is read in pieces, as the member that takes it gets on, and never
/// lies in RAM as a whole.
#[test]
fn a_large_backlog_is_taken_over_in_pieces() {
    let mut world = World::new();
    let a = world.member(&durable(Version::V311, "a"));
    world.disconnect(a, OK);
    let publisher = world.clean(Version::V311, "p");
    for n in 0..3000u32 {
        world.publish(
            publisher,
            "a/b",
            &n.to_string(),
            qos1((n % 60_000 + 1) as u16),
        );
    }
    world.pass(secs(2));
    let b = world.member(&clean(Version::V311, "b"));
    world.pass(ms(100));
    let (_, session) = world
        .broker
        .core
        .sessions
        .iter()
        .find(|(_, s)| s.client_id() == "b")
        .unwrap();
    assert!(session.outbound.len() <= 128, "{}", session.outbound.len());
    let got = world.drain(b);
    let expected: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
    assert_eq!(got, expected);
    world.assert_idle();
}

/// A crash at any moment of a move loses nothing that was acknowledged to a publisher.
#[test]
fn a_crash_while_messages_change_hands_loses_nothing() {
    for heir in [clean, durable] {
        for on_disk in [false, true] {
            for step in 0..12 {
                crash_at(heir(Version::V5, "b"), on_disk, step);
            }
        }
    }
}

/// A durable member `a` goes, with ten messages that are on disk or not, and `heir` gets them; the
/// broker is killed after so many steps of the store.
fn crash_at(heir: Dial, on_disk: bool, step: usize) {
    let mut world = World::new();
    let dial = durable(Version::V5, "a");
    let mut a = world.member(&dial);
    let publisher = world.clean(Version::V5, "p");
    if !heir.clean {
        let b = world.member(&heir);
        world.cut(b);
    }
    if on_disk {
        world.cut(a);
        world.publish_all(publisher, 10);
        world.pass(secs(2));
        a = world.connect(&dial).0;
    }
    world.held = true;
    if !on_disk {
        for n in 1..=10 {
            world.publish(publisher, "a/b", &n.to_string(), qos1(n));
        }
    }
    let b = world.dial(&heir);
    if heir.clean {
        world.subscribe(b, 1, &[sub(A, QoS::AtLeastOnce)]);
    }
    world.cut(a);
    for _ in 0..step {
        world.now += ms(25);
        world.tick();
        world.store();
    }
    let acked: Vec<u32> = world
        .got(publisher)
        .into_iter()
        .filter_map(|got| match got {
            Got::PubAck(n, OK) => Some(n.into()),
            _ => None,
        })
        .collect();
    // Whoever had something had not acknowledged it.
    world.got(b);
    world.held = false;
    world.crash(secs(1));
    let (a, present) = world.connect(&dial);
    assert!(present);
    let (b, _) = world.connect(&Dial {
        clean: false,
        ..heir
    });
    let mut all: Vec<u32> = Vec::new();
    for peer in [a, b, a] {
        all.extend(world.drain(peer).iter().map(|p| p.parse::<u32>().unwrap()));
    }
    for n in &acked {
        assert!(
            all.contains(n),
            "{n} of {acked:?} is not in {all:?} (step {step})"
        );
    }
    world.assert_idle();
}

/// What no connected member may read stays with those who are away.
#[test]
fn what_nobody_here_may_read_stays() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let rules = "topic write a/b\ntopic readwrite a/c\nuser u\ntopic readwrite a/b\n";
    std::fs::write(file.path(), rules).unwrap();
    let mut settings = settings();
    settings.security.acl_file = Some(file.path().to_owned());
    let mut world = World::with(settings);
    let entitled = |id: &str| Dial {
        username: Some("u"),
        ..durable(Version::V5, id)
    };
    for id in ["x", "y"] {
        let member = world.member(&entitled(id));
        world.disconnect(member, OK);
    }
    let publisher = world.clean(Version::V311, "p");
    world.publish_all(publisher, 4);
    world.pass(secs(2));
    let other = world.member(&clean(Version::V5, "other"));
    world.publish(publisher, "a/c", "5", qos1(5));
    world.pass(secs(2));
    assert_eq!(world.drain(other), ["5"]);
    let (y, _) = world.connect(&entitled("y"));
    assert_eq!(world.drain(y).len(), 4, "its own, then the other's");
    world.assert_idle();
}

/// QoS 2 that never was sent changes hands without being doubled by a crash.
#[test]
fn qos_2_is_not_doubled_by_a_crash_in_a_move() {
    for step in 0..10 {
        let mut world = World::new();
        let dial = durable(Version::V311, "a");
        let a = world.member_at(&dial, QoS::ExactlyOnce);
        let b = world.member_at(&durable(Version::V311, "b"), QoS::ExactlyOnce);
        world.cut(b);
        world.disconnect(a, OK);
        let publisher = world.clean(Version::V311, "p");
        for n in 1..=6 {
            world.publish(publisher, "a/b", &n.to_string(), qos2(n));
            world.pass(ms(50));
        }
        world.held = true;
        let b = world.dial(&durable(Version::V311, "b"));
        for _ in 0..step {
            world.now += ms(25);
            world.tick();
            world.store();
        }
        let mut sent: Vec<(u16, String)> = Vec::new();
        take_qos2(&mut world, b, &mut sent);
        world.held = false;
        world.crash(secs(1));
        let (b, _) = world.connect(&durable(Version::V311, "b"));
        let (a, _) = world.connect(&dial);
        world.pass(ms(300));
        let mut others = Vec::new();
        take_qos2(&mut world, a, &mut others);
        take_qos2(&mut world, b, &mut sent);
        // The same packet id: for the receiver it is the same message.
        sent.sort();
        sent.dedup();
        let all = sent.into_iter().chain(others).map(|(_, payload)| payload);
        let mut all: Vec<String> = all.collect();
        all.sort();
        assert_eq!(all, ["1", "2", "3", "4", "5", "6"], "step {step}");
    }
}

fn take_qos2(world: &mut World, peer: Peer, into: &mut Vec<(u16, String)>) {
    for got in world.got(peer) {
        if let Got::Publish(message) = got {
            let id = message.delivery.id().unwrap().get();
            into.push((id, message.payload));
        }
    }
}
