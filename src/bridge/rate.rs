//! How fast the queue of a bridge fills.

use crate::time::Time;

/// How many bytes an hour come in: a mean that forgets slowly, so that a day's rhythm shows but a
/// burst does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// Bytes an hour.
    mean: u64,
    /// Seconds it stands for, up to [`Rate::MEMORY`].
    seconds: u64,
    /// Bytes since `from`.
    bytes: u64,
    from: Option<Time>,
}

impl Rate {
    /// Seconds that the mean remembers.
    const MEMORY: u64 = 6 * 3600;
    /// Seconds that make it worth telling.
    const KNOWN: u64 = 600;
    /// Seconds that are gathered before they join the mean.
    const STEP: u64 = 60;

    /// The rate as the store has it.
    pub fn restore(saved: Option<(u64, u64)>) -> Rate {
        let (mean, seconds) = saved.unwrap_or_default();
        Rate {
            mean,
            seconds: seconds.min(Rate::MEMORY),
            ..Rate::default()
        }
    }

    /// What the store should have.
    pub fn saved(&self) -> Option<(u64, u64)> {
        (self.seconds > 0).then_some((self.mean, self.seconds))
    }

    /// `bytes` came in. True if the mean has changed.
    pub fn add(&mut self, bytes: u64, now: Time) -> bool {
        let changed = self.pass(now);
        self.bytes = self.bytes.saturating_add(bytes);
        changed
    }

    /// Time goes by. True if the mean has changed.
    fn pass(&mut self, now: Time) -> bool {
        let from = *self.from.get_or_insert(now);
        let step = now.since(from).as_secs();
        if step < Rate::STEP {
            return false;
        }
        let hourly = u128::from(self.bytes) * 3600 / u128::from(step);
        let weight = u128::from(step.min(Rate::MEMORY));
        let before = u128::from(self.seconds).min(u128::from(Rate::MEMORY) - weight);
        let mean = (u128::from(self.mean) * before + hourly * weight) / (before + weight).max(1);
        self.mean = u64::try_from(mean).unwrap_or(u64::MAX);
        self.seconds = u64::try_from(before + weight).unwrap_or(Rate::MEMORY);
        (self.bytes, self.from) = (0, Some(now));
        true
    }

    /// Bytes an hour, once it is known.
    pub fn hourly(&self) -> Option<u64> {
        (self.seconds >= Rate::KNOWN).then_some(self.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_found_in_ten_minutes() {
        let mut rate = Rate::default();
        let at = |secs: u64| Time::from_secs(1000 + secs);
        for secs in 0..660 {
            assert_eq!(rate.hourly().is_some(), secs > 600, "{secs}");
            rate.add(500, at(secs));
        }
        let hourly = rate.hourly().unwrap();
        assert!((1_790_000..=1_810_000).contains(&hourly), "{hourly}");
        // It survives a restart, and the time the broker was down does not count.
        let mut rate = Rate::restore(rate.saved());
        rate.add(500, at(100_000));
        assert_eq!(rate.hourly(), Some(hourly));
        // A night without messages brings it down.
        rate.pass(at(100_000 + 40_000));
        assert!(rate.hourly().unwrap() < hourly / 100);
    }
}
