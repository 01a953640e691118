//! Every message that is dropped: counted for the broker, for its receiver and for the line it
//! came by, and told in the log once.

use std::time::Duration;

use super::session::Session;
use super::{Broker, report};
use crate::message::SessionId;
use crate::route::is_share;
use crate::store::DropRecord;
use crate::time::Time;

/// Rows of a session's table; reasons of further lines are counted without their line.
const MOST: usize = 256;
/// The first summary in the log comes so long after the first drop; the next ones twice as late
/// each.
const FIRST_SUMMARY: Duration = Duration::from_secs(60);
/// The longest time between two summaries.
const LAST_SUMMARY: Duration = Duration::from_secs(3600);
/// A table that has changed is written to disk so long after; one that keeps changing twice as
/// late each time, up to [`LAST_SAVE`].
const FIRST_SAVE: Duration = Duration::from_secs(1);
/// How much of the account a crash may cost, at most.
const LAST_SAVE: Duration = Duration::from_secs(60);

/// Why a message was dropped. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum DropReason {
    /// The queue was full, and there was nobody to refuse it to.
    QueueFull = 0,
    /// The queue was full: the oldest went.
    OverflowOldest = 1,
    /// The queue was full: the newest, or one that could never fit, was dropped.
    OverflowNewest = 2,
    /// The queue was full: there was a newer message on its topic.
    OverflowTopic = 3,
    /// It was too old (5.0 §3.3.2.3.3, or the `ttl` of its line).
    Expired = 4,
    /// It is larger than the receiver takes [MQTT-3.1.2-24], or than `message_size_limit`.
    TooLarge = 5,
    /// The receiver refused it.
    Refused = 6,
    /// Its row was damaged on disk.
    Damaged = 7,
    /// The receiver is connected and too far behind.
    Slow = 8,
    /// The session it was queued for ended.
    SessionEnded = 9,
}

impl DropReason {
    /// All of them, by number.
    pub const ALL: [DropReason; 10] = [
        DropReason::QueueFull,
        DropReason::OverflowOldest,
        DropReason::OverflowNewest,
        DropReason::OverflowTopic,
        DropReason::Expired,
        DropReason::TooLarge,
        DropReason::Refused,
        DropReason::Damaged,
        DropReason::Slow,
        DropReason::SessionEnded,
    ];

    /// The name in `$SYS`.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue-full",
            DropReason::OverflowOldest => "overflow-oldest",
            DropReason::OverflowNewest => "overflow-newest",
            DropReason::OverflowTopic => "overflow-topic",
            DropReason::Expired => "expired",
            DropReason::TooLarge => "too-large",
            DropReason::Refused => "refused",
            DropReason::Damaged => "damaged",
            DropReason::Slow => "slow",
            DropReason::SessionEnded => "session-ended",
        }
    }

    /// The reason in the log.
    fn words(self) -> &'static str {
        match self {
            DropReason::QueueFull => "the queue is full, and there is no publisher to refuse it to",
            DropReason::OverflowOldest => "the queue is full, and the oldest go",
            DropReason::OverflowNewest => "the queue is full, and the newest is not taken",
            DropReason::OverflowTopic => "the queue is full, and there is a newer one on the topic",
            DropReason::Expired => "too old",
            DropReason::TooLarge => "too large",
            DropReason::Refused => "the receiver refused it",
            DropReason::Damaged => "damaged on disk",
            DropReason::Slow => "the receiver is too slow",
            DropReason::SessionEnded => "the session ended",
        }
    }

    fn level(self) -> log::Level {
        match self {
            DropReason::Damaged => log::Level::Error,
            DropReason::SessionEnded => log::Level::Info,
            _ => log::Level::Warn,
        }
    }
}

/// What was dropped of one line for one reason, and what of it the log has.
#[derive(Clone, Debug)]
struct Row {
    record: DropRecord,
    /// Messages and bytes since the last line in the log.
    untold: (u64, u64),
    /// When the log may have the next line.
    tell_at: Time,
    /// How long after that the one after it.
    wait: Duration,
}

/// A session's table.
#[derive(Clone, Debug, Default)]
pub(super) struct Drops {
    rows: Vec<Row>,
    /// Not written yet.
    unsaved: bool,
    save_at: Time,
    save_wait: Duration,
    /// In the broker's list of sessions that drop.
    watched: bool,
}

impl Drops {
    /// The table as the store has it.
    pub fn restore(records: &[DropRecord]) -> Option<Box<Drops>> {
        let row = |record: &DropRecord| Row {
            record: *record,
            untold: (0, 0),
            tell_at: Time::ZERO,
            wait: FIRST_SUMMARY,
        };
        let drops = Drops {
            rows: records.iter().take(MOST).map(row).collect(),
            ..Drops::default()
        };
        (!drops.rows.is_empty()).then(|| Box::new(drops))
    }

    /// The rows.
    pub fn records(&self) -> impl Iterator<Item = &DropRecord> {
        self.rows.iter().map(|row| &row.record)
    }

    /// All of one line, or of all, as one row with the last reason.
    pub fn sum(&self, mapping: Option<u16>) -> Option<DropRecord> {
        let records = self.records();
        let of_line = records.filter(|r| mapping.is_none_or(|m| m == r.mapping));
        of_line.copied().reduce(|a, b| {
            let newer = if b.last >= a.last { b } else { a };
            DropRecord {
                messages: a.messages + b.messages,
                bytes: a.bytes + b.bytes,
                first: a.first.min(b.first),
                ..newer
            }
        })
    }

