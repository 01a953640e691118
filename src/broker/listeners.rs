//! The listeners: what the configuration says of each, and how many clients it has.

use std::rc::Rc;

use super::conn::Conn;
use super::{Broker, ConnId, Peer};
use crate::config::{self, Config};
use crate::mqtt::{QoS, Version};

/// A listener, as the broker knows it.
#[derive(Debug)]
pub(super) struct Listener {
    /// What the rules of [`crate::auth::Auth`] know it by.
    pub name: Rc<str>,
    /// Its section of the configuration.
    pub settings: config::Listener,
    /// Open connections.
    pub open: u32,
}

impl Listener {
    /// The listeners of `config`, by the numbers that connections have.
    pub fn all(config: &Config) -> Vec<Listener> {
        let named = config.named_listeners();
        let listener = |(name, settings): (String, &config::Listener)| Listener {
            name: name.into(),
            settings: settings.clone(),
            open: 0,
        };
        named.map(listener).collect()
    }

    fn is_full(&self) -> bool {
        let limit = self.settings.max_connections;
        limit.is_some_and(|limit| self.open >= limit)
    }

    /// Whether clients of `version` may connect.
    pub fn takes(&self, version: Version) -> bool {
        self.settings.versions.contains(&version)
    }
}

impl Broker {
    /// The listener of a client's connection.
    pub(super) fn listener(&self, conn: &Conn) -> Option<&Listener> {
        self.listeners.get(usize::from(conn.listener))
    }

    /// The listener that a client came by; a bridge comes by none.
    pub(super) fn listener_of(&self, c: ConnId) -> Option<&Listener> {
        let conn = self.conns.get(c.0)?;
        self.listener(conn).filter(|_| conn.wire().is_none())
    }

    /// Highest QoS that clients of a listener may publish with [MQTT-3.2.2-9].
    pub(super) fn max_qos(&self, listener: u16) -> QoS {
        let listener = self.listeners.get(usize::from(listener));
        listener.map_or(QoS::ExactlyOnce, |l| l.settings.max_qos)
    }

    /// Highest topic alias that a client of a listener may set.
    pub(super) fn max_topic_alias(&self, listener: u16) -> u16 {
        let listener = self.listeners.get(usize::from(listener));
        listener.map_or(0, |l| l.settings.max_topic_alias)
    }

    /// Highest topic alias set for a client of a listener that takes as many.
    pub(super) fn max_topic_alias_broker(&self, listener: u16) -> u16 {
        let listener = self.listeners.get(usize::from(listener));
        listener.map_or(0, |l| l.settings.max_topic_alias_broker)
    }

    /// Counts one more connection of `listener`. False when that would be too many.
    pub(super) fn admit_connection(&mut self, listener: usize, peer: &Peer) -> bool {
        let all: u64 = self.listeners.iter().map(|l| u64::from(l.open)).sum();
        let limit = self.settings.global_max_connections;
        let full = limit.is_some_and(|limit| all >= u64::from(limit));
        let Some(listener) = self.listeners.get_mut(listener) else {
            return false;
        };
        if full || listener.is_full() {
            if self.settings.connection_messages {
                log::info!("Client connection from {peer} denied: max_connections exceeded.");
            }
            return false;
        }
        listener.open += 1;
        true
    }
}
