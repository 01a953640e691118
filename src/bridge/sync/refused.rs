//! Retained values that the upstream has refused: which topics, and when they are sent again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::time::Time;

/// The first pause after a refusal; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(10);
/// How often it doubles.
const LONGEST: u8 = 6;
/// How many topics are remembered. Of more the values go when they change.
const MOST: usize = 1000;

/// What was refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    /// For now: these are sent with the next pass.
    again: BTreeSet<Box<str>>,
    /// For good, as it seems: these are sent on the next connection, or when the configuration was
    /// read again.
    later: BTreeSet<Box<str>>,
    /// Nothing is sent before.
    until: Time,
    /// Pauses since something was taken.
    pauses: u8,
}

impl Refused {
    /// The value of a topic was refused; `is_final`: it would be again. Returns how long nothing is
    /// sent now, if that is new.
    pub(super) fn add(&mut self, topic: &str, is_final: bool, now: Time) -> Option<Duration> {
        let topics = if is_final {
            &mut self.later
        } else {
            &mut self.again
        };
        if topics.len() < MOST {
            topics.insert(topic.into());
        }
        if is_final || self.until > now {
            return None;
        }
        let pause = PAUSE * (1 << self.pauses.min(LONGEST));
        self.pauses = self.pauses.saturating_add(1);
        self.until = now + pause;
        Some(pause)
    }

    /// A value was taken.
    pub(super) fn taken(&mut self) {
        self.pauses = 0;
    }

    /// The value of a topic is on its way.
    pub(super) fn sent(&mut self, topic: &str) {
        self.again.remove(topic);
    }

    /// What was refused for good is tried once more.
    pub(super) fn retry(&mut self) {
        self.again.append(&mut self.later);
    }

    /// There is another connection: all is tried again, at once.
    pub(super) fn reconnected(&mut self) {
        self.retry();
        (self.until, self.pauses) = (Time::ZERO, 0);
    }

    /// True if the value of a topic is to be sent again.
    pub(super) fn wants(&self, topic: &str) -> bool {
        self.again.contains(topic)
    }

    /// True if some is.
    pub(super) fn wants_any(&self) -> bool {
        !self.again.is_empty()
    }

    /// True if nothing was refused that is not there by now.
    pub(super) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.later.is_empty()
    }

    /// Until when nothing is sent, if that is later.
    pub(super) fn waits(&self, now: Time) -> Option<Time> {
        Some(self.until).filter(|until| *until > now)
    }
}
