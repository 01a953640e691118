//! What waits for an upstream, or was sent and not acknowledged, when the `topic` lines have changed
//! or the upstream takes less than the one before.

use std::rc::Rc;

use super::overflow::line;
use super::refused::{limits, numbers};
use super::*;
use crate::bridge::{Limits, Map, Wire};
use crate::broker::{BridgeId, BridgeSession};
use crate::config::BridgeTopic;

const AT_MOST: QoS = QoS::AtMostOnce;
const AT_LEAST: QoS = QoS::AtLeastOnce;
const EXACTLY: QoS = QoS::ExactlyOnce;

/// A world with a device and one bridge, whose map is the one that its link has.
pub(super) struct Site {
    pub(super) world: World,
    pub(super) device: Peer,
    pub(super) bridge: BridgeId,
    map: Rc<Map>,
}

impl Site {
    pub(super) fn new(lines: &[BridgeTopic]) -> Site {
        Site::with(settings(), lines)
    }

    fn with(settings: crate::config::General, lines: &[BridgeTopic]) -> Site {
        let mut world = World::with(settings);
        let device = world.clean(Version::V311, "d");
        let (bridge, map) = add(&mut world, lines);
        Site {
            world,
            device,
            bridge,
            map,
        }
    }

    /// Another configuration holds, by SIGHUP or after a crash.
    pub(super) fn configure(&mut self, crashes: bool, lines: &[BridgeTopic]) {
        if crashes {
            self.world.pass(secs(3));
            self.world.crash(secs(60));
            self.device = self.world.clean(Version::V311, "d");
        }
        (self.bridge, self.map) = add(&mut self.world, lines);
    }

    pub(super) fn up(&mut self, limits: &Limits) -> Peer {
        let wire = Rc::new(Wire::new(Rc::clone(&self.map)));
        let world = &mut self.world;
        let conn = world.broker.bridge_up(self.bridge, limits, wire, world.now);
        let peer = world.adopt(conn.unwrap(), limits.version);
        world.broker.bridge_start(world.conn(peer), world.now);
        world.turn();
        world.pass(ms(200));
        peer
    }
}

fn add(world: &mut World, topics: &[BridgeTopic]) -> (BridgeId, Rc<Map>) {
    add_as(world, "local.b", topics)
}

fn add_as(world: &mut World, client_id: &str, topics: &[BridgeTopic]) -> (BridgeId, Rc<Map>) {
    let map = Rc::new(Map::new(topics));
    let spec = BridgeSession {
        name: "b",
        client_id,
        username: None,
        durable: true,
        topics,
        map: &map,
    };
    let bridge = world.broker.add_bridge(&spec, world.now);
    world.pass(ms(50));
    (bridge, map)
}

pub(super) fn at(qos: QoS, pattern: &str) -> BridgeTopic {
    BridgeTopic {
        qos,
        ..line(pattern)
    }
}

/// An upstream that takes QoS 1 at most.
fn simple(session_present: bool) -> Limits {
    Limits {
        max_qos: AT_LEAST,
        ..limits(50, session_present)
    }
}

