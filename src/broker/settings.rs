//! What the broker needs of the configuration.

use std::time::Duration;

use crate::config::Config;

/// The directives that bear on sessions, queues and limits.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `allow_zero_length_clientid`.
    pub allow_zero_length_clientid: bool,
    /// `auto_id_prefix`.
    pub auto_id_prefix: String,
    /// `connection_messages`.
    pub connection_messages: bool,
    /// `max_connections` of each listener.
    pub max_connections: Vec<Option<u32>>,
    /// `max_inflight_messages`; 0 is no limit.
    pub max_inflight_messages: u16,
    /// `max_keepalive`, seconds.
    pub max_keepalive: u16,
    /// `max_packet_size`, bytes.
    pub max_packet_size: Option<u32>,
    /// `message_size_limit`, payload bytes.
    pub message_size_limit: Option<u32>,
    /// `max_queued_messages` a client; 0 is no limit.
    pub max_queued_messages: u64,
    /// `max_queued_bytes` a client; 0 is no limit.
    pub max_queued_bytes: u64,
    /// `queue_qos0_messages`.
    pub queue_qos0_messages: bool,
    /// `retain_available`.
    pub retain_available: bool,
    /// `upgrade_outgoing_qos`.
    pub upgrade_outgoing_qos: bool,
    /// `persistent_client_expiration`.
    pub persistent_client_expiration: Option<Duration>,
    /// `commit_interval`, or `None` with `persistence false`.
    pub commit_interval: Option<Duration>,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Settings {
        let general = &config.general;
        let mut max_connections: Vec<Option<u32>> =
            config.listeners.iter().map(|l| l.max_connections).collect();
        if max_connections.is_empty() {
            // The default listener.
            max_connections.push(None);
        }
        Settings {
            allow_zero_length_clientid: general.allow_zero_length_clientid,
            auto_id_prefix: general.auto_id_prefix.clone(),
            connection_messages: general.connection_messages,
            max_connections,
            max_inflight_messages: general.max_inflight_messages,
            max_keepalive: general.max_keepalive,
            max_packet_size: general.max_packet_size,
            message_size_limit: general.message_size_limit,
            max_queued_messages: general.max_queued_messages,
            max_queued_bytes: general.max_queued_bytes,
            queue_qos0_messages: general.queue_qos0_messages,
            retain_available: general.retain_available,
            upgrade_outgoing_qos: general.upgrade_outgoing_qos,
            persistent_client_expiration: general.persistent_client_expiration,
            commit_interval: general.persistence.then_some(general.commit_interval),
        }
    }
}
