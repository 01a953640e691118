//! When a file is brought over.

use std::time::Duration;

use crate::time::Time;

/// The time at which something is brought over, by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// By the broker's clock.
    pub now: Time,
    /// By the wall clock, in seconds since 1970.
    pub wall: u64,
}

impl Moment {
    /// A moment of the wall clock, in seconds since 1970, by the broker's.
    pub(super) fn at(&self, wall: u64) -> Time {
        match wall.checked_sub(self.wall) {
            Some(later) => self.now + Duration::from_secs(later),
            None => self.now - Duration::from_secs(self.wall - wall),
        }
    }

    /// True if a moment of the wall clock is not in the future.
    pub(super) fn has_passed(&self, wall: u64) -> bool {
        wall <= self.wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The broker's clock need not be the wall clock.
    #[test]
    fn times_are_those_of_the_brokers_clock() {
        let moment = Moment {
            now: Time::from_secs(5_000),
            wall: 1_764_000_000,
        };
        assert_eq!(moment.at(moment.wall + 7), Time::from_secs(5_007));
        assert_eq!(moment.at(moment.wall - 7), Time::from_secs(4_993));
        assert_eq!(moment.at(0), Time::ZERO);
        assert_eq!(moment.at(u64::MAX), Time::from_millis(u64::MAX));
        assert!(moment.has_passed(moment.wall) && !moment.has_passed(moment.wall + 1));
    }
}
