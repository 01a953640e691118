//! How many connections there are from each address, and which have not sent their CONNECT yet.

mod connecting;

use core::net::Ipv6Addr;
use std::collections::HashMap;

use super::Address;
use crate::keys::ConnId;
use connecting::Connecting;

/// What counts as one address: of global IPv6 the /64 that a network hands to each of its sites, for
/// a single host has as many addresses in it as it likes. On a site's own network all hosts are in
/// one /64, so each counts by itself there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Block {
    V4(u32),
    V6(u64),
    /// One host of a site's network: a unique local address (fc00::/7) or a link-local one.
    Host(u128),
}

impl Block {
    /// The block of an address; `None` for a peer on a Unix socket.
    pub(crate) fn of(address: &Address) -> Option<Block> {
        match address {
            Address::V4(address) => Some(Block::V4(address.ip().to_bits())),
            Address::V6(address) => Some(Block::of_v6(*address.ip())),
            Address::Local => None,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Block {
        match ip.to_ipv4_mapped() {
            Some(ip) => Block::V4(ip.to_bits()),
            None if ip.is_unicast_link_local() || ip.is_unique_local() => Block::Host(ip.to_bits()),
            None => Block::V6(u64::try_from(ip.to_bits() >> 64).unwrap_or_default()),
        }
    }
}

/// The connections of one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Share {
    /// All.
    pub(crate) open: u32,
    /// Those that have not sent a CONNECT yet.
    pub(crate) connecting: u32,
}

/// The connections of clients, by address.
#[derive(Debug, Default)]
pub(super) struct Doors {
    /// All of each address.
    open: HashMap<Block, u32>,
    /// Those that have not sent a CONNECT yet. All Unix sockets are one address here.
    connecting: Connecting<Option<Block>>,
}

impl Doors {
    /// A connection was accepted.
    pub(super) fn open(&mut self, c: ConnId, block: Option<Block>) {
        self.connecting.add(c, block);
        if let Some(block) = block {
            *self.open.entry(block).or_default() += 1;
        }
    }

    /// A connection waits for its CONNECT no more.
    pub(super) fn pass(&mut self, c: ConnId) {
        self.connecting.remove(c);
    }

    /// A connection is gone.
    pub(super) fn close(&mut self, block: Option<Block>) {
        let Some(block) = block else { return };
        if let Some(open) = self.open.get_mut(&block) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                self.open.remove(&block);
            }
        }
        // A crowd that has gone leaves no table behind.
        if self.open.capacity() > 8 * self.open.len() + 64 {
            self.open.shrink_to(2 * self.open.len());
        }
    }

    /// What an address has; nothing for Unix sockets, which no bound of an address holds for.
    pub(super) fn share(&self, block: Option<Block>) -> Share {
        if block.is_none() {
            return Share::default();
        }
        let open = block.and_then(|block| self.open.get(&block));
        Share {
            open: open.copied().unwrap_or_default(),
            connecting: self.connecting.count_of(block),
        }
    }

    /// How many have not sent a CONNECT yet, Unix sockets included.
    pub(super) fn connecting(&self) -> u32 {
        self.connecting.len()
    }

    /// Of those from one address that wait for their CONNECT, the oldest.
    pub(super) fn oldest_of(&self, block: Option<Block>) -> Option<ConnId> {
        self.connecting.oldest_of(block)
    }

    /// The oldest of the address that has most of those that wait for their CONNECT, or would have most
    /// with one more from `newcomer`. Where several have as many, the one whose oldest has waited longest.
    pub(super) fn oldest_of_most(&self, newcomer: Option<Option<Block>>) -> Option<ConnId> {
        self.connecting.oldest_of_most(newcomer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(ip: &str) -> Option<Block> {
        let ip: core::net::IpAddr = ip.parse().unwrap();
        Block::of(&core::net::SocketAddr::from((ip, 1)).into())
    }

    #[test]
    fn an_address_is_a_host_of_ipv4_and_of_a_site_and_a_64_of_global_ipv6() {
        assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
        assert_eq!(block("2001:db8::1"), block("2001:db8::ffff:1"));
        assert_ne!(block("2001:db8::1"), block("2001:db8:0:1::1"));
        for network in ["fe80", "febf", "fc00", "fd12:3456:789a:1", "fdff"] {
            let host = |n| block(&format!("{network}::{n}"));
            assert_ne!(host(1), host(2), "{network}: one link is not one host");
            assert_eq!(host(1), host(1));
        }
        assert_ne!(block("fd00:1::1"), block("fd00:2::1"));
        assert_eq!(block("fec0::1"), block("fec0::2"), "no more a site's");
        assert_eq!(Block::of(&Address::Local), None);
    }

    /// Nothing is left of those that came and went, also behind one that waits.
    #[test]
    fn what_is_over_is_forgotten() {
        let mut table = crate::keys::Table::<ConnId, ()>::default();
        let mut doors = Doors::default();
        let slow = table.insert(());
        doors.open(slow, block("192.0.2.1"));
        for n in 0..10_000u32 {
            let c = table.insert(());
            let from = Some(Block::V4(n));
            doors.open(c, from);
            assert_eq!(
                doors.share(from),
                Share {
                    open: 1,
                    connecting: 1
                }
            );
            doors.pass(c);
            assert_eq!(
                doors.share(from),
                Share {
                    open: 1,
                    connecting: 0
                }
            );
            doors.close(from);
            table.remove(c);
        }
        assert_eq!((doors.connecting(), doors.open.len()), (1, 1));
        assert_eq!(doors.oldest_of_most(None), Some(slow));
        assert!(doors.open.capacity() < 200);
    }
}
