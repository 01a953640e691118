//! The log of those who are not let in, which a device that tries again each second does not fill.

use std::fmt::Arguments;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::config::log_type::NOTICE;
use crate::time::Time;

/// Who is refused again is told after so long at the earliest; then after twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest of these waits; who stays away for so long is new.
const LAST_WAIT: Duration = Duration::from_secs(3600);
/// So many are remembered, those that were refused last.
const REMEMBERED: usize = 64;
/// So many lines of all together a [`PERIOD`], at most: client ids can be made up.
const LINES: u32 = 20;
/// For how long they are counted.
const PERIOD: Duration = Duration::from_secs(60);

/// Who was refused, and what the log has of it.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    known: Vec<Known>,
    /// The period that is counted began then.
    period: Time,
    /// Lines in it.
    lines: u32,
    /// Refusals that no line tells of and no line will.
    untold: u64,
}

/// Somebody who was refused for one reason.
#[derive(Debug)]
struct Known {
    /// A hash of who and why.
    key: u64,
    seen: Time,
    told: Time,
    wait: Duration,
    untold: u64,
}

/// What to say of a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    /// Nothing that is not for debugging.
    Quiet,
    /// The line, and how often it was left out before.
    Line(u64),
}

impl RefusalLog {
    /// Logs `line` unless it would be a repetition of the last of the same `key`: who was refused,
    /// and why.
    pub(crate) fn log(&mut self, key: impl Hash, line: Arguments<'_>, now: Time) {
        if let Some(count) = self.begin_period(now) {
            log::info!(
                target: NOTICE,
                "{count} more connections were refused: too many in a minute for a line each."
            );
        }
        match self.note(key, now) {
            Told::Quiet => log::debug!(target: NOTICE, "{line}"),
            Told::Line(0) => log::info!(target: NOTICE, "{line}"),
            Told::Line(more) => log::info!(
                target: NOTICE,
                "{line}; {more} more times since this was logged last"
            ),
        }
    }

    /// Begins to count anew once a period is over. How many were refused in the last without a line.
    fn begin_period(&mut self, now: Time) -> Option<u64> {
        if now < self.period + PERIOD {
            return None;
        }
        (self.period, self.lines) = (now, 0);
        let untold = std::mem::take(&mut self.untold);
        (untold > 0).then_some(untold)
    }

    fn note(&mut self, key: impl Hash, now: Time) -> Told {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let key = hasher.finish();
        self.known.retain(|known| now.since(known.seen) < LAST_WAIT);
        let has_room = self.lines < LINES;
        let Some(known) = self.known.iter_mut().find(|known| known.key == key) else {
            return self.note_new(key, now);
        };
        known.seen = now;
        if now < known.told + known.wait || !has_room {
            known.untold += 1;
            return Told::Quiet;
        }
        known.told = now;
        known.wait = (known.wait * 2).min(LAST_WAIT);
        self.lines += 1;
        Told::Line(std::mem::take(&mut known.untold))
    }

    fn note_new(&mut self, key: u64, now: Time) -> Told {
        if self.lines >= LINES {
            self.untold += 1;
            return Told::Quiet;
        }
        self.lines += 1;
        if self.known.len() >= REMEMBERED
            && let Some((oldest, _)) = self.known.iter().enumerate().min_by_key(|(_, k)| k.seen)
        {
            let forgotten = self.known.swap_remove(oldest);
            self.untold += forgotten.untold;
        }
        self.known.push(Known {
            key,
            seen: now,
            told: now,
            wait: FIRST_WAIT,
            untold: 0,
        });
        Told::Line(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_secs(1_000_000);

    fn at(secs: u64) -> Time {
        START + Duration::from_secs(secs)
    }

    /// The lines about a device that is refused each second from `from` to `to`.
    fn each_second(log: &mut RefusalLog, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut lines = Vec::new();
        for sec in from..to {
            log.begin_period(at(sec));
            if let Told::Line(more) = log.note("device", at(sec)) {
                lines.push((sec, more));
            }
        }
        lines
    }

    #[test]
    fn a_device_that_tries_each_second_has_a_line_an_hour_in_the_end() {
        let mut log = RefusalLog::default();
        let day = each_second(&mut log, 0, 24 * 3600);
        let first = [(0, 0), (60, 59), (180, 119), (420, 239), (900, 479)];
        assert_eq!(day[..5], first);
        assert_eq!(day.len(), 29);
        let pairs = day.windows(2);
        let hourly = pairs.filter(|pair| pair[1].0 - pair[0].0 == 3600);
        assert_eq!(hourly.count(), 22);
        // None is left out of the counts.
        let told: u64 = day.iter().map(|(_, more)| more + 1).sum();
        assert_eq!(told, day.last().unwrap().0 + 1);
    }

    #[test]
    fn who_stays_away_for_an_hour_is_new() {
        let mut log = RefusalLog::default();
        each_second(&mut log, 0, 1000);
        assert_eq!(each_second(&mut log, 4600, 4700), [(4600, 0), (4660, 59)]);
    }

    #[test]
    fn each_has_lines_of_its_own() {
        let mut log = RefusalLog::default();
        for device in ["a", "b"] {
            assert_eq!(log.note((device, "wrong password"), at(0)), Told::Line(0));
            assert_eq!(log.note((device, "wrong password"), at(1)), Told::Quiet);
            assert_eq!(log.note((device, "no such user"), at(1)), Told::Line(0));
        }
    }

    /// Client ids that are made up fill neither the log nor the memory.
    #[test]
    fn a_flood_of_different_ones_is_counted() {
        let mut log = RefusalLog::default();
        let (mut lines, mut untold) = (0, 0);
        for n in 0..100_000 {
            untold += log.begin_period(at(n / 100)).unwrap_or(0);
            lines += u64::from(log.note(n, at(n / 100)) != Told::Quiet);
        }
        untold += log.begin_period(at(10_000)).unwrap_or(0);
        // A period a minute and more.
        assert!(lines <= u64::from(LINES) * (1000 / 60 + 1), "{lines}");
        assert_eq!(lines + untold, 100_000);
        assert!(log.known.len() <= REMEMBERED);
    }
}
