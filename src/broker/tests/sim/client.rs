//! A client that does what the specification asks, state and all.

use std::fmt;
use std::rc::Rc;

use fastrand::Rng;

use super::Env;
use super::facts;
use super::link::{Got, Link, Todo};
use super::model::{Publication, Routed};
use super::parked::not_taken;
use super::plan::{self, Draft, Plan};
use super::waiting::Waiting;
use crate::broker::tests::world::pid;
use crate::mqtt::{
    Ack, Connect, Delivery, Disconnect, Packet, Property, Props, PropsBuf, Publish, QoS, Reason,
    Version, Will,
};

/// Packet ids of messages; those above are for SUBSCRIBE and UNSUBSCRIBE.
pub(super) const IDS: u16 = 50;

/// A message on its way to the broker.
#[derive(Clone, Debug)]
pub struct Unacked {
    pub id: u16,
    pub draft: Rc<Draft>,
    /// What became of it, once it was taken.
    pub routed: Option<Routed>,
    /// The routings of the queues that had no room at first.
    pub placed: Vec<u64>,
    pub released: bool,
    /// Sent more than once.
    pub again: bool,
}

/// A client.
pub struct Client {
    pub number: usize,
    pub id: String,
    pub version: Version,
    /// 0: without sessions.
    kind: u32,
    next_id: u16,
    pub unacked: Vec<Unacked>,
    pub link: Option<Link>,
    /// Its messages that wait for others that go in pieces.
    pub waiting: Vec<Waiting>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}, kind {})", self.id, self.version, self.kind)?;
        if f.alternate() {
            write!(f, " {:#?} {:#?}", self.unacked, self.link)?;
        }
        Ok(())
    }
}

impl Client {
    pub fn random(number: usize, rng: &mut Rng) -> Client {
        let versions = [Version::V5, Version::V311, Version::V31, Version::V5];
        Client::new(number, plan::pick(rng, &versions), rng.u32(..4))
    }

    pub fn new(number: usize, version: Version, kind: u32) -> Client {
        Client {
            number,
            id: format!("c{number}"),
            version,
            kind,
            next_id: 0,
            unacked: Vec::new(),
            link: None,
            waiting: Vec::new(),
        }
    }

    /// Connected, and nothing is under way from or to it.
    pub fn is_idle(&self) -> bool {
        self.unacked.is_empty() && self.link.as_ref().is_some_and(Link::is_idle)
    }

    /// Whether it can say something now.
    pub(super) fn can_speak(&self, env: &Env) -> bool {
        let link = self.link.as_ref();
        link.is_some_and(|link| link.connected && env.world.is_read(link.peer))
    }

    /// Connects; if it is connected already, that is a take-over.
    pub fn dial(&mut self, env: &mut Env) {
        let mut plan = plan::plan(&mut env.rng, self.version, self.number, self.kind);
        plan.number(env.number(), !env.lossy());
        self.dial_as(&plan, env);
    }

    /// Comes back for good: to its session, without keep-alive.
    pub fn come_back(&mut self, env: &mut Env) {
        if self.link.is_none() {
            let mut plan = plan::plan(&mut env.rng, self.version, self.number, self.kind);
            plan.number(env.number(), !env.lossy());
            plan.keep_alive = 0;
            plan.hello.clean &= self.kind == 0;
            if self.version < Version::V5 && !plan.hello.clean {
                plan.hello.expiry = u32::MAX;
            }
            self.dial_as(&plan, env);
        }
    }

    fn dial_as(&mut self, plan: &Plan, env: &mut Env) {
        let peer = env.world.open(self.version);
        let mut props = PropsBuf::new();
        if self.version == Version::V5 {
            props.push(Property::SessionExpiry(plan.hello.expiry));
            props.push(Property::TopicAliasMaximum(plan.alias_maximum));
        }
        if let Some(most) = plan.receive_maximum {
            props.push(Property::ReceiveMaximum(most));
        }
        if plan.hello.max_packet < usize::MAX {
            props.push(Property::MaximumPacketSize(plan.hello.max_packet as u32));
        }
        let will = plan.hello.will.as_ref().map(|will| Will {
            topic: &will.publication.topic,
            payload: &will.publication.payload,
            qos: will.publication.qos,
            retain: will.publication.retain,
            props: plan.will_props.as_props(),
        });
        let connect = Connect {
            version: self.version,
            bridge: false,
            clean_start: plan.hello.clean,
            keep_alive: plan.keep_alive,
            client_id: &self.id,
            will,
            username: None,
            password: None,
            props: props.as_props(),
        };
        env.world.send(peer, &Packet::Connect(Box::new(connect)));
        let session = facts::session_number(&env.world, &self.id);
        let now = env.world.now;
        let mut hello = plan.hello.clone();
        hello.expiry = env.capped(hello.expiry);
        let present = env.model.connect(self.number, session, &hello, now);
        self.link = Some(Link::new(peer, plan, present, now));
    }

