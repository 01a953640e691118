//! Whether a message fits into the queue of a session, and what happens if not.
//!
//! Two bounds hold for a message: that of its lane, which counts the messages of that lane, and
//! that of the client, which counts all. Which messages go is decided lane by lane: a message is
//! only ever dropped by the policy of its own lane, so an alarm that must be refused rather than
//! lost does not make way for telemetry.

use std::time::Duration;

use super::age::expire_while;
use super::drops::{drop_done, drop_message, note_lost};
use crate::bridge::LocalEnd;
use crate::broker::core::Core;
use crate::broker::memory::{Memory, Tightness};
use crate::broker::plan::Admission;
use crate::broker::sessions::{DropReason, Session};
use crate::broker::settings::Settings;
use crate::config::{Bounds, Overflow};
use crate::impossible;
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::message::Message;
use crate::store::Amount;
use crate::time::Time;

/// How soon a reader that keeps up acknowledges what it is sent.
const ANSWERS: Duration = Duration::from_secs(2);

/// So many messages that have a newer one on their topic leave a queue for a unit of work.
const SWEPT: usize = 64;

/// The policy for the messages of one lane of a queue; `end`: of a bridge's. `is_durable`: it
/// survives the connection.
fn policy(end: Option<&LocalEnd>, is_durable: bool, settings: &Settings, lane: Lane) -> Overflow {
    let line = end.and_then(|end| end.line(lane));
    let general = settings.general.queue_overflow;
    match line.and_then(|line| line.overflow).unwrap_or(general) {
        policy if is_durable => policy,
        // Who is connected and slow, and will be owed nothing once it is gone, holds up nobody.
        Overflow::Refuse => Overflow::Newest,
        Overflow::LatestPerTopic => Overflow::Oldest,
        policy => policy,
    }
}

/// The policy for the messages of one lane of a session's queue.
fn policy_of(session: &Session, settings: &Settings, lane: Lane) -> Overflow {
    policy(session.bridge(), session.is_durable(), settings, lane)
}

/// Whether messages of such a lane may be dropped to make room.
fn makes_way(policy: Overflow) -> bool {
    matches!(policy, Overflow::Oldest | Overflow::LatestPerTopic)
}

/// Whether a queue may hold `more`; a bound in bytes counts what entries take, too.
fn admits(bounds: Bounds, owed: Amount, more: Amount) -> bool {
    (bounds.bytes == 0 || owed.weight() + more.weight() <= bounds.bytes)
        && (bounds.messages == 0 || owed.messages + more.messages <= bounds.messages)
}

/// `count` messages of `size` bytes each.
pub(crate) fn copies(count: u32, size: u32) -> Amount {
    Amount {
        messages: count.into(),
        bytes: u64::from(count) * u64::from(size),
    }
}

/// A session's queue and the bounds that hold for it.
struct Bounded<'a> {
    session: &'a Session,
    settings: &'a Settings,
    memory: &'a Memory,
    sessions: usize,
    /// Its reader takes and acknowledges what it is sent.
    keeps_up: bool,
}

impl<'a> Bounded<'a> {
    fn new(core: &'a Core, session: &'a Session) -> Bounded<'a> {
        Bounded {
            session,
            settings: &core.settings,
            memory: &core.memory,
            sessions: core.sessions.len(),
            keeps_up: false,
        }
    }

    /// With what a reader that keeps up may have.
    fn at(core: &'a Core, session: &'a Session, now: Time) -> Bounded<'a> {
        Bounded {
            keeps_up: keeps_up(core, session, now),
            ..Bounded::new(core, session)
        }
    }

    fn policy(&self, lane: Lane) -> Overflow {
        policy_of(self.session, self.settings, lane)
    }

    /// What is owed in one lane, or in all, and its bound.
    fn bounds(&self, lane: Option<Lane>) -> (Amount, Bounds) {
        let queue = &self.session.outbound;
        let Some(lane) = lane else {
            let owed = Amount {
                messages: queue.len(),
                bytes: queue.bytes(),
            };
            let mut bounds = self.settings.bounds();
            // Without persistence the store is memory.
            let is_in_ram = !self.session.is_durable() || !self.settings.general.persistence;
            let limit = self.settings.memory_limit().filter(|_| is_in_ram);
            let most = self
                .memory
                .queue_bound(limit, self.sessions, owed.weight(), self.keeps_up);
            if let Some(most) = most {
                bounds.bytes = match bounds.bytes {
                    0 => most,
                    bytes => bytes.min(most),
                };
            }
            return (owed, bounds);
        };
        let line = self.session.bridge().and_then(|end| end.line(lane));
        let bounds = line.map_or(Bounds::default(), |line| line.bounds);
        (queue.owed_by(lane), bounds)
    }

    /// True if one lane, or all, may be owed `more`.
    fn admits(&self, lane: Option<Lane>, more: Amount) -> bool {
        let (owed, bounds) = self.bounds(lane);
        admits(bounds, owed, more)
    }

    fn fits(&self, lane: Lane, more: Amount) -> bool {
        let lane = lane.line().map(Lane::Bridge);
        self.admits(None, more) && lane.is_none_or(|lane| self.admits(Some(lane), more))
    }

    /// True if one lane, or all, could admit `more` once all that may be dropped was.
    fn can_admit(&self, lane: Option<Lane>, more: Amount) -> bool {
        let (mut owed, bounds) = self.bounds(lane);
        let queue = &self.session.outbound;
        let unsent = if lane.is_none() && !self.session.is_bridge() {
            // One policy for all lanes, of which there may be a thousand.
            let all = makes_way(self.policy(Lane::Client)).then(|| queue.unsent_all());
            all.unwrap_or_default()
        } else {
            queue.unsent(|other| {
                lane.is_none_or(|lane| lane == other) && makes_way(self.policy(other))
            })
        };
        owed.take(unsent.messages, unsent.bytes);
        admits(bounds, owed, more)
    }
}

