//! Whether a message fits into the queue of a session, and what happens if not.
//!
//! Two bounds hold for a message: that of its lane, which counts the messages of that lane, and
//! that of the client, which counts all. Which messages go is decided lane by lane: a message is
//! only ever dropped by the policy of its own lane, so an alarm that must be refused rather than
//! lost does not make way for telemetry.

use super::drops::{drop_done, drop_message, note_lost};
use crate::bridge::LocalEnd;
use crate::broker::connections::OUTBOX_LIMIT;
use crate::broker::core::Core;
use crate::broker::plan::Admission;
use crate::broker::sessions::{DropReason, Session};
use crate::broker::settings::Settings;
use crate::config::{Bounds, Overflow};
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::message::Message;
use crate::store::Amount;
use crate::time::Time;

/// The policy for the messages of one lane; `end`: of a bridge's queue.
fn policy(end: Option<&LocalEnd>, settings: &Settings, lane: Lane) -> Overflow {
    let line = end.and_then(|end| end.line(lane));
    let general = settings.general.queue_overflow;
    line.and_then(|line| line.overflow).unwrap_or(general)
}

/// Whether messages of such a lane may be dropped to make room.
fn makes_way(policy: Overflow) -> bool {
    matches!(policy, Overflow::Oldest | Overflow::LatestPerTopic)
}

/// Whether a queue may hold `more`.
fn admits(bounds: Bounds, owed: Amount, more: Amount) -> bool {
    (bounds.bytes == 0 || owed.bytes + more.bytes <= bounds.bytes)
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
}

impl Bounded<'_> {
    fn policy(&self, lane: Lane) -> Overflow {
        policy(self.session.bridge(), self.settings, lane)
    }

    /// What is owed in one lane, or in all, and its bound.
    fn bounds(&self, lane: Option<Lane>) -> (Amount, Bounds) {
        let queue = &self.session.outbound;
        let Some(lane) = lane else {
            let owed = Amount {
                messages: queue.len(),
                bytes: queue.bytes(),
            };
            return (owed, self.settings.bounds());
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
        let unsent = self
            .session
            .outbound
            .unsent(|other| lane.is_none_or(|lane| lane == other) && makes_way(self.policy(other)));
        owed.take(unsent.messages, unsent.bytes);
        admits(bounds, owed, more)
    }
}

/// Whether a message fits into a lane of a session's queue, and what is to happen if not. `more` is
/// the message, with those copies of it that come before it and are not queued yet. A queue that lives in RAM has bounds of its own ([`make_room_in_ram`]).
pub(crate) fn admission(
    session: &Session,
    settings: &Settings,
    lane: Lane,
    more: Amount,
) -> Admission {
    let queue = Bounded { session, settings };
    if !session.is_durable() || queue.fits(lane, more) {
        return Admission::Fits;
    }
    match queue.policy(lane) {
        Overflow::Refuse => Admission::Refused,
        Overflow::Newest => Admission::Dropped(DropReason::OverflowNewest),
        Overflow::Oldest | Overflow::LatestPerTopic => {
            let helps = queue.can_admit(Some(lane), more) && queue.can_admit(None, more);
            if helps {
                Admission::MakesRoom(more)
            } else {
                Admission::Dropped(DropReason::OverflowNewest)
            }
        }
    }
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
        && policy(session.bridge(), settings, lane) == Overflow::LatestPerTopic
    {
        session.outbound.outdate(lane, message.topic());
    }
    clear(core, key, Some(lane), more, now);
    clear(core, key, None, more, now);
}

