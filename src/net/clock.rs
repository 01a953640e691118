//! The one clock of the process.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Time;

/// The longest that a box is believed to have been off.
const MAX_TIME_OFF: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Reads [`Time`], which goes on where the store stopped and then follows the monotonic clock. A
/// correction of the wall clock while the process runs changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Time,
    started: Instant,
}

/// When the store was last written to, by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// By the broker's clock; zero in a new store.
    pub time: Time,
    /// By the wall clock, if that is known.
    pub wall: Option<Time>,
}

impl Clock {
    /// A clock that starts now.
    pub fn start(seen: Seen) -> Clock {
        Clock {
            origin: origin(seen, wall()),
            started: Instant::now(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        self.origin + self.started.elapsed()
    }

    /// What this clock read at `at`, which is not before its start.
    pub(super) fn time(&self, at: Instant) -> Time {
        self.origin + at.saturating_duration_since(self.started)
    }

    /// When this clock will read `at`, for timers. `None` lies beyond the platform's range: never.
    ///
    /// One millisecond is added, because [`Time`] is cut to whole milliseconds: a timer that fires
    /// a fraction early would find nothing due and spin.
    pub fn instant(&self, at: Time) -> Option<Instant> {
        let wait = at.since(self.origin);
        self.started
            .checked_add(wait)?
            .checked_add(Duration::from_millis(1))
    }
}

/// What the system takes for the time.
pub(super) fn wall() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(Time::ZERO, |since| Time::ZERO + since)
}

/// Where the broker's clock starts. While the box was off, time has passed: as much as the wall
/// clock says, where that can be. A box without a battery-backed clock wakes in 1970, and one
/// whose clock was set wrong, or right, jumps by years: then the deadlines on disk neither all
/// fall due at once nor move decades away.
fn origin(seen: Seen, wall: Time) -> Time {
    match seen.wall {
        Some(then) => {
            let off = wall.since(then);
            seen.time
                + if off <= MAX_TIME_OFF {
                    off
                } else {
                    Duration::ZERO
                }
        }
        None => wall.max(seen.time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const SEEN: Seen = Seen {
        time: Time::from_secs(1_700_000_000),
        wall: Some(Time::from_secs(1_700_000_000)),
    };

    #[test]
    fn time_off_counts() {
        let wall = SEEN.time + 3 * DAY;
        assert_eq!(origin(SEEN, wall), wall);
    }

    #[test]
    fn a_box_that_wakes_in_1970_goes_on_where_it_stopped() {
        assert_eq!(origin(SEEN, Time::from_secs(12)), SEEN.time);
        assert_eq!(origin(SEEN, SEEN.time - 10 * DAY), SEEN.time);
    }

    #[test]
    fn a_jump_of_years_is_a_wrong_clock_not_time_off() {
        assert_eq!(origin(SEEN, SEEN.time + 73 * 365 * DAY), SEEN.time);
    }

    #[test]
    fn after_a_life_in_1970_the_right_time_is_taken_up_slowly() {
        // Two hours of life since a boot in 1970; then NTP came, and a day without power.
        let seen = |wall| Seen {
            time: Time::from_secs(7_200),
            wall: Some(wall),
        };
        assert_eq!(
            origin(seen(Time::from_secs(7_200)), SEEN.time).as_secs(),
            7_200
        );
        let known = origin(seen(SEEN.time), SEEN.time + DAY);
        assert_eq!(known.as_secs(), 7_200 + 86_400);
    }

    #[test]
    fn a_new_store_takes_the_wall_clock() {
        assert_eq!(origin(Seen::default(), SEEN.time), SEEN.time);
    }

    #[test]
    fn when_the_instant_comes_the_moment_is_due() {
        let clock = Clock::start(Seen::default());
        let at = clock.now() + Duration::from_millis(3);
        let instant = clock.instant(at).unwrap();
        std::thread::sleep(instant.saturating_duration_since(Instant::now()));
        assert!(clock.now() >= at);
    }
}
