//! A message to many receivers goes in pieces, whatever happens between two of them; its acknowledgement
//! follows the last.

mod waiting;

use super::pieces::{MOST, take_messages};
use super::world::Last;
use super::*;
use crate::broker::end_turn;
use crate::broker::pieces::go_on_held;
use crate::mqtt::{Packet, Publish};

/// A world with clients `c0` and so on that are subscribed to `all`, and stay; every message that goes to more
/// than two of them waits for the test.
fn world(count: usize, qos: QoS) -> (World, Vec<Peer>) {
    let mut world = World::new();
    let peers = (0..count).map(|n| {
        let peer = world.durable(Version::V5, &format!("c{n}"));
        world.listen(peer, "all", qos);
        peer
    });
    let peers = peers.collect();
    world.hold_pieces(500, 2);
    (world, peers)
}

impl World {
    /// Pieces, until nothing is left of them.
    fn spread_all(&mut self) -> usize {
        let mut count = 0;
        while !self.broker.core.fan_outs.is_empty() {
            self.go_on(1);
            count += 1;
        }
        self.pass(secs(1));
        count
    }

    /// The payloads of what each has got since, acknowledged.
    fn all_payloads(&mut self, peers: &[Peer]) -> Vec<Vec<String>> {
        let take = |peer: &Peer| {
            let got = take_messages(self, *peer);
            got.into_iter().map(|message| message.payload).collect()
        };
        peers.iter().map(take).collect()
    }
}

/// Neither the packet nor a turn does more than its share, beyond what it costs to find the receivers; others
/// go on, and the acknowledgement comes once, at the end.
#[test]
fn thousands_of_sessions_make_no_turn_long() {
    const COUNT: usize = 6_000;
    let mut world = World::new();
    for n in 0..COUNT {
        let peer = world.durable(Version::V5, &format!("c{n}"));
        world.subscribe(peer, 1, &[Subscription::new("all", QoS::AtLeastOnce)]);
        world.cut(peer);
    }
    world.pass(secs(1));
    let publisher = world.clean(Version::V5, "p");
    let other = world.clean(Version::V311, "o");
    world.listen(other, "other", QoS::AtLeastOnce);
    for id in 1..3 {
        let (conn, now) = (world.conn(publisher), world.now);
        let publish = Publish {
            delivery: qos1(id),
            retain: true,
            topic: "all",
            props: crate::mqtt::Props::EMPTY,
            payload: b"x",
        };
        let packet = Packet::Publish(publish);
        let took = world.effort(|world| world.broker.packet(conn, packet, now));
        assert!(took <= MOST, "the packet took {took}");
        assert!(!world.is_read(publisher));
        let mut turns = 0;
        while !world.broker.core.fan_outs.is_empty() {
            let took = world.effort(|world| _ = end_turn(world, now));
            assert!(took <= MOST, "turn {turns} took {took}");
            turns += 1;
            world.publish_in_turn(other, ("other", "y"), qos1(turns), false, &[]);
        }
        assert!(turns >= 4, "{turns}");
        assert_eq!(world.got(publisher), [], "the commit is still to come");
        world.pass(secs(1));
        assert!(world.is_read(publisher));
        assert_eq!(world.got(publisher), [Got::PubAck(id, OK)]);
        assert_eq!(take_messages(&mut world, other).len(), usize::from(turns));
    }
    let key = world.broker.core.sessions.find("c17").unwrap();
    let session = world.broker.core.sessions.get(key).unwrap();
    assert_eq!(session.outbound.len(), 2);
}

/// What the topic retained before goes first to those whose walks have not come to it: in pieces, too.
#[test]
fn what_was_retained_before_goes_ahead_in_pieces() {
    const COUNT: usize = 2_000;
    let mut world = World::new();
    let publisher = world.clean(Version::V5, "p");
    // More than a walk looks at in a turn before it comes to what is there.
    for n in 0..200 {
        let topic = format!("n{n:03}/none");
        world.publish_in_turn(publisher, (&topic, "v"), Delivery::AtMostOnce, true, &[]);
    }
    world.publish_with(publisher, "z/all", "old", qos1(1), true, &[]);
    for n in 0..COUNT {
        let peer = world.durable(Version::V5, &format!("c{n}"));
        let packet = crate::mqtt::Subscribe {
            id: pid(1),
            props: crate::mqtt::Props::EMPTY,
            filters: vec![Subscription::new("+/all", QoS::AtLeastOnce)],
        };
        let (conn, now) = (world.conn(peer), world.now);
        world.broker.packet(conn, Packet::Subscribe(packet), now);
        // It goes before its turn ends, and its walk waits.
        world.cut(peer);
    }
    world.pass(secs(1));
    assert_eq!(world.broker.core.router.walks.len(), COUNT);
    let (conn, now) = (world.conn(publisher), world.now);
    let publish = Publish {
        delivery: qos1(2),
        retain: true,
        topic: "z/all",
        props: crate::mqtt::Props::EMPTY,
        payload: b"new",
    };
    let packet = Packet::Publish(publish);
    let took = world.effort(|world| world.broker.packet(conn, packet, now));
    assert!(took <= MOST, "the packet took {took}");
    while !world.broker.core.fan_outs.is_empty() {
        let took = world.effort(|world| _ = end_turn(world, now));
        assert!(took <= MOST, "a turn took {took}");
    }
    world.pass(secs(1));
    for n in [0, COUNT / 2, COUNT - 1] {
        let peer = world.durable(Version::V5, &format!("c{n}"));
        world.pass(secs(1));
        let came = take_messages(&mut world, peer).into_iter();
        let came: Vec<_> = came
            .map(|message| (message.payload, message.retain))
            .collect();
        assert_eq!(
            came,
            [("old".to_owned(), true), ("new".to_owned(), false)],
            "c{n}"
        );
    }
}

