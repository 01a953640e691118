//! What a bridge has moved since the start, and how fast its queue grew or shrank in the last minute.

use std::time::Duration;

use crate::store::Amount;
use crate::time::Time;

/// The last minute is looked at in parts of so many seconds.
const PART: u64 = 5;
/// How many parts are kept: those of a minute, and the one that is under way.
const PARTS: usize = 13;
/// What is younger tells no trend.
const SHORTEST: Duration = Duration::from_secs(PART);

/// A number of messages and the bytes of their payloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moved {
    /// Messages.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Moved {
    fn add(&mut self, payload: u64) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(payload);
    }
}

/// Messages a second over the last minute, or since the start where that is shorter.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Rates {
    /// To the upstream.
    pub out: f64,
    /// From it.
    pub inward: f64,
}

/// A part of the last minute.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    sent: u32,
    received: u32,
    /// What was owed when it began.
    owed: Amount,
}

/// What a bridge has moved since the start. Nothing in here has a timer: whoever counts says what is owed
/// by then.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    sent: Moved,
    received: Moved,
    /// A ring: a part lies at its number modulo [`PARTS`].
    parts: [Part; PARTS],
    /// The numbers of the first part ever and of the one that is under way.
    known: Option<(u64, u64)>,
    /// What was owed when somebody looked last.
    owed: Amount,
}

impl Activity {
    /// What the upstream has acknowledged since the start, or was sent at QoS 0.
    pub fn sent(&self) -> Moved {
        self.sent
    }

    /// What came from the upstream since the start.
    pub fn received(&self) -> Moved {
        self.received
    }

    /// The upstream has acknowledged a message with so many bytes of payload, or was sent it at QoS 0.
    pub fn count_sent(&mut self, payload: usize, now: Time) {
        self.pass(now);
        self.sent.add(payload as u64);
        if let Some(part) = self.current() {
            part.sent = part.sent.saturating_add(1);
        }
    }

    /// A message with so many bytes of payload came from the upstream.
    pub fn count_received(&mut self, payload: usize, now: Time) {
        self.pass(now);
        self.received.add(payload as u64);
        if let Some(part) = self.current() {
            part.received = part.received.saturating_add(1);
        }
    }

    /// So much is owed to the upstream from now on.
    pub fn note_owed(&mut self, owed: Amount, now: Time) {
        self.pass(now);
        self.owed = owed;
    }

    /// How fast messages went over the uplink.
    pub fn rates(&self, now: Time) -> Rates {
        let (mut sent, mut received) = (0, 0);
        for (_, part) in self.recent(now) {
            sent += u64::from(part.sent);
            received += u64::from(part.received);
        }
        let first = self.known.map_or(0, |(first, _)| first);
        let from = begin(first.max(oldest(number(now))));
        let seconds = now.since(from).max(SHORTEST).as_secs_f64();
        Rates {
            out: sent as f64 / seconds,
            inward: received as f64 / seconds,
        }
    }

    /// How long it takes until nothing is owed any more, at the rate at which it became less since it was at
    /// its most in the last minute. `None` where it does not become less, or nothing is owed.
    pub fn drains_in(&self, owed: Amount, now: Time) -> Option<Duration> {
        let (at, most) = self.last_by(now, |a, b| a.messages >= b.messages)?;
        let (took, shrunk) = (now.since(at), most.messages.checked_sub(owed.messages)?);
        let is_trend = owed.messages <= self.lately(now)?.messages;
        (owed.messages > 0 && shrunk > 0 && is_trend && took >= SHORTEST)
            .then(|| scale(took, owed.messages, shrunk))
    }

    /// How long a queue has room for `room` more bytes, as [`Amount::weight`] counts them, at the rate at which
    /// what is owed became more since it was at its least in the last minute. `None` where it does not.
    pub fn fills_in(&self, owed: Amount, room: u64, now: Time) -> Option<Duration> {
        self.fills_by(Amount::weight, owed, room, now)
    }

    /// The same for `room` more messages.
    pub fn fills_with_in(&self, owed: Amount, room: u64, now: Time) -> Option<Duration> {
        self.fills_by(|amount| amount.messages, owed, room, now)
    }

    fn fills_by(
        &self,
        of: fn(Amount) -> u64,
        owed: Amount,
        room: u64,
        now: Time,
    ) -> Option<Duration> {
        let (at, least) = self.last_by(now, |a, b| of(*a) <= of(*b))?;
        let (took, grown) = (now.since(at), of(owed).checked_sub(of(least))?);
        let is_trend = of(owed) >= of(self.lately(now)?);
        (grown > 0 && is_trend && took >= SHORTEST).then(|| scale(took, room, grown))
    }

    /// What was owed a moment ago: it shows which way things go by now.
    fn lately(&self, now: Time) -> Option<Amount> {
        let begun = self
            .recent(now)
            .filter(|(at, _)| now.since(begin(*at)) >= SHORTEST);
        begun.last().map(|(_, part)| part.owed)
    }

    /// When and with what the part of the last minute began that `beats` or equals all before it.
    fn last_by(
        &self,
        now: Time,
        beats: impl Fn(&Amount, &Amount) -> bool,
    ) -> Option<(Time, Amount)> {
        let begun = self.recent(now).map(|(at, part)| (begin(at), part.owed));
        begun.reduce(|best, next| if beats(&next.1, &best.1) { next } else { best })
    }

