//! Messages that go round over several brokers: out by one link of this broker, and in again by another.
//!
//! A link is a bridge of this broker, or a client that is a bridge of another one. What comes in by a
//! link, goes on by a link, and comes in once more wakes the guard. From then on, for a while, what goes
//! out by links of MQTT 5 carries a mark in a user property: a number that stands for this broker, topic
//! and payload, and that no other broker can make. A message that comes in with the mark that it would
//! get itself has been here: it goes no further. The same topic and payload published anew has no mark,
//! so nothing honest is eaten; and as long as nothing goes round no message is larger.
//!
//! Before MQTT 5 nothing travels with a message, and one bridge on the way that speaks less is enough
//! for the mark to be lost. There what has come again some times within a minute is tried ([`Trial`]): only
//! what has shown that it comes because it was sent on is cut.

mod trial;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use fastrand::Rng;
use trial::{Came, Pace, Plan, Repeated, Trial};

use crate::mqtt::{Property, Props};
use crate::time::Time;

/// How sure it is that a peer is a bridge of another broker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum LinkKind {
    /// It is a device.
    #[default]
    None,
    /// It asks not to be sent what it publishes, as bridges of MQTT 5 do, and others may.
    Likely,
    /// It says so, by its protocol level or its will; or it is an upstream of ours.
    Sure,
}

/// What is known of a message that comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Round {
    /// Nothing speaks against it.
    New,
    /// It was here with this topic and payload, or has passed too many bridges: it is cut.
    Marked,
    /// It comes back whenever it is sent on, and only then: it is cut.
    Proven,
}

impl Round {
    /// True for what goes no further.
    pub fn is_cut(self) -> bool {
        self != Round::New
    }
}

/// Recognises what goes round.
#[derive(Debug, Default)]
pub struct LoopGuard {
    /// Makes marks, anew at each start.
    hasher: RandomState,
    /// The links that are sure.
    sure: Links,
    /// Those that are likely.
    likely: Links,
    /// What has gone from link to link.
    passed: HashMap<u64, Passed>,
    /// Its keys, oldest first.
    order: VecDeque<(Time, u64)>,
    /// Marks are sent until then.
    awake_until: Option<Time>,
    /// When the log was told last.
    told: Option<Time>,
    /// Finds out what goes round without marks.
    trial: Option<Trial>,
    /// When the next is to begin.
    plan: Option<Plan>,
    /// There is none before.
    may_try_at: Time,
    repeated: Repeated,
    rng: Rng,
}

/// One topic and payload, for [`LIFETIME`](LoopGuard::LIFETIME) since it passed first.
#[derive(Clone, Copy, Debug)]
struct Passed {
    /// How often it has gone out by a link and not come in again, at most: it may go out by several.
    open: u32,
    /// How often it has come in again since then.
    rounds: u32,
    /// Those of them that came by a link that is sure.
    sure: u32,
    since: Time,
}

impl Passed {
    fn pace(self, now: Time) -> Pace {
        Pace(now.since(self.since) / self.sure.max(1))
    }
}

/// The client ids of links, of which there may be very many in time. The one that nothing has come from
/// for longest is forgotten for another.
#[derive(Debug, Default)]
struct Links {
    /// With what the count was when something came from it last.
    used: HashMap<u64, u64>,
    count: u64,
}

impl Links {
    fn add(&mut self, id: u64) {
        if self.used.len() >= LoopGuard::MOST_LINKS
            && !self.used.contains_key(&id)
            && let Some(oldest) = self.used.iter().min_by_key(|(_, used)| **used)
        {
            let oldest = *oldest.0;
            self.used.remove(&oldest);
        }
        self.count += 1;
        self.used.insert(id, self.count);
    }

    /// True if it is one. It counts as used.
    fn has(&mut self, id: u64) -> bool {
        let used = self.used.get_mut(&id);
        self.count += 1;
        used.map(|used| *used = self.count).is_some()
    }
}

/// A mark, as text in base 36, has so many bytes.
const MARK_LEN: usize = 13;

impl LoopGuard {
    /// The name of the user property; its value is marks, separated by blanks.
    pub const PROPERTY: &str = "fb-via";
    /// What has so many marks goes no further.
    pub const MOST_MARKS: usize = 16;
    /// What has come again so often within [`LIFETIME`](LoopGuard::LIFETIME) without a mark is tried.
    pub const SUSPICIOUS: u32 = 16;
    /// How long it is remembered what has passed, and how often it came again.
    pub const LIFETIME: Duration = Duration::from_secs(60);
    /// How long the guard stays awake after the last that goes round.
    pub const AWAKE: Duration = Duration::from_secs(600);
    /// How long it waits on average where another broker seems to be at it.
    const OTHERS: Duration = Duration::from_millis(2500);
    /// The most that is remembered: 200 KB.
    const MOST_PASSED: usize = 4096;
    /// The most links of either kind that are known.
    const MOST_LINKS: usize = 4096;
    /// So many rounds of the same wake the guard: a device may say the same twice.
    const WAKES: u32 = 2;

