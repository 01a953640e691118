//! The broker's end of a bridge: a session like any other, whose connection is an uplink.

use std::rc::Rc;

use super::alias::Outward;
use super::conn::Stage;
use super::reload::NOBODY;
use super::session::{NEVER, Session, Subscribed};
use super::uplink::Uplink;
use super::{Broker, ConnId, Peer};
use crate::config::BridgeTopic;
use crate::message::{Message, Origin};
use crate::mqtt::{PacketId, QoS, Reason, RetainHandling, Version};
use crate::route::SubOptions;
use crate::session::Inbound;
use crate::time::Time;

/// QoS 1 and 2 messages under way to an MQTT 5 upstream that allows more.
const UPLINK_WINDOW: u16 = 100;

/// Topic aliases set for an upstream that takes as many.
const UPLINK_ALIASES: u16 = 32;

/// A bridge: its index among the `connection` sections.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BridgeId(pub usize);

/// The topic map of a bridge, applied at the wire.
pub trait Wire: std::fmt::Debug {
    /// Writes the remote topic of an outgoing message to `topic`, or returns false if it is not
    /// to be sent.
    fn outward(&self, message: &Message, topic: &mut String, now: Time) -> bool;

    /// Writes the local topic of an incoming message to `topic`, or returns false if it is not
    /// to be taken in (no line maps it, or it is an echo of our own).
    fn inward(&self, remote: &str, payload: &[u8], topic: &mut String, now: Time) -> bool;

    /// The RETAIN flag to send for a message that has `retain`.
    fn retain(&self, retain: bool) -> bool;
}

/// Bytes of a packet that not every upstream counts against the Maximum Packet Size it was told.
const FIXED_HEADER: u32 = 5;

/// What the upstream broker allows, from its CONNACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The protocol version agreed on.
    pub version: Version,
    /// QoS 1 and 2 messages it takes at a time.
    pub receive_maximum: u16,
    /// Largest packet it takes, in bytes.
    pub max_packet: Option<u32>,
    /// Highest QoS it takes.
    pub max_qos: QoS,
    /// Highest topic alias it takes.
    pub topic_alias_max: u16,
    /// It has our session.
    pub session_present: bool,
    /// What our CONNECT has told it.
    pub announced: Announced,
}

/// What an upstream was told that we take: it must not go beyond. Its Receive Maximum is not in
/// here: Mosquitto 2.0 exceeds that when it resumes a session, and to cut it off would only bring
/// the same messages again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    /// Largest packet in bytes [MQTT-3.1.2-24]; `None` is our own limit.
    pub max_packet: Option<u32>,
    /// Highest topic alias [MQTT-3.1.2-26].
    pub topic_alias_max: u16,
}

/// The local end of a bridge, as the configuration has it.
#[derive(Clone, Debug)]
pub struct BridgeSession<'a> {
    /// The name after `connection`.
    pub name: &'a str,
    /// `local_clientid`.
    pub client_id: &'a str,
    /// `local_username`.
    pub username: Option<&'a str>,
    /// False with `local_cleansession true`: nothing is queued while the uplink is down.
    pub durable: bool,
    /// What to subscribe to: filter, QoS, number of the topic line.
    pub filters: &'a [(String, QoS, u16)],
    /// The topic lines, by number from 1: what bounds their messages have.
    pub topics: &'a [BridgeTopic],
}