/// True if the peer of a session takes what it is sent, and acknowledges it. What waits for it has come in
/// faster than it could answer. It is asked only while little memory is left.
fn keeps_up(core: &Core, session: &Session, now: Time) -> bool {
    if core.memory.state() == Tightness::None {
        return false;
    }
    let conn = session.conn.and_then(|c| core.connections.get(c));
    let is_taken = conn.is_some_and(|conn| !conn.is_blocked());
    let sent = session.outbound.oldest_sent();
    is_taken && sent.is_none_or(|at| now.since(at) < ANSWERS)
}

/// True if the queue of a bridge, or what one of its lines may have of it, has no room for another message
/// as large as those in it.
pub(crate) fn has_full_lane(core: &Core, session: &Session) -> bool {
    let queue = Bounded::new(core, session);
    let is_full = |lane: Option<Lane>| {
        let (owed, bounds) = queue.bounds(lane);
        let more = Amount {
            messages: 1,
            bytes: owed.bytes / owed.messages.max(1),
        };
        owed.messages > 0 && !admits(bounds, owed, more)
    };
    let mut lines = session.bridge().into_iter().flat_map(|end| end.lines());
    is_full(None) || lines.any(|(number, _)| is_full(Some(Lane::Bridge(number))))
}

/// Whether a message fits into a lane of a session's queue, and what is to happen if not. `more` is
/// the message, with those copies of it that come before it and are not queued yet.
/// Where little memory is left, that of a reader that may not keep up.
pub(crate) fn admission(core: &Core, session: &Session, lane: Lane, more: Amount) -> Admission {
    decide(&Bounded::new(core, session), lane, more)
}

fn decide(queue: &Bounded<'_>, lane: Lane, more: Amount) -> Admission {
    if queue.fits(lane, more) {
        return Admission::Fits;
    }
    match queue.policy(lane) {
        Overflow::Refuse => Admission::Refused,
        Overflow::Newest => Admission::Dropped(DropReason::OverflowNewest),
        Overflow::Oldest | Overflow::LatestPerTopic => {
            // Only lines of a bridge have bounds of their own.
            let line = lane.line().is_none() || queue.can_admit(Some(lane), more);
            let helps = line && queue.can_admit(None, more);
            if helps {
                Admission::MakesRoom(more)
            } else {
                Admission::Dropped(DropReason::OverflowNewest)
            }
        }
    }
}

/// The [`admission`] of a message, once what has expired has left the queue, if it has no room.
pub(crate) fn admission_now(
    core: &mut Core,
    key: SessionKey,
    lane: Lane,
    more: Amount,
    now: Time,
) -> Admission {
    let ask = |core: &Core| {
        let Some(session) = core.sessions.get(key) else {
            impossible!("a receiver is gone");
            return Admission::Dropped(DropReason::SessionEnded);
        };
        decide(&Bounded::at(core, session, now), lane, more)
    };
    let at_first = ask(core);
    if at_first == Admission::Fits {
        return at_first;
    }
    expire_while(core, key, now, |core| ask(core) != Admission::Fits);
    ask(core)
}

/// Does what a queue's `admission` of a message says, by dropping others or the message itself.
/// False in that case.
pub(crate) fn admit(
    core: &mut Core,
    key: SessionKey,
    lane: Lane,
    message: &Message,
    admission: Admission,
    now: Time,
) -> bool {
    let reason = match admission {
        Admission::Fits => return true,
        Admission::MakesRoom(more) => {
            make_room(core, (key, lane), message, more, now);
            return true;
        }
        Admission::Refused => DropReason::QueueFull,
        Admission::Dropped(reason) => reason,
    };
    let lost = (1, message.size().into());
    drop_message(core, key, lane, reason, lost, now);
    if message.retain {
        note_lost(core, key, (message.arrival, message.arrival));
    }
    false
}

