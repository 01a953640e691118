//! What a peer makes as large as it likes goes on in pieces: no packet and no turn does more than so
//! many units of work, and in the end all is done.

use super::memory::{LIMIT, fill};
use super::world::Arrived;
use super::*;
use crate::broker::end_turn;
use crate::mqtt::{Packet, Property, Props, Subscribe, Unsubscribe};

/// So much work a packet or a turn may take: pieces of a thousand units, and a last step beyond.
pub(super) const MOST: u64 = 2_500;

impl World {
    /// Does something, and tells the units of work that it took.
    pub(super) fn effort(&mut self, what: impl FnOnce(&mut World)) -> u64 {
        let before = self.broker.work();
        what(self);
        self.broker.work() - before
    }

    /// A SUBSCRIBE and the turns that follow, none of which may do more than [`MOST`]. Returns how many turns
    /// there were.
    fn subscribe_in_pieces(&mut self, peer: Peer, filters: &[&str], qos: QoS) -> usize {
        let filters: Vec<_> = filters.iter().map(|f| Subscription::new(f, qos)).collect();
        let packet = Subscribe {
            id: pid(1),
            props: Props::EMPTY,
            filters,
        };
        let conn = self.conn(peer);
        let took = self.effort(|world| {
            world
                .broker
                .packet(conn, Packet::Subscribe(packet), world.now);
        });
        assert!(took <= MOST, "the packet took {took}");
        self.turns()
    }

    /// Turns until there is nothing to do, none of which may do more than [`MOST`].
    pub(super) fn turns(&mut self) -> usize {
        for turn in 1.. {
            let mut goes_on = false;
            let took = self.effort(|world| goes_on = end_turn(world, world.now));
            assert!(took <= MOST, "turn {turn} took {took}");
            if !goes_on {
                return turn;
            }
        }
        unreachable!("it goes on")
    }

    /// The topics of the messages that came behind the SUBACK.
    fn after_suback(&mut self, peer: Peer) -> Vec<String> {
        assert!(matches!(self.next(peer), Some(Got::SubAck(..))));
        let messages = self.messages(peer).into_iter();
        messages.map(|message| message.topic).collect()
    }

    fn walks(&self) -> usize {
        self.broker.core.router.walks.len()
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("t{}/{n:06}", n % 7)).collect()
}

/// A world with so many retained messages, of QoS 1 or 0, whose topics are in order.
fn world(count: usize, acked: bool) -> (World, Vec<String>) {
    let mut settings = settings();
    settings.doors.max_filters_per_packet = 0;
    let mut world = World::with(settings);
    let publisher = world.clean(Version::V311, "p");
    let mut names = names(count);
    for (n, name) in names.iter().enumerate() {
        let id = 1 + u16::try_from(n % 10_000).unwrap();
        let delivery = if acked {
            qos1(id)
        } else {
            Delivery::AtMostOnce
        };
        world.publish_in_turn(publisher, (name, "old"), delivery, true, &[]);
    }
    world.turn();
    names.sort_unstable();
    (world, names)
}

/// Thousands of messages for eight bytes: SUBACK comes at once, and they follow, each once and in order, to
/// two subscribers at the same time.
#[test]
fn a_subscription_to_all_that_is_retained_goes_on_in_pieces() {
    let (mut world, names) = world(20_000, false);
    let (a, b) = (
        world.clean(Version::V5, "a"),
        world.clean(Version::V311, "b"),
    );
    let conn = world.conn(b);
    let filters = vec![Subscription::new("t0/#", QoS::AtMostOnce)];
    let packet = Subscribe {
        id: pid(1),
        props: Props::EMPTY,
        filters,
    };
    world
        .broker
        .packet(conn, Packet::Subscribe(packet), world.now);
    let turns = world.subscribe_in_pieces(a, &["#"], QoS::AtMostOnce);
    assert!(turns > 20, "{turns}");
    assert!(world.after_suback(a) == names);
    let of_b: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("t0/"))
        .cloned()
        .collect();
    assert!(world.after_suback(b) == of_b);
    assert_eq!(world.walks(), 0);
}

