//! What time it is for certificates, on a box whose clock may be wrong.
//!
//! A router without a battery wakes up in 1970, or at the last moment that its system has written down.
//! It must not take certificates that have long expired, and must not fail with a riddle either. So there
//! is a floor below which it never is: when this was built, and the latest that was known since. Below it,
//! certificates are judged as of the floor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// The time for certificates. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Floor>);

#[derive(Debug)]
struct Floor {
    /// Below which it never is, in seconds.
    secs: AtomicU32,
    /// What the system's clock said last, in seconds.
    system: AtomicU32,
}

/// When this was released, 2026-11-30, in seconds since 1970: it is later than that.
const RELEASED: u64 = 1_795_996_800;

/// One that knows nothing but when this was released.
impl Default for Clock {
    fn default() -> Clock {
        Clock::new(Duration::from_secs(RELEASED))
    }
}

impl Clock {
    /// Never before `floor`, since 1970.
    #[must_use]
    pub fn new(floor: Duration) -> Clock {
        Clock(Arc::new(Floor {
            secs: AtomicU32::new(seconds(floor)),
            system: AtomicU32::new(0),
        }))
    }

    /// It is known to be at least `time`.
    pub fn raise(&self, time: Duration) {
        self.0.secs.fetch_max(seconds(time), Ordering::Relaxed);
    }

    /// Below which it never is.
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
        self.0.system.store(seconds(time), Ordering::Relaxed);
    }

    /// True if the system's clock is behind the floor.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.0.system() < self.0.floor()
    }

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
}

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

    #[test]
    fn it_is_never_before_the_floor() {
        let day = |n: u64| Duration::from_secs(86_400 * n);
        let clock = Clock::new(day(20_000));
        let times = [
            (0, 20_000, true),
            (20_001, 20_001, false),
            (5, 20_000, true),
        ];
        for (system, now, is_wrong) in times {
            clock.tell(day(system));
            assert_eq!((clock.now(), clock.is_wrong()), (day(now), is_wrong));
        }
        clock.raise(day(21_000));
        clock.raise(day(1));
        assert_eq!((clock.now(), clock.floor()), (day(21_000), day(21_000)));
    }
}
