//! How many bytes went over an uplink: what a metered link is paid by.

use std::time::Duration;

use crate::store::VolumeRecord;
use crate::time::Time;
use crate::time::calendar::DateTime;

const DAY: u64 = 86_400;
/// So long after it was written, what has come since is written again ...
const LATEST: Duration = Duration::from_secs(3600);
/// ... or sooner, once it is so many bytes.
const SOON: Duration = Duration::from_secs(600);
const MUCH: u64 = 1 << 20;

/// The bytes that were written to and read from the socket of an uplink: TLS and WebSocket included, the
/// headers of TCP and IP not. Days and months are those of the broker's clock, in UTC.
#[derive(Clone, Copy, Debug, Default)]
pub struct Volume {
    counted: VolumeRecord,
    /// Bytes that are not written yet.
    unsaved: u64,
    /// When it was written.
    saved_at: Option<Time>,
}

impl Volume {
    /// The volume as the store has it.
    pub fn restore(record: Option<VolumeRecord>) -> Volume {
        Volume {
            counted: record.unwrap_or_default(),
            ..Volume::default()
        }
    }

    /// What the store should have; `None` if nothing ever went over the uplink.
    pub fn record(&self) -> Option<VolumeRecord> {
        (self.counted != VolumeRecord::default()).then_some(self.counted)
    }

    /// Counts bytes. True if what was counted is worth writing: seldom, for flash wears out.
    pub fn add(&mut self, bytes: u64, now: Time) -> bool {
        self.counted = self.at(now);
        self.counted.today = self.counted.today.saturating_add(bytes);
        self.counted.this_month = self.counted.this_month.saturating_add(bytes);
        self.unsaved = self.unsaved.saturating_add(bytes);
        let passed = now.since(*self.saved_at.get_or_insert(now));
        let is_due = passed >= LATEST || passed >= SOON && self.unsaved >= MUCH;
        if is_due {
            (self.unsaved, self.saved_at) = (0, Some(now));
        }
        is_due
    }

    /// Bytes of the day that `now` is in.
    pub fn today(&self, now: Time) -> u64 {
        self.at(now).today
    }

    /// Bytes of the month that `now` is in.
    pub fn this_month(&self, now: Time) -> u64 {
        self.at(now).this_month
    }

    /// What was counted, without what belongs to a day or a month that is over.
    fn at(&self, now: Time) -> VolumeRecord {
        let mut counted = self.counted;
        let (day, month) = (now.as_secs() / DAY, month(now));
        if counted.day != day {
            (counted.day, counted.today) = (day, 0);
        }
        if counted.month != month {
            (counted.month, counted.this_month) = (month, 0);
        }
        counted
    }
}

fn month(now: Time) -> u64 {
    DateTime::new(Duration::from_millis(now.as_millis())).month_number()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 31 January 2026, 23:00 UTC.
    const EVENING: Time = Time::from_secs(1_769_900_400);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn days_and_months_begin_anew() {
        let mut volume = Volume::default();
        assert_eq!(volume.record(), None);
        volume.add(100, EVENING - 30 * HOUR);
        volume.add(10, EVENING);
        let figures = |volume: &Volume, now| (volume.today(now), volume.this_month(now));
        assert_eq!(figures(&volume, EVENING), (10, 110));
        // In February, with or without something new.
        assert_eq!(figures(&volume, EVENING + HOUR), (0, 0));
        volume.add(7, EVENING + HOUR);
        volume.add(1, EVENING + 40 * HOUR);
        assert_eq!(figures(&volume, EVENING + 40 * HOUR), (1, 8));
        let volume = Volume::restore(volume.record());
        assert_eq!(figures(&volume, EVENING + 40 * HOUR), (1, 8));
        assert_eq!(figures(&volume, EVENING + 70 * HOUR), (0, 8));
    }

    #[test]
    fn it_is_seldom_worth_writing() {
        let mut volume = Volume::default();
        let mut writes = |bytes, seconds: u64| {
            let count = (0..seconds)
                .filter(|n| volume.add(bytes, EVENING + HOUR * 24 + Duration::from_secs(*n)));
            count.count()
        };
        assert_eq!(writes(10, 86_400), 23, "little: once an hour");
        let mut volume = Volume::default();
        let day = (0..86_400).filter(|n| volume.add(10_000, EVENING + Duration::from_secs(*n)));
        assert_eq!(day.count(), 143, "much: every ten minutes");
    }
}
