//! The connection to the upstream of a bridge of ours.

use std::rc::Rc;

use super::{Connection, Peer, Stage, UpstreamOnly};
use crate::bridge::{Limits, Wire};
use crate::broker::connections::alias::Outward;
use crate::keys::SessionKey;
use crate::time::Time;

/// Bytes of a packet that not every upstream counts against the Maximum Packet Size it was told.
const FIXED_HEADER: u32 = 5;

impl Connection {
    /// The upstream of the bridge with this session; `own_max_packet` is ours.
    pub(in crate::broker::connections) fn upstream(
        session: SessionKey,
        limits: &Limits,
        wire: Rc<Wire>,
        own_max_packet: u32,
        now: Time,
    ) -> Connection {
        let upstream = UpstreamOnly {
            wire,
            topic_alias_max: limits.announced.topic_alias_max,
        };
        let told = limits.announced.max_packet;
        let mut connection = Connection::new(Peer::Upstream(Box::new(upstream)), now);
        connection.session = Some(session);
        connection.stage = Stage::Connected;
        connection.version = limits.version;
        connection.max_packet = limits.max_packet.unwrap_or(u32::MAX);
        connection.max_received =
            told.map_or(own_max_packet, |most| most.saturating_add(FIXED_HEADER));
        connection.max_qos = limits.max_qos;
        connection.greeted = true;
        connection.extras().outward = Outward::upward(limits.topic_alias_max);
        connection
    }

    /// True if the peer is the upstream of a bridge of ours.
    pub(crate) fn is_upstream(&self) -> bool {
        matches!(self.peer, Peer::Upstream(_))
    }

    /// The topic map towards an upstream; `None` for a client.
    pub(crate) fn wire(&self) -> Option<&Rc<Wire>> {
        match &self.peer {
            Peer::Client { .. } => None,
            Peer::Upstream(upstream) => Some(&upstream.wire),
        }
    }

    /// True while an upstream is to get no message.
    pub(crate) fn is_shut(&self) -> bool {
        self.wire().is_some_and(|wire| !wire.takes_message())
    }
}
