//! What time it is for certificates, on a box whose clock may be wrong.
//!
//! A router without a battery wakes up in 1970, or at the last moment that its system has written down.
//! It must not take certificates that have long expired, and must not fail with a riddle either. So there
//! is a floor below which it never is: when this was released, and the latest that the store has noted.
//! Below it, certificates are judged as of the floor.
//!
//! The store may have noted a year that somebody had mistyped. So the floor falls back to the release where
//! the system's clock, itself later than that, is set while this runs, or stays below the floor for a day.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

#[cfg(feature = "tls")]
use rustls::pki_types::UnixTime;
#[cfg(feature = "tls")]
use rustls::time_provider::TimeProvider;

use crate::time::calendar::DateTime;

/// The time for certificates. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Floor>);

#[derive(Debug)]
struct Floor {
    /// Below which it never is, in seconds.
    secs: AtomicU32,
    /// What the system's clock said last, in seconds; 0: nothing yet.
    system: AtomicU32,
    /// What the system's clock said when it was first seen between the release and the floor, in seconds;
    /// 0: it is not there.
    below_since: AtomicU32,
    /// [`Clock::complaint`] has told that the clock is wrong.
    is_told: AtomicBool,
}

/// When this was released, 2026-11-30, in seconds since 1970: it is later than that.
const RELEASED: u32 = 1_795_996_800;
/// What the store has noted is believed up to so many seconds after the release, 15 years.
const MOST_AFTER: u32 = 15 * 365 * DAY;
const DAY: u32 = 86_400;
/// A clock that goes back by so many seconds was set.
const SET_BACK: u32 = 60;

/// One that knows nothing but when this was released.
impl Default for Clock {
    fn default() -> Clock {
        Clock(Arc::new(Floor {
            secs: AtomicU32::new(RELEASED),
            system: AtomicU32::new(0),
            below_since: AtomicU32::new(0),
            is_told: AtomicBool::new(false),
        }))
    }
}

impl Clock {
    /// It was `time` once, since 1970, as far as was known then.
    pub fn raise(&self, time: Duration) {
        let time = seconds(time);
        if time <= RELEASED.saturating_add(MOST_AFTER) {
            self.0.secs.fetch_max(time, Ordering::Relaxed);
        }
    }

    /// Below which it never is, since 1970.
    #[must_use]
    pub fn floor(&self) -> Duration {
        self.0.floor()
    }

    /// The time by which certificates are judged, since 1970.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.now()
    }

    /// The system's clock says `time`.
    pub fn tell(&self, time: Duration) {
        self.0.tell(seconds(time));
    }

    /// True if the system's clock is behind the floor.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.0.system() < self.0.floor()
    }

    /// That the clock is wrong, and the cure, for the log: once, until it is right again.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let is_wrong = self.is_wrong();
        if self.0.is_told.swap(is_wrong, Ordering::Relaxed) || !is_wrong {
            return None;
        }
        let [says, floor] = [self.0.system(), self.floor()].map(|at| DateTime::new(at).iso8601());
        Some(format!(
            "The clock is wrong: it says {says}, and it was {floor} before. Certificates are judged as of \
             that. Set the clock: does NTP run, and does it reach its server?"
        ))
    }

    #[cfg(feature = "tls")]
    pub(super) fn shared(&self) -> Arc<dyn TimeProvider> {
        let floor: Arc<Floor> = Arc::clone(&self.0);
        floor
    }
}

impl Floor {
    fn floor(&self) -> Duration {
        Duration::from_secs(u64::from(self.secs.load(Ordering::Relaxed)))
    }

    fn now(&self) -> Duration {
        self.system().max(self.floor())
    }

    fn system(&self) -> Duration {
        Duration::from_secs(u64::from(self.system.load(Ordering::Relaxed)))
    }

    fn tell(&self, now: u32) {
        let before = self.system.swap(now, Ordering::Relaxed);
        let is_below = (RELEASED..self.secs.load(Ordering::Relaxed)).contains(&now);
        if !is_below {
            return self.below_since.store(0, Ordering::Relaxed);
        }
        let since = self.below_since.load(Ordering::Relaxed);
        let was_set = before.saturating_sub(now) >= SET_BACK;
        if was_set || since != 0 && now.saturating_sub(since) >= DAY {
            self.secs.store(RELEASED, Ordering::Relaxed);
            self.below_since.store(0, Ordering::Relaxed);
        } else if since == 0 {
            self.below_since.store(now, Ordering::Relaxed);
        }
    }
}

#[cfg(feature = "tls")]
impl TimeProvider for Floor {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.now()))
    }
}

/// Seconds since 1970. 32 bits of them end in 2106, and not every processor has larger atomics.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many days after the release.
    fn day(n: i32) -> Duration {
        let secs = i64::from(RELEASED) + i64::from(n) * i64::from(DAY);
        Duration::from_secs(u64::try_from(secs).unwrap())
    }

    const IN_1970: Duration = Duration::from_secs(5);

    #[test]
    fn it_is_never_before_the_floor() {
        let clock = Clock::default();
        clock.raise(day(100));
        let times = [
            (IN_1970, day(100), true),
            (day(-1), day(100), true),
            (day(101), day(101), false),
            (IN_1970, day(100), true),
        ];
        for (system, now, is_wrong) in times {
            clock.tell(system);
            assert_eq!((clock.now(), clock.is_wrong()), (now, is_wrong));
        }
        clock.raise(day(200));
        clock.raise(day(1));
        assert_eq!((clock.now(), clock.floor()), (day(200), day(200)));
    }

    #[test]
    fn that_it_is_wrong_is_told_once_until_it_is_right() {
        let clock = Clock::default();
        let told = |system: Duration| {
            clock.tell(system);
            clock.complaint()
        };
        let line = told(IN_1970).unwrap();
        assert!(line.contains("1970-01-01T00:00:05"), "{line}");
        assert!(
            line.contains("2026-11-30") && line.contains("NTP"),
            "{line}"
        );
        assert_eq!(told(IN_1970), None);
        assert_eq!(told(day(1)), None);
        assert!(told(IN_1970).is_some());
    }

    /// A year that was mistyped does not hold for ever.
    #[test]
    fn the_floor_gives_way_to_a_clock_that_is_set_or_holds_for_a_day() {
        let with_floor = |n| {
            let clock = Clock::default();
            clock.raise(day(n));
            clock
        };
        // Nobody has an earlier version for so long.
        assert_eq!(with_floor(16 * 365).floor(), day(0));
        let set = with_floor(3_000);
        set.tell(day(3_001));
        set.tell(day(1));
        assert_eq!((set.floor(), set.is_wrong()), (day(0), false));
        let held = with_floor(3_000);
        for hours in 0..=24 {
            assert!(held.is_wrong());
            held.tell(day(1) + Duration::from_secs(3_600 * hours));
        }
        assert!(!held.is_wrong());
        // Before the release it was never.
        let early = with_floor(3_000);
        for n in [3_001, -20_000, -10_000, -1] {
            early.tell(day(n));
        }
        assert_eq!((early.now(), early.is_wrong()), (day(3_000), true));
    }
}