impl Broker {
    /// Makes the local end of a bridge: from now on its queue fills, connected or not. Stored
    /// subscriptions that the configuration no longer has are dropped. For a bridge that is there
    /// already, and has no uplink at the moment, this is what its configuration says from now on.
    pub fn add_bridge(&mut self, spec: &BridgeSession<'_>, now: Time) -> BridgeId {
        let origin = Rc::new(Origin {
            client_id: spec.client_id.into(),
            username: spec.username.map(Into::into),
            listener: None,
        });
        let expiry = if spec.durable { NEVER } else { 0 };
        self.make_way(spec.client_id, now);
        let known = self.by_client_id.get(spec.client_id).copied();
        let place = known.and_then(|known| self.bridges.iter().position(|at| *at == known));
        let index = match known {
            Some(index) if self.sessions[index].is_durable() == spec.durable => {
                self.sessions[index].origin = origin;
                index
            }
            other => {
                if let Some(old) = other {
                    self.end_session(old, now);
                }
                self.new_session(origin, expiry, Version::V5)
            }
        };
        self.sessions[index].bridge = true;
        self.sessions[index].expiry = expiry;
        self.sessions[index].will = None;
        let known = self.sessions[index].uplink.as_ref();
        let rate = known.map(|known| known.rate).unwrap_or_default();
        let uplink = Uplink::new(spec.name, spec.topics, rate);
        self.sessions[index].uplink = Some(Box::new(uplink));
        self.heed_policy(index);
        let bridge = self.seat_bridge(place, index);
        self.trim(index, now);
        self.purge_due = Some(now);
        self.wheel.wake(now);
        self.subscribe_bridge(index, spec.filters, now);
        if spec.durable {
            self.unsave_identity(index);
            self.store.promise(now);
        }
        bridge
    }

    /// A client that uses the id of a new bridge has to go, with its session: what waits for it is
    /// not for the upstream.
    fn make_way(&mut self, client_id: &str, now: Time) {
        let Some(&index) = self.by_client_id.get(client_id) else {
            return;
        };
        let Some(session) = self.sessions.get(index).filter(|session| !session.bridge) else {
            return;
        };
        if let Some(conn) = session.conn {
            self.close(conn, Reason::SESSION_TAKEN_OVER, now);
        }
        if self.by_client_id.get(client_id) == Some(&index) {
            self.end_session(index, now);
        }
    }

    /// The number of the bridge with the session `index`: the one it has, one that is free, or a
    /// new one.
    fn seat_bridge(&mut self, place: Option<usize>, index: usize) -> BridgeId {
        let place = place.or_else(|| self.bridges.iter().position(|at| *at == NOBODY));
        match place.and_then(|place| Some((place, self.bridges.get_mut(place)?))) {
            Some((place, at)) => {
                *at = index;
                BridgeId(place)
            }
            None => {
                self.bridges.push(index);
                BridgeId(self.bridges.len() - 1)
            }
        }
    }

    /// Ends the sessions of bridges that the configuration no longer has; their queues would
    /// grow for ever. To be called once all bridges are added.
    pub fn drop_orphan_bridges(&mut self, now: Time) {
        let orphan = |(index, session): (usize, &Session)| {
            (session.bridge && !self.bridges.contains(&index)).then_some(index)
        };
        let orphans: Vec<usize> = self.sessions.iter().filter_map(orphan).collect();
        for index in orphans {
            let session = &self.sessions[index];
            let lost = session.outbound.len();
            let name = session.client_id();
            log::warn!("Bridge {name} is no longer configured: {lost} queued messages dropped.");
            self.end_session(index, now);
        }
    }

    /// Makes the subscriptions of a bridge those of its configuration.
    fn subscribe_bridge(&mut self, index: usize, filters: &[(String, QoS, u16)], now: Time) {
        let stale: Vec<Subscribed> = self.sessions[index]
            .subscriptions
            .extract_if(.., |s| {
                !filters.iter().any(|(filter, ..)| **filter == *s.filter)
            })
            .collect();
        for subscribed in stale {
            self.trie.remove(&subscribed.filter, index as u32);
        }
        for (filter, qos, mapping) in filters {
            let options = SubOptions {
                qos: *qos,
                no_local: true,
                retain_as_published: true,
                sub_id: None,
                mapping: *mapping,
            };
            // Retained messages go up once, when the line is new, not at every reconnect.
            self.subscribe(index, filter, options, RetainHandling::SendIfNew, now);
        }
    }

