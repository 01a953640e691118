//! What holds where a file is silent.

use std::path::PathBuf;
use std::time::Duration;

use super::{Bridge, Config, Durability, Env, General, Listener, Log, Net, Overflow, Restart, Web};

/// The port of plain MQTT.
pub(super) const PORT: u16 = 1883;

/// The name of the store's file.
pub(super) const STORE_FILE: &str = "footbridge.db";

impl Default for Config {
    /// No file at all: no listener (loopback only), no bridge.
    fn default() -> Config {
        Config {
            general: General::default(),
            listeners: Vec::new(),
            bridges: Vec::new(),
        }
    }
}

impl Default for General {
    fn default() -> General {
        General {
            allow_anonymous: None,
            allow_zero_length_clientid: true,
            auto_id_prefix: "auto-".to_owned(),
            password_file: None,
            acl_file: None,
            connection_messages: true,
            log: Log::default(),
            max_inflight_messages: 20,
            max_keepalive: u16::MAX,
            max_packet_size: None,
            message_size_limit: None,
            max_queued_messages: 0,
            max_queued_bytes: 256 << 20,
            queue_overflow: Overflow::Refuse,
            queue_qos0_messages: false,
            retain_available: true,
            set_tcp_nodelay: true,
            upgrade_outgoing_qos: false,
            persistent_client_expiration: None,
            persistence: false,
            store: PathBuf::from(STORE_FILE),
            commit_interval: Duration::from_millis(20),
            durability: Durability::Power,
            flash_budget: None,
            pid_file: None,
            sys_interval: 10,
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log {
            stderr: true,
            stdout: false,
            file: None,
            level: log::LevelFilter::Info,
            timestamp: true,
        }
    }
}

impl Listener {
    /// A listener on `port` of every address.
    pub fn on(port: u16) -> Listener {
        Listener {
            port,
            bind: None,
            net: Net::default(),
            web: Web::default(),
            max_connections: None,
        }
    }
}

impl Bridge {
    /// The bridge that `connection name` alone describes: no address and no topic yet.
    pub fn named(name: &str, env: &Env) -> Bridge {
        let remote_clientid = format!("{}.{name}", env.hostname);
        Bridge {
            name: name.to_owned(),
            addresses: Vec::new(),
            topics: Vec::new(),
            remote_username: None,
            remote_password: None,
            local_clientid: format!("local.{remote_clientid}"),
            remote_clientid,
            local_username: None,
            keepalive: Duration::from_secs(60),
            clean_session: false,
            local_clean_session: false,
            notifications: true,
            notifications_local_only: false,
            notification_topic: None,
            restart: Restart::default(),
            version: None,
            try_private: true,
            outgoing_retain: true,
            attempt_unsubscribe: true,
            round_robin: false,
            session_expiry: None,
            receive_maximum: None,
            max_packet_size: None,
            max_topic_alias: None,
        }
    }
}

impl Default for Restart {
    /// 5 s to 30 s, as in Mosquitto; back to 5 s after 30 s of connection.
    fn default() -> Restart {
        Restart::Jitter {
            base: Duration::from_secs(5),
            cap: Duration::from_secs(30),
            stable: Duration::from_secs(30),
        }
    }
}
