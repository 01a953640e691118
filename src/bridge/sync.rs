//! What of the retained messages an upstream is known to have, and what it is still to get.
//!
//! At each connect the upstream is brought up to date: one pass over the topics, in their order,
//! sends the value of each that it may not have, and an empty one for each that was cleared. When
//! a value arrived tells whether the upstream can have it:
//!
//! - What goes by the durable queue (QoS 1 and 2) comes that way, and is only sent again where it
//!   can't have come, or was lost there: that is the span `need`.
//! - Of everything else the upstream has what arrived up to `synced`.
//!
//! What was sent at QoS 0 counts as arrived once something that was sent later is answered.

mod pass;
mod refused;
#[cfg(test)]
mod tests;

use std::time::Duration;

use pass::{Kind, Mark, Pass};
use refused::Refused;

use crate::mqtt::QoS;
use crate::store::SyncRecord;
use crate::time::Time;

/// The least time between two passes on one connection.
const PAUSE: Duration = Duration::from_secs(10);
/// Each further pass on a connection comes after twice the pause, so often.
const LONGEST_PAUSE: u8 = 6;
/// What is saved of [`RetainedSync::lost`] reaches so much further, so that a queue which drops
/// message after message does not write that with each.
const AHEAD: Duration = Duration::from_secs(60);

/// From the first moment to the last, both included.
type Span = (Time, Time);

fn hull(a: Option<Span>, b: Option<Span>) -> Option<Span> {
    a.into_iter()
        .chain(b)
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn contains(span: Option<Span>, at: Time) -> bool {
    span.is_some_and(|(from, to)| from <= at && at <= to)
}

/// The last moment before `at`.
fn before(at: Time) -> Time {
    at - Duration::from_millis(1)
}

/// How far the upstream is, on the connection that it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    /// There is no connection, or one that takes no retained messages.
    #[default]
    Away,
    /// A pass is to begin once the queue is empty.
    Waiting,
    /// A pass is under way.
    Passing,
    /// It has what had arrived by then, and what came later as it came.
    UpToDate(Time),
}

/// What has come of a pass since it was looked at last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// So many topics were sent, and acknowledged where that is done.
    pub topics: u64,
    /// It is over.
    pub is_over: bool,
    /// It included what goes by the durable queue: the store is to know that it need not again.
    pub was_needed: bool,
}

/// What an upstream is known to have of the retained messages.
#[derive(Clone, Debug)]
pub struct RetainedSync {
    /// The map that all this is about ([`Map::fingerprint`](super::Map::fingerprint)).
    map: u64,
    /// The upstream that it is about ([`Wire::upstream`](super::Wire::upstream)).
    upstream: u64,
    /// What does not go by the durable queue has arrived if it came up to then.
    synced: Time,
    /// What goes by the durable queue may not have arrived if it came within this.
    need: Option<Span>,
    /// The same, for the pass after the one under way.
    lost: Option<Span>,
    /// What the store has of the two, at least.
    saved: Option<Span>,
    stage: Stage,
    pass: Option<Pass>,
    /// What was sent before that has arrived.
    confirmed: Time,
    /// When the next pass may begin on the same connection.
    next_pass: Time,
    /// Passes over on this connection.
    passes: u8,
    refused: Refused,
    /// The upstream takes retained messages.
    is_on: bool,
    /// The broker stops, and all that it retains is written.
    is_final: bool,
    /// How many topics were brought up to date.
    topics: u64,
}

impl RetainedSync {
    /// As the store has it.
    pub fn restore(record: Option<SyncRecord>) -> RetainedSync {
        let record = record.unwrap_or_default();
        RetainedSync {
            map: record.map,
            upstream: record.upstream,
            synced: record.synced,
            need: record.need,
            lost: None,
            saved: record.need,
            stage: Stage::Away,
            pass: None,
            confirmed: Time::ZERO,
            next_pass: Time::ZERO,
            passes: 0,
            refused: Refused::default(),
            is_on: true,
            is_final: false,
            topics: 0,
        }
    }

    /// What to write. A broker that is killed may come back with older values of QoS 0 than it has
    /// sent: only one that stopped in good order knows what its upstream has of those.
    pub fn record(&self) -> SyncRecord {
        SyncRecord {
            map: self.map,
            upstream: self.upstream,
            synced: if self.is_final {
                self.synced
            } else {
                Time::ZERO
            },
            need: hull(hull(self.need, self.lost), self.saved),
        }
    }

    /// The broker stops: what [`record`](RetainedSync::record) says from now on is all there is.
    pub fn finish(&mut self) {
        self.is_final = self.refused.is_empty();
    }

    /// The configuration says that the bridge maps by `map`, whose fingerprint this is. `is_new`:
    /// it takes in topics that it did not take in before. Then nothing is known of them.
    pub fn configure(&mut self, map: u64, is_new: bool, now: Time) {
        if self.map != map || is_new {
            self.map = map;
            self.forget(now);
        }
    }