    /// The uplink of a bridge is up: its session goes on. The connection's outbox may already
    /// be written to by the link. `None` once the broker is stopping.
    pub fn bridge_up(
        &mut self,
        bridge: BridgeId,
        limits: &Limits,
        wire: Rc<dyn Wire>,
        now: Time,
    ) -> Option<ConnId> {
        if self.shutting_down {
            return None;
        }
        let index = *self.bridges.get(bridge.0)?;
        if let Some(old) = self.sessions.get(index)?.conn {
            self.detach(old, false, now);
            self.finish(old, now);
        }
        let c = self.new_conn(0, Peer::Local, now);
        let own_max_packet = self.own_max_packet();
        let conn = self.conns.get_mut(c.0)?;
        conn.stage = Stage::Connected;
        conn.set_session(index);
        conn.version = limits.version;
        conn.max_packet = limits.max_packet.unwrap_or(u32::MAX);
        let told = limits.announced.max_packet;
        conn.max_received = told.map_or(own_max_packet, |most| most.saturating_add(FIXED_HEADER));
        conn.greeted = true;
        let rare = conn.rare();
        rare.max_qos = limits.max_qos;
        rare.wire = Some(wire);
        rare.topic_alias_max = limits.announced.topic_alias_max;
        rare.outward = Outward::upward(limits.topic_alias_max.min(UPLINK_ALIASES));
        let session = self.sessions.get_mut(index)?;
        session.version = limits.version;
        if !limits.session_present {
            session.outbound.peer_forgot();
            session.inbound = Inbound::default();
        }
        session.conn = Some(c);
        if !limits.session_present && session.is_durable() {
            // Else a packet id of the session that upstream forgot would hide a new message.
            self.unsave_state(index);
            self.store.promise(now);
        }
        let window = self
            .uplink_window(limits.version)
            .min(limits.receive_maximum);
        self.resume(c, index, window, now);
        Some(c)
    }

    /// How many messages may be under way to an upstream. Twenty, the default, would fetter a link
    /// with a long round trip, and in MQTT 5 the upstream says what it takes. Before, it can't:
    /// Mosquitto then cuts a resumed session with more than its own twenty. A lower number is
    /// somebody's wish, for strict order say.
    fn uplink_window(&self, version: Version) -> u16 {
        const DEFAULT: u16 = 20;
        match self.own_window() {
            own if own >= DEFAULT && version == Version::V5 => own.max(UPLINK_WINDOW),
            own => own,
        }
    }

    /// The upstream has broken the protocol: ends the connection and says why, if there is a word
    /// for it.
    pub fn bridge_fail(&mut self, c: ConnId, reason: Reason, now: Time) {
        self.close(c, reason, now);
        self.settle(now);
    }

    /// Starts the flow over an uplink, once the link has sent its own packets.
    pub fn bridge_start(&mut self, c: ConnId, now: Time) {
        if let Some(index) = self.conns.get(c.0).and_then(|conn| conn.session()) {
            self.pump(index, now);
        }
    }

    /// The next packet id of a bridge's session that no message under way has [MQTT-2.2.1-3]: its
    /// SUBSCRIBEs share the sequence of its messages.
    pub fn bridge_packet_id(&mut self, bridge: BridgeId) -> Option<PacketId> {
        let session = self.sessions.get_mut(*self.bridges.get(bridge.0)?)?;
        loop {
            let id = PacketId::of_sequence(session.outbound.next_seq());
            if session.outbound.flying(id).is_none() {
                return Some(id);
            }
        }
    }

    /// Since when the oldest unacknowledged message of a bridge has been on its way.
    pub fn bridge_oldest_sent(&self, bridge: BridgeId) -> Option<Time> {
        let session = self.sessions.get(*self.bridges.get(bridge.0)?)?;
        session.conn?;
        session.outbound.oldest_sent()
    }

    /// So many QoS 1 and 2 messages may be unacknowledged at once from now on.
    pub fn bridge_window(&mut self, c: ConnId, window: u16, now: Time) {
        let own = self.uplink_window(self.version(c));
        let Some(index) = self.conns.get(c.0).and_then(|conn| conn.session()) else {
            return;
        };
        if let Some(session) = self.sessions.get_mut(index) {
            session.outbound.set_window(own.min(window));
            self.pump(index, now);
        }
    }
}
