//! `memory_limit`: how much may be held of what peers can make grow, and what holds when little is
//! left.
//!
//! At three quarters of the limit little that is new comes in: plain sessions with a few subscriptions,
//! so that clients can come back, but nothing large and no retained values; queues in memory stay
//! small. At nine tenths nothing does, they stay as they are, and whoever holds most goes
//! (`ending::relief`). What makes room always goes.

use std::collections::HashMap;
use std::time::Duration;

use crate::held::{self, Charge, HALF_PACKETS, STORE};
use crate::keys::ConnId;
use crate::message::Message;
use crate::time::Time;

/// Messages that wait in one connection's outbox, in bytes, beyond which no more are moved there when
/// little memory is left, and when next to none is.
const OUTBOX: (usize, usize) = (16 * 1024, 4 * 1024);
/// The part of `memory_limit` that may wait for one peer that keeps up when little is left, in its outbox
/// or its queue: two of them don't fill what is left up to nine tenths.
const READER: u64 = 16;
/// A retained value of this size may always take the place of another.
const SMALL_VALUE: u32 = 128;
/// A queue in memory may hold so many bytes also when little is left, at most and at least.
const QUEUE: (u64, u64) = (32 * 1024, 1024);
/// That messages are not retained is told once in this time.
const UNRETAINED_TOLD: Duration = Duration::from_secs(3600);
/// How soon to look again for who holds most: once some have gone, whose memory comes back in pieces,
/// and if nobody held much.
const RELIEF_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How much is taken, and what of it is told from outside.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Packets that have come in half.
    half_packets: Charge<HALF_PACKETS>,
    /// What they take of each connection, while next to no memory is left.
    half_packet_of: HashMap<ConnId, usize>,
    /// The store, where it is memory.
    stored: Charge<STORE>,
    /// How much is taken.
    state: Tightness,
    /// The same, as the log has it.
    told: Tightness,
    /// It was told that a message is not retained: until then it need not be told again.
    unretained_until: Time,
    /// Until then it is of no use to look for who holds most.
    relief_at: Time,
}

/// How much of `memory_limit` is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Tightness {
    /// Not three quarters, or there is no limit.
    #[default]
    None,
    /// More than that.
    Tight,
    /// More than nine tenths.
    Full,
}

impl Memory {
    /// What half packets take.
    pub(crate) fn set_half_packets(&mut self, bytes: usize) {
        self.half_packets.set(bytes);
    }

    /// What the half packet of each connection takes.
    pub(crate) fn set_half_packet_of(&mut self, each: HashMap<ConnId, usize>) {
        self.half_packet_of = each;
    }

    /// What the half packet of a connection takes, while next to no memory is left.
    pub(crate) fn half_packet(&self, c: ConnId) -> usize {
        self.half_packet_of.get(&c).copied().unwrap_or_default()
    }