    /// The upstream has nothing of what arrived up to `through`.
    fn forget(&mut self, through: Time) {
        self.synced = Time::ZERO;
        self.pass = None;
        self.need = hull(self.need, Some((Time::ZERO, through)));
    }

    /// A connection to `upstream` is up. `is_on`: retained messages may go there. `since`: when the
    /// last connection ended. `is_known`: the upstream still has the session of that one. True if
    /// nothing of what is retained is known to be there, which is to be saved.
    pub fn connected(&mut self, upstream: u64, is_on: bool, is_known: bool, since: Time) -> bool {
        self.is_on = is_on;
        self.confirmed = Time::ZERO;
        (self.next_pass, self.passes) = (Time::ZERO, 0);
        self.refused.reconnected();
        // Another upstream may know the session from earlier: it has nothing of what went elsewhere.
        let is_new = !is_known || self.upstream != upstream;
        if is_new {
            self.upstream = upstream;
            self.forget(since);
        }
        self.stage = if is_on { Stage::Waiting } else { Stage::Away };
        is_new
    }

    /// The connection is gone. `outstanding`: when the oldest message arrived that was in RAM for
    /// it, sent and not acknowledged, or not sent yet.
    pub fn disconnected(&mut self, outstanding: Option<Time>, now: Time) {
        if !self.is_on {
            // The next may take them, and has none of those that came without the flag.
            return self.forget(now);
        }
        self.synced = self.known(outstanding);
        self.stage = Stage::Away;
        let gets_on = |pass: &Pass| pass.answered.is_some() && pass.kind != Kind::Next;
        self.pass = self.pass.take().filter(gets_on).map(|pass| Pass {
            at: pass.answered.clone(),
            answered: pass.answered,
            topics: pass.topics,
            ..Pass::new(Kind::Resumed, pass.after, pass.start)
        });
    }

    /// What was sent before `at` has arrived: something that was sent then is answered.
    pub fn answered(&mut self, at: Time) {
        self.confirmed = self.confirmed.max(at);
    }

    /// A message that arrived between these moments was lost on its way to the upstream. True if that
    /// is to be saved.
    pub fn lose(&mut self, arrived: Span) -> bool {
        self.lost = hull(self.lost, Some(arrived));
        let (from, to) = arrived;
        let is_saved = contains(self.saved, from) && contains(self.saved, to);
        if !is_saved {
            self.saved = hull(self.saved, Some((from, to + AHEAD)));
        }
        !is_saved
    }

    /// The upstream refuses the value of a topic; `is_final`: it would do so again. Returns how long
    /// nothing is sent now, if that is new.
    pub fn refuse(&mut self, topic: &str, is_final: bool, now: Time) -> Option<Duration> {
        if let Some(pass) = &mut self.pass {
            pass.topics = pass.topics.saturating_sub(1);
        }
        self.refused.add(topic, is_final, now)
    }

    /// The upstream has taken a value.
    pub fn taken(&mut self) {
        self.refused.taken();
    }

    /// What was refused for good is tried once more: the upstream, or the configuration, may be another
    /// by now.
    pub fn retry(&mut self) {
        self.refused.retry();
    }

    /// True if the value of a topic was refused and is to be sent again.
    pub fn is_wanted(&self, topic: &str) -> bool {
        self.stage == Stage::Passing && self.refused.wants(topic)
    }

    /// The upstream has everything that arrived up to then and does not go by the durable queue.
    /// `outstanding` as for [`disconnected`](RetainedSync::disconnected).
    fn known(&self, outstanding: Option<Time>) -> Time {
        let Stage::UpToDate(since) = self.stage else {
            return self.synced;
        };
        let answered = outstanding.map_or(self.confirmed, |at| at.min(self.confirmed));
        let known = before(since).max(before(answered));
        self.lost.map_or(known, |(from, _)| known.min(before(from)))
    }

    /// The upstream has everything that arrived up to then, if nothing waits for it outside RAM.
    /// `is_queued`: of what goes by the durable queue. `outstanding` as for
    /// [`disconnected`](RetainedSync::disconnected).
    pub fn settled(&self, outstanding: Option<Time>, is_queued: bool) -> Time {
        let end = Time::from_millis(u64::MAX);
        if !self.is_on {
            return end;
        }
        if !is_queued {
            return self.known(outstanding);
        }
        let spans = self.need.into_iter().chain(self.lost);
        let spans = spans.map(|(from, _)| from);
        spans.chain(outstanding).map(before).min().unwrap_or(end)
    }

    /// Whether a retained value that arrived at `arrival`, and does not go by the durable queue, is
    /// known to have arrived upstream. `outstanding` as for
    /// [`disconnected`](RetainedSync::disconnected).
    pub fn has(&self, arrival: Time, outstanding: Option<Time>) -> bool {
        arrival <= self.known(outstanding)
    }

    /// True if the upstream takes retained messages, as far as is known.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// True if there may be something to send, or something sent is to be answered.
    pub fn is_active(&self) -> bool {
        match self.stage {
            Stage::Away => false,
            Stage::Waiting | Stage::Passing => true,
            Stage::UpToDate(_) => self.lost.is_some() || self.refused.wants_any(),
        }
    }

