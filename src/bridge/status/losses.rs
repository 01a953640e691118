//! Connections that are lost soon after their CONNACK, again and again: how the log is kept short,
//! and whether another client with the same client id is behind it. No clock: the time comes in.

use std::time::Duration;

use super::outage::span;
use crate::bridge::Error;
use crate::mqtt::Reason;
use crate::time::Time;

/// A connection that holds so long was not lost soon. Of two clients that share a client id, the one
/// that was disconnected comes back sooner: `restart_timeout` is 30 s at most unless set.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// A connection that holds so long ends a row of take-overs.
const APART: Duration = Duration::from_secs(3600);
/// So many losses in a row are no accident.
const MANY: u32 = 3;
/// A row that goes on is told of so often.
const REMINDER: Duration = Duration::from_secs(3600);

/// What the losses tell of another client with the same client id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rival {
    /// Nothing.
    No,
    /// There may be one: the upstream has closed connections without a word that went on with a
    /// session, as it does before MQTT 5 when another client takes the session over.
    Perhaps,
    /// There is one: the upstream has said so.
    Yes,
}

/// The connections in a row that were lost soon.
#[derive(Debug, Default)]
pub(super) struct Losses {
    count: u32,
    since: Time,
    remind_at: Time,
    /// Those in a row that another client took over.
    taken_over: u32,
    /// Those in a row that went on with a session and ended soon and without a word.
    wordless: u32,
}

impl Losses {
    /// A connection is lost that held for `held` after its CONNACK, which went on with a session if
    /// `resumed`.
    pub(super) fn lost(
        &mut self,
        held: Duration,
        resumed: bool,
        error: &Error,
        now: Time,
    ) -> Rival {
        if held >= SOON {
            self.settle();
        } else {
            if self.count == 0 {
                (self.since, self.remind_at) = (now, now + REMINDER);
            }
            self.count = self.count.saturating_add(1);
        }
        if held >= APART {
            self.taken_over = 0;
        }
        let is_silent = resumed && held < SOON && error.is_wordless();
        self.wordless = if is_silent { self.wordless + 1 } else { 0 };
        if matches!(error, Error::Disconnected(Reason::SESSION_TAKEN_OVER, _)) {
            self.taken_over += 1;
            if self.taken_over >= MANY {
                return Rival::Yes;
            }
        }
        if self.wordless >= MANY {
            Rival::Perhaps
        } else {
            Rival::No
        }
    }

    /// An attempt came to nothing: the network or the upstream is down, which may be why connections
    /// ended, too.
    pub(super) fn failed(&mut self) {
        self.wordless = 0;
    }

    /// A connection has held, or did: the row is over. Of how many connections, if they were many.
    pub(super) fn settle(&mut self) -> Option<u32> {
        let count = std::mem::take(&mut self.count);
        (count >= MANY).then_some(count)
    }

    /// True while the log has enough of connections that come and go.
    pub(super) fn are_many(&self) -> bool {
        self.count >= MANY
    }

    /// What is due to be said at `now`.
    pub(super) fn tick(&mut self, now: Time) -> Option<String> {
        if self.next().is_none_or(|at| now < at) {
            return None;
        }
        self.remind_at = now + REMINDER;
        let (count, span) = (self.count, span(now.since(self.since)));
        Some(format!(
            "{count} connections within {span} were lost soon after their CONNACK"
        ))
    }

    /// When to call [`Losses::tick`] next.
    pub(super) fn next(&self) -> Option<Time> {
        self.are_many().then_some(self.remind_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::Said;

    const START: Time = Time::from_secs(1_000_000);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn closed() -> Error {
        Error::Closed("closed".into())
    }

    fn taken_over() -> Error {
        Error::Disconnected(Reason::SESSION_TAKEN_OVER, Said::default())
    }

    /// What the losses of these connections, one after the other, tell in the end.
    fn after(connections: &[(u64, bool, Error)]) -> Rival {
        let mut losses = Losses::default();
        let lost = connections
            .iter()
            .map(|(held, resumed, error)| losses.lost(secs(*held), *resumed, error, START));
        lost.last().unwrap()
    }

    #[test]
    fn the_third_take_over_in_a_row_tells_of_another_client() {
        assert_eq!(after(&[9, 9].map(|s| (s, true, taken_over()))), Rival::No);
        let three = [9, 500, 9].map(|s| (s, false, taken_over()));
        assert_eq!(after(&three), Rival::Yes);
        // Once a day is somebody who tries something out.
        let days = [90_000; 5].map(|s| (s, true, taken_over()));
        assert_eq!(after(&days), Rival::No);
    }

    #[test]
    fn what_ends_soon_and_without_a_word_may_be_taken_over() {
        let three = [9, 30, 1].map(|s| (s, true, closed()));
        assert_eq!(after(&three), Rival::Perhaps);
        assert_eq!(after(&three[1..]), Rival::No);
        // A session that goes on is what another client takes over.
        let fresh = [9, 30, 1].map(|s| (s, false, closed()));
        assert_eq!(after(&fresh), Rival::No);
        let slow = [
            (9, true, closed()),
            (90, true, closed()),
            (9, true, closed()),
        ];
        assert_eq!(after(&slow), Rival::No);
        let said = [9, 9, 9].map(|s| (s, true, Error::PingTimeout));
        assert_eq!(after(&said), Rival::No);
    }

    /// Between two connections that another client took over an attempt does not fail.
    #[test]
    fn a_network_that_comes_and_goes_is_no_other_client() {
        let mut losses = Losses::default();
        for _ in 0..9 {
            let told = losses.lost(secs(9), true, &closed(), START);
            assert_eq!(told, Rival::No);
            losses.failed();
        }
    }

    #[test]
    fn a_row_is_told_every_hour_until_a_connection_holds() {
        let mut losses = Losses::default();
        for n in 0..400 {
            assert_eq!(losses.are_many(), n >= 3);
            losses.lost(secs(9), true, &closed(), START + secs(n * 10));
            let said = losses.tick(START + secs(n * 10));
            assert_eq!(said.is_some(), n == 360, "{n}: {said:?}");
        }
        let said = losses.tick(START + secs(7200)).unwrap();
        assert_eq!(
            said,
            "400 connections within 2 h were lost soon after their CONNACK"
        );
        assert_eq!(losses.settle(), Some(400));
        assert_eq!((losses.next(), losses.are_many()), (None, false));
        losses.lost(secs(9), true, &closed(), START);
        assert_eq!(losses.settle(), None, "one is no row");
    }
}
