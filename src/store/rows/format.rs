//! What a program must know to read a store.

/// The formats of stores, each with what those before it know. A store has the lowest that is enough
/// for what was ever in it, so that older programs go on with it as long as they can.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(in crate::store) enum Format {
    /// Messages, retained messages, and two rows for each session.
    #[default]
    First = 1,
    /// Numbers of sessions may take more than 32 bits.
    Wide = 2,
    /// Sessions may have [parts](super::part) in rows of their own.
    Parts = 3,
    /// Subscriptions may await what was retained when they were made.
    Awaits = 4,
    /// The state of a bridge may have what went over its uplink.
    Volume = 5,
}

impl Format {
    /// The format by its number on disk; `None` if it is newer than all.
    pub(in crate::store) fn from_number(number: u64) -> Option<Format> {
        [
            Format::First,
            Format::Wide,
            Format::Parts,
            Format::Awaits,
            Format::Volume,
        ]
        .into_iter()
        .find(|format| *format as u64 == number)
    }
}