/// Above three quarters of `memory_limit`, too: what is known is subscribed to anew and given up in pieces.
#[test]
fn without_much_memory_filters_that_are_known_go_in_pieces() {
    let mut settings = settings();
    settings.memory_limit = Some(LIMIT);
    settings.doors.max_filters_per_packet = 0;
    let mut world = World::with(settings);
    let a = world.clean(Version::V5, "a");
    let filters: Vec<String> = (0..3_000).map(|n| format!("n/{n}")).collect();
    let filters: Vec<&str> = filters.iter().map(|filter| &**filter).collect();
    world.subscribe_in_pieces(a, &filters, QoS::AtMostOnce);
    assert_eq!(world.after_suback(a), NONE);
    let _load = fill(&world, 8);
    let turns = world.subscribe_in_pieces(a, &filters, QoS::AtLeastOnce);
    assert!(turns > 2, "{turns}");
    assert_eq!(world.next(a), Some(Got::SubAck(1, vec![Reason(1); 3_000])));
    let conn = world.conn(a);
    let packet = Packet::Unsubscribe(Unsubscribe {
        id: pid(2),
        props: Props::EMPTY,
        filters,
    });
    let took = world.effort(|world| world.broker.packet(conn, packet, world.now));
    assert!(took <= MOST, "the packet took {took}");
    assert!(world.turns() > 2);
    assert!(matches!(world.next(a), Some(Got::UnsubAck(2, ..))));
}

/// A thousand times the same filter in one packet is one filter; different ones bring what they
/// match, each by itself.
#[test]
fn a_packet_of_a_thousand_filters_goes_on_in_pieces() {
    let (mut world, names) = world(2_000, false);
    let a = world.clean(Version::V5, "a");
    world.subscribe_in_pieces(a, &["+/+"; 1_000], QoS::AtMostOnce);
    assert!(world.after_suback(a) == names);
    let filters: Vec<String> = names.iter().step_by(2).cloned().collect();
    let some: Vec<&str> = filters.iter().map(|filter| &**filter).collect();
    world.subscribe_in_pieces(a, &some, QoS::AtMostOnce);
    assert!(world.after_suback(a) == filters);
    let nothing: Vec<String> = (0..5_000).map(|n| format!("n/{n}")).collect();
    let nothing: Vec<&str> = nothing.iter().map(|filter| &**filter).collect();
    let turns = world.subscribe_in_pieces(a, &nothing, QoS::AtMostOnce);
    assert!(turns > 5, "to find nothing is work, too: {turns}");
    assert_eq!(world.after_suback(a), NONE);
    let overlapping = ["#", "+/#", "+/+", "+/+/#"];
    world.subscribe_in_pieces(a, &overlapping, QoS::AtMostOnce);
    assert_eq!(world.after_suback(a).len(), 4 * names.len());
}

/// A session that takes ten messages at a time.
fn slow(world: &mut World, durable: bool) -> Peer {
    let dial = if durable { Dial::durable } else { Dial::clean };
    let dial = Dial {
        receive_maximum: Some(10),
        ..dial(Version::V5, "a")
    };
    world.connect(&dial).0
}

/// How many messages wait in the queue of `a`.
pub(super) fn queued(world: &World) -> u64 {
    let key = world.broker.core.sessions.find("a").unwrap();
    world.broker.core.sessions.get(key).unwrap().outbound.len()
}

/// Acknowledges what comes, until nothing comes any more.
pub(super) fn take_messages(world: &mut World, peer: Peer) -> Vec<Arrived> {
    let mut came = Vec::new();
    loop {
        world.pass(ms(50));
        let got = world.got(peer);
        if got.is_empty() {
            return came;
        }
        for got in got {
            if let Got::Publish(message) = got {
                match message.delivery {
                    Delivery::AtMostOnce => {}
                    Delivery::AtLeastOnce(id, _) => world.puback(peer, id.get()),
                    Delivery::ExactlyOnce(id, _) => {
                        world.pubrec(peer, id.get());
                        world.pubcomp(peer, id.get());
                    }
                }
                came.push(message);
            }
        }
    }
}

