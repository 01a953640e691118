//! Where the peer of a connection is.

use core::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::fmt;

/// Where the peer of a connection is, for logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A peer over IPv4.
    V4(SocketAddrV4),
    /// A peer over IPv6; boxed, because every connection has an address.
    V6(Box<SocketAddrV6>),
    /// A peer on a Unix socket, or none.
    Local,
}

impl Address {
    /// True for a peer on the box itself.
    pub(crate) fn is_local(&self) -> bool {
        self.ip().is_none_or(|ip| ip.to_canonical().is_loopback())
    }

    /// The IP address, without the port that each connection has for itself.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Address::V4(addr) => Some((*addr.ip()).into()),
            Address::V6(addr) => Some((*addr.ip()).into()),
            Address::Local => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Address {
        match addr {
            SocketAddr::V4(addr) => Address::V4(addr),
            SocketAddr::V6(addr) => Address::V6(Box::new(addr)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::V4(addr) => write!(f, "{}:{}", addr.ip(), addr.port()),
            Address::V6(addr) => write!(f, "{}:{}", addr.ip(), addr.port()),
            Address::Local => f.write_str("local"),
        }
    }
}
