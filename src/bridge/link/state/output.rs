//! How far the upstream has taken what was said to it: a slow link is not a dead one.
//!
//! What waits on our side of a slow line can't be answered yet. So an answer is late only if it has not
//! come long after the upstream's TCP has acknowledged the question; and before that the upstream is
//! dead only if it takes nothing at all.

use std::time::Duration;

use crate::time::Time;

/// How often is looked while an upstream is to take something, at least.
const LOOK: Duration = Duration::from_secs(1);

/// Where the output of a connection stands, in bytes since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// What was said to the upstream, with all that waits in our memory.
    pub said: u64,
    /// What its TCP has acknowledged of that.
    pub taken: u64,
    /// The place in the session's sequence of the message that was sent first of those that are not
    /// acknowledged.
    pub oldest: Option<u64>,
}

impl Output {
    fn is_taken(self) -> bool {
        self.taken >= self.said
    }
}

/// Which question is the oldest that has no answer: since when it is asked, and the place of a message
/// in its sequence, unless it is a request of the link's own.
pub(in crate::bridge::link) type Question = (Time, Option<u64>);

/// Follows the output of a connection.
#[derive(Debug)]
pub(in crate::bridge::link) struct Flow {
    output: Output,
    /// When the last look was.
    looked: Time,
    /// When the upstream last took something, or had nothing to take.
    moved: Time,
    oldest: Option<(Question, Mark)>,
    /// The PINGREQ that has no answer; `true`: something waited before it.
    ping: Option<(Mark, bool)>,
}

/// A place in the output that the upstream has to take before it can answer.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: u64,
    /// When it was seen that the upstream has taken all up to there.
    reached: Option<Time>,
}

impl Mark {
    fn new(at: u64) -> Mark {
        Mark { at, reached: None }
    }

    fn look(&mut self, taken: u64, now: Time) {
        if taken >= self.at {
            self.reached.get_or_insert(now);
        }
    }
}

impl Flow {
    pub(in crate::bridge::link) fn new(output: Output, now: Time) -> Flow {
        Flow {
            output,
            looked: now,
            moved: now,
            oldest: None,
            ping: None,
        }
    }

    /// Takes in where the output stands. `oldest`: the oldest question without an answer;
    /// `is_pinged`: a PINGREQ is among those.
    pub(in crate::bridge::link) fn look(
        &mut self,
        output: Output,
        oldest: Option<Question>,
        is_pinged: bool,
        now: Time,
    ) {
        if output.taken > self.output.taken || output.is_taken() {
            self.moved = now;
        }
        let is_behind = !self.output.is_taken();
        (self.output, self.looked) = (output, now);
        // What was asked lies before what was said by now. A question that has become the oldest
        // has time from then on: the upstream answers one after the other.
        let known = self.oldest.take();
        self.oldest = oldest.map(|oldest| match known {
            Some((same, mark)) if same == oldest => (same, mark),
            _ => (oldest, Mark::new(output.said)),
        });
        let ping = self.ping.unwrap_or((Mark::new(output.said), is_behind));
        self.ping = is_pinged.then_some(ping);
        let oldest = self.oldest.iter_mut().map(|(_, mark)| mark);
        for mark in oldest.chain(self.ping.iter_mut().map(|(mark, _)| mark)) {
            mark.look(output.taken, now);
        }
    }

    /// From when on the upstream could have answered the oldest question, as far as is known.
    pub(in crate::bridge::link) fn could_answer(&self) -> Time {
        let mark = self.oldest.map(|(_, mark)| mark);
        mark.map_or(Time::ZERO, |mark| self.reached(mark))
    }

    /// When the answer to the PINGREQ is due, which is due at `due` where the upstream gets it at once.
    /// It may take `grace` from when the upstream has it. One that was sent behind what the upstream
    /// takes slowly waits as long as that moves at least once in a keep-alive.
    pub(in crate::bridge::link) fn pong_due(
        &self,
        due: Time,
        grace: Duration,
        keep_alive: Duration,
    ) -> Time {
        due.max(match self.ping {
            Some((mark, is_behind)) => match mark.reached {
                Some(reached) => reached + grace,
                None if is_behind => self.moved + keep_alive,
                None => due,
            },
            None => due,
        })
    }

    fn reached(&self, mark: Mark) -> Time {
        mark.reached.unwrap_or(self.moved)
    }

    /// When to look again.
    pub(in crate::bridge::link) fn look_at(&self, keep_alive: Duration) -> Time {
        let usual = keep_alive / 4;
        let is_taken = self.output.is_taken();
        self.looked + if is_taken { usual } else { usual.min(LOOK) }
    }
}