/// What waits goes at the QoS that its line has by now: down, and up as far as it was published; what
/// was queued at QoS 0 stays there.
#[test]
fn what_waits_follows_the_qos_of_its_line() {
    for crashes in [false, true] {
        for (published, was, is, sent) in [
            (EXACTLY, EXACTLY, AT_LEAST, AT_LEAST),
            (EXACTLY, EXACTLY, AT_MOST, AT_MOST),
            (EXACTLY, AT_LEAST, EXACTLY, EXACTLY),
            (EXACTLY, AT_LEAST, AT_MOST, AT_MOST),
            (AT_LEAST, AT_LEAST, EXACTLY, AT_LEAST),
            (AT_LEAST, AT_MOST, EXACTLY, AT_MOST),
        ] {
            let settings = crate::config::General {
                queue_qos0_messages: true,
                ..settings()
            };
            let mut site = Site::with(settings, &[at(was, "a/#")]);
            site.world.send_all(site.device, "a/x", published, 1..31);
            site.configure(crashes, &[at(is, "a/#")]);
            let upstream = site.up(&limits(50, false));
            let messages = site.world.messages(upstream);
            let case = format!("{published:?} {was:?} {is:?}, crashes: {crashes}");
            assert!(
                messages.iter().all(|m| m.delivery.qos() == sent),
                "{case}: {messages:?}"
            );
            let came: Vec<String> = messages.iter().map(|m| m.payload.clone()).collect();
            assert_eq!(came, numbers(1..31), "{case}");
            for message in messages.iter().filter(|m| m.delivery.qos() != AT_MOST) {
                site.world.answer_with(upstream, message, OK);
            }
            site.world.serve(upstream, secs(1), |m| panic!("{m:?}"));
            site.world.is_drained(site.bridge);
        }
    }
}

/// What is published at QoS 0 and kept goes at the QoS of the line, whatever that is by then.
#[test]
fn what_is_kept_of_qos_0_follows_its_line() {
    for crashes in [false, true] {
        for (was, is) in [(AT_LEAST, EXACTLY), (EXACTLY, AT_LEAST), (EXACTLY, AT_MOST)] {
            let kept = BridgeTopic {
                keeps_qos0: true,
                ..at(was, "a/#")
            };
            let mut site = Site::new(&[kept]);
            let device = site.device;
            site.world.publish(device, "a/x", "1", Delivery::AtMostOnce);
            site.configure(crashes, &[at(is, "a/#")]);
            let upstream = site.up(&limits(50, false));
            let message = site.world.message(upstream);
            assert_eq!(
                message.delivery.qos(),
                is,
                "was {was:?}, crashes: {crashes}"
            );
        }
    }
}

/// A message whose line is gone goes at the QoS of the one that takes it.
#[test]
fn what_another_line_takes_goes_at_its_qos() {
    for crashes in [false, true] {
        let mut site = Site::new(&[at(EXACTLY, "a/#")]);
        site.world.send_all(site.device, "a/x", EXACTLY, 1..4);
        site.configure(crashes, &[at(EXACTLY, "c/#"), at(AT_LEAST, "#")]);
        let upstream = site.up(&limits(50, false));
        let messages = site.world.messages(upstream);
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|m| m.delivery.qos() == AT_LEAST));
    }
}

/// The upstream takes no QoS 2, and what was sent before was sent at QoS 2, some of it up to the PUBREC:
/// all of it comes again at QoS 1, in order and with the packet ids it had, and no PUBREL.
#[test]
fn what_was_sent_at_qos_2_goes_again_at_qos_1() {
    for crashes in [false, true] {
        for present in [false, true] {
            let lines = [at(EXACTLY, "a/#")];
            let mut site = Site::new(&lines);
            let upstream = site.up(&limits(50, false));
            site.world.send_all(site.device, "a/x", EXACTLY, 1..11);
            let first = site.world.messages(upstream);
            assert_eq!(first.len(), 10);
            for message in [&first[4], &first[0], &first[1]] {
                site.world.answer_with(upstream, message, OK);
            }
            site.world.pass(ms(200));
            assert_eq!(site.world.got(upstream).len(), 3, "PUBRELs");
            // One is through with it.
            let id = first[1].delivery.id().unwrap();
            site.world.pubcomp(upstream, id.get());
            site.world.pass(ms(200));
            if crashes {
                site.configure(true, &lines);
            } else {
                site.world.cut(upstream);
            }
            let upstream = site.up(&simple(present));
            let again = site.world.messages(upstream);
            let owed = first.iter().filter(|m| m.payload != "2");
            let expected: Vec<(String, Delivery)> = owed
                .map(|m| {
                    let id = m.delivery.id().unwrap();
                    (m.payload.clone(), Delivery::AtLeastOnce(id, present))
                })
                .collect();
            let came: Vec<(String, Delivery)> = again
                .iter()
                .map(|m| (m.payload.clone(), m.delivery))
                .collect();
            assert_eq!(came, expected, "crashes: {crashes}, present: {present}");
            for message in &again {
                site.world.answer_with(upstream, message, OK);
            }
            site.world.is_drained(site.bridge);
            assert_eq!(site.world.got(upstream), []);
            // Nothing of it is left for the next start either.
            site.configure(true, &lines);
            let upstream = site.up(&limits(50, true));
            assert_eq!(site.world.got(upstream), []);
        }
    }
}

