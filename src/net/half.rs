//! The memory of packets that have come in half, and of those that wait for their connection's turn.
//!
//! What is bounded is the capacity of the buffers, not the bytes in them, and it is looked at
//! before a buffer grows. So the bound holds however fast the peers are, and in whatever pieces
//! their packets come.

use crate::broker::ConnId;
use crate::mqtt;

/// Half packets up to this size, in bytes, are the end of an ordinary read: they are put before what the
/// next one brings.
pub(super) const SMALL: usize = 16 * 1024;
/// Half packets up to this size are always kept.
const TINY: usize = 1024;

/// What all half packets may take together, in bytes, but for one that is larger than this by
/// itself. A packet that would go over it is refused.
pub(super) const LIMIT: usize = 64 << 20;
/// Where there is a `memory_limit`, they may take this part of it, if that is less. A packet can't be
/// larger then.
const PART: u64 = 4;

/// Who sends half a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sender {
    /// An upstream, which is never refused.
    Upstream,
    /// A client.
    Client,
    /// Someone who has sent no CONNECT yet: all half packets may take half as much if it is to be kept,
    /// so that strangers leave room for those who are known.
    Stranger,
}

/// From so many bytes in the buffers on, connections read less at a time: most of what is read lies
/// there when those that send more than their share wait for their turn.
pub(super) const CROWDED: usize = 1 << 20;

/// How much they read then, in bytes.
pub(super) const READ_WHEN_CROWDED: usize = 4 * 1024;

/// What the connections' buffers of half packets take.
#[derive(Debug)]
pub(super) struct HalfPackets {
    /// What they may take together, in bytes.
    limit: usize,
    /// Capacity of the buffers that connections keep, in bytes, without that of `large`.
    shared: usize,
    /// The one connection whose packet is larger than [`LIMIT`], and its buffer's capacity.
    large: Option<(ConnId, usize)>,
}

impl Default for HalfPackets {
    /// Without a `memory_limit`.
    fn default() -> HalfPackets {
        HalfPackets {
            limit: LIMIT,
            shared: 0,
            large: None,
        }
    }
}

impl HalfPackets {
    /// `memory_limit` is this from now on, in bytes; 0 is no limit.
    pub(super) fn set_memory_limit(&mut self, limit: u64) {
        let part = usize::try_from(limit / PART).unwrap_or(LIMIT);
        self.limit = if limit == 0 { LIMIT } else { part.min(LIMIT) };
    }

    /// What the buffers take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.shared + self.large.map_or(0, |(_, capacity)| capacity)
    }

    /// The connection `id` keeps `buffer` from now on.
    pub(super) fn keep(&mut self, id: ConnId, buffer: &Vec<u8>) {
        if buffer.len() > SMALL && size_of(buffer) > LIMIT && self.large.is_none() {
            self.large = Some((id, buffer.capacity()));
        } else {
            self.shared += buffer.capacity();
        }
    }

    /// The connection `id` keeps `buffer` no more.
    pub(super) fn take(&mut self, id: ConnId, buffer: &Vec<u8>) {
        if self.large.is_some_and(|(large, _)| large == id) {
            self.large = None;
        } else if self.shared >= buffer.capacity() {
            self.shared -= buffer.capacity();
        } else {
            crate::impossible!("more memory of half packets is given back than was taken");
            self.shared = 0;
        }
    }

    /// Appends `more` to `buffer`, which is not kept at the moment, unless its packet is to be
    /// refused for want of memory: then it answers false.
    ///
    /// A buffer doubles, up to the size that its packet announces: it grows with what has come and
    /// not with what was promised.
    pub(super) fn append(&self, buffer: &mut Vec<u8>, more: &[u8], sender: Sender) -> bool {
        let needed = buffer.len() + more.len();
        if buffer.capacity() < needed {
            let size = size_of(if buffer.is_empty() { more } else { buffer });
            let doubled = match needed {
                ..=SMALL => needed,
                _ => needed.max(size.min(2 * needed)),
            };
            let fits = |capacity: &usize| self.fits(*capacity, size, sender);
            let Some(capacity) = [doubled, needed].into_iter().find(fits) else {
                return false;
            };
            let Ok(()) = buffer.try_reserve_exact(capacity - buffer.len()) else {
                return false;
            };
        }
        buffer.extend_from_slice(more);
        true
    }

    /// True if there is room for one more buffer of `capacity` for a packet of `size` bytes.
    fn fits(&self, capacity: usize, size: usize, sender: Sender) -> bool {
        let limit = match sender {
            Sender::Upstream => return true,
            Sender::Client => self.limit,
            Sender::Stranger => self.limit / 2,
        };
        if capacity <= TINY {
            true
        } else if size > LIMIT && self.limit == LIMIT {
            self.large.is_none()
        } else {
            self.shared.saturating_add(capacity) <= limit
        }
    }
}

/// Takes the first `used` bytes off `buffer`, and gives back memory that the rest does not need.
pub(super) fn cut(buffer: &mut Vec<u8>, used: usize) {
    buffer.drain(..used);
    if used > 0 && buffer.capacity() > SMALL.max(2 * buffer.len()) {
        buffer.shrink_to_fit();
    }
}

/// How long the packet at the front of `bytes` says it is; 0 while that is not known.
fn size_of(bytes: &[u8]) -> usize {
    mqtt::announced_size(bytes).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