/// As [`take_messages`]: topics and payloads; before the payloads of those that come as retained stands `=`.
pub(super) fn take_all(world: &mut World, peer: Peer) -> Vec<String> {
    let came = take_messages(world, peer).into_iter();
    let text = came.map(|message| {
        let equals = if message.retain { "=" } else { "" };
        format!("{} {equals}{}", message.topic, message.payload)
    });
    text.collect()
}

fn old(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("{name} =old")).collect()
}

/// What does not take what it is sent has some of it in its queue, not all; it gets all as it takes it.
#[test]
fn a_slow_subscriber_pulls_what_is_retained() {
    for (durable, most) in [(false, 200), (true, 1_100)] {
        let (mut world, names) = world(3_000, true);
        let a = slow(&mut world, durable);
        world.subscribe_in_pieces(a, &["t1/#", "#"], QoS::AtLeastOnce);
        world.pass(secs(1));
        assert!(queued(&world) < most, "{}", queued(&world));
        let of_t1 = names.iter().filter(|name| name.starts_with("t1/")).cloned();
        let mut expected = old(&of_t1.collect::<Vec<_>>());
        expected.extend(old(&names));
        let came = take_all(&mut world, a);
        assert!(came == expected, "{durable}: {} came", came.len());
        assert_eq!((queued(&world), world.walks()), (0, 0));
    }
}

/// A session that is away in the middle is owed the rest, and gets it when it is back; one that ends
/// with its connection is forgotten, and so is a filter that is unsubscribed.
#[test]
fn a_session_that_comes_back_gets_the_rest() {
    let (mut world, names) = world(3_000, true);
    let a = slow(&mut world, true);
    world.subscribe_in_pieces(a, &["#"], QoS::AtLeastOnce);
    world.pass(secs(1));
    world.cut(a);
    world.pass(secs(60));
    assert!(queued(&world) < 1_100, "nothing is queued for who is away");
    let a = slow(&mut world, true);
    let mut came = take_all(&mut world, a);
    came.dedup();
    assert!(came == old(&names), "{} came", came.len());

    for ends in [false, true] {
        world.subscribe_in_pieces(a, &["#"], QoS::AtLeastOnce);
        assert_eq!(world.walks(), 1);
        world.unsubscribe(a, 2, "#");
        assert_eq!(world.walks(), 0);
        world.subscribe_in_pieces(a, &["#"], QoS::AtLeastOnce);
        if ends {
            let again = world.connect(&Dial::clean(Version::V5, "a"));
            assert!(!again.1);
            assert_eq!(world.walks(), 0);
        } else {
            // Again while it goes on: it begins anew.
            take_all(&mut world, a);
        }
    }
}

/// What does not fit in the queue waits for room, and is not tried again and again meanwhile; what can
/// never fit is dropped, and what comes after it is not.
#[test]
fn a_full_queue_makes_a_walk_wait() {
    let mut world = World::with(crate::config::General {
        max_queued_bytes: 170,
        ..settings()
    });
    let publisher = world.clean(Version::V311, "p");
    let (large, huge) = ("l".repeat(80), "h".repeat(200));
    for (n, payload) in (1..).zip([&*large, "a", &*huge, &*large, "b"]) {
        world.publish_with(publisher, &format!("t/{n}"), payload, qos1(n), true, &[]);
    }
    world.pass(secs(1));
    let a = slow(&mut world, true);
    world.subscribe_in_pieces(a, &["#"], QoS::AtLeastOnce);
    world.pass(secs(1));
    assert!(!world.broker.core.router.walks.has_due(), "it waits");
    let came = take_all(&mut world, a);
    let expected = [
        ("t/1", &*large),
        ("t/2", "a"),
        ("t/4", &*large),
        ("t/5", "b"),
    ];
    assert_eq!(
        came,
        expected.map(|(topic, payload)| format!("{topic} ={payload}"))
    );
    assert_eq!(world.walks(), 0);
}