/// Who goes between two pieces finds what queue_qos0_messages keeps for it, as if it had been away before.
#[test]
fn a_message_at_qos_0_waits_for_who_goes_meanwhile() {
    for queues in [true, false] {
        let (mut world, peers) = world(40, QoS::AtMostOnce);
        let mut general = world.settings.clone();
        general.queue_qos0_messages = queues;
        world.broker.set_general(&general, world.now);
        let p = world.clean(Version::V5, "p");
        world.publish(p, "all", "x", qos1(1));
        world.cut(peers[39]);
        assert!(!world.broker.core.fan_outs.is_empty());
        world.spread_all();
        let got = world.all_payloads(&peers[..39]);
        assert!(got.iter().all(|got| *got == ["x"]), "{got:?}");
        let back = world.durable(Version::V5, "c39");
        world.pass(secs(1));
        let came = world.all_payloads(&[back]).concat();
        assert_eq!(came.len(), usize::from(queues));
    }
}

/// Messages on one topic come in their order to each, whoever publishes them; those to few on other topics
/// do not wait.
#[test]
fn nobody_gets_a_later_message_first() {
    for (qos, of) in [(QoS::AtMostOnce, 40), (QoS::AtLeastOnce, 7)] {
        let (mut world, peers) = world(of, qos);
        world.listen(peers[0], "few", qos);
        let [p, q] = ["p", "q"].map(|id| world.clean(Version::V5, id));
        world.publish(p, "all", "1", qos1(1));
        world.publish(q, "all", "2", qos1(1));
        world.go_on(1);
        let r = world.clean(Version::V5, "r");
        world.publish(r, "few", "few", qos1(1));
        world.publish(r, "all", "3", qos1(2));
        world.broker.publish_own("all", b"own", false, world.now);
        assert!(!world.is_read(p) && !world.is_read(q) && !world.is_read(r));
        assert!(world.spread_all() > 4);
        assert!(world.is_read(p) && world.is_read(q) && world.is_read(r));
        for (n, payloads) in world.all_payloads(&peers).into_iter().enumerate() {
            let few = payloads.iter().any(|payload| payload == "few");
            assert_eq!(few, n == 0);
            let all: Vec<_> = payloads.into_iter().filter(|p| p != "few").collect();
            assert_eq!(all, ["1", "2", "3", "own"], "c{n}");
        }
        assert_eq!(world.got(p), [Got::PubAck(1, OK)]);
        assert_eq!(world.got(q), [Got::PubAck(1, OK)]);
        assert_eq!(world.got(r), [Got::PubAck(1, OK), Got::PubAck(2, OK)]);
    }
}

/// kill -9 between two pieces: no commit has some of the receivers. A QoS 2 message that comes again comes to
/// each once.
#[test]
fn killed_in_between() {
    for after in [false, true] {
        let (mut world, peers) = world(7, QoS::ExactlyOnce);
        let p = world.durable(Version::V5, "p");
        world.publish(p, "all", "x", qos2(9));
        world.go_on(1);
        world.broker.commit_now(world.now);
        world.pass(secs(1));
        let early = world.all_payloads(&peers);
        assert!(
            early.iter().all(Vec::is_empty),
            "QoS 2 waits for the commit"
        );
        if after {
            world.spread_all();
            assert_eq!(world.got(p), [Got::PubRec(9, OK)]);
        }
        world.crash(secs(1));
        let p = world.durable(Version::V5, "p");
        world.publish(p, "all", "x", Delivery::ExactlyOnce(pid(9), true));
        world.spread_all();
        assert_eq!(world.got(p), [Got::PubRec(9, OK)]);
        for n in 0..peers.len() {
            let peer = world.durable(Version::V5, &format!("c{n}"));
            assert_eq!(world.all_payloads(&[peer]), [["x"]], "c{n}, {after}");
        }
    }
}

