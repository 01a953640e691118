//! What the operator asks of a running broker: lists in pieces, which lose nobody that stays, and the ends of
//! connections and sessions.

use std::collections::BTreeSet;

use super::*;
use crate::broker::Unsteered;

/// The client ids that a list in pieces of `most` places has, `between` being called after each piece.
fn listed(world: &mut World, most: u32, mut between: impl FnMut(&mut World)) -> Vec<String> {
    let (mut ids, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let (views, then) = world.broker.clients((from, most), world.now);
        ids.extend(views.map(|view| view.client_id.to_owned()));
        next = then;
        between(world);
    }
    ids
}

#[test]
fn who_stays_is_listed_once_whoever_comes_and_goes() {
    let mut world = World::new();
    let names: Vec<String> = (0..1_000).map(|n| format!("stays{n}")).collect();
    let mut leaving = Vec::new();
    for (n, name) in names.iter().enumerate() {
        world.durable(Version::V5, name);
        if n % 10 == 0 {
            leaving.push(world.clean(Version::V5, &format!("goes{n}")));
        }
    }
    let mut newcomers = 0;
    let ids = listed(&mut world, 32, |world| {
        if let Some(peer) = leaving.pop() {
            world.cut(peer);
        }
        newcomers += 1;
        world.clean(Version::V5, &format!("comes{newcomers}"));
    });
    let stays: Vec<&String> = ids.iter().filter(|id| id.starts_with("stays")).collect();
    assert_eq!(stays.len(), names.len());
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "each once"
    );
}

#[test]
fn retained_messages_are_listed_once_whatever_is_cleared_between() {
    let mut world = World::new();
    let publisher = world.clean(Version::V311, "p");
    for n in 0..500 {
        world.publish_in_turn(
            publisher,
            (&format!("a/{n:03}"), "x"),
            qos1(1 + n),
            true,
            &[],
        );
    }
    world.turn();
    world.pass(secs(1));
    let (mut topics, mut after, mut pieces) = (Vec::new(), None::<Box<[u8]>>, 0);
    loop {
        let mut found = Vec::new();
        let from = (after.as_deref(), 16);
        let take = |view: crate::broker::RetainedView<'_>| found.push(view.topic.to_owned());
        let reached = world.broker.retained("a/+", from, world.now, take);
        assert!(found.len() <= 16, "a piece is short");
        for topic in found.iter().step_by(2) {
            world.broker.clear_retained(topic, world.now);
        }
        topics.append(&mut found);
        (after, pieces) = (reached, pieces + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(topics.len(), 500);
    assert!(pieces >= 500 / 16, "{pieces}");
    assert_eq!(world.broker.gauges().retained, 250);
}

/// Its session stays, and its will is published, as when its connection is lost.
#[test]
fn who_is_kicked_may_come_back() {
    let mut world = World::new();
    let peer = world.durable(Version::V5, "a");
    world.listen(peer, "t", QoS::AtLeastOnce);
    world.got(peer);
    assert!(world.broker.kick("a", world.now).is_ok());
    world.turn();
    let told = Got::Disconnect(Reason::ADMINISTRATIVE_ACTION);
    assert_eq!(world.next(peer), Some(told));
    assert_eq!(world.broker.kick("a", world.now), Err(Unsteered::Away));
    let (_, present) = world.connect(&Dial::durable(Version::V5, "a"));
    assert!(present);
    assert_eq!(
        world.broker.kick("nobody", world.now),
        Err(Unsteered::Unknown)
    );
}

#[test]
fn who_is_forgotten_has_no_session_on_disk() {
    let mut world = World::new();
    for connected in [true, false] {
        let peer = world.durable(Version::V5, "a");
        world.listen(peer, "t", QoS::AtLeastOnce);
        if !connected {
            world.cut(peer);
        }
        let publisher = world.clean(Version::V311, "p");
        world.publish(publisher, "t", "waits", qos1(1));
        let steered = world.broker.forget("a", world.now).unwrap();
        assert_eq!(steered.queued, 1);
        world.turn();
        world.pass(secs(5));
        assert!(world.broker.client("a", world.now).is_none());
        assert_eq!(world.rows(), []);
        world.crash(secs(1));
        let (_, present) = world.connect(&Dial::durable(Version::V5, "a"));
        assert!(!present);
        world.broker.forget("a", world.now).unwrap();
        world.turn();
        world.pass(secs(5));
    }
}
