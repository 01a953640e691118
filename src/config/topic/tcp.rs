//! What is wanted of TCP.

use std::time::Duration;

/// What a bridge wants of TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeTcp {
    /// `bridge_bind_address`: a name or an IP address, without brackets.
    pub bind_address: Option<String>,
    /// `bridge_tcp_keepalive`, if set; `Some(None)`: the system asks nothing.
    pub keepalive: Option<Option<TcpKeepalive>>,
    /// `bridge_tcp_user_timeout`, if set; zero leaves it to the system.
    pub user_timeout: Option<Duration>,
}

/// `tcp_keepalive` and `bridge_tcp_keepalive`: what the system asks a peer that is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// How long a peer is silent before the first question, at least.
    pub idle: Duration,
    /// Between two questions.
    pub interval: Duration,
    /// So many without an answer end the connection.
    pub probes: u32,
}

impl TcpKeepalive {
    /// The longest time that the system takes, in seconds.
    pub const LONGEST: u32 = 32_767;
}
