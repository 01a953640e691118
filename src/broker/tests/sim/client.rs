//! A client that does what the specification asks, state and all.

use std::collections::HashMap;
use std::fmt;

use fastrand::Rng;

use super::ledger::{Ledger, version};
use crate::broker::tests::world::{Arrived, pid};
use crate::broker::tests::{Dial, Got, Peer, World};
use crate::mqtt::{Delivery, QoS, Reason, Subscription, Version};

/// A message on its way to the broker.
#[derive(Clone, Debug)]
struct Unacked {
    id: u16,
    topic: String,
    message: usize,
    qos: QoS,
    released: bool,
}

/// What a client still has to send: the network takes it when the broker reads.
#[derive(Clone, Debug)]
enum Todo {
    Publish(Unacked, bool),
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
}

/// A client.
pub struct Client {
    pub number: usize,
    dial: Dial,
    filter: Option<&'static str>,
    qos: QoS,
    peer: Option<Peer>,
    connected: bool,
    /// It has had a session, which a durable one must find again.
    known: bool,
    /// How many it may have unacknowledged.
    quota: usize,
    next_id: u16,
    unacked: Vec<Unacked>,
    todo: Vec<Todo>,
    /// QoS 2 packet ids that came and were not released, with their message.
    received: HashMap<u16, usize>,
    /// The broker was killed since one of these came: it may not know that it sent it.
    doubtful: bool,
    /// QoS 1 and 2 packet ids the broker has in flight on this connection.
    inflight: Vec<u16>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dial { version, clean, .. } = self.dial;
        write!(f, "c{} ({version:?}, clean {clean})", self.number)
    }
}

impl Client {
    pub fn random(number: usize, rng: &mut Rng) -> Client {
        let id = format!("c{number}");
        let version = version(number);
        let mut dial = match rng.u32(..10) {
            0..6 => Dial::durable(version, &id),
            _ => Dial::clean(version, &id),
        };
        if version == Version::V5 {
            dial.receive_maximum = [None, Some(1), Some(2), Some(10)][rng.usize(..4)];
        }
        let filters = ["t/#", "t/+/1", "t/+/2", "#", "t/1/#", "+/+/+"];
        Client {
            number,
            dial,
            filter: (rng.u32(..5) > 0).then(|| filters[rng.usize(..filters.len())]),
            qos: [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
                [rng.usize(..3).max(rng.usize(..3))],
            peer: None,
            connected: false,
            known: false,
            quota: 1,
            next_id: 0,
            unacked: Vec::new(),
            todo: Vec::new(),
            received: HashMap::new(),
            doubtful: false,
            inflight: Vec::new(),
        }
    }

    pub fn is_durable(&self) -> bool {
        !self.dial.clean
    }

    /// Connected, and nothing is under way from or to it.
    pub fn is_idle(&self) -> bool {
        self.connected && self.unacked.is_empty() && self.todo.is_empty()
    }

    /// Connects; if it is connected already, that is a takeover.
    pub fn dial(&mut self, world: &mut World) {
        self.lose_connection();
        self.peer = Some(world.dial(&self.dial));
    }

    pub fn dial_if_offline(&mut self, world: &mut World) {
        if self.peer.is_none() {
            self.dial(world);
        }
    }

    /// Forgets what belongs to the connection.
    pub fn lose_connection(&mut self) {
        self.peer = None;
        self.connected = false;
        self.todo.clear();
        self.inflight.clear();
    }

    /// The broker was killed.
    pub fn crash(&mut self) {
        self.lose_connection();
        self.doubtful = true;
    }

    /// The network breaks, with some of what was on its way still coming in.
    pub fn cut(&mut self, world: &mut World, ledger: &mut Ledger, rng: &mut Rng) {
        self.read_some(world, ledger, rng);
        if let Some(peer) = self.peer {
            world.cut(peer);
        }
        self.lose_connection();
    }

    pub fn leave(&mut self, world: &mut World) {
        if let Some(peer) = self.peer.filter(|_| self.connected) {
            world.disconnect(peer, Reason::SUCCESS);
            self.lose_connection();
        }
    }

    pub fn publish(&mut self, world: &mut World, ledger: &mut Ledger, rng: &mut Rng) {
        let room = self.unacked.len() < self.quota;
        if !self.connected || !room || !self.todo.is_empty() {
            return;
        }
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][rng.usize(..3)];
        let topic = format!("t/{}/{}", self.number, qos as u8);
        let message = ledger.publish(&topic, qos, self.is_durable());
        self.next_id = self.next_id % 50 + 1;
        while self.unacked.iter().any(|u| u.id == self.next_id) {
            self.next_id = self.next_id % 50 + 1;
        }
        let unacked = Unacked {
            id: self.next_id,
            topic,
            message,
            qos,
            released: false,
        };
        if qos > QoS::AtMostOnce {
            self.unacked.push(unacked.clone());
        }
        self.todo.push(Todo::Publish(unacked, false));
        self.send(world);
    }

    /// Sends what the broker reads.
    fn send(&mut self, world: &mut World) {
        let Some(peer) = self.peer else { return };
        while !self.todo.is_empty() && world.is_read(peer) {
            match self.todo.remove(0) {
                Todo::Publish(u, dup) => {
                    let delivery = match Delivery::new(u.qos, pid(u.id), dup) {
                        _ if u.qos == QoS::AtMostOnce => Delivery::AtMostOnce,
                        delivery => delivery,
                    };
                    // Now and then a large one, so that a read from the store ends early.
                    let width = if u.message % 7 == 0 { 9000 } else { 1 };
                    let payload = format!("{:0width$}", u.message);
                    world.publish(peer, &u.topic, &payload, delivery);
                }
                Todo::PubAck(id) => world.puback(peer, id),
                Todo::PubRec(id) => world.pubrec(peer, id),
                Todo::PubRel(id) => world.pubrel(peer, id),
                Todo::PubComp(id) => world.pubcomp(peer, id),
            }
        }
    }

