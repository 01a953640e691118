//! `flash_budget`: commits become rarer as a day's budget is used up ahead of the day.

use std::time::Duration;

use crate::time::Time;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// This part of the budget may be ahead of the day before the interval is at its longest.
const SLACK: u64 = 24;

/// What may be written a day, and how far that may stretch the time between commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Bytes a day; more than 0.
    pub bytes_a_day: u64,
    /// The commit interval while the budget lasts.
    pub shortest: Duration,
    /// The commit interval once it does not.
    pub longest: Duration,
}

impl Budget {
    /// The commit interval, now that `today` bytes were written since the day began (in UTC, by
    /// the broker's clock). What is even with the day costs nothing; from there the interval grows,
    /// slowly at first, up to the longest at an hour's worth ahead.
    pub fn interval(&self, today: u64, now: Time) -> Duration {
        let of_day = now.as_millis() % DAY_MS;
        let even = u128::from(self.bytes_a_day) * u128::from(of_day) / u128::from(DAY_MS);
        let ahead = u128::from(today).saturating_sub(even) as f64;
        let slack = (self.bytes_a_day / SLACK).max(1) as f64;
        let part = (ahead / slack).min(1.0);
        // No power function: it alone would bring libm into memory.
        let range = self.longest.saturating_sub(self.shortest);
        self.shortest + range.mul_f64(part * part * part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;
    const BUDGET: Budget = Budget {
        bytes_a_day: 240 * MB,
        shortest: Duration::from_millis(20),
        longest: Duration::from_secs(10),
    };

    fn hour(n: u64) -> Time {
        Time::from_millis(20_000 * DAY_MS + n * 60 * 60 * 1000)
    }

    #[test]
    fn even_with_the_day_costs_nothing() {
        assert_eq!(BUDGET.interval(0, hour(0)), BUDGET.shortest);
        assert_eq!(BUDGET.interval(120 * MB, hour(12)), BUDGET.shortest);
        assert_eq!(BUDGET.interval(100 * MB, hour(12)), BUDGET.shortest);
    }

    #[test]
    fn ahead_of_the_day_widens_up_to_the_longest() {
        let half = BUDGET.interval(125 * MB, hour(12));
        assert!(half > Duration::from_secs(1) && half < Duration::from_secs(2));
        for used in [130, 140, 1_000, 1 << 40] {
            assert_eq!(BUDGET.interval(used * MB, hour(12)), BUDGET.longest);
        }
    }

    #[test]
    fn a_day_of_steady_commits_stays_in_the_budget() {
        // A commit costs 25 kB, and there is always one to make: 100 GB a day without a budget.
        let (mut now, mut today, mut worst) = (hour(0), 0, Duration::ZERO);
        while now < hour(24) {
            today += 25_000;
            let interval = BUDGET.interval(today, now);
            worst = worst.max(interval);
            now += interval;
        }
        assert!(today <= BUDGET.bytes_a_day + BUDGET.bytes_a_day / SLACK);
        assert!(today >= BUDGET.bytes_a_day * 9 / 10, "and uses it: {today}");
        assert!(worst <= BUDGET.longest);
    }

    #[test]
    fn the_longest_is_never_below_the_shortest() {
        let odd = Budget {
            longest: Duration::from_millis(5),
            ..BUDGET
        };
        assert_eq!(odd.interval(1 << 50, hour(1)), BUDGET.shortest);
    }
}