    /// A client id is that of a link.
    pub fn add_link(&mut self, kind: LinkKind, client_id: &str) {
        let id = self.hasher.hash_one(client_id);
        match kind {
            LinkKind::None => {}
            LinkKind::Likely => self.likely.add(id),
            LinkKind::Sure => self.sure.add(id),
        }
    }

    fn is_link(&mut self, client_id: &str) -> bool {
        let id = self.hasher.hash_one(client_id);
        self.sure.has(id) || self.likely.has(id)
    }

    /// True while marks are sent.
    pub fn is_awake(&self, now: Time) -> bool {
        self.awake_until.is_some_and(|until| now < until)
    }

    /// A message is sent to a link. `origin` is the client id that it came from, `props` are its raw
    /// properties.
    pub fn passes(
        &mut self,
        origin: &str,
        (topic, payload): (&[u8], &[u8]),
        props: &[u8],
        now: Time,
    ) {
        if !self.is_link(origin) || has_marks(props) {
            return;
        }
        self.forget(now);
        let key = self.hash(topic, payload);
        let known = self.passed.len();
        let passed = self.passed.entry(key).or_insert(Passed {
            open: 0,
            rounds: 0,
            sure: 0,
            since: now,
        });
        passed.open = passed.open.saturating_add(1);
        if self.passed.len() > known {
            self.order.push_back((now, key));
        }
    }

    /// A message comes in by a peer that is a link or none, on a topic as it is called here.
    pub fn arrives(
        &mut self,
        link: LinkKind,
        (topic, payload): (&str, &[u8]),
        props: &[u8],
        now: Time,
    ) -> Round {
        if let Some(marks) = marks(props) {
            let own = self.hash(topic.as_bytes(), payload);
            let is_own = |mark: &str| u64::from_str_radix(mark, 36).is_ok_and(|mark| mark == own);
            let is_own = marks.split(' ').any(is_own);
            if is_own || link > LinkKind::None {
                // Another broker on the way has found out, if not this one.
                self.wake(now);
            }
            let is_over = is_own || marks.split(' ').count() >= LoopGuard::MOST_MARKS;
            // What has marks need not be counted: it will be known.
            return if is_over { Round::Marked } else { Round::New };
        }
        if link == LinkKind::None || self.passed.is_empty() && self.trial.is_none() {
            return Round::New;
        }
        self.forget(now);
        let key = self.hash(topic.as_bytes(), payload);
        let is_sure = link == LinkKind::Sure;
        match self.tries(key, is_sure, now) {
            Came::Round => return Round::Proven,
            Came::Tried | Came::Repeat => return Round::New,
            Came::Else => {}
        }
        let Some(passed) = self.passed.get_mut(&key).filter(|passed| passed.open > 0) else {
            return Round::New;
        };
        passed.open -= 1;
        passed.rounds += 1;
        passed.sure += u32::from(is_sure);
        let passed = *passed;
        let is_suspicious = is_sure && passed.sure >= LoopGuard::SUSPICIOUS;
        if passed.rounds >= LoopGuard::WAKES {
            self.wake(now);
        }
        if is_suspicious && self.trial.is_none() && now >= self.may_try_at {
            self.suspects(key, passed, now);
        }
        Round::New
    }

    /// This has come again suspiciously often.
    fn suspects(&mut self, key: u64, passed: Passed, now: Time) {
        if self.repeated.has(key, now) {
            return;
        }
        let Some(plan) = self.plan else {
            let plan = Plan::new(key, passed.pace(now), passed.sure, now, &mut self.rng);
            self.plan = Some(plan);
            return;
        };
        if plan.key != key {
            return;
        }
        match plan.begins(passed.sure, now) {
            None => {}
            Some(true) => self.begin_trial(now),
            Some(false) => self.begin_anew(now, LoopGuard::OTHERS),
        }
    }

    /// All is counted anew, and tried after about such a while at the soonest.
    fn begin_anew(&mut self, now: Time, wait: Duration) {
        self.passed.clear();
        self.order.clear();
        self.plan = None;
        self.may_try_at = now + wait.mul_f64(0.5 + self.rng.f64());
    }

