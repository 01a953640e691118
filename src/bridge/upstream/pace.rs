//! How much goes to an upstream at a time: what the link takes in a part of the keep-alive, and as many
//! messages as its delay asks for.
//!
//! It is measured by what the upstream acknowledges: what is on its way now and then acknowledged to the
//! last message is one round. On a slow link no more is then on its way than is acknowledged in time, one
//! message aside; on one with a long delay enough to fill it.

use std::time::Duration;

use crate::time::Time;

/// Bytes that go before anything is measured.
const FIRST: u64 = 16 * 1024;
/// However slow the link is.
const LEAST: u64 = 4 * 1024;
/// More is no bound.
const MOST: u64 = 16 << 20;
/// Rounds that are quicker are not measured one by one.
const SHORTEST: Duration = Duration::from_millis(10);
/// How long what is on its way may take, at least and at most.
const SHARES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// From here on a delay is long: the usual number of messages may not fill the link.
const LONG: Duration = Duration::from_millis(50);
/// So many rounds in a row tell that the number of messages limits the link.
const ROUNDS: u32 = 3;

/// What has gone to an upstream, and what is not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passage {
    /// QoS 1 and 2 messages that were sent so far, and the bytes of their payloads.
    pub sent: (u64, u64),
    /// Those that are not acknowledged to the end.
    pub under_way: (u64, u64),
    /// The first and the last place in the sequence of those.
    pub places: Option<(u64, u64)>,
    /// More waits.
    pub waits: bool,
}

impl Passage {
    fn acknowledged(&self) -> (u64, u64) {
        let (sent, under_way) = (self.sent, self.under_way);
        (
            sent.0.saturating_sub(under_way.0),
            sent.1.saturating_sub(under_way.1),
        )
    }

    /// What was acknowledged since that was `before`; `None` if the counters have begun anew meanwhile.
    fn acknowledged_since(&self, before: (u64, u64)) -> Option<(u64, u64)> {
        let (messages, bytes) = self.acknowledged();
        Some((
            messages.checked_sub(before.0)?,
            bytes.checked_sub(before.1)?,
        ))
    }
}

/// What may be on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Windows {
    /// QoS 1 and 2 messages.
    pub messages: u16,
    /// Bytes of their payloads; 0 is no bound.
    pub bytes: u64,
}

/// The number of messages that may be on their way limits the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limited {
    /// Their number.
    pub messages: u16,
    /// How long it takes until they are acknowledged.
    pub round: Duration,
}

/// Measures one connection.
#[derive(Clone, Debug)]
pub struct Pace {
    /// So many messages may be on their way, whatever the link asks for.
    allowed: u16,
    /// So many go before anything is measured, and on a link with a short delay.
    usual: u16,
    /// How long what is on its way may take.
    share: Duration,
    /// Half of the keep-alive.
    half: Duration,
    looked: Time,
    round: Option<Round>,
    /// Bytes a second, once measured.
    rate: Option<u64>,
    /// So many messages fill the link, with some to spare.
    fills: u64,
    /// The quickest round; at first how long the CONNACK took.
    quickest: Option<Duration>,
    /// So many rounds in a row were limited by the number of messages.
    limited: u32,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    since: Time,
    /// It is over when all up to this place is acknowledged.
    last: u64,
    /// What was acknowledged before.
    before: (u64, u64),
}

impl Pace {
    /// For a connection that has just come up. At most `allowed` messages may be on their way; no more than
    /// `usual`, unless the delay of the link asks for it. `delay` is that, as far as it is known.
    pub fn new(
        (usual, allowed): (u16, u16),
        keep_alive: Duration,
        delay: Option<Duration>,
        now: Time,
    ) -> Pace {
        Pace {
            allowed,
            usual,
            share: (keep_alive / 4).clamp(SHARES.0, SHARES.1),
            half: keep_alive / 2,
            looked: now,
            round: None,
            rate: None,
            fills: 0,
            quickest: delay,
            limited: 0,
        }
    }

    /// So many messages may be on their way from now on.
    pub fn allow(&mut self, allowed: u16) {
        (self.allowed, self.limited) = (allowed, 0);
    }

    /// What may be on its way.
    pub fn windows(&self) -> Windows {
        let fills = u16::try_from(self.fills).unwrap_or(u16::MAX);
        let bytes = self.rate.map_or(FIRST, |rate| {
            let millis = u64::try_from(self.time().as_millis()).unwrap_or(u64::MAX);
            rate.saturating_mul(millis) / 1000
        });
        Windows {
            messages: fills.max(self.usual).min(self.allowed).max(1),
            bytes: if bytes < MOST { bytes.max(LEAST) } else { 0 },
        }
    }

    /// How long what is on its way may take: longer than the delay, or the link would not be full.
    fn time(&self) -> Duration {
        let delay = 2 * self.quickest.unwrap_or_default();
        self.share.max(delay.min(self.half))
    }

    /// True if it is time for [`look`](Pace::look).
    pub fn is_due(&self, now: Time) -> bool {
        now.since(self.looked) >= SHORTEST
    }

    /// Something was acknowledged, and what may go then was sent.
    pub fn look(&mut self, passage: &Passage, now: Time) {
        self.looked = now;
        if let Some(round) = self.round {
            let is_over = passage.places.is_none_or(|(first, _)| first > round.last);
            match passage.acknowledged_since(round.before) {
                // The queue has been empty, and its memory given back.
                None => self.round = None,
                Some(carried) if is_over => {
                    self.end(round.since, carried, passage, now);
                    self.round = None;
                }
                Some(_) => {}
            }
        }
        if let (None, Some((_, last))) = (self.round, passage.places) {
            self.round = Some(Round {
                since: now,
                last,
                before: passage.acknowledged(),
            });
        }
    }

    /// A round that began at `since` is over: so many messages and bytes were acknowledged.
    fn end(&mut self, since: Time, (count, bytes): (u64, u64), passage: &Passage, now: Time) {
        let took = now.since(since).max(Duration::from_millis(1));
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let per_second = |count: u64| count.saturating_mul(1000) / millis;
        let quickest = self.quickest.map_or(took, |quickest| quickest.min(took));
        self.quickest = Some(quickest);
        let rate = per_second(bytes);
        self.rate = match self.rate {
            // Without more to send it says nothing about the link; and a link may pause for once.
            Some(known) if rate < known && !passage.waits => Some(known),
            Some(known) if rate < known && took < self.time() => {
                Some(known.saturating_mul(3).saturating_add(rate) / 4)
            }
            _ => Some(rate),
        };
        let windows = self.windows();
        // Four times of what a round without a queue takes: the delay may be longer than it was, and
        // acknowledgements come in bursts.
        let delay = u64::try_from((4 * quickest).as_millis()).unwrap_or(u64::MAX);
        let fills = per_second(count).saturating_mul(delay) / 1000;
        self.fills = if quickest < LONG { 0 } else { fills };
        let is_full = passage.waits && passage.under_way.0 + count >= u64::from(self.allowed);
        let is_quick = took <= 2 * quickest && took >= LONG;
        self.limited = if is_full && is_quick && windows.messages == self.allowed {
            self.limited + 1
        } else {
            0
        };
    }

    /// True while the number of messages limits the link.
    pub fn is_limited(&self) -> bool {
        self.limited >= ROUNDS
    }

    /// Tells once that the number of messages limits the link: more waits, and nothing queues on the way.
    pub fn take_limited(&mut self) -> Option<Limited> {
        if self.limited != ROUNDS {
            return None;
        }
        self.limited += 1;
        Some(Limited {
            messages: self.allowed,
            round: self.quickest?,
        })
    }
}
