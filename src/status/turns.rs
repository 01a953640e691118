//! The longest turns, and what they were spent on.

use std::time::Duration;

use crate::time::Time;

/// A minute is looked at in parts of so many seconds.
const PART: u64 = 10;

/// How many they are.
const PARTS: usize = 6;

/// A turn.
#[derive(Clone, Debug, Default)]
struct Longest {
    micros: u64,
    cause: String,
}

/// The longest turn of the last minute, and since the start.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The longest of each of the last parts, in a ring.
    parts: [Longest; PARTS],
    /// The number of the part that is under way.
    part: u64,
    ever: Longest,
}

impl Turns {
    /// A turn that is over at `now` took so long, for the reason that `cause` gives.
    pub(super) fn add(&mut self, took: Duration, cause: impl FnOnce() -> String, now: Time) {
        self.pass(now);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let Some(longest) = self.parts.get_mut(place(self.part)) else {
            return;
        };
        if micros <= longest.micros {
            return;
        }
        let turn = Longest {
            micros,
            cause: cause(),
        };
        if micros > self.ever.micros {
            self.ever = turn.clone();
        }
        *longest = turn;
    }

    /// Forgets what is longer than a minute ago.
    fn pass(&mut self, now: Time) {
        let part = now.as_secs() / PART;
        let passed = part.saturating_sub(self.part).min(PARTS as u64);
        for n in 0..passed {
            if let Some(old) = self.parts.get_mut(place(part - n)) {
                *old = Longest::default();
            }
        }
        self.part = self.part.max(part);
    }

    /// The figures at `now`, as topics and values.
    pub(super) fn figures(&mut self, now: Time) -> [(&'static str, String); 4] {
        self.pass(now);
        let recent = self.parts.iter().max_by_key(|longest| longest.micros);
        let recent = recent.unwrap_or(&self.ever);
        [
            (
                "$SYS/broker/turn/1min/longest_us",
                recent.micros.to_string(),
            ),
            ("$SYS/broker/turn/1min/cause", recent.cause.clone()),
            (
                "$SYS/broker/turn/start/longest_us",
                self.ever.micros.to_string(),
            ),
            ("$SYS/broker/turn/start/cause", self.ever.cause.clone()),
        ]
    }
}

/// Where a part lies in the ring.
fn place(part: u64) -> usize {
    // Below PARTS.
    usize::try_from(part % PARTS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(turns: &mut Turns, now: Time) -> [String; 4] {
        turns.figures(now).map(|(_, value)| value)
    }

    #[test]
    fn the_longest_of_a_minute_is_forgotten_that_since_the_start_is_not() {
        let mut turns = Turns::default();
        let at = Time::from_secs;
        let add = |turns: &mut Turns, ms, cause: &str, now| {
            turns.add(Duration::from_millis(ms), || cause.to_owned(), now);
        };
        add(&mut turns, 5, "a", at(1000));
        add(&mut turns, 4, "b", at(1001));
        add(&mut turns, 3, "c", at(1035));
        assert_eq!(figures(&mut turns, at(1035)), ["5000", "a", "5000", "a"]);
        assert_eq!(figures(&mut turns, at(1059)), ["5000", "a", "5000", "a"]);
        assert_eq!(figures(&mut turns, at(1061)), ["3000", "c", "5000", "a"]);
        add(&mut turns, 6, "d", at(1062));
        add(&mut turns, 2, "e", at(1080));
        assert_eq!(figures(&mut turns, at(1080)), ["6000", "d", "6000", "d"]);
        assert_eq!(figures(&mut turns, at(5000)), ["0", "", "6000", "d"]);
    }
}
