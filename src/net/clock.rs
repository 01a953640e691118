//! The one clock of the process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::Time;

/// Reads [`Time`]: starts at the later of the wall clock and a floor, then follows the monotonic
/// clock. A correction of the wall clock while the process runs changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Time,
    started: Instant,
}

impl Clock {
    /// A clock that starts now. `floor` is the newest moment that the store has seen: a box
    /// without a battery-backed clock wakes in 1970, and deadlines on disk must not lie in its
    /// future for decades.
    pub fn start(floor: Time) -> Clock {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(Time::ZERO, |since| Time::ZERO + since);
        Clock {
            origin: wall.max(floor),
            started: Instant::now(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        self.origin + self.started.elapsed()
    }

    /// When this clock will read `at`, for timers. `None` lies beyond the platform's range: never.
    ///
    /// One millisecond is added, because [`Time`] is cut to whole milliseconds: a timer that fires
    /// a fraction early would find nothing due and spin.
    pub fn instant(&self, at: Time) -> Option<Instant> {
        let wait = at.since(self.origin);
        self.started
            .checked_add(wait)?
            .checked_add(std::time::Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_floor_in_the_future_wins_over_the_wall_clock() {
        let floor = Time::from_secs(40_000_000_000);
        let clock = Clock::start(floor);
        assert!(clock.now() >= floor);
        assert!(clock.now().since(floor) < Duration::from_secs(5));
    }

    #[test]
    fn when_the_instant_comes_the_moment_is_due() {
        let clock = Clock::start(Time::ZERO);
        let at = clock.now() + Duration::from_millis(3);
        let instant = clock.instant(at).unwrap();
        std::thread::sleep(instant.saturating_duration_since(Instant::now()));
        assert!(clock.now() >= at);
    }
}
