//! A link and the broker together, towards an upstream that closes on a message.

use std::rc::Rc;

use super::overflow::{add, line};
use super::*;
use crate::bridge::{Action, Error, Link, Step};
use crate::broker::BridgeId;
use crate::config::{Bridge, Env};
use crate::mqtt::{Ack, ConnAck, Packet, PacketId, Props};

struct Up {
    link: Link,
    bridge: BridgeId,
}

impl Up {
    fn new(world: &mut World, qos: QoS) -> Up {
        let mut topic = line("#");
        topic.qos = qos;
        let bridge = add(world, &[topic.clone()]);
        let mut spec = Bridge::named("b", &Env::default());
        spec.addresses = vec![("up".to_owned(), 1).into()];
        spec.topics = vec![topic];
        spec.version = Some(Version::V311);
        spec.try_private = false;
        spec.notifications = false;
        Up {
            link: Link::new(Rc::new(spec), 1, world.now),
            bridge,
        }
    }

    fn connect(&mut self, world: &mut World) -> Peer {
        let mut out = Vec::new();
        loop {
            if let Action::Connect { .. } = self.link.drive(world.now, &mut out) {
                break;
            }
            world.pass(secs(1));
        }
        self.link.connected(world.now, &mut out).unwrap();
        let ack = ConnAck {
            session_present: true,
            reason: Reason::SUCCESS,
            props: Props::EMPTY,
        };
        let mut ids = || PacketId::of_sequence(60_000);
        let step = self
            .link
            .packet(&Packet::ConnAck(ack), &mut ids, world.now, &mut out);
        let Ok(Step::Up(limits)) = step else {
            panic!("{step:?}");
        };
        let wire = self.link.wire().clone();
        let conn = world
            .broker
            .bridge_up(self.bridge, &limits, wire, world.now);
        let peer = world.adopt(conn.unwrap(), Version::V311);
        world.broker.bridge_start(world.conn(peer), world.now);
        world.pass(ms(100));
        peer
    }

    fn drive(&mut self, world: &mut World, peer: Peer) {
        let mut out = Vec::new();
        if let Action::Window(window) = self.link.drive(world.now, &mut out) {
            world
                .broker
                .bridge_window(world.conn(peer), window, world.now);
            world.turn();
        }
        if !out.is_empty() {
            let mut ids = || PacketId::of_sequence(60_000);
            self.link
                .packet(&Packet::PingResp, &mut ids, world.now, &mut out)
                .unwrap();
        }
    }

    /// A minute with telemetry at QoS 0 ten times a second. True if the upstream gets the poison, and
    /// closes half a second after it.
    fn meets(&mut self, world: &mut World, peer: Peer, sender: Peer) -> bool {
        let mut left = None;
        for _ in 0..600 {
            world.publish(sender, "telemetry", "1", Delivery::AtMostOnce);
            self.drive(world, peer);
            world.pass(ms(100));
            self.drive(world, peer);
            let got = world.got(peer);
            let is_there = got.iter().any(|got| format!("{got:?}").contains("poison"));
            if is_there && left.is_none() {
                left = Some(6);
            }
            left = left.map(|left| left - 1);
            if left == Some(0) {
                return true;
            }
        }
        false
    }

    /// What the upstream answers, both to the link and to the broker.
    fn answer(&mut self, world: &mut World, peer: Peer, packet: &Packet<'_>) {
        let (mut ids, mut out) = (|| PacketId::of_sequence(60_000), Vec::new());
        self.link
            .packet(packet, &mut ids, world.now, &mut out)
            .unwrap();
        world.send(peer, packet);
    }

    /// A minute with an upstream that answers up to PUBREC and to QoS 1. True if it gets what it closes
    /// on.
    fn closes(&mut self, world: &mut World, peer: Peer, on: impl Fn(&Got) -> bool) -> bool {
        for _ in 0..600 {
            self.drive(world, peer);
            world.pass(ms(100));
            for got in world.got(peer) {
                if on(&got) {
                    return true;
                }
                let packet = match got {
                    Got::Publish(arrived) => match arrived.delivery {
                        Delivery::ExactlyOnce(id, _) => Packet::PubRec(Ack::new(id, OK)),
                        Delivery::AtLeastOnce(id, _) => Packet::PubAck(Ack::new(id, OK)),
                        Delivery::AtMostOnce => continue,
                    },
                    other => panic!("{other:?}"),
                };
                self.answer(world, peer, &packet);
            }
        }
        false
    }