    pub(crate) fn set_stored_bytes(&mut self, bytes: u64) {
        self.stored
            .set(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// What `memory_limit` counts, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        held::all()
    }

    /// Looks how much of `limit` is taken, and tells when that has changed.
    pub(crate) fn look(&mut self, limit: Option<u64>) {
        self.state = self.tightness(limit);
        let mut now = self.state;
        if now < self.told {
            // Some way back, or the log would tell of each message around the limit.
            let eased = limit.map(|limit| limit / 8 * 7);
            now = self.tightness(eased).min(self.told);
        }
        let before = std::mem::replace(&mut self.told, now);
        if before == now {
            return;
        }
        match now {
            Tightness::Full => log::warn!(
                "Nine tenths of memory_limit are taken: nothing new comes in, no queue in memory grows, \
                 and who holds most is disconnected, or its session ended. {Parts}."
            ),
            Tightness::Tight => log::warn!(
                "Three quarters of memory_limit are taken: more than a few new subscriptions of a \
                 client, large wills and new retained values are refused, queues in memory stay small, \
                 and queue_overflow says what goes. {Parts}."
            ),
            Tightness::None => log::info!("Less than three quarters of memory_limit are taken."),
        }
    }

    /// How much of `limit` is taken.
    pub(crate) fn tightness(&self, limit: Option<u64>) -> Tightness {
        let Some(limit) = limit else {
            return Tightness::None;
        };
        match self.bytes() {
            bytes if bytes > limit / 10 * 9 => Tightness::Full,
            bytes if bytes > limit / 4 * 3 => Tightness::Tight,
            _ => Tightness::None,
        }
    }

    /// How much was taken at the last [`look`](Memory::look).
    pub(crate) fn state(&self) -> Tightness {
        self.state
    }

    /// True if `message` may be retained where `old` is, as of the last [`look`](Memory::look);
    /// `retained`: what all retained values take, which may be half of `limit`: else they alone could
    /// keep everybody out. What makes room always goes, and so does what the broker itself has to say.
    pub(crate) fn admits(
        &self,
        message: &Message,
        old: Option<&Message>,
        (retained, limit): (u64, Option<u64>),
    ) -> bool {
        let is_short = self.state != Tightness::None || limit.is_some_and(|l| retained > l / 2);
        !is_short || always_admits(message, old)
    }

    /// True if it is to be told that a message is not retained: it is the first for a while.
    pub(crate) fn tells_unretained(&mut self, now: Time) -> bool {
        let tells = self.unretained_until <= now;
        if tells {
            self.unretained_until = now + UNRETAINED_TOLD;
        }
        tells
    }

    /// Bytes beyond which no message is moved from a queue to an outbox that more wait before; `None` is
    /// what holds where there is memory.
    pub(crate) fn outbox_bound(&self) -> Option<usize> {
        match self.state {
            Tightness::None => None,
            Tightness::Tight => Some(OUTBOX.0),
            Tightness::Full => Some(OUTBOX.1),
        }
    }

    /// Bytes that may wait in the outbox of a connection before a message that has no queue is dropped;
    /// `None` is what holds where there is memory. A peer that is not `is_blocked` has not had the time to
    /// read what was put there in this turn.
    pub(crate) fn unqueued_bound(&self, limit: Option<u64>, is_blocked: bool) -> Option<usize> {
        match self.state {
            _ if is_blocked => self.outbox_bound(),
            Tightness::None => None,
            Tightness::Tight => limit.map(|l| usize::try_from(l / READER).unwrap_or(usize::MAX)),
            Tightness::Full => Some(OUTBOX.0),
        }
    }

    /// How much of a queue may lie in memory that weighs `queued` now, in bytes, with so many
    /// `sessions`; `keeps_up`: its reader takes and acknowledges what it is sent. `None` is no limit.
    pub(crate) fn queue_bound(
        &self,
        limit: Option<u64>,
        sessions: usize,
        queued: u64,
        keeps_up: bool,
    ) -> Option<u64> {
        let limit = limit?;
        // What the queues may take together between three quarters and nine tenths.
        let share = limit / 8 / (sessions as u64).max(1);
        Some(match self.tightness(Some(limit)) {
            Tightness::None => (limit / 4).max(QUEUE.0),
            Tightness::Tight if keeps_up => queued.max((limit / READER).max(QUEUE.1)),
            Tightness::Tight => queued.max(share.clamp(QUEUE.1, QUEUE.0)),
            Tightness::Full => queued.max(1),
        })
    }

    /// True if it is time to look for who holds most.
    pub(crate) fn wants_relief(&self, now: Time) -> bool {
        self.state == Tightness::Full && self.relief_at <= now
    }

    /// Those who hold most have been looked for, and `helped` is whether some have gone.
    pub(crate) fn pause_relief(&mut self, helped: bool, now: Time) {
        let (after_some, after_none) = RELIEF_PAUSE;
        self.relief_at = now + if helped { after_some } else { after_none };
    }
}

/// True if `message` may be retained where `old` is, whatever all take: it deletes, replaces a value that
/// is no smaller, is small, or comes from the broker itself.
pub(crate) fn always_admits(message: &Message, old: Option<&Message>) -> bool {
    let deletes = message.retain && message.payload().is_empty();
    let fits = |old: &Message| message.size() <= old.size().max(SMALL_VALUE);
    deletes || message.origin.client_id().is_empty() || old.is_some_and(fits)
}

/// What the parts take, in words.
struct Parts;

impl std::fmt::Display for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KB by part:")?;
        for (name, bytes) in held::parts() {
            write!(f, " {name} {}", bytes / 1024)?;
        }
        Ok(())
    }
}