/// The publisher's connection ends in between, or another takes its session over: all get the message, and at
/// QoS 2 it is known when it comes again, even if it does so before the end.
#[test]
fn a_publisher_that_goes_in_between() {
    for too_early in [false, true] {
        let (mut world, peers) = world(7, QoS::ExactlyOnce);
        let p = world.durable(Version::V5, "p");
        world.publish(p, "all", "x", qos2(9));
        world.go_on(1);
        if !too_early {
            world.cut(p);
            world.spread_all();
        }
        // With `too_early` the first of them is gone, too, while it waits.
        let [_, p] = [1, 2].map(|_| {
            let p = world.dial(&Dial::durable(Version::V5, "p"));
            world.publish(p, "all", "x", Delivery::ExactlyOnce(pid(9), true));
            p
        });
        world.spread_all();
        assert_eq!(world.got(p), [Got::ConnAck(true, OK), Got::PubRec(9, OK)]);
        assert!(world.is_read(p));
        let got = world.all_payloads(&peers);
        assert!(got.iter().all(|got| *got == ["x"]), "{got:?}");
    }
}

/// Sessions and subscriptions that end in between, and those that come: who was subscribed gets the message, as
/// long as its session lasts; what it retains is there for who comes.
#[test]
fn receivers_that_come_and_go_in_between() {
    let (mut world, peers) = world(7, QoS::AtLeastOnce);
    let p = world.clean(Version::V5, "p");
    world.publish_with(p, "all", "x", qos1(1), true, &[]);
    for peer in &peers[..3] {
        world.disconnect(*peer, OK);
    }
    let clean = world.dial(&Dial::clean(Version::V5, "c0"));
    world.unsubscribe(peers[4], 7, "all");
    let late = world.clean(Version::V5, "late");
    world.listen(late, "all", QoS::AtLeastOnce);
    world.spread_all();
    assert_eq!(world.got(p), [Got::PubAck(1, OK)]);
    assert_eq!(world.all_payloads(&[clean, late]), [vec![], vec!["x"]]);
    for (n, peer) in peers.iter().enumerate().skip(1) {
        let peer = if n < 3 {
            world.durable(Version::V5, &format!("c{n}"))
        } else {
            *peer
        };
        let came = world.all_payloads(&[peer]);
        assert_eq!(came, [["x"]], "c{n}");
    }
}

/// What a client has published comes to it by no subscription with no-local, though its session has ended and
/// another has begun while the message waited for its turn [MQTT-3.8.3-3].
#[test]
fn no_local_for_who_comes_back_without_its_session() {
    let (mut world, peers) = world(7, QoS::AtLeastOnce);
    let [other, own] = ["other", "own"].map(|id| world.clean(Version::V5, id));
    world.publish(other, "all", "1", qos1(1));
    world.publish(own, "all", "2", qos1(1));
    world.publish(other, "all", "3", qos1(2));
    world.go_on(1);
    let own = world.dial(&Dial::clean(Version::V5, "own"));
    let no_local = Subscription {
        no_local: true,
        ..Subscription::new("all", QoS::AtLeastOnce)
    };
    world.subscribe(own, 1, &[no_local]);
    world.spread_all();
    world.publish(other, "all", "4", qos1(3));
    world.spread_all();
    assert_eq!(world.all_payloads(&peers), [["1", "2", "3", "4"]; 7]);
    assert_eq!(world.all_payloads(&[own]), [["3", "4"]]);
}

/// A queue that is full refuses the message to its publisher at the end; who has room has it.
#[test]
fn no_room_for_some() {
    for version in VERSIONS {
        let (mut world, peers) = world(7, QoS::AtLeastOnce);
        world.settings.max_queued_messages = 1;
        world.settings.queue_overflow = crate::config::Overflow::Refuse;
        let general = world.settings.clone();
        world.broker.set_general(&general, world.now);
        world.cut(peers[3]);
        let p = world.clean(version, "p");
        let mut others = peers.clone();
        others.remove(3);
        for (id, payload) in (1..).zip(["1", "2"]) {
            world.publish(p, "all", payload, qos1(id));
            world.spread_all();
            let got = world.all_payloads(&others);
            assert!(got.iter().all(|got| *got == [payload]), "{got:?}");
        }
        let mut expected = vec![Got::PubAck(1, OK)];
        if version == Version::V5 {
            expected.push(Got::PubAck(2, Reason::QUOTA_EXCEEDED));
        }
        assert_eq!(world.got(p), expected);
        assert!(world.is_read(p));
        let back = world.durable(Version::V5, "c3");
        let waits = version != Version::V5;
        let mut came = world.all_payloads(&[back]).concat();
        world.pass(secs(1));
        came.extend(world.all_payloads(&[back]).concat());
        assert_eq!(came.len(), if waits { 2 } else { 1 });
        let late = world.got(p);
        assert_eq!(
            late,
            if waits {
                vec![Got::PubAck(2, OK)]
            } else {
                vec![]
            }
        );
    }
}

