//! The configuration: the dialect of mosquitto.conf(5).
//!
//! [`Config`] is what a file says, checked and with every default filled in. `keys` is the one
//! table of directives; the parser, `--help config`, the man page and the sample in `etc/` all
//! come from it.

mod bridge;
mod control;
mod defaults;
pub mod docs;
mod draft;
mod error;
mod factory;
mod keys;
#[cfg(test)]
mod lengths_tests;
pub mod log_type;
mod parse;
pub mod printable;
mod tls;
mod topic;
mod value;
mod whole;

use std::path::PathBuf;
use std::time::Duration;

use crate::mqtt::{QoS, Version};

pub use bridge::{Restart, Start, StartType};
pub use control::{Control, ControlSocket};
pub use draft::{Places, Position};
pub use error::{Error, Errors, Kind};
pub use log_type::{LogType, LogTypes};
pub(crate) use parse::text;
pub use parse::{Env, Examined, LoadedConfig, Reading};
pub use tls::{BridgeTls, CertificateUsername, ListenerTls, TlsVersion};
pub(crate) use topic::captures;
pub use topic::{BridgeTcp, Proxy, TcpKeepalive, UpstreamAddress, WebAddress};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The directives outside any section.
    pub general: General,
    /// The listeners; empty means loopback:1883 only (Mosquitto 2's local-only mode).
    pub listeners: Vec<Listener>,
    /// What holds where there is no listener: on loopback, and on the ports of `-p`. Its own port
    /// and address mean nothing.
    pub local: Listener,
    /// The bridges: `connection` sections.
    pub bridges: Vec<Bridge>,
}

impl Config {
    /// The listeners by name, which is what stands behind `listener`. Without any it is
    /// [`Config::local`], which has no name.
    pub fn named_listeners(&self) -> impl Iterator<Item = (String, &Listener)> {
        let local = self.listeners.is_empty().then_some(&self.local);
        let sections = self.listeners.iter().map(|l| (l.name(), l));
        sections.chain(local.map(|local| (String::new(), local)))
    }
}

/// The directives outside any section.
#[derive(Clone, Debug, PartialEq)]
pub struct General {
    /// Who may do what, on every listener unless `per_listener_settings`.
    pub security: Security,
    /// `per_listener_settings`: each listener has a [`Security`] of its own.
    pub per_listener_settings: bool,
    /// `check_retain_source`. Default true.
    pub check_retain_source: bool,
    /// `clientid_prefixes`: what client ids must begin with; empty for anything.
    pub clientid_prefixes: String,
    /// `connection_messages`: log connects and disconnects.
    pub connection_messages: bool,
    /// `control_socket` and what belongs to it.
    pub control: Control,
    /// What holds before anything is known of a client.
    pub doors: Doors,
    /// `global_max_clients`: sessions, bridges aside; `None` is no limit.
    pub global_max_clients: Option<u32>,
    /// `global_max_connections`: clients' connections; `None` is no limit.
    pub global_max_connections: Option<u32>,
    /// `log_dest`, `log_type` and the like.
    pub log: Log,
    /// `max_inflight_bytes`: payload bytes on their way to a client; 0 is no limit.
    pub max_inflight_bytes: u64,
    /// `max_inflight_messages`: 0 is no limit; `None` is 20, and more towards an upstream of MQTT 5.
    pub max_inflight_messages: Option<u16>,
    /// `max_keepalive`, seconds; 0 is no limit. Default 0.
    pub max_keepalive: u16,
    /// `memory_limit`, bytes; 0 is no limit, and so is `None`, before the default is known.
    pub memory_limit: Option<u64>,
    /// `max_retained_bytes` of a client; 0 is no limit, `None` a quarter of `memory_limit`.
    pub max_retained_bytes: Option<u64>,
    /// `max_retained_messages` of a client; 0 is no limit. Default 0.
    pub max_retained_messages: u64,
    /// `max_packet_size`, bytes, at least 20; `None` is the protocol's limit.
    pub max_packet_size: Option<u32>,
    /// `message_size_limit`, payload bytes; `None` is no limit.
    pub message_size_limit: Option<u32>,
    /// `max_subscription_levels` of a client; 0 is no limit. Default 50,000.
    pub max_subscription_levels: u32,
    /// `max_subscriptions` of a client; 0 is no limit. Default 10,000.
    pub max_subscriptions: u32,
    /// `max_topic_levels` of a filter, 1 to 201. Default 32.
    pub max_topic_levels: u8,
    /// `max_queued_messages` a client; 0 is no limit. Default 0: the bound in bytes rules.
    pub max_queued_messages: u64,
    /// `max_queued_bytes` a client; 0 is no limit. Default 256 MB.
    pub max_queued_bytes: u64,
    /// `max_dead_letters` a bridge; 0 is no limit. Default 1000.
    pub max_dead_letters: u64,
    /// `max_dead_letter_bytes` a bridge; 0 is no limit. Default 1 MB.
    pub max_dead_letter_bytes: u64,
    /// `queue_overflow`. Default oldest.
    pub queue_overflow: Overflow,
    /// `queue_qos0_messages`.
    pub queue_qos0_messages: bool,
    /// `retain_available`.
    pub retain_available: bool,
    /// `set_tcp_nodelay`. Default true, unlike Mosquitto: writes are gathered a turn at a time.
    pub set_tcp_nodelay: bool,
    /// `tcp_keepalive`; `None` is none.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `upgrade_outgoing_qos`.
    pub upgrade_outgoing_qos: bool,
    /// `persistent_client_expiration`; `None` is never. Default eight weeks.
    pub persistent_client_expiration: Option<Duration>,
    /// `persistence`: keep state on disk. Default false, as in Mosquitto.
    pub persistence: bool,
    /// `persistence_location` joined with `persistence_file`. Default `footbridge.db` in the
    /// current directory.
    pub store: PathBuf,
    /// `commit_interval`. Default 20 ms.
    pub commit_interval: Duration,
    /// `durability`. Default power.
    pub durability: Durability,
    /// `flash_budget`; `None` is no budget.
    pub flash_budget: Option<FlashBudget>,
    /// `pid_file`.
    pub pid_file: Option<PathBuf>,
    /// `sys_interval`, seconds; 0 turns `$SYS` off. Default 10.
    pub sys_interval: u32,
    /// `user`: whom to become when started as root. Default: nobody else.
    pub user: Option<String>,
}