    /// The network breaks, with some of what was on its way still coming in.
    pub fn cut(&mut self, env: &mut Env) {
        self.read_some(env);
        self.drain(env);
        if let Some(link) = self.link.take() {
            env.world.cut(link.peer);
            env.model.close(self.number, true, env.world.now);
        }
    }

    /// DISCONNECT: with the will or without, and maybe with another session expiry interval.
    pub fn leave(&mut self, env: &mut Env) {
        if !self.can_speak(env) {
            return;
        }
        let Some(link) = self.link.take() else { return };
        let (mut props, mut reason) = (PropsBuf::new(), Reason::SUCCESS);
        if self.version == Version::V5 {
            reason = plan::pick(&mut env.rng, &[Reason::SUCCESS, Reason::SUCCESS, Reason(4)]);
            let expiry = plan::pick(&mut env.rng, &[0, 2, 3600, u32::MAX]);
            let capped = env.capped(expiry);
            let session = env.model.session(self.number);
            if let Some(session) = session
                && *session.expiry.get() > 0
                && env.rng.u32(..4) == 0
            {
                props.push(Property::SessionExpiry(expiry));
                session.expiry.set(capped);
            }
        }
        let props = props.as_props();
        let packet = Packet::Disconnect(Disconnect { reason, props });
        env.world.send(link.peer, &packet);
        let with_will = reason != Reason::SUCCESS;
        env.model.close(self.number, with_will, env.world.now);
    }

    /// A second CONNECT, which ends the connection [MQTT-3.1.0-2].
    pub fn misbehave(&mut self, env: &mut Env) {
        if !self.can_speak(env) {
            return;
        }
        let Some(link) = self.link.take() else { return };
        let connect = Connect {
            version: self.version,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id: &self.id,
            will: None,
            username: None,
            password: None,
            props: Props::EMPTY,
        };
        let packet = Packet::Connect(Box::new(connect));
        env.world.send(link.peer, &packet);
        assert!(!env.world.is_open(link.peer), "{self:?} may connect twice");
        env.model.close(self.number, true, env.world.now);
    }

    pub fn ping(&mut self, env: &mut Env) {
        if self.can_speak(env) {
            self.say(&Packet::PingReq, env);
        }
    }

    /// Sends a packet.
    pub(super) fn say(&mut self, packet: &Packet<'_>, env: &mut Env) {
        if let Some(link) = &mut self.link {
            link.sent = env.world.now;
            env.world.send(link.peer, packet);
        }
    }

    /// A packet id that nothing under way has.
    pub(super) fn free_id(&mut self, mut range: std::ops::RangeInclusive<u16>) -> Option<u16> {
        let asked = self.link.as_ref().map(|link| &link.asked);
        range.find(|id| {
            let taken = self.unacked.iter().any(|u| u.id == *id);
            !taken && !asked.is_some_and(|asked| asked.contains_key(id))
        })
    }

    pub fn publish(&mut self, env: &mut Env) {
        let Some(link) = self.link.as_ref().filter(|_| self.can_speak(env)) else {
            return;
        };
        if self.unacked.len() >= link.quota || !link.todo.is_empty() {
            return;
        }
        // Of two that wait for room without a payload nobody could tell which is which.
        let empty = |u: &Unacked| u.draft.payload.is_empty();
        let clear = link.parked.is_empty() && !self.unacked.iter().any(empty);
        let number = env.number();
        let draft = Rc::new(plan::draft(&mut env.rng, self.version, number, clear));
        if draft.qos == QoS::AtMostOnce {
            self.send_publish(&draft, 0, false, env);
            return;
        }
        self.next_id = self.next_id % IDS + 1;
        while self.unacked.iter().any(|u| u.id == self.next_id) {
            self.next_id = self.next_id % IDS + 1;
        }
        self.unacked.push(Unacked {
            id: self.next_id,
            draft,
            routed: None,
            placed: Vec::new(),
            released: false,
            again: false,
        });
        self.todo(Todo::Publish(self.next_id, false));
        self.send(env);
    }

    fn todo(&mut self, todo: Todo) {
        if let Some(link) = &mut self.link {
            link.todo.push_back(todo);
        }
    }

