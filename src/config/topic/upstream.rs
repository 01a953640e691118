//! Where a bridge finds its upstream: what `address` and `bridge_proxy` say.

use std::fmt;

/// The ports of `ws://` and `wss://` (RFC 6455 §3).
pub(super) const HTTP_PORT: u16 = 80;
pub(super) const HTTPS_PORT: u16 = 443;

/// An address of an upstream. Prints as a log may have it: without the query of a URL, which may hold a
/// token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamAddress {
    /// A name or an IP address, without brackets; that of a link with its interface: `fe80::1%eth0`.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// `ws://` and `wss://`: MQTT in WebSocket.
    pub web: Option<WebAddress>,
}

/// What a URL of WebSocket has beside host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebAddress {
    /// `wss://`.
    pub tls: bool,
    /// Path and query, from the first slash on, as they stand in the URL.
    pub path: String,
}

/// MQTT as it is.
impl From<(String, u16)> for UpstreamAddress {
    fn from((host, port): (String, u16)) -> UpstreamAddress {
        UpstreamAddress {
            host,
            port,
            web: None,
        }
    }
}

impl UpstreamAddress {
    /// The host as the upstream itself knows it: without the interface here.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.split('%').next().unwrap_or_default()
    }

    /// Host and port as HTTP has them: an IPv6 address in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        authority(self.name(), self.port)
    }

    /// What stands in the field Host of a request: without the port where it is the scheme's.
    #[must_use]
    pub fn http_host(&self) -> String {
        let of_scheme = match &self.web {
            Some(web) if web.tls => HTTPS_PORT,
            _ => HTTP_PORT,
        };
        let whole = self.authority();
        let suffix = format!(":{of_scheme}");
        match whole.strip_suffix(&suffix) {
            Some(host) if self.port == of_scheme => host.to_owned(),
            _ => whole,
        }
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(web) = &self.web else {
            return write!(f, "{}:{}", self.host, self.port);
        };
        let scheme = if web.tls { "wss" } else { "ws" };
        let path = web.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// `bridge_proxy`: a proxy of HTTP, asked for a way through by CONNECT. Prints without the login.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// User name and password, with a colon between them.
    pub login: Option<String>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}
