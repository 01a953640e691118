//! The account of what was dropped on its way to a session.

use std::time::Duration;

use crate::lane::Lane;
use crate::store::DropRecord;
use crate::time::Time;

/// Rows of a session's account; reasons of further lines are counted without their line.
const MAX_ROWS: usize = 256;
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
    /// The uplink of the bridge was down, or went, and no queue keeps it: QoS 0, or any with
    /// `local_cleansession`.
    Offline = 10,
    /// There were too many dead letters: the oldest went.
    DeadLetters = 11,
    /// No `topic` line of the bridge takes it, or it is not below the mount point.
    NotMapped = 12,
    /// The receiver has lost the right to read it.
    Denied = 13,
    /// The upstream of the bridge sent it as no PUBLISH may be.
    Malformed = 14,
}

impl DropReason {
    /// True if a queue had no room.
    pub fn is_overflow(self) -> bool {
        matches!(
            self,
            DropReason::QueueFull
                | DropReason::OverflowOldest
                | DropReason::OverflowNewest
                | DropReason::OverflowTopic
        )
    }

    /// All of them, by number.
    pub const ALL: [DropReason; 15] = [
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
        DropReason::Offline,
        DropReason::DeadLetters,
        DropReason::NotMapped,
        DropReason::Denied,
        DropReason::Malformed,
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
            DropReason::Offline => "offline",
            DropReason::DeadLetters => "dead-letters",
            DropReason::NotMapped => "not-mapped",
            DropReason::Denied => "denied",
            DropReason::Malformed => "malformed",
        }
    }

    /// The reason in the log.
    pub(crate) fn words(self) -> &'static str {
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
            DropReason::Offline => "the uplink is down, and they are not queued",
            DropReason::DeadLetters => "there are too many dead letters, and the oldest go",
            DropReason::NotMapped => "no topic line takes it",
            DropReason::Denied => "the right to read it is gone",
            DropReason::Malformed => "upstream breaks the protocol with it",
        }
    }

    pub(crate) fn level(self) -> log::Level {
        match self {
            DropReason::Damaged => log::Level::Error,
            DropReason::SessionEnded => log::Level::Info,
            _ => log::Level::Warn,
        }
    }
}

/// What is new about a drop that was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DropNews {
    /// It is the first of its kind since the start.
    pub(crate) is_first: bool,
    /// The session had nothing to tell or to save before.
    pub(crate) is_news: bool,
    /// All before it was written.
    pub(crate) was_saved: bool,
}

/// What was dropped of one lane for one reason, and what of it the log has.
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

/// What a full queue has refused to publishers. It was not dropped: they know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    /// Messages since the start.
    pub(crate) messages: u64,
    /// Those of them since the last line in the log.
    pub(crate) untold: u64,
    /// Who published the last one.
    pub(crate) publisher: String,
    tell_at: Time,
    wait: Duration,
}

/// A session's account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops {
    rows: Vec<Row>,
    refused: Refused,
    /// Not written yet.
    unsaved: bool,
    save_at: Time,
    save_wait: Duration,
    /// In the list of sessions that have something to tell or to save.
    watched: bool,
}

impl Drops {
    /// The account as the store has it.
    pub(crate) fn restore(records: &[DropRecord]) -> Option<Drops> {
        let row = |record: &DropRecord| Row {
            record: *record,
            untold: (0, 0),
            tell_at: Time::ZERO,
            wait: FIRST_SUMMARY,
        };
        let drops = Drops {
            rows: records.iter().take(MAX_ROWS).map(row).collect(),
            ..Drops::default()
        };
        (!drops.rows.is_empty()).then_some(drops)
    }

    /// The rows.
    pub(crate) fn records(&self) -> impl Iterator<Item = &DropRecord> {
        self.rows.iter().map(|row| &row.record)
    }

