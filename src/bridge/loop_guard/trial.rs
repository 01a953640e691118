//! Whether what comes in by links again and again goes round, or is repeated by a device.
//!
//! Before MQTT 5 nothing in a message tells. But what goes round comes because it was sent on, and what a
//! device repeats comes whether it was or not. So what came is kept back in the queues of the links for a
//! moment: if as much goes on to come, a device repeats it. If nothing more does, what was kept is sent,
//! and what then comes is kept again. If as much comes as was sent, and nothing after that, four times in
//! a row and at random times, it goes round, and what comes back the next time is cut.
//!
//! What is kept waits in the queues, where all lies that waits for a link: at QoS 1 and 2 nothing of it is
//! lost if a device stops in between, or the power is cut.

use std::collections::HashMap;
use std::time::Duration;

use fastrand::Rng;

use crate::time::Time;

/// So often it has to come back.
const PROOFS: u8 = 4;
/// How long what was sent may take to come back.
const ROUND: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// How long nothing may come after that, and how many times as long as what comes takes as a rule.
const SILENCE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(4));
const USUAL: u32 = 8;

/// The shortest time between two trials in which nothing was cut, on average.
const LEAST_REST: Duration = Duration::from_secs(10);
/// So many copies of the same may go round, and each be noticed as one of them.
const COPIES: u32 = 64;

/// How often the same topic and payload has come so far: the time between two, on average.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace(pub Duration);

impl Pace {
    /// How long one of them takes for a round, at most, if it goes round.
    fn round(self) -> Duration {
        (self.0 * COPIES).clamp(ROUND.0, ROUND.1)
    }

    fn silence(self) -> Duration {
        (self.0 * USUAL).clamp(SILENCE.0, SILENCE.1)
    }

    /// So many are expected in that time.
    fn expected(self, time: Duration) -> u32 {
        let count = time.as_micros() / self.0.as_micros().max(1);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// True for so many within the silence that a device repeats it: a few may join what goes round, or be
    /// what another broker has kept.
    fn is_repeated(self, late: u32) -> bool {
        late >= (self.expected(self.silence()) / 2).max(1)
    }
}

/// The moment at which a trial is to begin. It is a random one: all brokers of a ring notice it at once, and
/// one of them is to be first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub key: u64,
    at: Time,
    /// It begins if so many have come again by then: if fewer do, another broker is at it.
    count: u32,
}

impl Plan {
    /// The longest wait.
    const LONGEST: Duration = Duration::from_secs(20);

    /// `count` have come so far.
    pub(super) fn new(key: u64, pace: Pace, count: u32, now: Time, rng: &mut Rng) -> Plan {
        let longest = (pace.0 * COPIES).min(Plan::LONGEST);
        let wait = longest.mul_f64(rng.f64());
        Plan {
            key,
            at: now + wait,
            count: count.saturating_add(pace.expected(wait) / 2),
        }
    }

    /// So many have come; `None` while there is time, else whether the trial is to begin.
    pub(super) fn begins(&self, count: u32, now: Time) -> Option<bool> {
        (now >= self.at).then_some(count >= self.count)
    }
}

/// What a trial says of a message that comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Came {
    /// It is not tried.
    Else,
    /// It is, and what comes is kept back.
    Tried,
    /// It goes round, and is cut.
    Round,
    /// A device repeats it: it is tried no more.
    Repeat,
}

/// One topic and payload that is tried.
#[derive(Debug)]
struct Tried {
    pace: Pace,
    /// How many were sent on and are to come back; `None` until something was kept.
    sent: Option<u32>,
    /// How many have come since.
    came: u32,
    /// Those of them that came too late to be those sent.
    late: u32,
    proofs: u8,
}

impl Tried {
    fn comes(&mut self, is_late: bool) -> Came {
        self.came += 1;
        self.late += u32::from(is_late);
        let is_cut = self.proofs == PROOFS && self.sent.is_some_and(|sent| self.came <= sent);
        if is_cut {
            Came::Round
        } else if self.pace.is_repeated(self.late) {
            Came::Repeat
        } else {
            Came::Tried
        }
    }

    /// What was sent has had its time. True if it is to be tried once more.
    fn goes_on(&mut self) -> bool {
        let came = std::mem::take(&mut self.came);
        let late = std::mem::take(&mut self.late);
        if let Some(sent) = self.sent.replace(came) {
            // A device may join what goes round.
            let is_all = (sent..=sent + 1 + sent / 8).contains(&came) && late <= 1;
            if !is_all || self.proofs == PROOFS {
                return false;
            }
            self.proofs += 1;
        }
        came > 0
    }
}

/// A trial of some topics and payloads, by their hashes.
#[derive(Debug)]
pub(super) struct Trial {
    tried: HashMap<u64, Tried>,
    /// What has come since then is kept back.
    kept_since: Time,
    /// By when what was sent has come back.
    back_by: Time,
    /// When the next step is.
    due: Time,
    began: Time,
    has_cut: bool,
    /// Something is tried no more, and what is kept of it may go.
    has_let_go: bool,
}

