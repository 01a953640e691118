//! One network connection as the broker sees it: version, limits, what waits for the peer.

mod asked;
mod link;
mod unfinished;
mod upstream;

use std::collections::VecDeque;
use std::rc::Rc;

use log::Level;

use super::alias::{Inward, Naming, Outward};
use super::replies::Replies;
use super::{Address, Outbox};
pub(crate) use asked::{Asked, Purpose};

use crate::bridge::{LinkKind, Wire};
use crate::broker::routing::Remaining;
use crate::keys::SessionKey;
use crate::message::Message;
use crate::mqtt::{Delivery, QoS, Reason, Version};
use crate::time::Time;

/// No more messages are moved to an outbox that holds this many bytes.
pub(crate) const OUTBOX_HIGH: usize = 64 * 1024;
/// QoS 0 messages to a connection this far behind are dropped, and a peer that lets this much
/// pile up is not read.
pub(crate) const OUTBOX_LIMIT: usize = 1024 * 1024;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Nothing but CONNECT is expected.
    New,
    /// Its CONNECT waits until the password is checked; nothing more is read.
    LoggingIn,
    /// CONNECT was accepted.
    Connected,
    /// The broker is done with it; what is in the outbox still goes out.
    Closing,
}

/// What a peer is.
#[derive(Debug)]
pub(super) enum Peer {
    /// A client.
    Client {
        /// Where it is.
        address: Address,
        /// The listener it came by.
        listener: u16,
        /// It said that it is a bridge (`try_private`).
        is_bridge: bool,
        /// Whether it is one of another broker.
        link: LinkKind,
        /// Seconds; 0 is off.
        keep_alive: u16,
        /// QoS 1 and 2 messages that it was told it may send at a time.
        receive_maximum: u16,
    },
    /// The upstream of a bridge of ours.
    Upstream(Box<UpstreamOnly>),
}

/// What only the upstream of a bridge has.
#[derive(Debug)]
pub(super) struct UpstreamOnly {
    /// What stands between the session and the uplink: the topic map.
    wire: Rc<Wire>,
    /// The highest topic alias that it was told it may set.
    topic_alias_max: u16,
}

/// A PUBLISH that met a full queue: all others have it, and it is not acknowledged yet.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) message: Rc<Message>,
    pub(crate) delivery: Delivery,
    /// What has no room yet.
    pub(crate) remaining: Remaining,
}

/// What few clients have.
#[derive(Debug, Default)]
struct Extras {
    parked: VecDeque<Parked>,
    parked_bytes: usize,
    /// Filters that are still to be taken.
    asked: Option<Box<Asked>>,
    /// A PUBLISH is still on its way to its receivers.
    spreads: bool,
    /// Topic aliases the peer has set.
    inward: Inward,
    /// Topic aliases set for the peer.
    outward: Outward,
}

/// What a client and the broker have agreed on with CONNECT and CONNACK.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    pub(crate) session: SessionKey,
    /// The client said that it is a bridge.
    pub(crate) is_bridge: bool,
    /// Whether it is one of another broker.
    pub(crate) link: LinkKind,
    /// Seconds; 0 is off.
    pub(crate) keep_alive: u16,
    /// Largest packet that the client may send, in bytes.
    pub(crate) max_packet: u32,
    /// QoS 1 and 2 messages that it may send at a time.
    pub(crate) receive_maximum: u16,
    /// Topic aliases set for it, at most.
    pub(crate) aliases: u16,
    /// Highest QoS that it gets.
    pub(crate) max_qos: QoS,
}

/// A connection. Thousands of them may idle, so what few have is boxed.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) outbox: Outbox,
    last_seen: Time,
    pub(super) replies: Option<Box<Replies>>,
    extras: Option<Box<Extras>>,
    peer: Peer,
    /// Its session, once CONNECT was accepted.
    session: Option<SessionKey>,
    /// Largest packet the peer accepts.
    pub(super) max_packet: u32,
    /// Largest packet the peer was told it may send.
    max_received: u32,
    /// QoS 1 and 2 messages of the peer that are not acknowledged yet.
    pub(super) unacked: u16,
    version: Version,
    stage: Stage,
    max_qos: QoS,
    /// CONNACK has left.
    pub(super) greeted: bool,
    /// In the list of connections to flush.
    pub(super) dirty: bool,
    /// Not read until the store has caught up.
    pub(super) paused: bool,
}

impl Connection {
    fn new(peer: Peer, now: Time) -> Connection {
        Connection {
            outbox: Outbox::default(),
            last_seen: now,
            replies: None,
            extras: None,
            peer,
            session: None,
            max_packet: u32::MAX,
            max_received: u32::MAX,
            unacked: 0,
            version: Version::V311,
            stage: Stage::New,
            max_qos: QoS::ExactlyOnce,
            greeted: false,
            dirty: false,
            paused: false,
        }
    }

    /// A client that came by `listener`.
    pub(super) fn client(listener: u16, address: Address, now: Time) -> Connection {
        let peer = Peer::Client {
            address,
            listener,
            is_bridge: false,
            link: LinkKind::None,
            keep_alive: 0,
            receive_maximum: u16::MAX,
        };
        Connection::new(peer, now)
    }