/// Makes room for `more`, of which `message` is the last, by dropping others.
fn make_room(
    core: &mut Core,
    (key, lane): (SessionKey, Lane),
    message: &Message,
    more: Amount,
    now: Time,
) {
    let Core {
        sessions, settings, ..
    } = core;
    if let Some(session) = sessions.get_mut(key)
        && policy_of(session, settings, lane) == Overflow::LatestPerTopic
    {
        session.outbound.outdate(lane, message.topic());
    }
    let mut left = usize::MAX;
    clear(core, key, Some(lane), (more, &mut left), now);
    clear(core, key, None, (more, &mut left), now);
}

/// Drops messages of `lane`, or of all lanes that may lose some, until `more` is admitted, there are
/// none left, or so many `left` were dropped one by one.
fn clear(
    core: &mut Core,
    key: SessionKey,
    lane: Option<Lane>,
    (more, left): (Amount, &mut usize),
    now: Time,
) {
    let bounded = |core: &Core| -> Option<bool> {
        let session = core.sessions.get(key)?;
        Some(Bounded::at(core, session, now).admits(lane, more))
    };
    expire_while(core, key, now, |core| bounded(core) == Some(false));
    if bounded(core) != Some(false) {
        return;
    }
    let is_ours = |other: Lane| lane.is_none_or(|lane| lane == other);
    // Only the lines of a bridge have policies of their own.
    let may_sweep = |s: &&Session| {
        s.is_bridge() || policy_of(s, &core.settings, Lane::Client) == Overflow::LatestPerTopic
    };
    let session = core.sessions.get(key).filter(may_sweep);
    let lanes = session.map(|s| s.outbound.lanes());
    for other in lanes.into_iter().flatten().filter(|other| is_ours(*other)) {
        let session = core.sessions.get(key);
        let policy = session.map(|session| policy_of(session, &core.settings, other));
        if policy == Some(Overflow::LatestPerTopic) {
            drop_superseded(core, key, other, now);
        }
    }
    while *left > 0 && bounded(core) == Some(false) {
        let Core {
            sessions, settings, ..
        } = &mut *core;
        let Some(session) = sessions.known_mut(key) else {
            return;
        };
        let is_durable = session.is_durable();
        let (outbound, end) = session.outbound_and_end();
        let end = end.as_deref();
        let may = |other| is_ours(other) && makes_way(policy(end, is_durable, settings, other));
        let Some(dropped) = outbound.drop_oldest(may) else {
            return;
        };
        *left -= 1;
        core.work.add(1);
        drop_done(core, key, dropped, DropReason::OverflowOldest, now);
    }
}

/// Drops the messages of a lane that have a newer one on their topic.
fn drop_superseded(core: &mut Core, key: SessionKey, lane: Lane, now: Time) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let (ids, all) = session.outbound.drop_superseded(lane);
    // To take them out of the queue costs little each; the store is told in pieces.
    let looks = usize::try_from(all.messages).unwrap_or(usize::MAX) / SWEPT;
    core.work.add(1 + looks);
    core.ledger.disown(session.id, ids);
    if all.messages > 0 {
        let lost = (all.messages, all.bytes);
        drop_message(core, key, lane, DropReason::OverflowTopic, lost, now);
    }
}

/// Drops what a queue holds beyond its bounds, which may be tighter than when it was filled: at most `most`
/// messages one by one. True if that was enough.
pub(crate) fn trim(core: &mut Core, key: SessionKey, most: usize, now: Time) -> bool {
    let session = core.sessions.get(key);
    let Some(lanes) = session.map(|session| session.outbound.lanes()) else {
        return true;
    };
    let mut left = most;
    for lane in lanes.into_iter().map(Some).chain([None]) {
        clear(core, key, lane, (Amount::default(), &mut left), now);
    }
    left > 0
}

/// Notes whether messages for a session must be told apart by topic.
pub(crate) fn note_policy(core: &mut Core, key: SessionKey) {
    let Core {
        sessions, settings, ..
    } = core;
    let Some(session) = sessions.known_mut(key) else {
        return;
    };
    let latest = |lane| policy_of(session, settings, lane) == Overflow::LatestPerTopic;
    let mut lines = session.bridge().into_iter().flat_map(|end| end.lines());
    let by_topic = latest(Lane::Client) || lines.any(|(line, _)| latest(Lane::Bridge(line)));
    drop(lines);
    let is_durable = session.is_durable();
    let changed = session.set_by_topic(by_topic) && is_durable;
    if changed {
        sessions.unsave_state(key);
    }
}