/// A message that is published while a walk goes on comes behind what its topic retained, whether it
/// replaces that or not, and nothing comes twice.
#[test]
fn what_is_published_meanwhile_is_not_overtaken() {
    for durable in [false, true] {
        let (mut world, names) = world(3_000, true);
        let a = slow(&mut world, durable);
        world.subscribe_in_pieces(a, &["#"], QoS::AtLeastOnce);
        world.pass(secs(1));
        let publisher = world.clean(Version::V5, "q");
        let (passed, [.., first, second, third]) = (&names[0], &names[..]) else {
            unreachable!("there are more");
        };
        for (n, (topic, payload, retain)) in (1..).zip([
            (passed, "new", true),
            (third, "new", false),
            (first, "new", true),
            (first, "newer", true),
            (second, "", true),
        ]) {
            world.publish_with(publisher, topic, payload, qos1(n), retain, &[]);
        }
        let came = take_all(&mut world, a);
        let of = |topic: &str| -> Vec<&str> {
            let came = came.iter().filter_map(|came| came.split_once(' '));
            came.filter(|(name, _)| *name == topic)
                .map(|(_, payload)| payload)
                .collect()
        };
        assert_eq!(of(passed), ["=old", "new"]);
        assert_eq!(of(first), ["=old", "new", "newer"]);
        assert_eq!(of(second), ["=old", ""]);
        assert_eq!(of(third), ["=old", "new"]);
        assert_eq!(came.len(), names.len() + 5);
    }
}

/// Retained messages that expire all at once go in pieces, and those that have expired and are still
/// there are sent to nobody. Their rows go as well.
#[test]
fn expired_messages_go_in_pieces() {
    let mut world = World::new();
    let publisher = world.clean(Version::V5, "p");
    let expiry = [Property::MessageExpiry(10)];
    for name in names(20_000) {
        let (named, qos0) = ((&*name, "x"), Delivery::AtMostOnce);
        world.publish_in_turn(publisher, named, qos0, true, &expiry);
    }
    let qos0 = Delivery::AtMostOnce;
    world.publish_in_turn(publisher, ("z", "stays"), qos0, true, &[]);
    world.pass(secs(5));
    let a = world.clean(Version::V5, "a");
    world.now += secs(6);
    let left = |world: &World| world.broker.core.router.retained_len();
    assert_eq!(left(&world), 20_001);
    let turns = world.subscribe_in_pieces(a, &["#"], QoS::AtMostOnce);
    assert!(turns > 15, "{turns}");
    assert_eq!(world.after_suback(a), ["z"]);
    assert_eq!(left(&world), 1);
    world.pass(secs(120));
    world.crash(secs(1));
    assert_eq!(left(&world), 1);
}