    /// A CONNECT says this of its sender, whatever becomes of it.
    pub(crate) fn introduce(&mut self, version: Version, max_packet: Option<u32>) {
        self.version = version;
        self.max_packet = max_packet.unwrap_or(u32::MAX);
    }

    /// The CONNECT is accepted.
    pub(super) fn agree(&mut self, agreed: &Agreed) {
        if let Peer::Client {
            is_bridge,
            link,
            keep_alive,
            receive_maximum,
            ..
        } = &mut self.peer
        {
            *is_bridge = agreed.is_bridge;
            *link = agreed.link;
            *keep_alive = agreed.keep_alive;
            *receive_maximum = agreed.receive_maximum;
        }
        if agreed.aliases > 0 {
            self.extras().outward = Outward::new(agreed.aliases);
        }
        self.stage = Stage::Connected;
        self.session = Some(agreed.session);
        self.max_received = agreed.max_packet;
        self.max_qos = agreed.max_qos;
    }

    /// Parts it from its session, which is returned.
    pub(crate) fn take_session(&mut self) -> Option<SessionKey> {
        self.session.take()
    }

    /// The broker is done with it: nothing more is read, no reply waits any more.
    pub(super) fn close(&mut self, now: Time) {
        self.stage = Stage::Closing;
        self.last_seen = now;
        self.replies = None;
        self.outbox.close = true;
        if let Some(extras) = &mut self.extras {
            extras.parked.clear();
            extras.parked_bytes = 0;
            extras.asked = None;
        }
    }