impl Trial {
    pub(super) fn new(tried: impl Iterator<Item = (u64, Pace)>, now: Time, rng: &mut Rng) -> Trial {
        let of = |pace| Tried {
            pace,
            sent: None,
            came: 0,
            late: 0,
            proofs: 0,
        };
        let mut trial = Trial {
            tried: tried.map(|(key, pace)| (key, of(pace))).collect(),
            kept_since: now,
            back_by: now,
            due: now,
            began: now,
            has_cut: false,
            has_let_go: false,
        };
        trial.begin(now, rng);
        trial
    }

    fn begin(&mut self, now: Time, rng: &mut Rng) {
        let longest = |of: fn(Pace) -> Duration| {
            let all = self.tried.values().map(|tried| of(tried.pace));
            all.max().unwrap_or_default()
        };
        let silence = longest(Pace::silence);
        self.kept_since = now;
        self.back_by = now + longest(Pace::round);
        self.due = self.back_by + silence + silence.mul_f64(rng.f64() / 2.0);
    }

    pub(super) fn comes(&mut self, key: u64, now: Time) -> Came {
        let is_late = now >= self.back_by;
        let Some(tried) = self.tried.get_mut(&key) else {
            return Came::Else;
        };
        if now <= self.kept_since {
            // It is not kept.
            return Came::Tried;
        }
        let came = tried.comes(is_late);
        self.has_cut |= came == Came::Round;
        if came == Came::Repeat {
            self.tried.remove(&key);
            self.has_let_go = true;
        }
        came
    }

    /// True if this, which came in at that time, is not to be sent yet.
    pub(super) fn keeps(&self, key: u64, arrival: Time) -> bool {
        arrival > self.kept_since && self.tried.contains_key(&key)
    }

    /// How long the next trial is to wait once this one is over, which kept back what others sent after it
    /// on the same link: nobody who repeats himself is to hold a link up for more than a fifth of the time,
    /// on average. Where one message has gone round, others will.
    pub(super) fn rest(&self, now: Time) -> Duration {
        if self.has_cut {
            Duration::ZERO
        } else {
            LEAST_REST.max(now.since(self.began) * 4)
        }
    }

    /// When to call [`Trial::turn`].
    pub(super) fn due(&self) -> Time {
        if self.has_let_go {
            self.kept_since
        } else {
            self.due
        }
    }

    /// What is kept may be sent, or some of it; and once it is time, the next step begins. False if there is
    /// nothing more to be tried.
    pub(super) fn turn(&mut self, now: Time, rng: &mut Rng) -> bool {
        self.has_let_go = false;
        if self.due <= now {
            self.tried.retain(|_, tried| tried.goes_on());
            self.begin(now, rng);
        }
        !self.tried.is_empty()
    }
}

/// What devices are known to repeat, for a while.
#[derive(Debug, Default)]
pub(super) struct Repeated(HashMap<u64, (Time, Duration)>);

impl Repeated {
    const FIRST: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    /// 160 KB.
    const MOST: usize = 4096;

    pub(super) fn has(&self, key: u64, now: Time) -> bool {
        self.0.get(&key).is_some_and(|(until, _)| now < *until)
    }

    /// It has shown to be, for longer than the last time.
    pub(super) fn add(&mut self, key: u64, now: Time) {
        if self.0.len() >= Repeated::MOST && !self.0.contains_key(&key) {
            self.0.retain(|_, (until, _)| now < *until);
            if self.0.len() >= Repeated::MOST {
                self.0.clear();
            }
        }
        let known = self.0.get(&key).map(|(_, last)| *last * 2);
        let trusted = known.unwrap_or(Repeated::FIRST).min(Repeated::LONGEST);
        self.0.insert(key, (now + trusted, trusted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a device repeats does not wait for the rest of what is tried.
    #[test]
    fn what_is_repeated_is_let_go_at_once() {
        let (mut rng, start) = (Rng::with_seed(1), Time::from_secs(1000));
        let [fast, slow] = [50, 2000].map(Duration::from_millis).map(Pace);
        let mut trial = Trial::new([(1, fast), (2, slow)].into_iter(), start, &mut rng);
        let mut now = start + ROUND.1;
        assert!(trial.due() > now);
        assert!(trial.keeps(1, now) && trial.keeps(2, now));
        while trial.comes(1, now) != Came::Repeat {
            now += Duration::from_millis(50);
        }
        assert!(now < start + ROUND.1 + Duration::from_secs(1));
        assert!(!trial.keeps(1, now) && trial.keeps(2, now));
        assert!(trial.due() <= now);
        assert!(trial.turn(now, &mut rng), "the other is tried on");
        assert!(trial.due() > now);
        assert_eq!(trial.comes(1, now), Came::Else);
    }
}
