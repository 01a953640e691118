//! When the C library is asked to give freed memory back to the system.
//!
//! glibc keeps most of what is freed: pages that lie between others, and those of other threads. It gives
//! them back when asked, which takes milliseconds, and what comes next has to fetch new ones. So it is
//! asked once a good part of what was held is gone, and little is done; where there is no quiet, after a
//! while all the same. musl gives pages back by itself.

#[cfg(target_env = "gnu")]
mod glibc;

use std::time::Duration;

use crate::time::Time;

/// What is held must have fallen by so many bytes: less is not worth the work.
const LEAST: u64 = 512 * 1024;
/// And by this part of what it was at most.
const PART: u64 = 8;
/// How long it must have fallen, and little been done.
const PAUSE: Duration = Duration::from_secs(2);
/// So many units of work in a [`PAUSE`] are little: about a hundredth of what fits.
const LITTLE: u64 = 20_000;
/// After so many pauses it is done whatever is going on.
const PATIENCE: u32 = 15;

/// When freed memory is given back.
#[derive(Debug, Default)]
pub(in crate::net) struct Heap {
    /// The most bytes that were held since memory was given back.
    peak: u64,
    /// What is held has fallen, and is looked at again.
    fallen: Option<Fallen>,
}

#[derive(Debug)]
struct Fallen {
    /// When it is looked at again.
    at: Time,
    /// What was done by the last look, in units of work.
    work: u64,
    /// So often too much was going on.
    busy: u32,
}

impl Heap {
    /// There are `held` bytes now, and `work` units of work were done since the start. True if freed
    /// memory is to be given back ([`give_back`]).
    pub(in crate::net) fn is_due(&mut self, held: u64, work: u64, now: Time) -> bool {
        self.peak = self.peak.max(held);
        let gone = self.peak - held;
        if gone < LEAST.max(self.peak / PART) {
            self.fallen = None;
            return false;
        }
        let at = now + PAUSE;
        let first = Fallen { at, work, busy: 0 };
        let fallen = self.fallen.get_or_insert(first);
        if now < fallen.at {
            return false;
        }
        if work.saturating_sub(fallen.work) > LITTLE && fallen.busy < PATIENCE {
            let busy = fallen.busy + 1;
            *fallen = Fallen { at, work, busy };
            return false;
        }
        (self.peak, self.fallen) = (held, None);
        true
    }

    /// When [`Heap::is_due`] is to be asked next, if at all.
    pub(in crate::net) fn next_timeout(&self) -> Option<Time> {
        self.fallen.as_ref().map(|fallen| fallen.at)
    }
}

/// Gives freed memory back to the system, where that does not happen by itself.
pub(in crate::net) fn give_back() {
    #[cfg(target_env = "gnu")]
    glibc::trim();
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn at(seconds: u64) -> Time {
        Time::from_secs(1_000 + seconds)
    }

    #[test]
    fn memory_goes_back_once_it_was_quiet_for_a_while() {
        let mut heap = Heap::default();
        assert!(!heap.is_due(10 * MB, 0, at(0)));
        assert_eq!(heap.next_timeout(), None, "nothing is gone");
        assert!(!heap.is_due(6 * MB, 500_000, at(1)));
        assert_eq!(heap.next_timeout(), Some(at(3)), "also if nothing happens");
        assert!(!heap.is_due(6 * MB, 500_001, at(2)));
        assert!(heap.is_due(6 * MB, 500_002, at(3)));
        assert_eq!(heap.next_timeout(), None);
        // Once for what has gone.
        assert!(!heap.is_due(6 * MB, 500_003, at(60)));
        assert_eq!(heap.next_timeout(), None);
    }

    #[test]
    fn a_little_is_not_worth_it() {
        let mut heap = Heap::default();
        for (n, held) in [MB, MB / 2 + 1, MB, 80 * MB, 71 * MB]
            .into_iter()
            .enumerate()
        {
            heap.is_due(held, 0, at(10 * n as u64));
            assert_eq!(heap.next_timeout(), None, "{held}");
        }
        heap.is_due(70 * MB, 0, at(100));
        assert!(heap.next_timeout().is_some());
        // It comes again before the pause is over.
        heap.is_due(75 * MB, 0, at(101));
        assert_eq!(heap.next_timeout(), None);
    }

    #[test]
    fn a_busy_broker_waits_but_not_for_ever() {
        let mut heap = Heap::default();
        heap.is_due(10 * MB, 0, at(0));
        let due = (0..=100).find(|n| heap.is_due(MB, n * 50_000, at(2 * n)));
        assert_eq!(due, Some(u64::from(PATIENCE) + 1));
    }
}
