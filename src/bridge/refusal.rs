//! What a bridge does about a message that its upstream refuses.
//!
//! Most refusals of real brokers are back-pressure: the message waits, with its lane, and is tried
//! again. Only what can never succeed is set aside as a dead letter. No clock: the time comes in.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use fastrand::Rng;

use super::Backoff;
use crate::config::Restart;
use crate::lane::Lane;
use crate::message::MessageId;
use crate::mqtt::Reason;
use crate::time::Time;

/// The waits between two attempts of a paused lane.
const WAIT: Restart = Restart::Jitter {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(60),
    stable: Duration::from_secs(60),
};

/// How long the log says nothing new of a lane that is refused for the same reason.
const REPEAT: Duration = Duration::from_secs(600);

/// After a line about a dead letter the log has none for so long.
const DEAD_LINES: Duration = Duration::from_secs(60);

/// So many reasons of a lane the log has at most, to not repeat them.
const MAX_SAID: usize = 4;

/// At most so many messages are remembered as refused: the oldest, for they are tried first. Of what is
/// forgotten the count starts anew.
const MAX_SUSPECTS: usize = 1024;

/// A message that is refused without a clear reason is tried with another one of its lane beside it
/// from so many refusals on, to find out whether it alone is meant.
const ALONE: u32 = 3;

/// After so many refusals without a clear reason, each while others of the lane were accepted, the
/// message is taken for one that never will be.
const BESIDE: u32 = 3;

/// What the reason of an error acknowledgement says about the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The upstream has no room or no time for it.
    NotNow,
    /// It does not say why: mostly that it has no room, but it may be this message.
    Unclear,
    /// It may be another answer at the second attempt.
    Perhaps,
    /// It is the same answer at each attempt.
    Never,
}

impl Refusal {
    /// The class of a reason from 0x80 up.
    pub fn of(reason: Reason) -> Refusal {
        match reason {
            Reason::TOPIC_NAME_INVALID
            | Reason::PAYLOAD_FORMAT_INVALID
            | Reason::PACKET_TOO_LARGE
            | Reason::RETAIN_NOT_SUPPORTED
            | Reason::QOS_NOT_SUPPORTED => Refusal::Never,
            // An account may be on its way to the upstream; and who is set aside for a packet id in
            // use gets another.
            Reason::NOT_AUTHORIZED | Reason::PACKET_IDENTIFIER_IN_USE => Refusal::Perhaps,
            Reason::QUOTA_EXCEEDED
            | Reason::RECEIVE_MAXIMUM_EXCEEDED
            | Reason::SERVER_BUSY
            | Reason::MESSAGE_RATE_TOO_HIGH => Refusal::NotNow,
            _ => Refusal::Unclear,
        }
    }
}

/// What is to be done about a refused message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Its lane waits from now on, and it is tried again. What the log is to say.
    Paused(PausedLane, Loudness),
    /// Its lane waits already.
    Waits,
    /// It is tried again at once.
    Again,
    /// It is set aside.
    Never,
}

/// A lane that the upstream refuses, or did.
#[derive(Clone, Debug)]
struct RefusedLane {
    lane: Lane,
    reason: Reason,
    /// The first refusal since something was accepted.
    since: Time,
    /// The next attempt; `None` while the lane is not paused.
    until: Option<Time>,
    backoff: Backoff,
    /// Something was accepted since the lane was paused last.
    accepted: bool,
    /// It was paused, and nothing was accepted since.
    probes: bool,
    /// To try a message that is not authorized once more was in vain the last time.
    denies: bool,
    /// What the log has, and when.
    said: Vec<(Reason, Time)>,
    /// The log is to hear when the lane goes on.
    says_end: bool,
}

/// A message that was refused, and may be the reason itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suspect {
    /// Its lane.
    pub lane: Lane,
    /// Its place in the sequence of the session, which it keeps.
    pub seq: u64,
    /// Its number in the store, if it is there.
    pub id: Option<MessageId>,
    /// How often.
    refused: u32,
    /// While others of its lane were accepted.
    beside: u32,
}