    /// True while the upstream is being brought up to date.
    pub fn is_under_way(&self) -> bool {
        let is_told = self.pass.as_ref().is_some_and(|pass| pass.is_told);
        matches!(self.stage, Stage::Waiting | Stage::Passing) && !is_told
    }

    /// How many topics were brought up to date since the start.
    pub fn topics(&self) -> u64 {
        self.topics
    }

    /// The queue is empty: begins a pass, or goes on with one, if there is one to make. `outstanding`
    /// as for [`disconnected`](RetainedSync::disconnected). Returns the time to ask again, if there
    /// is to be one later.
    pub fn begin(&mut self, outstanding: Option<Time>, now: Time) -> Option<Time> {
        if let Some(until) = self.refused.waits(now) {
            return Some(until);
        }
        let is_more = self.lost.is_some() || self.refused.wants_any();
        if matches!(self.stage, Stage::UpToDate(_)) && is_more {
            if self.next_pass > now {
                return Some(self.next_pass);
            }
            self.synced = self.known(outstanding);
            self.stage = Stage::Waiting;
        }
        if self.stage != Stage::Waiting {
            return None;
        }
        self.stage = Stage::Passing;
        if self.pass.is_none() {
            self.need = hull(self.need, self.lost.take());
            self.pass = Some(Pass::new(Kind::First, self.synced, now));
        }
        None
    }

    fn passing(&self) -> Option<&Pass> {
        self.pass.as_ref().filter(|_| self.stage == Stage::Passing)
    }

    /// Where the pass goes on: after this topic. `None` if it has been everywhere, or there is none.
    pub fn next_after(&self) -> Option<Option<&[u8]>> {
        let pass = self.passing().filter(|pass| !pass.is_through)?;
        Some(pass.at.as_deref())
    }

    /// Whether what arrived then is to be sent. `is_queued`: it goes by the durable queue.
    pub fn is_due(&self, arrival: Time, is_queued: bool) -> bool {
        let Some(pass) = self.passing().filter(|pass| arrival <= pass.start) else {
            return false;
        };
        if is_queued {
            contains(self.need, arrival)
        } else {
            pass.after < arrival
        }
    }

    /// The pass has come to this topic; `None`: it has been everywhere. `next`: the next place in the
    /// sequence.
    pub fn reached(&mut self, topic: Option<&[u8]>, next: u64) {
        let Some(pass) = &mut self.pass else {
            return;
        };
        pass.sent.before = next;
        let Some(topic) = topic else {
            pass.is_through = true;
            return;
        };
        pass.at = Some(topic.into());
        if pass.mark.is_none() {
            pass.mark = Some(Mark {
                at: topic.into(),
                sent: pass.sent,
            });
        }
    }

    /// The value of a topic was sent.
    pub fn sent(&mut self, topic: &str, qos: QoS, now: Time) {
        self.refused.sent(topic);
        if let Some(pass) = &mut self.pass {
            pass.topics += 1;
            if qos == QoS::AtMostOnce {
                pass.sent.unanswered = Some(now);
            }
        }
    }

    /// Looks what has been answered. `oldest`: the first place of the sequence that is
    /// unacknowledged.
    pub fn look(&mut self, oldest: Option<u64>, now: Time) -> Option<Outcome> {
        let confirmed = self.confirmed;
        let pass = self
            .pass
            .as_mut()
            .filter(|_| self.stage == Stage::Passing)?;
        let arrived = |mark: &mut Mark| mark.sent.has_arrived(oldest, confirmed);
        if let Some(mark) = pass.mark.take_if(arrived) {
            pass.answered = Some(mark.at);
        }
        let is_acked = oldest.is_none_or(|oldest| oldest >= pass.sent.before);
        if !pass.is_through || !is_acked {
            return None;
        }
        let mut outcome = Outcome::default();
        if !std::mem::replace(&mut pass.is_told, true) {
            outcome.topics = pass.topics;
            self.topics += pass.topics;
        }
        if pass.sent.has_arrived(oldest, confirmed) {
            self.over(&mut outcome, now);
        } else if pass.kind == Kind::Resumed {
            // What has come since it began does not wait for the answer.
            let sent = pass.sent;
            *pass = Pass::new(Kind::Next, before(pass.start), now);
            pass.sent = sent;
            self.need = self.lost.take();
        }
        Some(outcome).filter(|outcome| *outcome != Outcome::default())
    }

    /// All that the pass has sent has arrived.
    fn over(&mut self, outcome: &mut Outcome, now: Time) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        outcome.is_over = true;
        outcome.was_needed = self.need.take().is_some();
        self.saved = self.lost;
        self.synced = before(pass.start);
        self.next_pass = now + PAUSE * (1 << self.passes.min(LONGEST_PAUSE));
        self.passes = self.passes.saturating_add(1);
        self.stage = match pass.kind {
            Kind::First | Kind::Next => Stage::UpToDate(pass.start),
            Kind::Resumed => Stage::Waiting,
        };
    }
}
