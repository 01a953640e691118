//! Whether the peer of a connection is another broker.

use super::{Connection, Peer};
use crate::bridge::LinkKind;

impl Connection {
    /// True for a client that said that it is a bridge.
    pub(crate) fn is_bridge_client(&self) -> bool {
        matches!(
            self.peer,
            Peer::Client {
                is_bridge: true,
                ..
            }
        )
    }

    /// Whether the peer is a bridge of another broker, or the upstream of one of ours.
    pub(crate) fn link(&self) -> LinkKind {
        match &self.peer {
            Peer::Client { link, .. } => *link,
            Peer::Upstream(_) => LinkKind::Sure,
        }
    }

    /// A client behaves as a bridge of MQTT 5 does. True if that is news.
    pub(crate) fn seems_link(&mut self) -> bool {
        match &mut self.peer {
            Peer::Client { link, .. } if *link == LinkKind::None => {
                *link = LinkKind::Likely;
                true
            }
            _ => false,
        }
    }
}
