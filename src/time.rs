//! The broker's clock, as a plain number.
//!
//! Nothing below `net` and `run` reads a clock: time comes in as an argument. [`Time`] counts
//! milliseconds since 1970 by a clock of the broker's own, which goes on where the store stopped,
//! adds the time that the box can have been off, and then follows the monotonic clock. It never
//! goes back, not across a restart and not when NTP corrects a box that booted in 1970, and it
//! does not jump by years, so timers and deadlines on disk share one type.

pub mod calendar;

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A moment on the broker's clock, in milliseconds since 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The start of the clock's scale.
    pub const ZERO: Time = Time(0);

    /// The moment `ms` milliseconds after the start of the scale.
    pub const fn from_millis(ms: u64) -> Time {
        Time(ms)
    }

    /// The moment `secs` seconds after the start of the scale.
    pub const fn from_secs(secs: u64) -> Time {
        Time(secs * 1000)
    }

    /// Milliseconds since the start of the scale.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the start of the scale.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration of more milliseconds than the scale has reaches past its end.
fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(millis(d)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, d: Duration) -> Time {
        Time(self.0.saturating_sub(millis(d)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Time::ZERO - Duration::from_secs(1), Time::ZERO);
        assert_eq!(Time::from_secs(2).since(Time::from_secs(5)), Duration::ZERO);
        let end = Time::from_millis(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Time::ZERO + Duration::MAX, end);
        assert_eq!(end - Duration::MAX, Time::ZERO);
    }
}
