//! The bounds of queues: what is refused, what is dropped to make room, what grows too old.
//!
//! Two bounds hold for a message: that of the line it came by, which counts the messages of that
//! line, and that of the client, which counts all. Which messages go is decided line by line: a
//! message is only ever dropped by the policy of its own line, so an alarm that must be refused
//! rather than lost does not make way for telemetry.

use std::time::Duration;

use super::deliver::Full;
use super::session::Session;
use super::uplink::Uplink;
use super::{Broker, DropReason, OUTBOX_LIMIT};
use crate::config::{Bounds, Overflow};
use crate::message::{Message, MessageId};
use crate::session::{Dropped, Entry};
use crate::store::Amount;
use crate::time::Time;

/// How often to look for messages that are too old, at most.
const PURGE: Duration = Duration::from_secs(5);
/// How soon to look again when there were more than one look drops.
const PURGE_ON: Duration = Duration::from_secs(1);
/// How many of them one look drops, at most: devices wait meanwhile.
const PURGE_MESSAGES: usize = 10_000;

/// The policy for the messages of one line.
fn policy(uplink: Option<&Uplink>, general: Overflow, mapping: u16) -> Overflow {
    let line = uplink.and_then(|uplink| uplink.line(mapping));
    line.and_then(|line| line.overflow).unwrap_or(general)
}

/// Whether messages of such a line may be dropped to make room.
fn makes_way(policy: Overflow) -> bool {
    matches!(policy, Overflow::Oldest | Overflow::LatestPerTopic)
}

/// Whether a queue may hold `more`.
fn admits(bounds: Bounds, owed: Amount, more: Amount) -> bool {
    (bounds.bytes == 0 || owed.bytes + more.bytes <= bounds.bytes)
        && (bounds.messages == 0 || owed.messages + more.messages <= bounds.messages)
}

/// One message of `size` bytes.
fn one(size: u32) -> Amount {
    Amount {
        messages: 1,
        bytes: size.into(),
    }
}

impl Broker {
    fn policy(&self, session: &Session, mapping: u16) -> Overflow {
        let uplink = session.uplink.as_deref();
        policy(uplink, self.settings.queue_overflow, mapping)
    }

    /// What a session, or one of its lines, is owed, and its bound.
    fn bounds(&self, session: &Session, line: Option<u16>) -> (Amount, Bounds) {
        let queue = &session.outbound;
        let Some(mapping) = line else {
            let owed = Amount {
                messages: queue.len(),
                bytes: queue.bytes(),
            };
            return (owed, self.general_bounds());
        };
        let line = session.uplink.as_ref().and_then(|u| u.line(mapping));
        let bounds = line.map_or(Bounds::default(), |line| line.bounds);
        (queue.owed_by(mapping), bounds)
    }

    /// True if a session, or one of its lines, may be owed `more`.
    fn admits(&self, session: &Session, line: Option<u16>, more: Amount) -> bool {
        let (owed, bounds) = self.bounds(session, line);
        admits(bounds, owed, more)
    }

    fn fits(&self, session: &Session, mapping: u16, more: Amount) -> bool {
        !session.is_durable()
            || (self.admits(session, None, more)
                && (mapping == 0 || self.admits(session, Some(mapping), more)))
    }

    /// True if the queue of a session has room for a message of `size` bytes.
    pub(super) fn has_room(&self, session: &Session, mapping: u16, size: u32) -> bool {
        self.fits(session, mapping, one(size))
    }

    /// True if the queue of a session has no room for a message of `size` bytes, and is to refuse
    /// rather than to drop.
    pub(super) fn refuses(&self, session: &Session, mapping: u16, size: u32) -> bool {
        !self.fits(session, mapping, one(size)) && self.policy(session, mapping) == Overflow::Refuse
    }

    /// Makes room for a message in the queue of a session by dropping others, as far as it must.
    /// False if the message itself was dropped.
    pub(super) fn make_room(
        &mut self,
        index: usize,
        mapping: u16,
        message: &Message,
        now: Time,
    ) -> bool {
        let more = one(message.size());
        let Some(session) = self.sessions.get(index) else {
            return false;
        };
        if self.fits(session, mapping, more) {
            return true;
        }
        let policy = self.policy(session, mapping);
        let helps = |line| self.can_admit(session, line, more);
        let reason = match policy {
            Overflow::Refuse => DropReason::QueueFull,
            Overflow::Newest => DropReason::OverflowNewest,
            _ if !helps(Some(mapping)) || !helps(None) => DropReason::OverflowNewest,
            Overflow::Oldest | Overflow::LatestPerTopic => {
                if let Some(session) = self.sessions.get_mut(index)
                    && policy == Overflow::LatestPerTopic
                {
                    session.outbound.outdate(mapping, message.topic());
                }
                self.clear(index, Some(mapping), more, now);
                self.clear(index, None, more, now);
                return true;
            }
        };
        self.drop_message(index, mapping, reason, (1, more.bytes), now);
        false
    }

