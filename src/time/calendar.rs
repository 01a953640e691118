//! Date and time in UTC, for the log and the output of `footbridge sub`.

use std::time::Duration;

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A point in time, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct DateTime {
    since_1970: Duration,
    year: u64,
    month: u64,
    day: u64,
    /// Day of the year, from 1.
    year_day: u64,
}

impl DateTime {
    /// The point in time `since_1970`.
    pub fn new(since_1970: Duration) -> DateTime {
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
        DateTime {
            since_1970,
            year,
            month,
            day: days + 1,
            year_day,
        }
    }

    /// The number of the month, counted from the year 0.
    pub fn month_number(&self) -> u64 {
        12 * self.year + self.month - 1
    }

    /// The conversions of strftime(3) that [`DateTime::strftime`] knows; `N` are the nanoseconds.
    pub const CONVERSIONS: &str = "aAbBcCdDeFhHIjklmMnNprRsStTuwxXyYzZ%";

    /// What strftime(3) makes of `format` in the C locale. A conversion that is not known stands
    /// for nothing; [`DateTime::unknown`] finds it before.
    pub fn format(&self, format: &str) -> String {
        let mut out = String::with_capacity(2 * format.len());
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => out.push_str(&chars.next().map_or(String::new(), |c| self.strftime(c))),
                c => out.push(c),
            }
        }
        out
    }

    /// The first conversion in `format` that is not known.
    pub fn unknown(format: &str) -> Option<String> {
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c == '%' {
                match chars.next() {
                    Some(known) if DateTime::CONVERSIONS.contains(known) => {}
                    Some(other) => return Some(format!("%{other}")),
                    None => return Some("%".to_owned()),
                }
            }
        }
        None
    }

    fn week_day(&self) -> u64 {
        // 1970 began on a Thursday.
        (self.since_1970.as_secs() / 86_400 + 4) % 7
    }

    /// What strftime(3) makes of `%` and `c`, one of [`DateTime::CONVERSIONS`], in the C locale.
    pub fn strftime(&self, c: char) -> String {
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
            'a' | 'b' | 'h' => {
                let whole = self.strftime(if c == 'a' { 'A' } else { 'B' });
                whole.chars().take(3).collect()
            }
            'A' => nth(&DAYS, self.week_day()),
            'B' => nth(&MONTHS, self.month - 1),
            'C' => format!("{:02}", self.year / 100),
            'u' => ((self.week_day() + 6) % 7 + 1).to_string(),
            'w' => self.week_day().to_string(),
            'I' => format!("{:02}", (seconds / 3600 + 11) % 12 + 1),
            'k' => format!("{:2}", seconds / 3600 % 24),
            'l' => format!("{:2}", (seconds / 3600 + 11) % 12 + 1),
            'p' => if seconds / 3600 % 24 < 12 { "AM" } else { "PM" }.to_owned(),
            'c' => self.format("%a %b %e %T %Y"),
            'D' | 'x' => self.format("%m/%d/%y"),
            'r' => self.format("%I:%M:%S %p"),
            'R' => self.format("%H:%M"),
            'X' => self.strftime('T'),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            'F' => format!("{:04}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => ['H', 'M', 'S'].map(|c| self.strftime(c)).join(":"),
            _ => String::new(),
        }
    }

    /// `2016-08-10T09:47:38+0000`.
    pub fn iso8601(&self) -> String {
        format!("{}T{}+0000", self.strftime('F'), self.strftime('T'))
    }

    /// As mosquitto_sub has it in JSON: `2016-08-10T09:47:38.123456Z+0000`.
    pub fn microseconds(&self) -> String {
        let (date, time) = (self.strftime('F'), self.strftime('T'));
        format!("{date}T{time}.{:06}Z+0000", self.since_1970.subsec_micros())
    }

    /// Seconds since 1970 with nine decimals.
    pub fn unix(&self) -> String {
        format!("{}.{}", self.strftime('s'), self.strftime('N'))
    }
}

/// The name at `index`, from 0.
fn nth(names: &[&str], index: u64) -> String {
    let name = usize::try_from(index).ok().and_then(|at| names.get(at));
    name.map_or_else(String::new, |name| (*name).to_owned())
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
            assert_eq!(
                DateTime::new(Duration::from_secs(seconds)).iso8601(),
                expected
            );
        }
        assert_eq!(
            DateTime::new(Duration::from_secs(1_735_689_599)).strftime('j'),
            "366"
        );
    }

    #[test]
    fn every_conversion_is_as_in_the_c_library() {
        // date -u -d @1709251199 (a Thursday), and Sunday midnight of the third.
        let clock = DateTime::new(Duration::from_secs(1_709_251_199));
        for (format, expected) in [
            ("%a %A %b %B %h", "Thu Thursday Feb February Feb"),
            ("%c|%x|%X", "Thu Feb 29 23:59:59 2024|02/29/24|23:59:59"),
            ("%C %d %e %j %u %w", "20 29 29 060 4 4"),
            ("%I %k %l %p %R", "11 23 11 PM 23:59"),
            ("%r", "11:59:59 PM"),
            ("%s %% %z %Z", "1709251199 % +0000 UTC"),
        ] {
            assert_eq!(clock.format(format), expected);
            assert_eq!(DateTime::unknown(format), None);
        }
        let midnight = DateTime::new(Duration::from_secs(1_709_424_000));
        assert_eq!(midnight.format("%a %u %w %e %I%p"), "Sun 7 0  3 12AM");
        for c in DateTime::CONVERSIONS.chars() {
            assert!(!clock.strftime(c).is_empty(), "%{c}");
        }
    }

    #[test]
    fn what_is_not_known_is_found() {
        assert_eq!(DateTime::unknown("%Y-%Q").as_deref(), Some("%Q"));
        assert_eq!(DateTime::unknown("%Y %").as_deref(), Some("%"));
        assert_eq!(DateTime::unknown("%%Q"), None);
    }
}