    /// The parts of the last minute with their numbers, the oldest first. Nothing has happened in those that
    /// have passed since somebody counted.
    fn recent(&self, now: Time) -> impl Iterator<Item = (u64, Part)> {
        let (first, last) = self.known.unwrap_or((u64::MAX, 0));
        let current = number(now).max(last);
        let numbers = oldest(current).max(first)..=current;
        numbers.map(move |at| {
            let idle = Part {
                owed: self.owed,
                ..Part::default()
            };
            let kept = self.parts.get(place(at)).filter(|_| at <= last);
            (at, kept.copied().unwrap_or(idle))
        })
    }

    fn current(&mut self) -> Option<&mut Part> {
        let (_, current) = self.known?;
        self.parts.get_mut(place(current))
    }

    /// Begins the parts that have begun since the last look.
    fn pass(&mut self, now: Time) {
        let at = number(now);
        let (first, last) = *self.known.get_or_insert((at, at));
        for begun in (last + 1).max(oldest(at))..=at {
            if let Some(part) = self.parts.get_mut(place(begun)) {
                *part = Part {
                    owed: self.owed,
                    ..Part::default()
                };
            }
        }
        self.known = Some((first, last.max(at)));
    }
}

/// The part that `now` is in.
fn number(now: Time) -> u64 {
    now.as_secs() / PART
}

/// When a part began.
fn begin(number: u64) -> Time {
    Time::from_secs(number * PART)
}

/// The oldest part that is kept while `current` is under way.
fn oldest(current: u64) -> u64 {
    current.saturating_sub(PARTS as u64 - 1)
}

/// Where a part lies in the ring.
fn place(number: u64) -> usize {
    // Below PARTS.
    usize::try_from(number % PARTS as u64).unwrap_or_default()
}

/// How long `amount` takes if `done` took so long.
fn scale(took: Duration, amount: u64, done: u64) -> Duration {
    let millis = took.as_millis() * u128::from(amount) / u128::from(done.max(1));
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::from_secs(1_000_000 + secs)
    }

    fn owed(messages: u64) -> Amount {
        Amount {
            messages,
            bytes: 36 * messages,
        }
    }

    fn secs(duration: Option<Duration>) -> Option<u64> {
        duration.map(|duration| duration.as_secs())
    }

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let mut activity = Activity::default();
        assert_eq!(activity.rates(at(0)), Rates::default());
        for second in 0..600 {
            activity.count_sent(10, at(second));
            activity.count_sent(20, at(second));
            if second % 2 == 0 {
                activity.count_received(5, at(second));
            }
        }
        let Rates { out, inward } = activity.rates(at(600));
        assert!((1.9..2.1).contains(&out), "{out}");
        assert!((0.45..0.55).contains(&inward), "{inward}");
        let half = activity.rates(at(630)).out;
        assert!((0.9..1.2).contains(&half), "{half}");
        assert_eq!(activity.rates(at(700)), Rates::default());
        let (sent, received) = (activity.sent(), activity.received());
        assert_eq!((sent.messages, sent.bytes), (1200, 18_000));
        assert_eq!((received.messages, received.bytes), (300, 1500));
    }

    #[test]
    fn a_rate_is_known_soon_after_the_start() {
        let mut activity = Activity::default();
        for second in 0..10 {
            activity.count_sent(1, at(second));
        }
        assert!((0.9..1.1).contains(&activity.rates(at(10)).out));
    }

    /// The queue fills through an outage of minutes, and drains after it.
    #[test]
    fn a_queue_fills_and_drains() {
        let mut activity = Activity::default();
        activity.note_owed(owed(0), at(0));
        for second in 1..=300 {
            activity.note_owed(owed(second), at(second));
            assert_eq!(activity.drains_in(owed(second), at(second)), None);
            // A message a second weighs a hundred bytes.
            let fills = secs(activity.fills_in(owed(second), 100_000, at(second)));
            match second {
                0..5 => assert_eq!(fills, None),
                _ => assert!(fills.unwrap().abs_diff(1000) < 50, "{second}: {fills:?}"),
            }
        }
        for second in 1..=30 {
            let left = owed(300 - 10 * second);
            activity.note_owed(left, at(300 + second));
            let fills = activity.fills_in(left, 100_000, at(300 + second));
            let drains = secs(activity.drains_in(left, at(300 + second)));
            if (11..30).contains(&second) {
                assert_eq!(fills, None, "{second}");
                let off = drains.unwrap().abs_diff(30 - second);
                assert!(off <= 1 + (30 - second) / 3, "{second}: {drains:?}");
            }
        }
        assert_eq!(activity.drains_in(owed(0), at(331)), None, "all is sent");
        assert_eq!(activity.fills_in(owed(0), 100, at(331)), None);
    }

    #[test]
    fn what_stays_as_it_is_has_no_trend() {
        let mut activity = Activity::default();
        assert_eq!(activity.drains_in(owed(0), at(0)), None);
        activity.note_owed(owed(500), at(0));
        for second in [5, 30, 59, 100, 10_000] {
            let now = at(second);
            if second > 70 {
                assert_eq!(activity.fills_in(owed(500), 100, now), None, "{second}");
            }
            assert_eq!(activity.drains_in(owed(500), now), None, "{second}");
        }
    }

    #[test]
    fn a_clock_that_stands_or_leaps_does_no_harm() {
        let mut activity = Activity::default();
        activity.count_sent(1, at(100));
        activity.count_sent(1, at(50));
        activity.note_owed(owed(5), Time::ZERO);
        let end = Time::from_millis(u64::MAX);
        activity.count_sent(1, end);
        assert_eq!(activity.sent().messages, 3);
        assert!(activity.rates(end).out < 1.0);
        assert_eq!(activity.drains_in(owed(5), at(0)), None);
    }
}