    pub(crate) fn session(&self) -> Option<SessionKey> {
        self.session
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) fn set_stage(&mut self, stage: Stage) {
        self.stage = stage;
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn address(&self) -> &Address {
        match &self.peer {
            Peer::Client { address, .. } => address,
            Peer::Upstream(_) => &Address::Local,
        }
    }

    /// Seconds; 0 is off, as for an upstream, whose link sees to it.
    pub(crate) fn keep_alive(&self) -> u16 {
        match self.peer {
            Peer::Client { keep_alive, .. } => keep_alive,
            Peer::Upstream(_) => 0,
        }
    }

    pub(crate) fn last_seen(&self) -> Time {
        self.last_seen
    }

    /// The peer has given a sign of life.
    pub(crate) fn seen(&mut self, now: Time) {
        self.last_seen = now;
    }

    /// The listener that a client came by; `None` for an upstream.
    pub(crate) fn listener(&self) -> Option<u16> {
        match self.peer {
            Peer::Client { listener, .. } => Some(listener),
            Peer::Upstream(_) => None,
        }
    }

    /// Highest QoS the peer takes.
    pub(crate) fn max_qos(&self) -> QoS {
        self.max_qos
    }

    /// Largest packet the peer was told it may send, in bytes.
    pub(crate) fn max_received(&self) -> u32 {
        self.max_received
    }

    /// Largest packet the peer accepts, in bytes.
    pub(crate) fn max_packet(&self) -> u32 {
        self.max_packet
    }

    /// True once CONNACK has left.
    pub(crate) fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// True while a message may be added to what waits for the peer.
    pub(crate) fn takes_message(&self) -> bool {
        self.stage == Stage::Connected
            && !self.has_barrier()
            && self.outbox.len() < OUTBOX_HIGH
            && !self.is_shut()
    }

    /// True while no message may be sent before a reply that waits.
    pub(crate) fn has_barrier(&self) -> bool {
        let replies = self.replies.as_ref();
        replies.is_some_and(|replies| replies.has_barrier())
    }

    /// True if a PUBREL waits for the store, or behind what does.
    pub(crate) fn has_waiting_release(&self) -> bool {
        self.replies
            .as_ref()
            .is_some_and(|replies| replies.has_release())
    }

    /// True if the peer reads too slowly for QoS 0.
    pub(crate) fn is_behind(&self) -> bool {
        self.outbox.len() > OUTBOX_LIMIT
    }

    /// What it takes in memory beside its half packet, in bytes: what waits for the peer, with the
    /// payloads that it shares with others, replies, aliases, what waits for room.
    pub(crate) fn held(&self) -> usize {
        let extras = self.extras.as_ref();
        let extras = extras.map_or(0, |extras| {
            let asked = extras.asked.as_ref().map_or(0, |asked| asked.held());
            extras.inward.held() + extras.outward.held() + extras.parked_bytes + asked
        });
        let replies = self.replies.as_ref().map_or(0, |replies| replies.held());
        // Not the room of its outbox: one that is sent two bytes may have a large buffer for a moment.
        self.outbox.len() + replies + extras
    }

    /// True if the peer did not take the last write whole.
    pub(crate) fn is_blocked(&self) -> bool {
        self.outbox.is_blocked
    }

    /// Bytes that wait for the peer.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// How loud the log is about the end of the connection: of an uplink its bridge tells.
    pub(crate) fn level(&self) -> Level {
        if self.is_upstream() {
            Level::Debug
        } else {
            Level::Info
        }
    }

    /// True if a DISCONNECT can say `reason` to the peer: not before MQTT 5, not before CONNACK
    /// [MQTT-3.14.0-1], and to an upstream only what a client may say [MQTT-3.14.2-1].
    pub(crate) fn can_say(&self, reason: Reason) -> bool {
        let says = self.version == Version::V5 && self.stage == Stage::Connected && self.greeted;
        says && (!self.is_upstream() || reason.is_said_by_clients())
    }

    /// Counts a QoS 1 or 2 message against the Receive Maximum [MQTT-3.3.4-7]. False if an MQTT 5
    /// peer has gone beyond it.
    pub(crate) fn count_unacked(&mut self) -> bool {
        self.unacked = self.unacked.saturating_add(1);
        match self.peer {
            Peer::Client {
                receive_maximum, ..
            } => self.version < Version::V5 || self.unacked <= receive_maximum,
            Peer::Upstream(_) => true,
        }
    }

    /// A message that was counted is one that was received before.
    pub(crate) fn uncount_unacked(&mut self) {
        self.unacked = self.unacked.saturating_sub(1);
    }

    /// Sets the topic alias of a PUBLISH that names its `topic`, or answers what it stands for. `max` is what clients of
    /// the listener were told they may set.
    ///
    /// # Errors
    /// As [`Inward::resolve`].
    pub(crate) fn resolve_alias(
        &mut self,
        topic: &str,
        alias: u16,
        max: u16,
    ) -> Result<Option<&str>, Reason> {
        let max = match &self.peer {
            Peer::Client { .. } => max,
            Peer::Upstream(upstream) => upstream.topic_alias_max,
        };
        self.extras().inward.resolve(topic, alias, max)
    }

    /// An upstream's `alias`, or each with `None`, stands for `topic` from now on, or for none: a
    /// PUBLISH that was dropped has set it.
    pub(crate) fn change_alias(&mut self, alias: Option<u16>, topic: Option<&str>) {
        let Peer::Upstream(upstream) = &self.peer else {
            return;
        };
        let max = upstream.topic_alias_max;
        let inward = &mut self.extras().inward;
        match (alias, topic) {
            (None, _) => inward.forget_all(),
            (Some(alias), None) => inward.forget(alias),
            (Some(alias), Some(topic)) => {
                // One that is out of bounds can't be set, nor be used later.
                let _ = inward.resolve(topic, alias, max);
            }
        }
    }

    /// What few clients have; made on first use.
    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// How the next PUBLISH may name `topic`.
    pub(super) fn naming(&self, topic: &str) -> Naming {
        let extras = self.extras.as_ref();
        extras.map_or(Naming::Name, |extras| extras.outward.name(topic))
    }

    /// A PUBLISH that names `topic` like this is on its way.
    pub(super) fn named(&mut self, topic: &str, naming: Naming) {
        if let Some(extras) = &mut self.extras {
            extras.outward.sent(topic, naming);
        }
    }

    /// True while a PUBLISH waits for room.
    pub(crate) fn has_parked(&self) -> bool {
        let extras = self.extras.as_ref();
        extras.is_some_and(|extras| !extras.parked.is_empty())
    }

    /// The PUBLISHes that wait for room, the oldest first.
    pub(crate) fn parked(&self) -> impl Iterator<Item = &Parked> {
        self.extras.iter().flat_map(|extras| &extras.parked)
    }

    /// Lets a PUBLISH wait for room, as the one in the place `at` of those that do, or behind them. True
    /// if it is the first.
    pub(super) fn park(&mut self, at: usize, parked: Parked) -> bool {
        let extras = self.extras();
        extras.parked_bytes += parked.message.size() as usize;
        extras.parked.insert(at.min(extras.parked.len()), parked);
        extras.parked.len() == 1
    }

    /// Takes the one in this place.
    pub(super) fn unpark(&mut self, at: usize) -> Option<Parked> {
        let extras = self.extras.as_mut()?;
        let parked = extras.parked.remove(at)?;
        extras.parked_bytes -= parked.message.size() as usize;
        Some(parked)
    }

    /// As [`parked`](Connection::parked).
    pub(super) fn parked_mut(&mut self) -> impl Iterator<Item = &mut Parked> {
        self.extras.iter_mut().flat_map(|extras| &mut extras.parked)
    }

    /// Takes all that wait for room.
    pub(crate) fn take_parked(&mut self) -> VecDeque<Parked> {
        let Some(extras) = &mut self.extras else {
            return VecDeque::new();
        };
        extras.parked_bytes = 0;
        std::mem::take(&mut extras.parked)
    }

    /// Gives back the memory of what is empty. No ticket is out for replies that are none.
    pub(crate) fn shrink(&mut self) {
        self.replies.take_if(|replies| replies.is_unused());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        assert!(
            size_of::<Connection>() <= 112,
            "{}",
            size_of::<Connection>()
        );
    }
}
