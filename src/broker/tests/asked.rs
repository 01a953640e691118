//! SUBSCRIBE and UNSUBSCRIBE packets of many filters are taken in pieces, whatever happens between two of
//! them; the answer follows the last.

use super::pieces::MOST;
use super::*;
use crate::broker::end_turn;
use crate::config::General;
use crate::mqtt::{Packet, Props, Subscribe, Unsubscribe};

fn many() -> General {
    let mut settings = settings();
    settings.security.allow_anonymous = Some(true);
    settings.doors.max_filters_per_packet = 0;
    (settings.max_subscriptions, settings.max_subscription_levels) = (0, 0);
    settings
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("f{}/{n:05}", n % 7)).collect()
}

fn subscription(filter: &str) -> Subscription<'_> {
    Subscription::new(filter, QoS::AtLeastOnce)
}

impl World {
    fn ask_for(&mut self, peer: Peer, id: u16, filters: &[String]) {
        let filters: Vec<_> = filters.iter().map(|f| subscription(f)).collect();
        self.subscribe(peer, id, &filters);
    }

    fn ask_no_more(&mut self, peer: Peer, id: u16, filters: &[String]) {
        let packet = Unsubscribe {
            id: pid(id),
            props: Props::EMPTY,
            filters: filters.iter().map(|filter| &**filter).collect(),
        };
        self.send(peer, &Packet::Unsubscribe(packet));
    }

    /// What the session is subscribed to.
    fn filters(&self, client_id: &str) -> Vec<String> {
        let sessions = &self.broker.core.sessions;
        let session = sessions.find(client_id).and_then(|key| sessions.get(key));
        let filters = session.unwrap().subscriptions.iter();
        filters.map(|s| s.filter.to_string()).collect()
    }

    /// Pieces, until nothing is left of them.
    fn finish_pieces(&mut self) -> usize {
        for count in 0.. {
            if !self.broker.core.connections.has_asked() {
                return count;
            }
            self.go_on(4);
        }
        unreachable!("it goes on")
    }
}

fn granted(count: usize) -> Vec<Reason> {
    vec![Reason(1); count]
}

/// Neither the packet nor a turn does more than its share, also below a mount point, and others go on.
#[test]
fn ten_thousand_filters_make_no_turn_long() {
    let mount = crate::config::Listener {
        mount_point: "m/".to_owned(),
        ..crate::config::Listener::on(1883)
    };
    let mut world = World::with_listeners(many(), vec![mount]);
    let names = names(10_000);
    for durable in [true, false] {
        let dial = if durable { Dial::durable } else { Dial::clean };
        let (a, other) = (
            world.connect(&dial(Version::V5, "a")).0,
            world.clean(Version::V311, "o"),
        );
        let conn = world.conn(a);
        let packets = [
            Packet::Subscribe(Subscribe {
                id: pid(1),
                props: Props::EMPTY,
                filters: names.iter().map(|f| subscription(f)).collect(),
            }),
            Packet::Unsubscribe(Unsubscribe {
                id: pid(2),
                props: Props::EMPTY,
                filters: names.iter().map(|name| &**name).collect(),
            }),
        ];
        for packet in packets {
            let now = world.now;
            let took = world.effort(|world| world.broker.packet(conn, packet, now));
            assert!(took <= MOST, "the packet took {took}");
            let mut turns = 0;
            while world.broker.core.connections.has_asked() {
                let took = world.effort(|world| _ = end_turn(world, now));
                assert!(took <= MOST, "turn {turns} took {took}");
                turns += 1;
                world.hand_in(other, &Packet::PingReq);
            }
            assert!(turns >= 10, "{turns}");
            world.pass(secs(1));
            assert_eq!(world.got(other).len(), turns, "others wait");
        }
        let all_ended = Got::UnsubAck(2, vec![OK; names.len()]);
        let answers = vec![Got::SubAck(1, granted(names.len())), all_ended];
        assert!(world.got(a) == answers);
        assert_eq!(world.filters("a"), NONE);
    }
}