/// What holds for connections before, and while, their client is let in.
#[derive(Clone, Debug, PartialEq)]
pub struct Doors {
    /// `max_connections_per_address`; 0 is no limit. `None` before the default is known, which goes
    /// by the descriptors that there are.
    pub max_connections_per_address: Option<u32>,
    /// `max_connecting`: connections without a CONNECT; 0 and `None` as above.
    pub max_connecting: Option<u32>,
    /// `max_connecting_per_address`: of one address; 0 and `None` as above.
    pub max_connecting_per_address: Option<u32>,
    /// `max_waiting_logins`: logins whose password is still to be checked; `None` is no limit. Default
    /// 1000.
    pub max_waiting_logins: Option<u32>,
    /// `max_waiting_logins_per_address`: of one address; `None` is no limit. Default 500.
    pub max_waiting_logins_per_address: Option<u32>,
    /// `max_clientid_length`, bytes. Default 1024.
    pub max_clientid_length: u16,
    /// `login_failures`; `None`: none is counted.
    pub login_failures: Option<LoginFailures>,
    /// `max_filters_per_packet` of a SUBSCRIBE; 0, the default, is no limit.
    pub max_filters_per_packet: u16,
    /// `max_shared_subscriptions` a client. Default 100.
    pub max_shared_subscriptions: u16,
}

/// `login_failures`: when logins are refused without a look at the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginFailures {
    /// So many have failed.
    pub most: u32,
    /// No two of them further apart; the refusal lasts as long.
    pub within: Duration,
}

/// Who may connect, and to do what.
#[derive(Clone, Debug, PartialEq)]
pub struct Security {
    /// `allow_anonymous`; `None` where the file is silent (then true only without a listener,
    /// as in Mosquitto 2).
    pub allow_anonymous: Option<bool>,
    /// `allow_zero_length_clientid`.
    pub allow_zero_length_clientid: bool,
    /// `auto_id_prefix`.
    pub auto_id_prefix: String,
    /// `password_file`, or the plugin that stands for it.
    pub password_file: Option<PathBuf>,
    /// `acl_file`, or the plugin that stands for it.
    pub acl_file: Option<PathBuf>,
    /// `auth_socket`.
    pub auth_socket: Option<PathBuf>,
    /// `auth_socket_cache`: how long an answer that lets a client in counts. Default 300 s.
    pub auth_socket_cache: Duration,
    /// `auth_socket_timeout`: how long an answer may take. Default 5 s.
    pub auth_socket_timeout: Duration,
}

/// `durability`: what an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The message survives a power cut.
    Power,
    /// It does so after this long at the latest.
    Lazy(Duration),
}

/// `flash_budget`: what may be written a day before commits become rarer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlashBudget {
    /// Bytes a day.
    pub bytes_a_day: u64,
    /// The longest time between commits that the budget may lead to.
    pub longest: Duration,
}

impl FlashBudget {
    /// [`FlashBudget::longest`] where the directive does not say.
    pub const DEFAULT_LONGEST: Duration = Duration::from_secs(5);
}