/// A member of each group gets it, beside what it gets by itself.
#[test]
fn groups_are_served_as_well() {
    let (mut world, peers) = world(7, QoS::AtLeastOnce);
    for (n, peer) in peers.iter().enumerate() {
        let group = format!("$share/g{}/all", n % 3);
        world.listen(*peer, &group, QoS::AtLeastOnce);
    }
    let p = world.clean(Version::V5, "p");
    world.publish(p, "all", "x", qos1(1));
    world.spread_all();
    assert_eq!(world.got(p), [Got::PubAck(1, OK)]);
    let got = world.all_payloads(&peers);
    assert_eq!(got.concat().len(), 7 + 3);
    assert!(got.iter().all(|got| !got.is_empty()));
}

/// A broker that stops hands on what is left first.
#[test]
fn a_stop_in_between() {
    let (mut world, _) = world(7, QoS::AtLeastOnce);
    let p = world.clean(Version::V5, "p");
    world.publish(p, "all", "x", qos1(1));
    world.go_on(1);
    world.broker.shutdown(world.now);
    world.pass(secs(1));
    world.crash(secs(1));
    for n in 0..7 {
        let peer = world.durable(Version::V5, &format!("c{n}"));
        assert_eq!(world.all_payloads(&[peer]), [["x"]]);
    }
}

/// A will that comes in the very turn in which a message has reached its last receivers: it must not begin
/// before the commit, or neither would ever go on.
#[test]
fn one_that_comes_as_the_last_one_ends_waits_for_the_commit() {
    let (mut world, peers) = world(3, QoS::AtLeastOnce);
    for peer in &peers {
        world.listen(*peer, "will", QoS::AtLeastOnce);
    }
    world.broker.core.portions.unanswered = 1;
    let publisher = world.clean(Version::V5, "p");
    let with_will = Dial {
        will: Some(Last {
            payload: "dead",
            delay: 0,
            expiry: None,
        }),
        ..Dial::clean(Version::V5, "w")
    };
    let dying = world.dial(&with_will);
    world.publish(publisher, "all", "first", qos1(1));
    while !world.broker.core.fan_outs.is_empty() {
        go_on_held(&mut world.broker.core, 1, world.now);
    }
    assert!(!world.broker.core.fan_outs.may_begin());
    let conn = world.conn(dying);
    world.broker.closed(conn, "gone", world.now);
    assert_eq!(world.broker.core.fan_outs.len(), 1);
    assert!(!world.broker.core.fan_outs.is_under_way());
    world.spread_all();
    assert_eq!(world.got(publisher), [Got::PubAck(1, OK)]);
    for came in world.all_payloads(&peers) {
        assert_eq!(came, ["first", "dead"]);
    }
}

/// A member that a group has chosen and that goes in the same turn leaves the message to the others.
#[test]
fn a_member_that_goes_at_once_leaves_its_message_to_the_group() {
    let (mut world, peers) = world(6, QoS::AtLeastOnce);
    let members: Vec<Peer> = (0..2).map(|_| world.clean(Version::V5, "")).collect();
    for member in &members {
        world.listen(*member, "$share/g/all", QoS::AtLeastOnce);
    }
    let publisher = world.clean(Version::V5, "p");
    let (conn, now) = (world.conn(publisher), world.now);
    let publish = Publish {
        delivery: qos1(1),
        retain: false,
        topic: "all",
        props: crate::mqtt::Props::EMPTY,
        payload: b"x",
    };
    world.broker.packet(conn, Packet::Publish(publish), now);
    assert_eq!(world.broker.core.fan_outs.len(), 1);
    // Whichever was chosen.
    let chosen = members.iter().position(|member| {
        let outbox = world.broker.outbox(world.conn(*member)).unwrap();
        !outbox.is_empty()
    });
    let chosen = chosen.expect("a member has it at once");
    world.cut(members[chosen]);
    world.spread_all();
    let other = members[1 - chosen];
    assert_eq!(world.all_payloads(&[other]), [["x"]]);
    assert!(world.all_payloads(&peers).iter().all(|came| *came == ["x"]));
}