/// What comes in between reaches who has subscribed to it by then, behind the SUBACK, and the same filter
/// brings what is retained once, by what it asks for in the last place.
#[test]
fn messages_wait_for_the_answer() {
    let mut world = World::with(many());
    world.hold_pieces(2, 500);
    let publisher = world.clean(Version::V5, "p");
    world.publish_with(publisher, "f0/00000", "old", qos1(1), true, &[]);
    let a = world.clean(Version::V5, "a");
    let mut names = names(12);
    names.push(names[0].clone());
    let mut filters: Vec<_> = names.iter().map(|f| subscription(f)).collect();
    filters[12].qos = QoS::AtMostOnce;
    world.subscribe(a, 7, &filters);
    assert_eq!(world.filters("a"), NONE);
    world.go_on(4);
    assert_eq!(world.filters("a"), names[..2]);
    assert!(!world.is_read(a));
    world.publish(publisher, "f1/00001", "first", qos1(2));
    world.publish(publisher, "f4/00011", "too soon", qos1(3));
    world.pass(secs(1));
    assert_eq!(world.got(a), [], "SUBACK is not there yet");
    world.finish_pieces();
    assert!(world.is_read(a));
    world.publish(publisher, "f4/00011", "last", qos1(4));
    world.pass(secs(1));
    let mut reasons = granted(12);
    reasons.push(Reason(0));
    assert_eq!(world.next(a), Some(Got::SubAck(7, reasons)));
    let messages = world.messages(a);
    let came: Vec<_> = messages.iter().map(|m| &*m.payload).collect();
    assert_eq!(came, ["first", "old", "last"]);
    assert_eq!(messages[1].delivery, Delivery::AtMostOnce);
}

/// A connection that ends in between leaves what it is subscribed to by then, on disk too, and no answer;
/// its client asks again. So does one that takes the session over.
#[test]
fn a_connection_that_ends_in_between_has_no_answer() {
    for takes_over in [false, true] {
        let mut world = World::with(many());
        world.hold_pieces(2, 500);
        let names = names(20);
        let a = world.durable(Version::V5, "a");
        world.ask_for(a, 1, &names);
        world.go_on(8);
        let some = world.filters("a");
        assert!(!some.is_empty() && some.len() < 10, "{some:?}");
        if !takes_over {
            world.cut(a);
        }
        let (again, present) = world.connect(&Dial::durable(Version::V5, "a"));
        assert!(present);
        world.finish_pieces();
        assert_eq!(world.filters("a"), some, "the rest is asked for no more");
        assert!(
            !world
                .got(a)
                .iter()
                .any(|got| matches!(got, Got::SubAck(..)))
        );
        assert!(world.is_read(again));
        world.ask_for(again, 1, &names);
        world.finish_pieces();
        world.pass(secs(1));
        assert_eq!(world.got(again), [Got::SubAck(1, granted(20))]);
        world.crash(secs(1));
        assert_eq!(world.filters("a").len(), 20);
    }
    let mut world = World::with(many());
    world.hold_pieces(2, 500);
    let a = world.clean(Version::V5, "a");
    world.ask_for(a, 1, &names(20));
    world.go_on(8);
    world.cut(a);
    world.finish_pieces();
    world.hold_pieces(2, 500);
    assert_eq!(world.broker.core.sessions.len(), 0);
    assert_eq!(world.broker.core.router.subscriptions(), 0);
}

/// The answer is a promise for all filters, whichever commits come in between.
#[test]
fn the_answer_waits_for_the_commit_with_the_last() {
    for ends in [false, true] {
        let mut world = World::with(many());
        world.hold_pieces(2, 500);
        let (names, a) = (names(20), world.durable(Version::V5, "a"));
        if ends {
            world.ask_for(a, 1, &names);
            world.finish_pieces();
            world.pass(secs(1));
            world.got(a);
            world.ask_no_more(a, 2, &names);
        } else {
            world.ask_for(a, 2, &names);
        }
        world.held = true;
        while world.broker.core.connections.has_asked() {
            // A commit after each piece.
            world.broker.commit_now(world.now);
            world.go_on(4);
            while world.batches > 0 && world.store() {}
            let is_done = !world.broker.core.connections.has_asked();
            assert!(is_done || world.got(a).is_empty());
        }
        let count = |world: &mut World| {
            world.crash(secs(1));
            world.filters("a").len()
        };
        let before = world.got(a);
        world.pass(ms(1));
        if before.is_empty() {
            while world.got(a).is_empty() {
                world.pass(ms(10));
                assert!(world.store(), "no commit");
            }
        }
        assert_eq!(count(&mut world), if ends { 0 } else { 20 });
    }
}