/// A lane that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PausedLane {
    /// Which.
    pub lane: Lane,
    /// What the upstream says.
    pub reason: Reason,
    /// Since when it has taken nothing.
    pub since: Time,
    /// The next attempt.
    pub until: Time,
}

/// What the log is to say about a lane that was paused or goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loudness {
    /// It is news.
    News,
    /// It has been said.
    Repeat,
}

/// What the upstream of a bridge refuses.
#[derive(Clone, Debug)]
pub struct Refusals {
    rng: Rng,
    /// Messages refused, and kept, since the start: each as often as it was.
    pub count: u64,
    lanes: Vec<RefusedLane>,
    /// By place in the sequence: a message of a queue in RAM has no number.
    suspects: BTreeMap<u64, Suspect>,
    /// When the log was told of a dead letter.
    told_dead: Option<Time>,
    /// Dead letters that the log has not been told of.
    untold_dead: u64,
}

impl Refusals {
    /// None yet. `name` tells bridges apart: those that wait for the same upstream must not all try
    /// again at the same moment.
    pub fn new(name: &str) -> Refusals {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Refusals {
            rng: Rng::with_seed(hasher.finish()),
            count: 0,
            lanes: Vec::new(),
            suspects: BTreeMap::new(),
            told_dead: None,
            untold_dead: 0,
        }
    }

