//! The words of a command line, and their values.

use std::fmt::Display;
use std::str::FromStr;

use super::Error;

/// The words of a command line.
#[derive(Debug)]
pub(super) struct Words<'a>(std::slice::Iter<'a, &'a str>);

impl<'a> Words<'a> {
    /// The words from the first on.
    pub(super) fn new(words: &'a [&'a str]) -> Words<'a> {
        Words(words.iter())
    }

    /// The value of `option`: the next word.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn value(&mut self, option: &str) -> Result<&'a str, Error> {
        self.next()
            .ok_or_else(|| Error::Usage(format!("{option} given, but no value behind it.")))
    }

    /// The value of `option`, a number in a range.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn number<T>(&mut self, option: &str, min: T, max: T) -> Result<T, Error>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let value = self.value(option)?;
        let number = value.parse().ok().filter(|n| (min..=max).contains(n));
        number.ok_or_else(|| {
            Error::Usage(format!(
                "{option} takes a number from {min} to {max}, not {value:?}."
            ))
        })
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0.next().copied()
    }
}