    /// Counts; true if it is the first of its kind since the start.
    fn count(&mut self, dropped: &DropRecord) -> bool {
        let same = |row: &Row, mapping| {
            (row.record.mapping, row.record.reason) == (mapping, dropped.reason)
        };
        let mapping = match self.rows.len() < MOST {
            true => dropped.mapping,
            false if self.rows.iter().any(|row| same(row, dropped.mapping)) => dropped.mapping,
            false => 0,
        };
        if !self.unsaved && self.save_at + self.save_wait <= dropped.last {
            self.save_wait = FIRST_SAVE;
            self.save_at = dropped.last + FIRST_SAVE;
        }
        self.unsaved = true;
        let Some(row) = self.rows.iter_mut().find(|row| same(row, mapping)) else {
            self.rows.push(Row {
                record: DropRecord {
                    mapping,
                    ..*dropped
                },
                untold: (0, 0),
                tell_at: dropped.first + FIRST_SUMMARY,
                wait: FIRST_SUMMARY,
            });
            return true;
        };
        row.record.messages += dropped.messages;
        row.record.bytes += dropped.bytes;
        row.record.last = row.record.last.max(dropped.last);
        if row.tell_at == Time::ZERO {
            // Restored: the log of this run has nothing yet.
            row.tell_at = dropped.first + FIRST_SUMMARY;
            return true;
        }
        row.untold.0 += dropped.messages;
        row.untold.1 += dropped.bytes;
        false
    }

    /// The rows that are due for a line in the log.
    fn due(&mut self, now: Time) -> impl Iterator<Item = &mut Row> {
        let due = move |row: &&mut Row| row.untold.0 > 0 && row.tell_at <= now;
        self.rows.iter_mut().filter(due)
    }

    /// When there is something to tell or to save.
    fn next(&self) -> Option<Time> {
        let told = self.rows.iter().filter(|row| row.untold.0 > 0);
        let tell = told.map(|row| row.tell_at).min();
        let save = self.unsaved.then_some(self.save_at);
        tell.into_iter().chain(save).min()
    }
}

impl Session {
    /// Whom a line in the log is about.
    fn called(&self, mapping: u16) -> String {
        let Some(uplink) = &self.uplink else {
            return format!("Client {}", self.client_id());
        };
        match uplink.line(mapping) {
            Some(line) => format!("Bridge {}, topic {}", uplink.name, line.pattern),
            None => format!("Bridge {}", uplink.name),
        }
    }
}

impl Broker {
    /// Counts `messages` with `bytes` that were dropped on their way to a session, and sees to it
    /// that the operator hears of it.
    pub(super) fn drop_message(
        &mut self,
        index: usize,
        mapping: u16,
        reason: DropReason,
        (messages, bytes): (u64, u64),
        now: Time,
    ) {
        self.counters.count_dropped(reason, messages);
        // The number of a share says nothing to anybody.
        let mapping = if is_share(mapping) { 0 } else { mapping };
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let dropped = DropRecord {
            mapping,
            reason: reason as u8,
            messages,
            bytes,
            first: now,
            last: now,
        };
        let drops = session.drops.get_or_insert_default();
        let saved = !drops.unsaved;
        let first = drops.count(&dropped);
        let watched = std::mem::replace(&mut drops.watched, true);
        let id = session.id;
        if first {
            let name = session.called(mapping);
            let words = reason.words();
            log::log!(
                reason.level(),
                "{name}: {} ({}) dropped: {words}. More of them are counted in $SYS.",
                report::messages(messages),
                report::size(bytes)
            );
        }
        if !watched {
            self.dropping.push((index, id));
        } else if !saved {
            return;
        }
        if let Some(at) = self.watch_drops_of(index, id, now) {
            self.wheel.wake(at);
            self.drops_due = Some(self.drops_due.map_or(at, |due| due.min(at)));
        }
    }

    /// Tells and saves what is due of the sessions that drop.
    pub(super) fn watch_drops(&mut self, now: Time) {
        if self.drops_due.is_none_or(|due| due > now) {
            return;
        }
        let mut next: Option<Time> = None;
        for (index, id) in std::mem::take(&mut self.dropping) {
            if let Some(at) = self.watch_drops_of(index, id, now) {
                self.dropping.push((index, id));
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        if let Some(at) = next {
            self.wheel.wake(at);
        }
        self.drops_due = next;
    }

    fn watch_drops_of(&mut self, index: usize, id: SessionId, now: Time) -> Option<Time> {
        let session = self.sessions.get_mut(index).filter(|s| s.id == id)?;
        let durable = session.is_durable();
        let mut lines = Vec::new();
        let drops = session.drops.as_mut()?;
        for row in drops.due(now) {
            lines.push((row.record, row.untold));
            row.untold = (0, 0);
            row.wait = (row.wait * 2).min(LAST_SUMMARY);
            row.tell_at = now + row.wait;
        }
        let save = drops.unsaved && drops.save_at <= now;
        if save {
            drops.unsaved = false;
            drops.save_wait = (drops.save_wait * 2).min(LAST_SAVE);
            drops.save_at = now + drops.save_wait;
        }
        let next = drops.next();
        drops.watched = next.is_some();
        for (record, (messages, bytes)) in lines {
            let name = session.called(record.mapping);
            let reason = DropReason::ALL.get(usize::from(record.reason));
            let words = reason.map_or("for an unknown reason", |reason| reason.words());
            let size = report::size(bytes);
            log::warn!("{name}: {messages} more dropped ({size}): {words}.");
        }
        if save && durable {
            self.unsave_state(index);
            self.store.lazy(now);
        }
        next
    }
}
