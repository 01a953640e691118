//! How many connections there are from each address, and which have not sent their CONNECT yet.

use core::net::Ipv6Addr;
use std::collections::{HashMap, VecDeque};

use super::Address;
use crate::keys::ConnId;

/// What counts as one address: of IPv6 the /64 that a network hands to each of its sites, for a
/// single host has as many addresses in it as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Block {
    V4(u32),
    V6(u64),
    /// A link-local address, by its interface identifier: all of a link are in the same /64.
    Link(u64),
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
        let [high, low] = halves(ip);
        match ip.to_ipv4_mapped() {
            Some(ip) => Block::V4(ip.to_bits()),
            None if ip.is_unicast_link_local() => Block::Link(low),
            None => Block::V6(high),
        }
    }
}

fn halves(ip: Ipv6Addr) -> [u64; 2] {
    let bits = ip.to_bits();
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    [half(bits >> 64), half(bits)]
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
    shares: HashMap<Block, Share>,
    /// Those that have not sent a CONNECT yet, Unix sockets included.
    connecting: u32,
    /// The same, the oldest first, among some that have or that are gone.
    order: VecDeque<ConnId>,
}

impl Doors {
    /// A connection was accepted; `waits` says which have not sent a CONNECT yet.
    pub(super) fn open(&mut self, c: ConnId, block: Option<Block>, waits: impl Fn(ConnId) -> bool) {
        self.connecting += 1;
        self.order.push_back(c);
        while self.order.front().is_some_and(|c| !waits(*c)) {
            self.order.pop_front();
        }
        // Behind one that waits there may be many that have gone.
        if self.order.len() > 2 * self.connecting as usize + 64 {
            self.order.retain(|c| waits(*c));
        }
        if let Some(block) = block {
            let share = self.shares.entry(block).or_default();
            share.open += 1;
            share.connecting += 1;
        }
    }

    /// A connection waits for its CONNECT no more.
    pub(super) fn pass(&mut self, block: Option<Block>) {
        self.connecting = self.connecting.saturating_sub(1);
        if let Some(share) = block.and_then(|block| self.shares.get_mut(&block)) {
            share.connecting = share.connecting.saturating_sub(1);
        }
    }

    /// A connection is gone.
    pub(super) fn close(&mut self, block: Option<Block>) {
        let Some(block) = block else { return };
        if let Some(share) = self.shares.get_mut(&block) {
            share.open = share.open.saturating_sub(1);
            if share.open == 0 {
                self.shares.remove(&block);
            }
        }
        // A crowd that has gone leaves no table behind.
        if self.shares.capacity() > 8 * self.shares.len() + 64 {
            self.shares.shrink_to(2 * self.shares.len());
        }
    }

    pub(super) fn share(&self, block: Option<Block>) -> Share {
        let share = block.and_then(|block| self.shares.get(&block));
        share.copied().unwrap_or_default()
    }

    pub(super) fn connecting(&self) -> u32 {
        self.connecting
    }

    /// Those that wait for their CONNECT, the oldest first, among some that do not.
    pub(super) fn order(&self) -> impl Iterator<Item = ConnId> {
        self.order.iter().copied()
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
    fn an_address_is_a_host_of_ipv4_and_a_64_of_ipv6() {
        assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
        assert_eq!(block("2001:db8::1"), block("2001:db8::ffff:1"));
        assert_ne!(block("2001:db8::1"), block("2001:db8:0:1::1"));
        assert_ne!(
            block("fe80::1"),
            block("fe80::2"),
            "one link is not one host"
        );
        assert_eq!(Block::of(&Address::Local), None);
    }

    /// Nothing is left of those that came and went, also behind one that waits.
    #[test]
    fn what_is_over_is_forgotten() {
        let mut table = crate::keys::Table::<ConnId, ()>::default();
        let mut doors = Doors::default();
        let slow = table.insert(());
        doors.open(slow, block("192.0.2.1"), |_| true);
        for n in 0..10_000u32 {
            let c = table.insert(());
            let from = Some(Block::V4(n));
            doors.open(c, from, |other| other == slow || other == c);
            doors.pass(from);
            doors.close(from);
            table.remove(c);
        }
        assert!(doors.order.len() <= 2 * 2 + 65, "{}", doors.order.len());
        assert_eq!((doors.connecting(), doors.shares.len()), (1, 1));
        assert!(doors.shares.capacity() < 200);
    }
}
