//! What holds where a file is silent.

use std::path::PathBuf;
use std::time::Duration;

use super::{
    Bridge, BridgeTcp, BridgeTls, Config, Control, Doors, Durability, Env, General, Listener,
    ListenerTls, Log, LogTypes, LoginFailures, Net, Overflow, Restart, Security, Start,
    TcpKeepalive, Web,
};
use crate::mqtt::{QoS, Version};

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
            local: Listener::on(PORT),
            bridges: Vec::new(),
        }
    }
}

impl Default for General {
    fn default() -> General {
        General {
            security: Security::default(),
            per_listener_settings: false,
            check_retain_source: true,
            clientid_prefixes: String::new(),
            connection_messages: true,
            control: Control::default(),
            doors: Doors::default(),
            global_max_clients: None,
            global_max_connections: None,
            log: Log::default(),
            max_inflight_bytes: 0,
            max_inflight_messages: None,
            max_keepalive: 0,
            memory_limit: None,
            max_retained_bytes: None,
            max_retained_messages: 0,
            max_packet_size: None,
            message_size_limit: None,
            max_subscription_levels: 50_000,
            max_subscriptions: 10_000,
            max_topic_levels: 32,
            max_queued_messages: 0,
            max_queued_bytes: 256 << 20,
            max_dead_letters: 1000,
            max_dead_letter_bytes: 1 << 20,
            queue_overflow: Overflow::Oldest,
            queue_qos0_messages: false,
            retain_available: true,
            set_tcp_nodelay: true,
            tcp_keepalive: Some(TcpKeepalive {
                idle: Duration::from_secs(300),
                interval: Duration::from_secs(60),
                probes: 5,
            }),
            upgrade_outgoing_qos: false,
            persistent_client_expiration: Some(Duration::from_secs(8 * 7 * 24 * 3600)),
            persistence: false,
            store: PathBuf::from(STORE_FILE),
            commit_interval: Duration::from_millis(20),
            durability: Durability::Power,
            flash_budget: None,
            pid_file: None,
            sys_interval: 10,
            user: None,
        }
    }
}

impl Default for Doors {
    fn default() -> Doors {
        Doors {
            max_connections_per_address: None,
            max_connecting: None,
            max_connecting_per_address: None,
            max_waiting_logins: Some(1000),
            max_waiting_logins_per_address: Some(500),
            max_clientid_length: 1024,
            login_failures: Some(LoginFailures {
                most: 10,
                within: Duration::from_secs(60),
            }),
            max_filters_per_packet: 0,
            max_shared_subscriptions: 100,
        }
    }
}

impl Default for Security {
    fn default() -> Security {
        Security {
            allow_anonymous: None,
            allow_zero_length_clientid: true,
            auto_id_prefix: "auto-".to_owned(),
            password_file: None,
            acl_file: None,
            auth_socket: None,
            auth_socket_cache: Duration::from_secs(300),
            auth_socket_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log {
            stderr: true,
            stdout: false,
            file: None,
            syslog: false,
            topic: false,
            facility: None,
            types: LogTypes::default(),
            timestamp: true,
            timestamp_format: None,
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
            versions: vec![Version::V31, Version::V311, Version::V5],
            allow_anonymous: None,
            auto_id_prefix: None,
            max_connections: None,
            max_qos: QoS::ExactlyOnce,
            max_topic_alias: 10,
            max_topic_alias_broker: 10,
            mount_point: String::new(),
            security: Security::default(),
            use_username_as_clientid: false,
            tls: ListenerTls::default(),
        }
    }
}

impl Bridge {
    /// Where the state of the bridge is published, if it is: `notification_topic`, or what holds
    /// without it.
    pub fn state_topic(&self) -> String {
        let default = || format!("$SYS/broker/connection/{}/state", self.remote_clientid);
        self.notification_topic.clone().unwrap_or_else(default)
    }

    /// The bridge that `connection name` alone describes: no address and no topic yet.
    pub fn named(name: &str, env: &Env) -> Bridge {
        let remote_clientid = format!("{}.{name}", env.hostname);
        Bridge {
            name: name.to_owned(),
            addresses: Vec::new(),
            proxy: None,
            topics: Vec::new(),
            remote_username: None,
            remote_password: None,
            remote_password_file: None,
            remote_password_command: None,
            local_clientid: format!("local.{remote_clientid}"),
            remote_clientid,
            has_default_clientid: true,
            local_username: None,
            keepalive: Duration::from_secs(60),
            clean_session: false,
            local_clean_session: false,
            notifications: true,
            notifications_local_only: false,
            notification_topic: None,
            start: Start::default(),
            restart: Restart::default(),
            version: None,
            try_private: true,
            outgoing_topic_alias: 32,
            outgoing_retain: true,
            attempt_unsubscribe: true,
            round_robin: false,
            reload_immediate: false,
            session_expiry: None,
            receive_maximum: None,
            max_inflight_qos2: None,
            max_packet_size: None,
            max_topic_alias: None,
            tls: BridgeTls::default(),
            tcp: BridgeTcp::default(),
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
