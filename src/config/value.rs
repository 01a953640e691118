//! The values of directives: flags, numbers, sizes, durations, words, text.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Kind;
use crate::mqtt::check_string;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What stands after a directive: expanded, without blanks around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a>(pub &'a str);

impl<'a> Value<'a> {
    /// Everything, with the blanks inside.
    pub(super) fn text(self) -> Result<&'a str, Kind> {
        match self.0 {
            "" => Err(Kind::NoValue("one".to_owned())),
            text => Ok(text),
        }
    }

    /// Text that goes into a packet as a string: at most 65,535 bytes, no control characters.
    pub(super) fn string(self) -> Result<String, Kind> {
        let text = self.text()?;
        match check_string(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(_) => Err(Kind::bad(
                text,
                "at most 65535 bytes without control characters",
            )),
        }
    }

    /// Text that goes into a packet as binary data: at most 65,535 bytes.
    pub(super) fn binary(self) -> Result<String, Kind> {
        match self.text()? {
            text if text.len() <= usize::from(u16::MAX) => Ok(text.to_owned()),
            text => Err(Kind::bad(text, "at most 65535 bytes")),
        }
    }

    /// A path, as it is.
    pub(super) fn path(self) -> Result<PathBuf, Kind> {
        Ok(PathBuf::from(self.text()?))
    }

    /// The words, up to one that starts a comment. Mosquitto takes the first word of a flag or a
    /// number and skips the rest, so files with comments there are about.
    pub(super) fn words(self) -> impl Iterator<Item = &'a str> {
        self.0
            .split_ascii_whitespace()
            .take_while(|w| !w.starts_with('#'))
    }

    /// The only word; `wants` says what, for the error.
    pub(super) fn word(self, wants: &str) -> Result<&'a str, Kind> {
        let mut words = self.words();
        match (words.next(), words.next()) {
            (Some(word), None) => Ok(word),
            (Some(_), Some(_)) => Err(Kind::bad(self.0, format!("only {wants}"))),
            (None, _) => Err(Kind::NoValue(wants.to_owned())),
        }
    }

    /// `true` or `false`, also yes, no, on, off, 1, 0.
    pub(super) fn flag(self) -> Result<bool, Kind> {
        let wants = "true or false";
        match self.word(wants)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            other => Err(Kind::bad(other, wants)),
        }
    }

    /// A whole number in `range`.
    pub(super) fn number<T>(self, range: RangeInclusive<T>) -> Result<T, Kind>
    where
        T: FromStr + PartialOrd + Display,
    {
        let wants = format!("a number from {} to {}", range.start(), range.end());
        let word = self.word(&wants)?;
        match word.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(Kind::bad(word, wants)),
        }
    }

    /// A number of bytes up to `max`: a number, with K, M or G (powers of 1,024) behind it or not.
    pub(super) fn size(self, max: u64) -> Result<u64, Kind> {
        let wants = format!("a number of bytes up to {max}, such as 4096, 64K, 2M or 1G");
        let word = self.word(&wants)?;
        let units = [(['K', 'k'], 10), (['M', 'm'], 20), (['G', 'g'], 30)];
        let with_unit = units
            .into_iter()
            .find_map(|(letters, shift)| Some((word.strip_suffix(letters)?, shift)));
        let (digits, shift) = with_unit.unwrap_or((word, 0));
        let bytes = u64::from_str(digits)
            .ok()
            .and_then(|n| n.checked_mul(1 << shift));
        match bytes {
            Some(bytes) if bytes <= max => Ok(bytes),
            _ => Err(Kind::bad(word, wants)),
        }
    }

    /// A duration that fits in `u32` seconds: a number of seconds, or a number with ms, s, m, h,
    /// d or w behind it.
    pub(super) fn duration(self) -> Result<Duration, Kind> {
        let wants = "a number of seconds, or a number with ms, s, m, h, d or w behind it";
        let word = self.word(wants)?;
        let millis = |unit: &str| {
            Some(match unit {
                "ms" => 1,
                "" | "s" => 1000,
                "m" => 1000 * MINUTE,
                "h" => 1000 * HOUR,
                "d" => 1000 * DAY,
                "w" => 1000 * 7 * DAY,
                _ => return None,
            })
        };
        span(word, millis)
            .map(Duration::from_millis)
            .filter(|span| span.as_secs() <= u64::from(u32::MAX))
            .ok_or_else(|| Kind::bad(word, wants))
    }

    /// `persistent_client_expiration`: Mosquitto's letters (s is from 2.1), where m is a month of
    /// 30 days and y a year of 365; a number without a letter is not valid there either.
    pub(super) fn expiration(self) -> Result<Duration, Kind> {
        let wants = "a number with s, h, d, w, m (month) or y behind it";
        let word = self.word(wants)?;
        let seconds = |unit: &str| {
            Some(match unit {
                "s" => 1,
                "h" => HOUR,
                "d" => DAY,
                "w" => 7 * DAY,
                "m" => 30 * DAY,
                "y" => 365 * DAY,
                _ => return None,
            })
        };
        span(word, seconds)
            .map(Duration::from_secs)
            .filter(|span| !span.is_zero() && span.as_secs() <= u64::from(u32::MAX))
            .ok_or_else(|| Kind::bad(word, wants))
    }
}

/// A number and what its unit, by `units`, makes of it.
fn span(word: &str, units: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let end = word
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(word.len());
    let (digits, unit) = word.split_at(end);
    digits.parse::<u64>().ok()?.checked_mul(units(unit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_take_all_spellings() {
        for yes in ["true", "yes", "on", "1", "True", "true # why"] {
            assert_eq!(Value(yes).flag(), Ok(true), "{yes}");
        }
        for no in ["false", "no", "off", "0"] {
            assert_eq!(Value(no).flag(), Ok(false), "{no}");
        }
        for bad in ["", "maybe", "true false", "2", "# true"] {
            assert!(Value(bad).flag().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_keep_to_their_range() {
        assert_eq!(Value("65535").number(1..=u16::MAX), Ok(65535));
        for bad in ["0", "65536", "-1", "1x", "", "1 2"] {
            assert!(Value(bad).number(1..=u16::MAX).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_take_letters() {
        assert_eq!(Value("10").size(u64::MAX), Ok(10));
        assert_eq!(Value("64K").size(u64::MAX), Ok(65_536));
        assert_eq!(Value("2m").size(u64::MAX), Ok(2 << 20));
        assert_eq!(Value("1G").size(1 << 30), Ok(1 << 30));
        for bad in ["K", "2G", "1.5M", "99999999999999999999", "9T", "é"] {
            assert!(Value(bad).size(1 << 30).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_take_letters() {
        for (text, seconds) in [
            ("5", 5),
            ("5s", 5),
            ("2m", 120),
            ("1h", 3600),
            ("1w", 604_800),
        ] {
            assert_eq!(
                Value(text).duration(),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        assert_eq!(Value("20ms").duration(), Ok(Duration::from_millis(20)));
        for bad in ["", "s", "5y", "-5", "5 s", "99999999999999999999w"] {
            assert!(Value(bad).duration().is_err(), "{bad}");
        }
    }

    #[test]
    fn expiration_keeps_mosquittos_letters() {
        for (text, days) in [("2m", 60), ("14d", 14), ("1y", 365), ("1w", 7)] {
            assert_eq!(
                Value(text).expiration(),
                Ok(Duration::from_secs(days * DAY))
            );
        }
        for bad in ["14", "0d", "1ms", "999y"] {
            assert!(Value(bad).expiration().is_err(), "{bad}");
        }
    }
}
