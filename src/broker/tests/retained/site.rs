//! A broker with a bridge, and an upstream that remembers what is retained.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::*;
use crate::bridge::{Limits, Map, Wire};
use crate::broker::{BridgeId, BridgeSession};
use crate::config::{BridgeTopic, General};

/// `topic PATTERN out QOS`.
pub fn out(pattern: &str, qos: QoS) -> BridgeTopic {
    BridgeTopic {
        qos,
        ..overflow::line(pattern)
    }
}

/// A world with a bridge to an upstream that remembers what is retained.
pub struct Site {
    pub world: World,
    pub lines: Vec<BridgeTopic>,
    durable: bool,
    /// `local_clientid`, as the next start has it.
    pub client_id: &'static str,
    pub version: Version,
    pub bridge: BridgeId,
    device: Peer,
    pub uplink: Option<Peer>,
    /// What the upstream retains.
    pub upstream: BTreeMap<String, String>,
    /// Each PUBLISH that came, as `TOPIC=PAYLOAD`, and its QoS.
    pub came: Vec<(String, u8)>,
    next_id: u16,
}

impl Site {
    pub fn new(lines: &[BridgeTopic]) -> Site {
        Site::with(lines, true, settings())
    }

    pub fn with(lines: &[BridgeTopic], durable: bool, settings: General) -> Site {
        let mut world = World::with(settings);
        let client_id = "local.b";
        let bridge = add(&mut world, lines, client_id, durable);
        let device = world.clean(Version::V311, "device");
        Site {
            world,
            lines: lines.to_vec(),
            durable,
            client_id,
            version: Version::V5,
            bridge,
            device,
            uplink: None,
            upstream: BTreeMap::new(),
            came: Vec::new(),
            next_id: 0,
        }
    }

    /// A retained message of the device; an empty one clears.
    pub fn set(&mut self, topic: &str, value: &str, qos: u8) {
        self.next_id = self.next_id % 60_000 + 1;
        let delivery = match qos {
            0 => Delivery::AtMostOnce,
            1 => qos1(self.next_id),
            _ => qos2(self.next_id),
        };
        self.world
            .publish_with(self.device, topic, value, delivery, true, &[]);
        if qos == 2 {
            self.world.pass(ms(50));
            self.world.pubrel(self.device, self.next_id);
        }
        self.pass(ms(10));
    }

    /// Time passes, and the upstream answers.
    pub fn pass(&mut self, time: Duration) {
        self.world.pass(time);
        self.answer();
    }

    pub fn up(&mut self, present: bool) {
        let wire = Rc::new(Wire::new(Rc::new(Map::new(&self.lines))));
        self.up_with(present, wire);
    }

    pub fn up_with(&mut self, present: bool, wire: Rc<Wire>) {
        let limits = Limits {
            receive_maximum: 20,
            session_present: present,
            ..Limits::unnamed(self.version, secs(60))
        };
        let world = &mut self.world;
        let conn = world
            .broker
            .bridge_up(self.bridge, &limits, wire, world.now);
        let peer = world.adopt(conn.unwrap(), self.version);
        world.broker.bridge_start(world.conn(peer), world.now);
        world.turn();
        self.uplink = Some(peer);
        self.pass(ms(500));
    }

    /// The upstream answers what has come, to the end.
    pub fn answer(&mut self) {
        while let Some(uplink) = self.uplink
            && self.answer_one(uplink)
        {}
    }

    pub fn answer_one(&mut self, uplink: Peer) -> bool {
        let Some(got) = self.world.next(uplink) else {
            self.world.pass(ms(25));
            return self.world.waiting(uplink) > 0;
        };
        match got {
            Got::Publish(message) => {
                let (topic, qos) = (message.topic, message.delivery.qos() as u8);
                self.came
                    .push((format!("{topic}={}", message.payload), qos));
                if message.retain && message.payload.is_empty() {
                    self.upstream.remove(&topic);
                } else if message.retain {
                    self.upstream.insert(topic, message.payload);
                }
                match message.delivery {
                    Delivery::AtMostOnce => {}
                    Delivery::AtLeastOnce(id, _) => self.world.puback(uplink, id.get()),
                    Delivery::ExactlyOnce(id, _) => self.world.pubrec(uplink, id.get()),
                }
            }
            Got::PubRel(id, _) => self.world.pubcomp(uplink, id),
            other => panic!("{other:?}"),
        }
        true
    }

    /// A PINGREQ was sent now, and is answered: what was sent before has arrived.
    pub fn ping(&mut self) {
        self.world.pass(ms(5));
        let (conn, now) = (self.world.conn(self.uplink.unwrap()), self.world.now);
        self.world.broker.bridge_answered(conn, now, now);
        self.pass(ms(5));
    }

    pub fn down(&mut self) {
        let uplink = self.uplink.take().unwrap();
        self.world.cut(uplink);
        self.world.pass(secs(1));
    }

    /// kill -9 and a start.
    pub fn crash(&mut self) {
        self.uplink = None;
        self.world.crash(secs(1));
        self.start();
    }

    /// A stop in good order and a start.
    pub fn restart(&mut self) {
        self.uplink = None;
        let now = self.world.now;
        self.world.broker.shutdown(now);
        self.world.pass(secs(1));
        self.crash();
    }

    pub fn start(&mut self) {
        self.bridge = add(&mut self.world, &self.lines, self.client_id, self.durable);
        self.world.broker.drop_orphan_bridges(self.world.now);
        self.device = self.world.clean(Version::V311, "device");
    }

    /// What came since the last call.
    pub fn came(&mut self) -> Vec<String> {
        let came = std::mem::take(&mut self.came);
        came.into_iter().map(|(what, _)| what).collect()
    }

    /// What the upstream retains.
    pub fn has(&self) -> Vec<String> {
        let all = self.upstream.iter();
        all.map(|(topic, value)| format!("{topic}={value}"))
            .collect()
    }

    /// Cleared topics that an upstream is to be told of.
    pub fn cleared(&self) -> usize {
        let kept = self.world.broker.core.router.kept_after(None);
        kept.filter(|value| value.payload().is_empty()).count()
    }
}

fn add(world: &mut World, lines: &[BridgeTopic], client_id: &str, durable: bool) -> BridgeId {
    let map = Rc::new(Map::new(lines));
    let spec = BridgeSession {
        name: "b",
        client_id,
        username: None,
        durable,
        topics: lines,
        map: &map,
    };
    let bridge = world.broker.add_bridge(&spec, world.now);
    world.pass(ms(50));
    bridge
}