/// Where the log goes and what is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `log_dest stderr` (the default).
    pub stderr: bool,
    /// `log_dest stdout`.
    pub stdout: bool,
    /// `log_dest file PATH`.
    pub file: Option<PathBuf>,
    /// `log_dest syslog`.
    pub syslog: bool,
    /// `log_dest topic`.
    pub topic: bool,
    /// `log_facility`: LOCAL0 to LOCAL7; `None` is DAEMON.
    pub facility: Option<u8>,
    /// `log_type`. Default error, warning, notice and information.
    pub types: LogTypes,
    /// `log_timestamp`.
    pub timestamp: bool,
    /// `log_timestamp_format`, for [`crate::time::calendar::DateTime::format`]; `None` is the seconds
    /// since 1970.
    pub timestamp_format: Option<String>,
}

/// A `listener` section, or `port` and `bind_address` outside one.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The TCP port; 0 for a Unix socket.
    pub port: u16,
    /// The address or host name to bind; `None` is every address, IPv4 and IPv6.
    pub bind: Option<String>,
    /// Where else than at an address it listens, or only.
    pub net: Net,
    /// What it speaks.
    pub web: Web,
    /// `accept_protocol_versions`. Default all.
    pub versions: Vec<Version>,
    /// `listener_allow_anonymous`; `None`: as `allow_anonymous` says.
    pub allow_anonymous: Option<bool>,
    /// `listener_auto_id_prefix`; `None`: as `auto_id_prefix` says.
    pub auto_id_prefix: Option<String>,
    /// `max_connections`; `None` is no limit.
    pub max_connections: Option<u32>,
    /// `max_qos`. Default 2.
    pub max_qos: QoS,
    /// `max_topic_alias`: topic aliases taken from a client. Default 10.
    pub max_topic_alias: u16,
    /// `max_topic_alias_broker`: topic aliases used towards a client. Default 10.
    pub max_topic_alias_broker: u16,
    /// `mount_point`: what stands before every topic of its clients; may be empty.
    pub mount_point: String,
    /// What `per_listener_settings` makes the listener's own. Without it only the two files count,
    /// before those of [`General::security`]: `plugin_use` gives them.
    pub security: Security,
    /// `use_username_as_clientid`.
    pub use_username_as_clientid: bool,
    /// `certfile` and what belongs to it.
    pub tls: ListenerTls,
}

impl Listener {
    /// What stands behind `listener`.
    pub fn name(&self) -> String {
        match (&self.net.path, &self.bind) {
            (Some(path), _) => format!("0 {}", path.display()),
            (None, Some(host)) => format!("{} {host}", self.port),
            (None, None) => self.port.to_string(),
        }
    }
}

/// Where a listener listens, beside port and address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Net {
    /// `listener 0 PATH`: the Unix socket that it is instead.
    pub path: Option<PathBuf>,
    /// `socket_domain`, RSMB's `ipv6`; `None` is both families.
    pub family: Option<Family>,
    /// `bind_interface`; `None` is every interface.
    pub interface: Option<String>,
}

/// `socket_domain`: a family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What a listener speaks, and what goes with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Web {
    /// `protocol`.
    pub protocol: Protocol,
    /// `http_dir`: the folder whose files it serves.
    pub http_dir: Option<PathBuf>,
    /// `websockets_origin`: the pages that may connect. Empty is all with `protocol websockets`, and the
    /// listener's own with `protocol http`.
    pub origins: Vec<String>,
    /// `status_page`, where it is said.
    pub(in crate::config) status_page_said: Option<bool>,
}

impl Web {
    /// Whether it serves the status page, with /metrics and /health: what `status_page` says, else `protocol
    /// http` without `http_dir`.
    pub fn status_page(&self) -> bool {
        match self.protocol {
            Protocol::Mqtt => false,
            Protocol::WebSockets => self.status_page_said.unwrap_or(false),
            Protocol::Http => self.status_page_said.unwrap_or(self.http_dir.is_none()),
        }
    }
}

/// `protocol`: what a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT.
    #[default]
    Mqtt,
    /// MQTT in WebSocket frames; files, with `http_dir`; the status page, with `status_page true`.
    WebSockets,
    /// HTTP: the status page and the WebSocket that it needs, or files only.
    Http,
}