    /// All of one line, or of all, as one row with the last reason.
    pub(crate) fn sum(&self, lane: Option<Lane>) -> Option<DropRecord> {
        let records = self.records();
        let of_line = records.filter(|r| lane.is_none_or(|m| m == r.lane));
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

    /// Counts what was dropped.
    pub(crate) fn count(&mut self, dropped: &DropRecord) -> DropNews {
        let was_saved = !self.unsaved;
        if was_saved && self.save_at + self.save_wait <= dropped.last {
            self.save_wait = FIRST_SAVE;
            self.save_at = dropped.last + FIRST_SAVE;
        }
        self.unsaved = true;
        DropNews {
            is_first: self.count_in_row(dropped),
            is_news: self.watch(),
            was_saved,
        }
    }

    /// True if it is the first of its kind since the start.
    fn count_in_row(&mut self, dropped: &DropRecord) -> bool {
        let same = |row: &Row, lane| (row.record.lane, row.record.reason) == (lane, dropped.reason);
        let has_row = self.rows.iter().any(|row| same(row, dropped.lane));
        let lane = if has_row || self.rows.len() < MAX_ROWS {
            dropped.lane
        } else {
            Lane::Client
        };
        let Some(row) = self.rows.iter_mut().find(|row| same(row, lane)) else {
            self.rows.push(Row {
                record: DropRecord { lane, ..*dropped },
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

    /// Nothing is known any more of the lines with these lanes: what was dropped of them is counted
    /// without a line, for others may get their lanes.
    pub(crate) fn forget_lines(&mut self, lanes: &[Lane]) {
        let is_gone = |row: &mut Row| lanes.contains(&row.record.lane);
        let gone: Vec<Row> = self.rows.extract_if(.., is_gone).collect();
        for mut row in gone {
            row.record.lane = Lane::Client;
            let same = |known: &&mut Row| {
                (known.record.lane, known.record.reason) == (Lane::Client, row.record.reason)
            };
            let Some(known) = self.rows.iter_mut().find(same) else {
                self.rows.push(row);
                continue;
            };
            let (sum, more) = (&mut known.record, &row.record);
            sum.messages += more.messages;
            sum.bytes += more.bytes;
            sum.first = sum.first.min(more.first);
            sum.last = sum.last.max(more.last);
            known.untold.0 += row.untold.0;
            known.untold.1 += row.untold.1;
        }
    }

    /// What the queue has refused since the start.
    pub(crate) fn refused(&self) -> &Refused {
        &self.refused
    }

    /// Counts a message that was refused to `publisher`. True if it is told at once: the first, and
    /// the first after a while.
    pub(crate) fn refuse(&mut self, publisher: &str, now: Time) -> bool {
        let refused = &mut self.refused;
        refused.messages += 1;
        if refused.publisher != publisher {
            publisher.clone_into(&mut refused.publisher);
        }
        if refused.untold > 0 || now < refused.tell_at {
            refused.untold += 1;
            return false;
        }
        refused.wait = FIRST_SUMMARY;
        refused.tell_at = now + FIRST_SUMMARY;
        true
    }

    /// Takes what is due for the log about refused messages.
    pub(crate) fn take_refused(&mut self, now: Time) -> Option<Refused> {
        let refused = &mut self.refused;
        if refused.untold == 0 || refused.tell_at > now {
            return None;
        }
        let told = refused.clone();
        refused.untold = 0;
        refused.wait = (refused.wait * 2).min(LAST_SUMMARY);
        refused.tell_at = now + refused.wait;
        Some(told)
    }

    /// The session's account is watched from now on; true if it was not.
    pub(crate) fn watch(&mut self) -> bool {
        !std::mem::replace(&mut self.watched, true)
    }

    /// Takes what is due for the log: records, with messages and bytes since the last line about
    /// them.
    pub(crate) fn take_due(&mut self, now: Time) -> Vec<(DropRecord, (u64, u64))> {
        let due = |row: &&mut Row| row.untold.0 > 0 && row.tell_at <= now;
        let rows = self.rows.iter_mut().filter(due);
        let told = rows.map(|row| {
            row.wait = (row.wait * 2).min(LAST_SUMMARY);
            row.tell_at = now + row.wait;
            (row.record, std::mem::take(&mut row.untold))
        });
        told.collect()
    }

    /// True if the account is to be written now; it counts as written then.
    pub(crate) fn take_save(&mut self, now: Time) -> bool {
        let due = self.unsaved && self.save_at <= now;
        if due {
            self.unsaved = false;
            self.save_wait = (self.save_wait * 2).min(LAST_SAVE);
            self.save_at = now + self.save_wait;
        }
        due
    }

    /// When there is something to tell or to save.
    pub(crate) fn next(&mut self) -> Option<Time> {
        let told = self.rows.iter().filter(|row| row.untold.0 > 0);
        let tell = told.map(|row| row.tell_at).min();
        let save = self.unsaved.then_some(self.save_at);
        let refused = (self.refused.untold > 0).then_some(self.refused.tell_at);
        let next = tell.into_iter().chain(save).chain(refused).min();
        self.watched = next.is_some();
        next
    }
}
