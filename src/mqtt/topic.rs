//! Topic names and topic filters (5.0 §4.7).

use super::Error;

/// A checked topic name: 1 to 65,535 bytes, no wildcard, no U+0000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicName<'a>(&'a str);

/// A checked topic filter: wildcards only where they are allowed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicFilter<'a>(&'a str);