    /// True if `line`, or the whole queue, could admit `more` once all that may be dropped was.
    fn can_admit(&self, session: &Session, line: Option<u16>, more: Amount) -> bool {
        let (mut owed, bounds) = self.bounds(session, line);
        let unsent = session.outbound.unsent(|mapping| {
            let ours = line.is_none_or(|line| line == mapping);
            ours && makes_way(self.policy(session, mapping))
        });
        owed.take(unsent.messages, unsent.bytes);
        admits(bounds, owed, more)
    }

    /// Drops messages of `line`, or of all lines that may lose some, until `more` is admitted or
    /// there are none left.
    fn clear(&mut self, index: usize, line: Option<u16>, more: Amount, now: Time) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        if self.admits(session, line, more) {
            return;
        }
        for mapping in session.outbound.mappings() {
            let Some(session) = self.sessions.get(index) else {
                return;
            };
            let latest = self.policy(session, mapping) == Overflow::LatestPerTopic;
            if latest && line.is_none_or(|line| line == mapping) {
                self.drop_superseded(index, mapping, now);
            }
        }
        let general = self.settings.queue_overflow;
        while let Some(session) = self.sessions.get(index)
            && !self.admits(session, line, more)
        {
            let Some(Session {
                outbound, uplink, ..
            }) = self.sessions.get_mut(index)
            else {
                return;
            };
            let may = |mapping| {
                let ours = line.is_none_or(|line| line == mapping);
                ours && makes_way(policy(uplink.as_deref(), general, mapping))
            };
            let Some(dropped) = outbound.drop_oldest(may) else {
                return;
            };
            self.dropped(index, dropped, DropReason::OverflowOldest, now);
        }
    }

    /// Drops the messages of a line that have a newer one on their topic.
    fn drop_superseded(&mut self, index: usize, mapping: u16, now: Time) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let id = session.id;
        let (ids, bytes) = session.outbound.drop_superseded(mapping);
        for message in &ids {
            self.store.ack(*message, id, now);
        }
        if !ids.is_empty() {
            let lost = (ids.len() as u64, bytes);
            self.drop_message(index, mapping, DropReason::OverflowTopic, lost, now);
        }
    }

    /// A message left the queue unsent: the store need not keep it for this session.
    fn dropped(&mut self, index: usize, dropped: Dropped, reason: DropReason, now: Time) {
        let id: Option<MessageId> = dropped.id;
        if let (Some(id), Some(session)) = (id, self.sessions.get(index)) {
            // Where others are owed it too, the cursor tells that this one is not, in time.
            self.store.ack(id, session.id, now);
        }
        let lost = (1, dropped.size.into());
        self.drop_message(index, dropped.mapping, reason, lost, now);
    }

    /// Drops what a queue holds beyond its bounds: they may be tighter than when it was filled.
    pub(super) fn trim(&mut self, index: usize, now: Time) {
        let mappings = match self.sessions.get(index) {
            Some(session) if session.is_durable() => session.outbound.mappings(),
            _ => return,
        };
        for mapping in mappings {
            self.clear(index, Some(mapping), Amount::default(), now);
        }
        self.clear(index, None, Amount::default(), now);
    }

    /// True if a queue that is RAM takes nothing more.
    pub(super) fn is_full_in_ram(&self, session: &Session) -> bool {
        let limit = self.settings.max_queued_messages;
        let queue = &session.outbound;
        let full = limit > 0 && queue.ready() as u64 >= limit;
        full || queue.ready_bytes() > OUTBOX_LIMIT
    }

    /// Makes room in a queue that is RAM, which has bounds of its own. False if the message
    /// itself was dropped.
    pub(super) fn make_room_in_ram(
        &mut self,
        index: usize,
        mapping: u16,
        message: &Message,
        now: Time,
    ) -> bool {
        while let Some(session) = self.sessions.get(index) {
            if !self.is_full_in_ram(session) {
                return true;
            }
            let drops = !session.is_durable() && makes_way(self.policy(session, mapping));
            let oldest = match self.sessions.get_mut(index) {
                Some(session) if drops => session.outbound.drop_oldest(|_| true),
                _ => None,
            };
            let Some(oldest) = oldest else {
                let lost = (1, u64::from(message.size()));
                self.drop_message(index, mapping, DropReason::Slow, lost, now);
                return false;
            };
            self.dropped(index, oldest, DropReason::OverflowOldest, now);
        }
        false
    }

    /// A message found the queue `full`, and there is nobody to refuse it to.
    pub(super) fn drop_unrefused(&mut self, full: Full, message: &Message, now: Time) {
        let lost = (1, u64::from(message.size()));
        let reason = DropReason::QueueFull;
        match full.session {
            Some(session) => self.drop_message(session, full.mapping, reason, lost, now),
            None => self.counters.count_dropped(reason, 1),
        }
    }

    /// Counts an entry of a queue that is not to be sent.
    pub(super) fn drop_entry(
        &mut self,
        index: usize,
        entry: &Entry,
        reason: DropReason,
        now: Time,
    ) {
        let lost = (1, u64::from(entry.message.size()));
        self.drop_message(index, entry.mapping, reason, lost, now);
    }

    /// A message was queued: it counts for the rate, and may grow too old.
    pub(super) fn note_queued(&mut self, index: usize, mapping: u16, size: u32, now: Time) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let offline = session.conn.is_none() && session.is_durable();
        let Some(uplink) = &mut session.uplink else {
            return;
        };
        let changed = uplink.rate.add(size.into(), now);
        let ttl = uplink.line(mapping).and_then(|line| line.ttl);
        if let Some(at) = ttl.map(|ttl| now + ttl)
            && self.purge_due.is_none_or(|due| due > at)
        {
            self.purge_due = Some(at);
            self.wheel.wake(at);
        }
        if changed {
            self.tell_rate(index, now);
        }
        if changed && offline {
            // With the message's own commit; an uplink that is up may need none.
            self.unsave_state(index);
        }
    }

    /// Whether a message is too old to be sent: by its own expiry [MQTT-3.3.2-5], or for its line.
    /// One that was sent before is sent again whatever its age [MQTT-4.4.0-1].
    pub(super) fn is_too_old(&self, index: usize, entry: &Entry, now: Time) -> bool {
        let uplink = self.sessions.get(index).and_then(|s| s.uplink.as_ref());
        let ttl = uplink.and_then(|uplink| uplink.line(entry.mapping)?.ttl);
        let aged = ttl.is_some_and(|ttl| entry.message.arrival + ttl <= now);
        !entry.dup && (aged || entry.message.expired(now))
    }

    /// Drops what has grown too old for its line, from disk too.
    pub(super) fn purge(&mut self, now: Time) {
        if self.purge_due.is_none_or(|due| due > now) {
            return;
        }
        let (mut next, mut busy): (Option<Time>, bool) = (None, false);
        for index in self.bridges.clone() {
            let uplink = self.sessions.get(index).and_then(|s| s.uplink.as_ref());
            let lines: Vec<(u16, Duration)> = uplink
                .into_iter()
                .flat_map(|uplink| uplink.lines())
                .filter_map(|(mapping, line)| Some((mapping, line.ttl?)))
                .collect();
            for (mapping, ttl) in lines {
                busy |= self.purge_line(index, mapping, ttl, now);
                let queue = self.sessions.get(index).map(|s| &s.outbound);
                let arrival = queue.and_then(|queue| queue.next_arrival(mapping));
                let due = arrival.map(|arrival| arrival + ttl);
                next = next.into_iter().chain(due).min();
            }
        }
        let wait = if busy { PURGE_ON } else { PURGE };
        self.purge_due = next.map(|at| at.max(now + wait));
        if let Some(at) = self.purge_due {
            self.wheel.wake(at);
        }
    }

    /// True if there is more to drop.
    fn purge_line(&mut self, index: usize, mapping: u16, ttl: Duration, now: Time) -> bool {
        for _ in 0..PURGE_MESSAGES {
            let session = self.sessions.get_mut(index);
            let dropped = session.and_then(|s| s.outbound.drop_arrived_by(mapping, now - ttl));
            let Some(dropped) = dropped else {
                return false;
            };
            self.dropped(index, dropped, DropReason::Expired, now);
        }
        true
    }

    /// Notes whether messages for a session must be told apart by topic.
    pub(super) fn heed_policy(&mut self, index: usize) {
        let general = self.settings.queue_overflow;
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let uplink = session.uplink.as_deref();
        let latest = |mapping| policy(uplink, general, mapping) == Overflow::LatestPerTopic;
        let lines = |uplink: &Uplink| uplink.lines().any(|(mapping, _)| latest(mapping));
        let by_topic = latest(0) || uplink.is_some_and(lines);
        let changed = session.is_durable() && session.by_topic != by_topic;
        session.by_topic = by_topic;
        if changed {
            self.unsave_state(index);
        }
    }
}
