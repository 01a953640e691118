//! What the broker chose, where it may choose.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::model::{Facts, Kept, Options, Walk};
use crate::broker::sessions::Session;
use crate::broker::tests::World;
use crate::route::SubOptions;

/// The number of the client that has this client id.
pub fn number(client_id: &str) -> usize {
    client_id[1..].parse().unwrap()
}

/// The sessions the broker has, by the number of the client.
pub fn sessions(world: &World) -> BTreeMap<usize, Facts> {
    let sessions = world.broker.core.sessions.iter();
    sessions
        .map(|(_, session)| (number(session.client_id()), facts(world, session)))
        .collect()
}

/// The clients whose queues hold messages that have expired, and are not looked at soon.
pub fn overdue(world: &World) -> Vec<&str> {
    // Queues are looked at in full seconds; what comes from the disk is looked at a second later.
    let (by, soon) = (
        world.now - Duration::from_secs(1),
        world.now + Duration::from_secs(2),
    );
    let core = &world.broker.core;
    let sessions = core.sessions.iter();
    let overdue = sessions.filter(|(key, session)| {
        let look = core.watches.purges.of(*key);
        session.outbound.is_overdue(by) && look.is_none_or(|at| at > soon)
    });
    overdue.map(|(_, session)| session.client_id()).collect()
}

/// The broker's number for the session of a client.
pub fn session_number(world: &World, client_id: &str) -> u64 {
    let sessions = &world.broker.core.sessions;
    let key = sessions.find(client_id).unwrap();
    sessions.get(key).unwrap().id.0
}

/// What the broker is still to bring new subscribers of what is retained, by the number of the client.
pub fn walks(world: &World) -> BTreeMap<usize, Vec<Walk>> {
    let core = &world.broker.core;
    let walks = &core.router.walks;
    let keys = walks.keys().into_iter();
    let of = keys.filter_map(|key| Some((key, core.sessions.get(key)?)));
    of.map(|(key, session)| {
        let walks = walks.all(key).map(|walk| Walk {
            filter: Rc::clone(walk.filter()),
            options: options(&walk.options()),
            passed: walk.passed().map(Box::from),
        });
        (number(session.client_id()), walks.collect())
    })
    .collect()
}

fn options(options: &SubOptions) -> Options {
    Options {
        qos: options.qos,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        id: options.sub_id.map(|id| id.get()),
    }
}

fn facts(world: &World, session: &Session) -> Facts {
    let subscriptions = session.subscriptions.iter();
    let subscriptions = subscriptions.map(|s| (s.filter.to_string(), options(&s.options())));
    let awaiting = session.subscriptions.iter().filter(|s| s.awaits_retained);
    let awaiting = awaiting.map(|s| s.filter.to_string());
    let will = session.will.as_ref();
    Facts {
        number: session.id.0,
        expiry: session.expiry,
        since: session.conn.is_none().then_some(session.since),
        will: will.map(|will| will.message.payload().to_vec()),
        subscriptions: subscriptions.collect(),
        awaiting: awaiting.collect(),
        received: session.inbound.received().map(|id| id.get()).collect(),
        saved: session.is_on_disk() && session.is_saved(world.broker.core.ledger.store().done()),
    }
}

/// The retained messages the broker has, by topic.
pub fn retained(world: &World) -> BTreeMap<String, Kept> {
    let messages = world.broker.core.router.all_retained();
    messages
        .map(|m| {
            let number = String::from_utf8_lossy(m.payload());
            let kept = (number.trim_end().to_owned(), m.expiry());
            (m.topic().to_owned(), kept)
        })
        .collect()
}
