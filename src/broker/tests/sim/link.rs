//! One connection of a client: what came, what is to be answered, and what it is held to.

use std::collections::{BTreeMap, VecDeque};

use super::parked::Parked;
use super::plan::{Plan, Wish};
use super::wire::Wire;
use crate::broker::tests::world::Peer;
use crate::mqtt::{QoS, Reason};
use crate::time::Time;

/// What came and is still to be read.
#[derive(Clone, Copy, Debug)]
pub enum Got {
    /// Session Present.
    ConnAck(bool),
    Publish(QoS, Option<u16>),
    PubAck(u16),
    PubRec(u16, Reason),
    PubRel(u16),
    PubComp(u16),
}

/// What is still to be sent: the network takes it when the broker reads.
#[derive(Clone, Copy, Debug)]
pub enum Todo {
    /// The unacknowledged message with this packet id, with DUP or not.
    Publish(u16, bool),
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
}

/// What SUBACK or UNSUBACK will answer.
#[derive(Debug)]
pub enum Asked {
    /// With the versions of the subscriptions.
    Subscribe(Vec<(Wish, u32)>),
    Unsubscribe(&'static str, Reason, u32),
}

/// What the broker has not taken yet of a packet.
#[derive(Debug)]
pub enum Untaken {
    Nothing,
    /// Packet id and filters.
    Subscribe(u16, VecDeque<Wish>),
    Unsubscribe(u16, &'static str),
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    pub peer: Peer,
    pub wire: Wire,
    /// What CONNACK must say.
    pub present: bool,
    /// CONNACK was read.
    pub connected: bool,
    pub keep_alive: u16,
    /// When something was sent last.
    pub sent: Time,
    /// When the broker did not read last.
    pub unread: Time,
    /// How many messages may be unacknowledged.
    pub quota: usize,
    pub inbox: VecDeque<Got>,
    pub todo: VecDeque<Todo>,
    pub asked: BTreeMap<u16, Asked>,
    /// What the broker has not taken yet of the last SUBSCRIBE or UNSUBSCRIBE.
    pub untaken: Untaken,
    /// Published, and waiting in the broker for room.
    pub parked: VecDeque<Parked>,
    /// Topic aliases that were set.
    pub aliases: Vec<Option<String>>,
}

impl Link {
    pub fn new(peer: Peer, plan: &Plan, present: bool, now: Time) -> Link {
        let window = plan.receive_maximum.unwrap_or(u16::MAX);
        Link {
            peer,
            wire: Wire::new(window, plan.hello.max_packet, plan.alias_maximum),
            present,
            connected: false,
            keep_alive: plan.keep_alive,
            sent: now,
            unread: now,
            quota: 1,
            inbox: VecDeque::new(),
            todo: VecDeque::new(),
            asked: BTreeMap::new(),
            untaken: Untaken::Nothing,
            parked: VecDeque::new(),
            aliases: vec![None; 3],
        }
    }

    /// When the keep-alive is exceeded [MQTT-3.1.2-22].
    pub fn deadline(&self) -> Option<Time> {
        let allowed = std::time::Duration::from_millis(u64::from(self.keep_alive) * 1500);
        (self.keep_alive > 0).then(|| self.sent + allowed)
    }

    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        let quiet = self.inbox.is_empty() && self.todo.is_empty() && self.asked.is_empty();
        self.connected && quiet && self.parked.is_empty()
    }
}