/// kill -9 between two pieces: nothing was promised, and to ask again is enough.
#[test]
fn killed_in_between() {
    let mut world = World::with(many());
    world.hold_pieces(2, 500);
    let (names, a) = (names(20), world.durable(Version::V5, "a"));
    world.ask_for(a, 1, &names);
    world.go_on(8);
    let some = world.filters("a");
    world.broker.commit_now(world.now);
    world.pass(secs(1));
    world.go_on(8);
    world.crash(secs(1));
    assert_eq!(world.filters("a"), some, "those on disk");
    let a = world.durable(Version::V5, "a");
    world.ask_for(a, 1, &names);
    world.finish_pieces();
    world.pass(secs(1));
    assert_eq!(world.got(a), [Got::SubAck(1, granted(20))]);
}

/// Bounds hold for the packet and the session, not for a piece; a reload, or memory that runs out in
/// between, holds for the rest.
#[test]
fn bounds_hold_for_the_whole_packet() {
    let refused = |from: usize| {
        let mut reasons = granted(from);
        reasons.resize(20, Reason::QUOTA_EXCEEDED);
        reasons
    };
    let all = |change: &dyn Fn(&mut General), between: &dyn Fn(&mut General)| {
        let mut settings = many();
        change(&mut settings);
        let mut world = World::with(settings);
        world.hold_pieces(2, 500);
        let a = world.clean(Version::V5, "a");
        // Long ones: a few short ones go in any memory.
        let mut names = names(20);
        names
            .iter_mut()
            .for_each(|name| name.push_str(&"x".repeat(100)));
        world.ask_for(a, 1, &names);
        world.go_on(8);
        let taken = world.filters("a").len();
        between(&mut world.settings);
        let general = world.settings.clone();
        world.broker.set_general(&general, world.now);
        world.finish_pieces();
        world.pass(secs(1));
        let Some(Got::SubAck(1, reasons)) = world.next(a) else {
            panic!("no SUBACK");
        };
        (reasons, taken)
    };
    let nothing = |_: &mut General| {};
    let (reasons, _) = all(&|g| g.doors.max_filters_per_packet = 13, &nothing);
    assert_eq!(reasons, refused(13));
    let (reasons, _) = all(&|g| g.max_subscriptions = 11, &nothing);
    assert_eq!(reasons, refused(11));
    let (reasons, taken) = all(&nothing, &|g| g.max_subscriptions = 1);
    assert!(taken > 0);
    assert_eq!(reasons, refused(taken));
    let (reasons, taken) = all(&nothing, &|g| g.memory_limit = Some(1));
    // Next to the last memory is for a few filters of clients that come back.
    let few = reasons
        .iter()
        .filter(|reason| **reason == Reason(1))
        .count();
    assert!((taken..20).contains(&few), "{few}");
    assert_eq!(reasons, refused(few));
}

/// Shared subscriptions come and go in pieces, too.
#[test]
fn shared_subscriptions() {
    let mut world = World::with(many());
    world.hold_pieces(2, 500);
    let a = world.durable(Version::V5, "a");
    let names: Vec<_> = names(20).iter().map(|n| format!("$share/g/{n}")).collect();
    world.ask_for(a, 1, &names);
    world.finish_pieces();
    let publisher = world.clean(Version::V5, "p");
    world.publish(publisher, "f4/00018", "x", qos1(1));
    world.pass(secs(1));
    assert_eq!(world.next(a), Some(Got::SubAck(1, granted(20))));
    assert_eq!(world.message(a).payload, "x");
    world.ask_no_more(a, 2, &names);
    world.finish_pieces();
    world.pass(secs(1));
    assert_eq!(world.got(a), [Got::UnsubAck(2, vec![OK; 20])]);
    assert_eq!(world.broker.core.router.subscriptions(), 0);
}