/// A client in a thousand groups: what it does and gets is work for each, not for each by each; that
/// the next lane of its queue is not looked for among all is tested where the lanes are.
#[test]
fn a_thousand_groups_are_work_for_a_thousand() {
    for durable in [false, true] {
        let mut settings = settings();
        settings.max_queued_messages = 2_500;
        settings.queue_overflow = crate::config::Overflow::Oldest;
        settings.doors.max_shared_subscriptions = 1_000;
        let mut world = World::with(settings);
        let a = slow(&mut world, durable);
        let filters: Vec<String> = (0..1_000).map(|n| format!("$share/{n}/t")).collect();
        let filters: Vec<&str> = filters.iter().map(|filter| &**filter).collect();
        world.subscribe_in_pieces(a, &filters, QoS::AtLeastOnce);
        world.pass(secs(1));
        world.got(a);
        let publisher = world.clean(Version::V311, "p");
        // The queue has room for two and a half of them.
        for n in 1..5 {
            let took = world.effort(|world| world.publish(publisher, "t", "x", qos1(n)));
            // What need not be stored costs a quarter.
            assert!((250..2_500).contains(&took), "{took}");
            world.pass(secs(1));
            assert!(matches!(world.next(publisher), Some(Got::PubAck(..))));
        }
        assert_eq!(queued(&world), 2_500);
        let key = world.broker.core.sessions.find("a").unwrap();
        let shares: Vec<_> = world
            .broker
            .core
            .sessions
            .get(key)
            .unwrap()
            .shares()
            .to_vec();
        assert!(shares.is_sorted_by_key(|share| share.number) && shares.len() == 1_000);
        let took = world.effort(|world| world.cut(a));
        // What waits in RAM is offered to others, one by one, and each filter is looked at.
        assert!(took < 7_500, "{took}");
        let a = slow(&mut world, true);
        assert_eq!(
            take_all(&mut world, a).len(),
            if durable { 2_500 } else { 0 }
        );
        // A number whose group was left is taken again.
        world.unsubscribe(a, 2, filters[500]);
        world.subscribe(a, 3, &[Subscription::new("$share/new/t", QoS::AtLeastOnce)]);
        world.pass(secs(1));
        world.got(a);
        world.publish(publisher, "t", "y", qos1(9));
        assert_eq!(
            take_all(&mut world, a).len(),
            if durable { 1_000 } else { 1 }
        );
    }
}

/// Hundreds of sessions that end in the same second do so in several turns, with their filters.
#[test]
fn sessions_that_end_together_go_in_pieces() {
    let mut world = World::new();
    let filters: Vec<String> = (0..20).map(|n| format!("a/{n}")).collect();
    let subscriptions: Vec<_> = filters
        .iter()
        .map(|filter| Subscription::new(filter, QoS::AtMostOnce))
        .collect();
    let peers: Vec<Peer> = (0..300)
        .map(|n| {
            let dial = Dial {
                expiry: 100,
                ..Dial::durable(Version::V5, &format!("c{n}"))
            };
            let (peer, _) = world.connect(&dial);
            world.subscribe(peer, 1, &subscriptions);
            peer
        })
        .collect();
    for peer in peers {
        world.cut(peer);
    }
    world.pass(secs(50));
    world.now += secs(60);
    let mut turns = 0;
    while world
        .broker
        .next_timeout()
        .is_some_and(|at| at <= world.now)
    {
        let took = world.effort(|world| {
            end_turn(world, world.now);
        });
        assert!(took <= MOST, "turn {turns} took {took}");
        turns += 1;
        while world.store() {}
    }
    assert!(turns > 4, "{turns}");
    assert_eq!(world.broker.core.sessions.len(), 0);
    assert!(world.broker.core.router.is_empty());
}

/// That thousands of messages wait for room is work for whoever retains one, and for who tries again.
#[test]
fn what_waits_for_room_is_work() {
    let mut world = World::with(crate::config::General {
        max_queued_messages: 1,
        queue_overflow: crate::config::Overflow::Refuse,
        ..settings()
    });
    let (away, _) = world.connect(&Dial::durable(Version::V5, "away"));
    world.listen(away, "t", QoS::AtLeastOnce);
    world.cut(away);
    for n in 0..20 {
        let publisher = world.clean(Version::V311, &format!("p{n}"));
        for id in 1..101 {
            world.publish(publisher, "t", "x", qos1(id));
        }
    }
    let parked = world.broker.core.connections.all_parked().count();
    assert!(parked > 1_900, "{parked}");
    let device = world.clean(Version::V311, "device");
    let took = world.effort(|world| {
        let qos0 = Delivery::AtMostOnce;
        world.publish_in_turn(device, ("other", "x"), qos0, true, &[]);
    });
    assert!(took > 450, "{took}");
    let took = world.effort(|world| world.pass(secs(1)));
    assert!(took > 4 * 1_900, "{took}");
}