/// A `connection` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Bridge {
    /// The name after `connection`.
    pub name: String,
    /// `address`/`addresses`, in the order given. Never empty.
    pub addresses: Vec<UpstreamAddress>,
    /// `bridge_proxy`: all addresses are reached through it.
    pub proxy: Option<Proxy>,
    /// `topic` lines, in order.
    pub topics: Vec<BridgeTopic>,
    /// `remote_username`, with the old `username`.
    pub remote_username: Option<String>,
    /// `remote_password`, with the old `password`.
    pub remote_password: Option<String>,
    /// `remote_password_file`: read at each connect.
    pub remote_password_file: Option<PathBuf>,
    /// `remote_password_command`: a program and its arguments, run at each connect. Never empty.
    pub remote_password_command: Option<Vec<String>>,
    /// `remote_clientid`, with the old `clientid`. Default `hostname.name`.
    pub remote_clientid: String,
    /// `remote_clientid` was not set.
    pub has_default_clientid: bool,
    /// `local_clientid`. Default `local.` and the remote client id.
    pub local_clientid: String,
    /// `local_username`.
    pub local_username: Option<String>,
    /// `keepalive_interval`, at least 5 s. Default 60 s.
    pub keepalive: Duration,
    /// `cleansession`. Default false.
    pub clean_session: bool,
    /// `local_cleansession`. Default: as `cleansession`.
    pub local_clean_session: bool,
    /// `notifications`. Default true.
    pub notifications: bool,
    /// `notifications_local_only`. Default false.
    pub notifications_local_only: bool,
    /// `notification_topic`. Default `$SYS/broker/connection/CLIENTID/state`.
    pub notification_topic: Option<String>,
    /// `start_type`, and what belongs to it.
    pub start: Start,
    /// `restart_timeout`.
    pub restart: Restart,
    /// `bridge_protocol_version`; `None`: 5, falling back to 3.1.1.
    pub version: Option<Version>,
    /// `try_private`. Default true.
    pub try_private: bool,
    /// `bridge_outgoing_retain`. Default true.
    pub outgoing_retain: bool,
    /// `bridge_attempt_unsubscribe`. Default true.
    pub attempt_unsubscribe: bool,
    /// `round_robin`. Default false: the first address is the primary, the rest stand by.
    pub round_robin: bool,
    /// `bridge_reload_type immediate`: SIGHUP ends the connection of a changed bridge. Default false.
    pub reload_immediate: bool,
    /// `bridge_session_expiry_interval`, seconds, if set.
    pub session_expiry: Option<u32>,
    /// `bridge_receive_maximum`, if set.
    pub receive_maximum: Option<u16>,
    /// `bridge_max_inflight_qos2`; 0 is no limit. Default: 20 before MQTT 5, there no limit.
    pub max_inflight_qos2: Option<u16>,
    /// `bridge_max_packet_size`, bytes, if set.
    pub max_packet_size: Option<u32>,
    /// `bridge_max_topic_alias`, if set.
    pub max_topic_alias: Option<u16>,
    /// `bridge_outgoing_topic_alias`: the most topic aliases set for the upstream. Default 32.
    pub outgoing_topic_alias: u16,
    /// `bridge_cafile` and what belongs to it.
    pub tls: BridgeTls,
    /// `bridge_bind_address` and what is said of TCP beside it.
    pub tcp: BridgeTcp,
}

/// Which way a `topic` line carries messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From upstream to here.
    In,
    /// From here to upstream.
    Out,
    /// Both ways.
    Both,
}

/// One `topic PATTERN [[[out|in|both] QOS] LOCAL-PREFIX REMOTE-PREFIX] [high|low]`.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgeTopic {
    /// The pattern, without prefixes; empty when the line says `""` (then the prefixes are the
    /// two whole topics).
    pub pattern: String,
    /// Which way. Default out.
    pub direction: Direction,
    /// The highest QoS. Default 0.
    pub qos: QoS,
    /// The local prefix; empty for none. With captures it is the whole local topic.
    pub local: String,
    /// The remote prefix; empty for none. With captures it is the whole remote topic.
    pub remote: String,
    /// RSMB's fifth field said `low`: what goes out by this mapping waits while anything of the
    /// others does.
    pub low: bool,
    /// `max_queued_messages=` and `max_queued_bytes=`: what may wait of this mapping alone.
    pub bounds: Bounds,
    /// `overflow=`; `None`: as `queue_overflow` says.
    pub overflow: Option<Overflow>,
    /// `ttl=`: how old a message may be when it is sent.
    pub ttl: Option<Duration>,
    /// `qos0=keep`: what is published at QoS 0 is queued, too, and sent at the QoS of the line.
    pub keeps_qos0: bool,
}

/// How much may wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Messages; 0 is no limit.
    pub messages: u64,
    /// Bytes of topic, properties and payload; 0 is no limit.
    pub bytes: u64,
}

/// What happens when a message meets a full queue. One that was sent and is not acknowledged is
/// never dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Its publisher is told (5.0), or waits for room.
    Refuse,
    /// The oldest go.
    Oldest,
    /// It is dropped itself.
    Newest,
    /// Those with a newer one on their topic go, then the oldest.
    LatestPerTopic,
}
