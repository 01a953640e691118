//! The buffers of all outboxes.

use std::time::Duration;

use crate::held::{Charge, OUTBOXES};
use crate::time::Time;

/// How many bytes a new buffer has room for: some acknowledgements, which come in bursts, or a small
/// message.
const FIRST_BYTES: usize = 256;
/// What empty buffers may take together, in bytes, however long nobody needs them.
const KEPT: usize = 64 * 1024;
/// The same while they are in use: a burst to many receivers takes them all in each of its turns, and
/// growing them anew costs more than what is written into them.
const KEPT_IN_USE: usize = 4 * 1024 * 1024;
/// The part of `memory_limit` that they may take then.
const PART: u64 = 8;
/// What was not needed for so long is given back.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// How many bytes of empty buffers may be kept of a `memory_limit`; `has_memory`: not much of it is
/// taken.
pub(crate) fn kept_of(limit: Option<u64>, has_memory: bool) -> usize {
    if !has_memory {
        return KEPT;
    }
    let part = limit.map_or(KEPT_IN_USE, |limit| {
        usize::try_from(limit / PART).unwrap_or(KEPT_IN_USE)
    });
    part.clamp(KEPT, KEPT_IN_USE)
}

/// The buffers of all outboxes: what they take, and those that are empty and wait for their next use.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    empty: Vec<Vec<u8>>,
    empty_bytes: usize,
    /// So many of them nobody has needed since the last look.
    idle_bytes: usize,
    /// When to look, if there are more than may be kept for good.
    look_at: Option<Time>,
    /// What all take, in outboxes or empty.
    held: Charge<OUTBOXES>,
}

impl Buffers {
    /// The buffer of an outbox that had room for `before` bytes has room for `after`.
    pub(super) fn note(&mut self, before: usize, after: usize) {
        if before != after {
            self.held.shift(after, before);
        }
    }

    /// Takes a buffer back that is empty, and keeps it if all that are kept take at most `most` bytes.
    pub(super) fn keep(&mut self, buffer: Vec<u8>, most: usize, now: Time) {
        let room = buffer.capacity();
        // A buffer that one burst has blown up is not worth keeping.
        if self.empty_bytes + room > most || room > most / 4 {
            self.note(room, 0);
            return;
        }
        self.empty_bytes += room;
        self.empty.push(buffer);
        if self.empty_bytes > KEPT && self.look_at.is_none() {
            self.idle_bytes = self.empty_bytes;
            self.look_at = Some(now + KEPT_FOR);
        }
    }

    /// An empty buffer.
    pub(super) fn take(&mut self) -> Vec<u8> {
        if let Some(buffer) = self.empty.pop() {
            self.empty_bytes -= buffer.capacity();
            self.idle_bytes = self.idle_bytes.min(self.empty_bytes);
            return buffer;
        }
        self.note(0, FIRST_BYTES);
        Vec::with_capacity(FIRST_BYTES)
    }

    /// When [`Buffers::give_back`] has something to do.
    pub(super) fn look_at(&self) -> Option<Time> {
        self.look_at
    }

    /// Gives back what nobody has needed for a while, but what may be kept for good.
    pub(super) fn give_back(&mut self, now: Time) {
        if self.look_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        // Those that were put back last are taken first, so the first ones have lain longest.
        let most = self.idle_bytes.min(self.empty_bytes.saturating_sub(KEPT));
        let mut freed = 0;
        let lie = self.empty.iter().take_while(|buffer| {
            let goes = freed < most;
            freed += buffer.capacity();
            goes
        });
        let lie = lie.count();
        let freed = self.empty.drain(..lie).map(|b| b.capacity()).sum();
        self.note(freed, 0);
        self.empty_bytes -= freed;
        self.idle_bytes = self.empty_bytes;
        self.look_at = (self.empty_bytes > KEPT).then_some(now + KEPT_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held;

    const MOST: usize = 1024 * 1024;

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    /// What a burst needs in each of its turns stays, and goes once there is no burst.
    #[test]
    fn buffers_are_kept_while_they_are_in_use() {
        let mut buffers = Buffers::default();
        let turn = |buffers: &mut Buffers, now| {
            let mut grown = 0;
            let taken: Vec<_> = (0..50).map(|_| buffers.take()).collect();
            for mut buffer in taken {
                let before = buffer.capacity();
                grown += usize::from(before < 16_000);
                buffer.reserve(16_000);
                buffers.note(before, buffer.capacity());
                buffers.keep(buffer, MOST, now);
            }
            grown
        };
        assert_eq!(turn(&mut buffers, at(0)), 50);
        for secs in 1..10 {
            assert_eq!(turn(&mut buffers, at(secs)), 0);
            buffers.give_back(at(secs));
        }
        assert!(held::of(OUTBOXES) >= 50 * 16_000);
        assert_eq!(buffers.look_at(), Some(at(10)));
        buffers.give_back(at(10));
        assert_eq!(buffers.look_at(), None);
        assert!(held::of(OUTBOXES) <= KEPT as u64);
        drop(buffers);
        assert_eq!(held::of(OUTBOXES), 0);
    }

    #[test]
    fn what_is_too_much_goes_at_once() {
        let mut buffers = Buffers::default();
        for room in [MOST / 4 + 1, 2 * MOST] {
            buffers.note(0, room);
            buffers.keep(Vec::with_capacity(room), MOST, at(0));
        }
        assert_eq!((held::of(OUTBOXES), buffers.look_at()), (0, None));
    }

    #[test]
    fn little_is_kept_where_there_is_little_memory() {
        assert_eq!(kept_of(None, true), KEPT_IN_USE);
        assert_eq!(kept_of(Some(8 << 20), true), 1 << 20);
        assert_eq!(kept_of(Some(8 << 20), false), KEPT);
        assert_eq!(kept_of(Some(1), true), KEPT);
    }
}
