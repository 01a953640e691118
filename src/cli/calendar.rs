//! Date and time in UTC, for the output of `footbridge sub`.

use std::time::Duration;

/// A point in time, taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    since_1970: Duration,
    year: u64,
    month: u64,
    day: u64,
    /// Day of the year, from 1.
    year_day: u64,
}

impl Clock {
    /// The point in time `since_1970`.
    pub(super) fn new(since_1970: Duration) -> Clock {
        let mut days = since_1970.as_secs() / 86_400;
        let mut year = 1970;
        // A 400-year cycle of the Gregorian calendar has 146,097 days.
        year += days / 146_097 * 400;
        days %= 146_097;
        while days >= days_of_year(year) {
            days -= days_of_year(year);
            year += 1;
        }
        let year_day = days + 1;
        let mut month = 1;
        while days >= days_of_month(year, month) {
            days -= days_of_month(year, month);
            month += 1;
        }
        Clock {
            since_1970,
            year,
            month,
            day: days + 1,
            year_day,
        }
    }

    /// What strftime(3) makes of `%` and `c`; `N` are the nanoseconds.
    pub(super) fn strftime(&self, c: char) -> String {
        let seconds = self.since_1970.as_secs();
        match c {
            'Y' => format!("{:04}", self.year),
            'y' => format!("{:02}", self.year % 100),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.year_day),
            'H' => format!("{:02}", seconds / 3600 % 24),
            'M' => format!("{:02}", seconds / 60 % 60),
            'S' => format!("{:02}", seconds % 60),
            'N' => format!("{:09}", self.since_1970.subsec_nanos()),
            's' => seconds.to_string(),
            'z' => "+0000".to_owned(),
            'Z' => "UTC".to_owned(),
            'F' => format!("{:04}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => ['H', 'M', 'S'].map(|c| self.strftime(c)).join(":"),
            _ => String::new(),
        }
    }

    /// `2016-08-10T09:47:38+0000`.
    pub(super) fn iso8601(&self) -> String {
        format!("{}T{}+0000", self.strftime('F'), self.strftime('T'))
    }

    /// As mosquitto_sub has it in JSON: `2016-08-10T09:47:38.123456Z+0000`.
    pub(super) fn microseconds(&self) -> String {
        let (date, time) = (self.strftime('F'), self.strftime('T'));
        format!("{date}T{time}.{:06}Z+0000", self.since_1970.subsec_micros())
    }

    /// Seconds since 1970 with nine decimals.
    pub(super) fn unix(&self) -> String {
        format!("{}.{}", self.strftime('s'), self.strftime('N'))
    }
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

const fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_are_known() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00+0000"),
            (951_782_399, "2000-02-28T23:59:59+0000"),
            (951_782_400, "2000-02-29T00:00:00+0000"),
            (1_709_251_199, "2024-02-29T23:59:59+0000"),
            (1_735_689_599, "2024-12-31T23:59:59+0000"),
            (4_107_542_400, "2100-03-01T00:00:00+0000"),
        ] {
            assert_eq!(Clock::new(Duration::from_secs(seconds)).iso8601(), expected);
        }
        assert_eq!(
            Clock::new(Duration::from_secs(1_735_689_599)).strftime('j'),
            "366"
        );
    }
}
