//! How many bytes this thread holds of what peers can make grow, part by part.
//!
//! Whatever holds such bytes has a [`Charge`] beside them, which counts them for as long as it lives: so
//! no way on which a connection or a session ends can leave something counted, and the sum is there
//! without a look at any of them. The figures belong to a thread, because all state of the broker does.

use std::cell::Cell;
use std::marker::PhantomData;

/// Topic, properties and payload of each message in memory, once however many wait for it: what is
/// retained, queued in memory, parked, or a will; with what the message itself takes.
pub const MESSAGES: u8 = 0;
/// What finds the retained messages by their topics.
pub const RETAINED: u8 = 1;
/// The entries of queues.
pub const QUEUES: u8 = 2;
/// Connections, the replies that wait, topic aliases.
pub const CONNECTIONS: u8 = 3;
/// What waits to be written to peers.
pub const OUTBOXES: u8 = 4;
/// Packets that have come in half.
pub const HALF_PACKETS: u8 = 5;
/// Sessions and their subscriptions.
pub const SESSIONS: u8 = 6;
/// What waits for a commit, and the store where it is memory.
pub const STORE: u8 = 7;
/// The tree of all topic filters.
pub const FILTERS: u8 = 8;
/// The TLS of connections.
pub const TLS: u8 = 9;

/// The name of each part, as `$SYS` has it, by its number.
pub const NAMES: [&str; 10] = [
    "messages",
    "retained",
    "queues",
    "connections",
    "outboxes",
    "half_packets",
    "sessions",
    "store",
    "filters",
    "tls",
];

/// What a hash table with room for `capacity` entries takes, of so many bytes each: an eighth of it stays
/// free, and each has a byte beside it.
pub const fn table(capacity: usize, entry: usize) -> usize {
    capacity * 8 / 7 * (entry + 1)
}

/// What the TLS of a connection takes, about: keys, the record that comes next, the peer's certificate.
pub const TLS_SESSION: usize = 8 * 1024;

/// What an allocation takes beside the bytes that were asked for, about.
pub const ALLOCATION: usize = 16;

#[derive(Debug)]
struct Sums {
    all: Cell<usize>,
    parts: [Cell<usize>; NAMES.len()],
}

thread_local! {
    static HELD: Sums = const {
        Sums { all: Cell::new(0), parts: [const { Cell::new(0) }; NAMES.len()] }
    };
}

/// The bytes of all parts.
pub fn all() -> u64 {
    HELD.with(|held| held.all.get() as u64)
}

/// The bytes of each part, with its name.
pub fn parts() -> [(&'static str, u64); NAMES.len()] {
    HELD.with(|held| {
        let mut parts = NAMES.map(|name| (name, 0));
        for (part, bytes) in parts.iter_mut().zip(&held.parts) {
            part.1 = bytes.get() as u64;
        }
        parts
    })
}

/// The bytes of one part.
pub fn of(part: u8) -> u64 {
    parts().get(usize::from(part)).map_or(0, |part| part.1)
}

/// So many bytes of a part, counted for as long as this lives; 4 GB at most. It can't go to another
/// thread, whose figures are others.
#[derive(Debug, Default)]
pub struct Charge<const PART: u8>(u32, PhantomData<*const ()>);

impl<const PART: u8> Charge<PART> {
    /// Counts `bytes`.
    pub fn new(bytes: usize) -> Charge<PART> {
        let mut charge = Charge::default();
        charge.set(bytes);
        charge
    }

    /// Counts so many bytes from now on.
    pub fn set(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes != self.0 {
            change(PART, self.0, bytes);
            self.0 = bytes;
        }
    }

    /// Counts `more` bytes, and `less` no longer.
    pub fn shift(&mut self, more: usize, less: usize) {
        self.set((self.bytes() + more).saturating_sub(less));
    }

    /// What it counts.
    pub fn bytes(&self) -> usize {
        self.0 as usize
    }
}

impl<const PART: u8> Clone for Charge<PART> {
    /// What is cloned takes its bytes once more.
    fn clone(&self) -> Charge<PART> {
        Charge::new(self.bytes())
    }
}

impl<const PART: u8> Drop for Charge<PART> {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A charge of `part` that was `old` bytes is `new` bytes.
fn change(part: u8, old: u32, new: u32) {
    let shift =
        |sum: &Cell<usize>| sum.set((sum.get() + new as usize).saturating_sub(old as usize));
    // A thread that ends has nothing to count any more.
    let _ = HELD.try_with(|held| {
        shift(&held.all);
        held.parts.get(usize::from(part)).map(shift);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_until_it_is_gone() {
        assert_eq!(all(), 0);
        let mut queue = Charge::<QUEUES>::new(100);
        let copy = queue.clone();
        let store = Charge::<STORE>::new(1);
        assert_eq!((all(), of(QUEUES), of(STORE)), (201, 200, 1));
        queue.set(7);
        queue.shift(5, 2);
        assert_eq!((all(), of(QUEUES)), (111, 110));
        drop((queue, copy));
        assert_eq!(parts().map(|(_, bytes)| bytes).iter().sum::<u64>(), all());
        drop(store);
        assert_eq!(all(), 0);
    }
}