    /// True if no lane is, or was lately, refused anything.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.suspects.is_empty()
    }

    /// The lanes that wait.
    pub fn paused(&self) -> impl Iterator<Item = PausedLane> {
        self.lanes.iter().filter_map(|lane| {
            Some(PausedLane {
                lane: lane.lane,
                reason: lane.reason,
                since: lane.since,
                until: lane.until?,
            })
        })
    }

    /// The upstream has refused a message of a lane, which has this place in the sequence, and this
    /// number in the store.
    pub fn refused(
        &mut self,
        lane: Lane,
        (seq, id): (u64, Option<MessageId>),
        reason: Reason,
        now: Time,
    ) -> Verdict {
        self.count += 1;
        let class = Refusal::of(reason);
        let suspect = match class {
            Refusal::Perhaps | Refusal::Unclear => Some(self.suspect(lane, (seq, id))),
            Refusal::NotNow | Refusal::Never => None,
        };
        let is_second = suspect.is_some_and(|suspect| suspect.refused > 1);
        let is_alone = suspect.is_some_and(|suspect| suspect.beside >= BESIDE);
        let known = self.lane_mut(lane, reason, now);
        match class {
            Refusal::Perhaps if is_second => known.denies = true,
            Refusal::Never => {}
            Refusal::Unclear if is_alone => {}
            // A lane does not wait for topics that are never allowed.
            Refusal::Perhaps if known.denies && known.accepted => return Verdict::Again,
            Refusal::Perhaps | Refusal::Unclear | Refusal::NotNow => {
                return self.pause(lane, reason, now);
            }
        }
        self.suspects.remove(&seq);
        Verdict::Never
    }

    /// The upstream has accepted the message of a lane that has this place in the sequence. What to say
    /// if the lane goes on by that.
    pub fn accepted(&mut self, lane: Lane, seq: u64) -> Option<Loudness> {
        let suspect = self.suspects.remove(&seq);
        let known = self.lanes.iter_mut().find(|known| known.lane == lane)?;
        known.accepted = true;
        known.denies &= suspect.is_none();
        if known.until.is_some() || !std::mem::take(&mut known.probes) {
            return None;
        }
        let is_news = std::mem::take(&mut known.says_end);
        Some(if is_news {
            Loudness::News
        } else {
            Loudness::Repeat
        })
    }

    /// A lane whose pause is over at `now`, which probes from now on; with `at_once` also one that
    /// would have to wait, because the connection is new. How many of its messages may be under way.
    pub fn take_due(&mut self, at_once: bool, now: Time) -> Option<(Lane, u32)> {
        let due = |known: &&mut RefusedLane| known.until.is_some_and(|at| at_once || at <= now);
        let known = self.lanes.iter_mut().find(due)?;
        known.until = None;
        let lane = known.lane;
        // One more than those that are refused again and again: is it them, or all?
        let suspects = self.suspects.values().filter(|s| s.lane == lane);
        let stuck = suspects.filter(|suspect| suspect.refused >= ALONE).count();
        Some((lane, u32::try_from(stuck + 1).unwrap_or(u32::MAX)))
    }

    /// Forgets the messages refused that are not `owed` any more, because they were dropped.
    pub fn keep_suspects(&mut self, owed: impl Fn(&Suspect) -> bool) {
        self.suspects.retain(|_, suspect| owed(suspect));
    }

    /// A message is set aside. True if the log is to have it by itself.
    pub fn set_aside(&mut self, now: Time) -> bool {
        let quiet = self.told_dead.is_some_and(|at| now < at + DEAD_LINES);
        if quiet {
            self.untold_dead += 1;
        } else if self.untold_dead == 0 {
            self.told_dead = Some(now);
        }
        !quiet
    }

    /// How many more messages were set aside, once the log is to be told.
    pub fn take_untold(&mut self, now: Time) -> Option<u64> {
        let is_due = self.untold_due().is_some_and(|at| at <= now);
        is_due.then(|| {
            self.told_dead = Some(now);
            std::mem::take(&mut self.untold_dead)
        })
    }

    fn untold_due(&self) -> Option<Time> {
        let told = self.told_dead.filter(|_| self.untold_dead > 0);
        told.map(|at| at + DEAD_LINES)
    }

    /// When there is something to do: a pause ends, or the log is to be told.
    pub fn next(&self) -> Option<Time> {
        let pauses = self.lanes.iter().filter_map(|lane| lane.until);
        pauses.chain(self.untold_due()).min()
    }

    fn pause(&mut self, lane: Lane, reason: Reason, now: Time) -> Verdict {
        let Refusals { lanes, rng, .. } = self;
        let lanes = lanes.iter_mut();
        let mut waiting = lanes.filter(|known| known.lane == lane && known.until.is_none());
        let Some(known) = waiting.next() else {
            return Verdict::Waits;
        };
        if std::mem::take(&mut known.accepted) {
            // It does take messages, though not as many as there are.
            known.backoff = Backoff::new(WAIT);
            known.since = now;
        }
        let until = now + known.backoff.next(None, rng);
        (known.reason, known.until, known.probes) = (reason, Some(until), true);
        let paused = PausedLane {
            lane,
            reason,
            since: known.since,
            until,
        };
        known.said.retain(|(_, at)| now.since(*at) < REPEAT);
        if known.said.iter().any(|(said, _)| *said == reason) {
            return Verdict::Paused(paused, Loudness::Repeat);
        }
        known.said.truncate(MAX_SAID - 1);
        known.said.push((reason, now));
        known.says_end = true;
        Verdict::Paused(paused, Loudness::News)
    }

    fn lane_mut(&mut self, lane: Lane, reason: Reason, now: Time) -> &mut RefusedLane {
        let at = self.lanes.iter().position(|known| known.lane == lane);
        let at = at.unwrap_or_else(|| {
            self.lanes.push(RefusedLane {
                lane,
                reason,
                since: now,
                until: None,
                backoff: Backoff::new(WAIT),
                accepted: true,
                probes: false,
                denies: false,
                said: Vec::new(),
                says_end: false,
            });
            self.lanes.len() - 1
        });
        &mut self.lanes[at]
    }

    fn suspect(&mut self, lane: Lane, (seq, id): (u64, Option<MessageId>)) -> Suspect {
        let mut lanes = self.lanes.iter();
        let accepted = lanes.any(|known| known.lane == lane && known.accepted);
        let suspect = self.suspects.entry(seq).or_insert(Suspect {
            lane,
            seq,
            id,
            refused: 0,
            beside: 0,
        });
        // At its first refusal nothing is known of others beside it.
        suspect.beside += u32::from(accepted && suspect.refused > 0);
        suspect.refused += 1;
        let suspect = *suspect;
        if self.suspects.len() > MAX_SUSPECTS {
            self.suspects.pop_last();
        }
        suspect
    }
}