/// The process is killed before it has written that the handshakes are given up.
#[test]
fn handshakes_that_are_given_up_survive_a_kill() {
    let lines = [at(EXACTLY, "a/#")];
    let mut site = Site::new(&lines);
    let upstream = site.up(&limits(50, false));
    site.world.send_all(site.device, "a/x", EXACTLY, 1..4);
    for message in site.world.messages(upstream) {
        site.world.answer_with(upstream, &message, OK);
    }
    site.world.pass(ms(200));
    site.world.cut(upstream);
    let wire = Rc::new(Wire::new(Rc::clone(&site.map)));
    let world = &mut site.world;
    let conn = world
        .broker
        .bridge_up(site.bridge, &simple(true), wire, world.now);
    assert!(conn.is_some());
    world.crash(secs(1));
    (site.bridge, site.map) = add(&mut site.world, &lines);
    let upstream = site.up(&simple(true));
    let again = site.world.messages(upstream);
    let came: Vec<&str> = again.iter().map(|m| &*m.payload).collect();
    assert_eq!(came, numbers(1..4));
    for message in &again {
        site.world.answer_with(upstream, message, OK);
    }
    site.world.is_drained(site.bridge);
}

/// Another `local_clientid` takes the queue along, over a crash, too; a client that had the id has to go, and
/// where a bridge has left a queue under it, that is the bridge's from then on.
#[test]
fn a_bridge_takes_its_queue_along_to_another_client_id() {
    let lines = [at(AT_LEAST, "a/#")];
    for crashes in [false, true] {
        let mut site = Site::new(&lines);
        let rival = site.world.clean(Version::V311, "new");
        site.world.send_all(site.device, "a/x", AT_LEAST, 1..11);
        let now = site.world.now;
        site.world.broker.rename_bridge(site.bridge, "new", now);
        (site.bridge, site.map) = add_as(&mut site.world, "new", &lines);
        assert!(!site.world.is_open(rival), "crashes: {crashes}");
        if crashes {
            site.world.pass(secs(3));
            site.world.crash(secs(60));
            (site.bridge, site.map) = add_as(&mut site.world, "new", &lines);
            let now = site.world.now;
            site.world.broker.drop_orphan_bridges(now);
        }
        let upstream = site.up(&limits(50, false));
        let came = site.world.messages(upstream).into_iter();
        let came: Vec<String> = came.map(|m| m.payload).collect();
        assert_eq!(came, numbers(1..11), "crashes: {crashes}");
    }
}

#[test]
fn a_bridge_that_gets_the_client_id_of_a_former_one_has_its_queue() {
    let lines = [at(AT_LEAST, "a/#")];
    let mut site = Site::new(&lines);
    site.world.send_all(site.device, "a/x", AT_LEAST, 1..4);
    let now = site.world.now;
    site.world.broker.remove_bridge(site.bridge, now);
    (site.bridge, site.map) = add_as(&mut site.world, "other", &lines);
    site.world.send_all(site.device, "a/x", AT_LEAST, 4..8);
    let now = site.world.now;
    site.world.broker.rename_bridge(site.bridge, "local.b", now);
    (site.bridge, site.map) = add(&mut site.world, &lines);
    let upstream = site.up(&limits(50, false));
    let came = site.world.messages(upstream).into_iter();
    let came: Vec<String> = came.map(|m| m.payload).collect();
    assert_eq!(came, numbers(1..4));
}