    /// Sends a PUBLISH, which is taken, refused, or waits.
    fn send_publish(&mut self, draft: &Draft, id: u16, dup: bool, env: &mut Env) {
        let Some(link) = &mut self.link else { return };
        let mut props = PropsBuf::new();
        props.extend_raw(draft.props.as_props().as_bytes());
        if let Some(secs) = draft.expiry {
            props.push(Property::MessageExpiry(secs));
        }
        let mut topic = draft.topic.as_str();
        if self.version == Version::V5 && env.rng.u32(..4) == 0 {
            let slot = env.rng.usize(..link.aliases.len());
            props.push(Property::TopicAlias(slot as u16 + 1));
            if link.aliases[slot].as_deref() == Some(topic) {
                topic = "";
            } else {
                link.aliases[slot] = Some(topic.to_owned());
            }
        }
        let delivery = match draft.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            qos => Delivery::new(qos, pid(id), dup),
        };
        let publish = Publish {
            delivery,
            retain: draft.retain,
            topic,
            props: props.as_props(),
            payload: &draft.payload,
        };
        let is_again = id > 0 && link.parked.iter().any(|parked| parked.id == id);
        let refused = env.world.broker.counters().refused_full;
        self.say(&Packet::Publish(publish), env);
        let publication = Rc::new(draft.publication(self.number, env.world.now));
        if is_again {
            return;
        }
        if env.world.broker.counters().refused_full == refused {
            self.taken_or_waits(&publication, id, env);
        } else {
            assert!(env.lossy(), "{self:?} is refused for nothing");
            not_taken(self, &publication, id, env);
        }
    }

    /// The broker took a message.
    pub fn taken(&mut self, publication: &Rc<Publication>, id: u16, env: &mut Env) {
        let twice = (publication.qos == QoS::ExactlyOnce).then_some(id);
        let routed = env.model.publish(publication, twice);
        let unacked = self.unacked.iter_mut().find(|u| u.id == id);
        if let (Some(unacked), Some(routed)) = (unacked, routed) {
            unacked.routed = Some(routed);
        }
    }

    /// Sends what the broker reads.
    fn send(&mut self, env: &mut Env) {
        while let Some(link) = &mut self.link
            && env.world.is_read(link.peer)
            && let Some(todo) = link.todo.pop_front()
        {
            self.send_todo(todo, env);
        }
    }

    fn send_todo(&mut self, todo: Todo, env: &mut Env) {
        let Some(link) = &mut self.link else { return };
        let ack = |id| Ack::new(pid(id), Reason::SUCCESS);
        match todo {
            Todo::Publish(id, dup) => {
                let unacked = self.unacked.iter_mut().find(|u| u.id == id);
                if let Some(unacked) = unacked {
                    unacked.again |= dup;
                    let draft = Rc::clone(&unacked.draft);
                    self.send_publish(&draft, id, dup, env);
                }
            }
            Todo::PubAck(id) => {
                link.wire.answered(id);
                env.model.puback(self.number, id);
                self.say(&Packet::PubAck(ack(id)), env);
            }
            Todo::PubRec(id) => {
                env.model.pubrec(self.number, id);
                self.say(&Packet::PubRec(ack(id)), env);
            }
            Todo::PubRel(id) => {
                env.model.released(self.number, id);
                self.say(&Packet::PubRel(ack(id)), env);
            }
            Todo::PubComp(id) => {
                link.wire.answered(id);
                self.say(&Packet::PubComp(ack(id)), env);
            }
        }
    }

    /// Takes in some of what came.
    pub fn read_some(&mut self, env: &mut Env) {
        let most = env.rng.usize(1..6);
        self.read(most, env);
    }

    /// Takes in what came, `most` packets of it; true if there was anything.
    pub fn read(&mut self, most: usize, env: &mut Env) -> bool {
        let mut busy = false;
        for _ in 0..most {
            let Some(got) = self.link.as_mut().and_then(|link| link.inbox.pop_front()) else {
                break;
            };
            busy = true;
            self.take_in(got, env);
        }
        self.send(env);
        busy
    }

    fn take_in(&mut self, got: Got, env: &mut Env) {
        match got {
            Got::ConnAck(present) => self.welcome(present, env),
            Got::Publish(QoS::AtLeastOnce, Some(id)) => self.todo(Todo::PubAck(id)),
            Got::Publish(_, Some(id)) => self.todo(Todo::PubRec(id)),
            Got::PubAck(id) => self.unacked.retain(|u| u.id != id),
            Got::PubRec(id, reason) if reason.is_error() => self.unacked.retain(|u| u.id != id),
            Got::PubRec(id, _) => {
                let unacked = self.unacked.iter_mut().find(|u| u.id == id);
                unacked.into_iter().for_each(|u| u.released = true);
                self.todo(Todo::PubRel(id));
            }
            Got::PubRel(id) => self.todo(Todo::PubComp(id)),
            Got::PubComp(id) => self.unacked.retain(|u| u.id != id || !u.released),
            Got::Publish(_, None) => {}
        }
    }

    /// CONNACK: what is not acknowledged goes out again [MQTT-4.4.0-1].
    fn welcome(&mut self, present: bool, env: &mut Env) {
        let Some(link) = &mut self.link else { return };
        link.connected = true;
        if !present {
            self.unacked.clear();
        }
        for unacked in &self.unacked {
            link.todo.push_back(if unacked.released {
                Todo::PubRel(unacked.id)
            } else {
                Todo::Publish(unacked.id, true)
            });
        }
        if !present && env.rng.u32(..5) > 0 {
            self.subscribe(env);
        }
    }
}