/// Drops messages of `lane`, or of all lanes that may lose some, until `more` is admitted or there
/// are none left.
fn clear(core: &mut Core, key: SessionKey, lane: Option<Lane>, more: Amount, now: Time) {
    let bounded = |core: &Core| -> Option<bool> {
        let (session, settings) = (core.sessions.get(key)?, &core.settings);
        Some(Bounded { session, settings }.admits(lane, more))
    };
    if bounded(core) != Some(false) {
        return;
    }
    let is_ours = |other: Lane| lane.is_none_or(|lane| lane == other);
    let lanes = core.sessions.get(key).map(|s| s.outbound.lanes());
    for other in lanes.into_iter().flatten().filter(|other| is_ours(*other)) {
        let (session, settings) = (core.sessions.get(key), &core.settings);
        let policy = session.map(|session| Bounded { session, settings }.policy(other));
        if policy == Some(Overflow::LatestPerTopic) {
            drop_superseded(core, key, other, now);
        }
    }
    while bounded(core) == Some(false) {
        let Core {
            sessions, settings, ..
        } = &mut *core;
        let Some(session) = sessions.known_mut(key) else {
            return;
        };
        let Session { outbound, role, .. } = session;
        let end = role.bridge();
        let may = |other| is_ours(other) && makes_way(policy(end, settings, other));
        let Some(dropped) = outbound.drop_oldest(may) else {
            return;
        };
        drop_done(core, key, dropped, DropReason::OverflowOldest, now);
    }
}

/// Drops the messages of a lane that have a newer one on their topic.
fn drop_superseded(core: &mut Core, key: SessionKey, lane: Lane, now: Time) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let (ids, bytes) = session.outbound.drop_superseded(lane);
    for id in &ids {
        core.ledger.ack(*id, session.id, now);
    }
    if !ids.is_empty() {
        let lost = (ids.len() as u64, bytes);
        drop_message(core, key, lane, DropReason::OverflowTopic, lost, now);
    }
}

/// Drops what a queue holds beyond its bounds: they may be tighter than when it was filled.
pub(crate) fn trim(core: &mut Core, key: SessionKey, now: Time) {
    let session = core.sessions.get(key).filter(|s| s.is_durable());
    let Some(lanes) = session.map(|session| session.outbound.lanes()) else {
        return;
    };
    for lane in lanes {
        clear(core, key, Some(lane), Amount::default(), now);
    }
    clear(core, key, None, Amount::default(), now);
}

/// True if a queue that is RAM takes nothing more.
pub(crate) fn is_full_in_ram(session: &Session, settings: &Settings) -> bool {
    let limit = settings.general.max_queued_messages;
    let queue = &session.outbound;
    let full = limit > 0 && queue.ready() as u64 >= limit;
    full || queue.ready_bytes() > OUTBOX_LIMIT
}

/// Makes room in a queue that is RAM, which has bounds of its own. False if the message itself was
/// dropped.
pub(crate) fn make_room_in_ram(
    core: &mut Core,
    key: SessionKey,
    lane: Lane,
    message: &Message,
    now: Time,
) -> bool {
    loop {
        let Core {
            sessions, settings, ..
        } = &mut *core;
        let Some(session) = sessions.known_mut(key) else {
            return false;
        };
        if !is_full_in_ram(session, settings) {
            return true;
        }
        let drops = !session.is_durable() && makes_way(Bounded { session, settings }.policy(lane));
        let oldest = if drops {
            session.outbound.drop_oldest(|_| true)
        } else {
            None
        };
        let Some(oldest) = oldest else {
            let lost = (1, message.size().into());
            drop_message(core, key, lane, DropReason::Slow, lost, now);
            if message.retain {
                note_lost(core, key, (message.arrival, message.arrival));
            }
            return false;
        };
        drop_done(core, key, oldest, DropReason::OverflowOldest, now);
    }
}

/// Notes whether messages for a session must be told apart by topic.
pub(crate) fn note_policy(core: &mut Core, key: SessionKey) {
    let Core {
        sessions, settings, ..
    } = core;
    let Some(session) = sessions.known_mut(key) else {
        return;
    };
    let queue = Bounded { session, settings };
    let latest = |lane| queue.policy(lane) == Overflow::LatestPerTopic;
    let mut lines = session.bridge().into_iter().flat_map(|end| end.lines());
    let by_topic = latest(Lane::Client) || lines.any(|(line, _)| latest(Lane::Bridge(line)));
    drop(lines);
    let changed = session.is_durable() && session.by_topic != by_topic;
    session.by_topic = by_topic;
    if changed {
        sessions.unsave_state(key);
    }
}