    /// What the trial says, if there is one, of what comes by a link.
    fn tries(&mut self, key: u64, is_sure: bool, now: Time) -> Came {
        let Some(trial) = self.trial.as_mut().filter(|_| is_sure) else {
            return Came::Else;
        };
        let came = trial.comes(key, now);
        if came == Came::Repeat {
            self.repeated.add(key, now);
        }
        came
    }

    /// Tries what is suspicious, and what is on its way to be.
    fn begin_trial(&mut self, now: Time) {
        self.plan = None;
        let suspects = self.passed.iter().filter(|(key, passed)| {
            passed.sure >= LoopGuard::SUSPICIOUS / 2 && !self.repeated.has(**key, now)
        });
        let mut suspects = suspects.map(|(key, passed)| (*key, passed.pace(now)));
        if let Some(first) = suspects.next() {
            let all = std::iter::once(first).chain(suspects);
            self.trial = Some(Trial::new(all, now, &mut self.rng));
        }
    }

    /// True while something is tried.
    pub fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// True if a message is to wait in the queue of a link: it is tried. `origin` is the client id that it
    /// came from, `arrival` when.
    pub fn keeps(&mut self, origin: &str, (topic, payload): (&[u8], &[u8]), arrival: Time) -> bool {
        let key = self.hash(topic, payload);
        let keeps = |trial: &Trial| trial.keeps(key, arrival);
        self.trial.as_ref().is_some_and(keeps) && self.is_link(origin)
    }

    /// When to call [`LoopGuard::turn`].
    pub fn due(&self) -> Option<Time> {
        self.trial.as_ref().map(Trial::due)
    }

    /// The next step of what is tried, if it is time. True if what was kept for it may be sent.
    pub fn turn(&mut self, now: Time) -> bool {
        let Some(trial) = self.trial.as_mut().filter(|trial| trial.due() <= now) else {
            return false;
        };
        if !trial.turn(now, &mut self.rng) {
            let rest = trial.rest(now);
            self.trial = None;
            self.begin_anew(now, rest);
        }
        true
    }

    /// The marks that a message is sent to a link with: those that it has, and this broker's.
    pub fn mark(&self, (topic, payload): (&[u8], &[u8]), props: &[u8]) -> String {
        let mut text = String::with_capacity(2 * MARK_LEN);
        if let Some(marks) = marks(props) {
            text.push_str(marks);
            text.push(' ');
        }
        push_mark(&mut text, self.hash(topic, payload));
        text
    }

    /// True if the log is to be told of what goes round: once in a while.
    pub fn may_tell(&mut self, now: Time) -> bool {
        let is_due = self
            .told
            .is_none_or(|told| now.since(told) >= LoopGuard::AWAKE);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }

    /// How many topics and payloads are remembered.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.passed.len()
    }

    fn wake(&mut self, now: Time) {
        self.awake_until = Some(now + LoopGuard::AWAKE);
    }

    fn forget(&mut self, now: Time) {
        while let Some((at, key)) = self.order.front().copied()
            && (now.since(at) >= LoopGuard::LIFETIME || self.order.len() > LoopGuard::MOST_PASSED)
        {
            self.order.pop_front();
            self.passed.remove(&key);
            // What it was to be tried by is counted anew with it.
            self.plan.take_if(|plan| plan.key == key);
        }
    }

    fn hash(&self, topic: &[u8], payload: &[u8]) -> u64 {
        self.hasher.hash_one((topic, payload))
    }
}

/// True for the raw properties of a message that has marks.
pub fn has_marks(props: &[u8]) -> bool {
    marks(props).is_some()
}

/// The value of the property in the raw properties of a message.
fn marks(props: &[u8]) -> Option<&str> {
    if props.is_empty() {
        return None;
    }
    Props::from_checked(props)
        .iter()
        .find_map(|property| match property {
            Property::User(LoopGuard::PROPERTY, marks) => Some(marks),
            _ => None,
        })
}

/// A mark as text: always of the same length.
fn push_mark(text: &mut String, mut number: u64) {
    let mut digits = [b'0'; MARK_LEN];
    for digit in digits.iter_mut().rev() {
        // Below 36, for which there is a digit.
        let value = u32::try_from(number % 36).ok();
        let value = value.and_then(|value| char::from_digit(value, 36));
        *digit = value
            .and_then(|value| u8::try_from(value).ok())
            .unwrap_or(b'0');
        number /= 36;
    }
    text.extend(digits.map(char::from));
}