    /// Takes in some of what came.
    pub fn read_some(&mut self, world: &mut World, ledger: &mut Ledger, rng: &mut Rng) {
        for _ in 0..rng.usize(1..6) {
            if !self.read(world, ledger) {
                break;
            }
        }
        self.send(world);
    }

    /// Takes in all that came; true if there was anything.
    pub fn read_all(&mut self, world: &mut World, ledger: &mut Ledger) -> bool {
        let mut busy = false;
        while self.read(world, ledger) {
            busy = true;
        }
        self.send(world);
        busy
    }

    fn read(&mut self, world: &mut World, ledger: &mut Ledger) -> bool {
        let Some(got) = self.peer.and_then(|peer| world.next(peer)) else {
            return false;
        };
        match got {
            Got::ConnAck(present, reason) => {
                assert_eq!(reason, Reason::SUCCESS, "{self:?}");
                self.welcome(present, world, ledger);
            }
            Got::SubAck(_, reasons) => {
                assert_eq!(reasons, [Reason(self.qos as u8)]);
                let filter = self.filter.unwrap_or_default().to_owned();
                ledger.confirmed(self.number, filter, self.qos);
            }
            Got::Publish(arrived) => self.on_publish(&arrived, ledger),
            Got::PubAck(id, reason) => self.on_puback(id, reason, ledger),
            Got::PubRec(id, reason) => self.on_pubrec(id, reason, ledger),
            Got::PubRel(id, _) => {
                self.received.remove(&id);
                self.doubtful &= !self.received.is_empty();
                self.inflight.retain(|i| *i != id);
                self.todo.push(Todo::PubComp(id));
            }
            Got::PubComp(id, _) => self.unacked.retain(|u| u.id != id || !u.released),
            Got::Closed => self.lose_connection(),
            other => panic!("{self:?} got {other:?}"),
        }
        true
    }

    fn welcome(&mut self, present: bool, world: &mut World, ledger: &mut Ledger) {
        let Some(peer) = self.peer else { return };
        assert!(
            present || !self.is_durable() || !self.known,
            "{self:?} lost"
        );
        assert!(!present || self.is_durable(), "{self:?} has a session");
        (self.known, self.connected) = (true, true);
        self.quota = match world.settings.max_inflight_messages {
            0 => 30,
            limit => usize::from(limit),
        };
        if !present {
            self.unacked.clear();
            self.received.clear();
            ledger.new_session(self.number);
        }
        for unacked in &self.unacked {
            self.todo.push(match unacked.released {
                true => Todo::PubRel(unacked.id),
                false => Todo::Publish(unacked.clone(), true),
            });
        }
        if let (Some(filter), false) = (self.filter, ledger.is_confirmed(self.number)) {
            ledger.asked(self.number, filter);
            world.subscribe(peer, 60, &[Subscription::new(filter, self.qos)]);
        }
    }

    fn on_publish(&mut self, arrived: &Arrived, ledger: &mut Ledger) {
        let message: usize = arrived.payload.parse().unwrap();
        let qos = arrived.delivery.qos();
        assert!(qos <= self.qos, "{self:?} got QoS {qos:?}");
        if let Some(id) = arrived.delivery.id().map(|id| id.get()) {
            let again = self.inflight.contains(&id);
            assert!(!again, "{self:?} got packet id {id} while it is in flight");
            self.inflight.push(id);
            let most = usize::from(self.dial.receive_maximum.unwrap_or(u16::MAX));
            assert!(self.inflight.len() <= most, "{self:?} beyond its maximum");
        }
        match arrived.delivery {
            Delivery::ExactlyOnce(id, dup) => {
                let id = id.get();
                if let Some(known) = self.received.insert(id, message) {
                    assert_eq!(known, message, "{self:?} packet id {id} for another");
                    assert!(
                        dup || self.doubtful,
                        "{self:?} message {message} again without DUP"
                    );
                } else {
                    ledger.arrived(self, &arrived.topic, message, qos);
                }
                self.todo.push(Todo::PubRec(id));
            }
            Delivery::AtLeastOnce(id, _) => {
                ledger.arrived(self, &arrived.topic, message, qos);
                self.inflight.retain(|i| *i != id.get());
                self.todo.push(Todo::PubAck(id.get()));
            }
            Delivery::AtMostOnce => ledger.arrived(self, &arrived.topic, message, qos),
        }
    }

    fn on_puback(&mut self, id: u16, reason: Reason, ledger: &mut Ledger) {
        let at = self.unacked.iter().position(|u| u.id == id);
        let Some(at) = at else {
            panic!("{self:?} got PUBACK {id}");
        };
        assert_eq!(self.unacked[at].qos, QoS::AtLeastOnce);
        let message = self.unacked.remove(at).message;
        if !reason.is_error() {
            ledger.acknowledged(message);
        }
    }

    fn on_pubrec(&mut self, id: u16, reason: Reason, ledger: &mut Ledger) {
        let at = self.unacked.iter().position(|u| u.id == id);
        let Some(at) = at else {
            panic!("{self:?} got PUBREC {id}");
        };
        assert_eq!(self.unacked[at].qos, QoS::ExactlyOnce);
        if reason.is_error() {
            self.unacked.remove(at);
            return;
        }
        ledger.acknowledged(self.unacked[at].message);
        self.unacked[at].released = true;
        self.todo.push(Todo::PubRel(id));
    }
}