    fn close(&mut self, world: &mut World, peer: Peer) {
        self.link.failed(&Error::Closed("gone".into()), world.now);
        let under_way = world.broker.bridge_under_way(self.bridge);
        if let Some(message) = self.link.judge(&under_way, world.now) {
            world.broker.bridge_condemn(self.bridge, &message);
        }
        world.cut(peer);
        world.pass(ms(100));
    }
}

/// A QoS 1 message that the upstream closes on, and telemetry at QoS 0 ten times a second.
#[test]
fn a_poison_is_found_beside_qos_0() {
    let mut world = World::new();
    let mut up = Up::new(&mut world, QoS::AtLeastOnce);
    let sender = world.clean(Version::V311, "s");
    world.publish(sender, "poison", "x", qos1(1));
    world.pass(ms(100));
    for _ in 0..30 {
        let peer = up.connect(&mut world);
        if !up.meets(&mut world, peer, sender) {
            assert_eq!(world.dead(), 1);
            return;
        }
        up.close(&mut world, peer);
    }
    panic!("never found; {} dead letters", world.dead());
}

/// An upstream that closes on PUBREL and keeps the session: the handshakes are over, and what was in them
/// goes through at QoS 1.
#[test]
fn an_upstream_that_closes_on_pubrel_gets_everything() {
    let mut world = World::new();
    let mut up = Up::new(&mut world, QoS::ExactlyOnce);
    let sender = world.clean(Version::V311, "s");
    for id in 1..=5 {
        world.publish(sender, "a", "x", qos2(id));
    }
    world.pass(ms(100));
    for _ in 0..10 {
        let peer = up.connect(&mut world);
        if !up.closes(&mut world, peer, |got| matches!(got, Got::PubRel(..))) {
            assert_eq!(world.broker.bridge_backlog(up.bridge), (0, 0));
            assert_eq!(world.dead(), 0);
            assert!(up.link.status().to_string().contains("without QoS 2"));
            return;
        }
        up.close(&mut world, peer);
    }
    panic!("never found: {}", up.link.status());
}

/// An upstream that closes on what is larger than 5,000 bytes: three messages tell, and the others are set
/// aside without costing a connection each. SIGHUP tries it again.
#[test]
fn what_is_too_large_for_an_upstream_is_found_out() {
    let mut world = World::new();
    let mut up = Up::new(&mut world, QoS::AtLeastOnce);
    let sender = world.clean(Version::V311, "s");
    for n in 1..=20_u16 {
        let size = if n % 2 == 0 { 6000 } else { 100 };
        world.publish(sender, &format!("a/{n}"), &"x".repeat(size), qos1(n));
    }
    world.pass(ms(100));
    let is_large = |got: &Got| matches!(got, Got::Publish(arrived) if arrived.payload.len() > 5000);
    let mut connections = 0;
    let peer = loop {
        connections += 1;
        assert!(connections < 20, "{}", up.link.status());
        let peer = up.connect(&mut world);
        if !up.closes(&mut world, peer, is_large) {
            break peer;
        }
        up.close(&mut world, peer);
    };
    assert_eq!(world.broker.bridge_backlog(up.bridge), (0, 0));
    assert_eq!(world.dead(), 10);
    // Three to begin with, and two or three for each of three messages.
    assert!(connections <= 13, "{connections}");
    let status = up.link.status().to_string();
    assert!(
        status.contains("without messages of more than 600"),
        "{status}"
    );
    for is_tried in [false, true] {
        world.publish(sender, "b", &"x".repeat(7000), qos1(99));
        assert_eq!(up.closes(&mut world, peer, is_large), is_tried);
        up.link.forget_given_up();
    }
    assert_eq!(world.dead(), 11);
}
