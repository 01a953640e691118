//! Lanes: the parts of a session's queue that are counted, bounded and dropped by themselves.

use std::num::NonZeroU16;

/// Which part of a session's queue a message belongs to. It is decided when the message is routed,
/// and stays with it to the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Lane {
    /// What came by a subscription of its own.
    #[default]
    Client,
    /// What goes out by this `topic` line of a bridge.
    Bridge(LineNo),
    /// What came by this shared subscription.
    Share(ShareNo),
    /// What the upstream of a bridge will never take: it stays here, and is not sent.
    Dead,
}

/// The number of a `topic` line of a bridge, from 1 to [`LineNo::MAX`]. A line keeps it as long as it
/// is there or something waits by it, wherever it stands in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LineNo(NonZeroU16);

/// The number by which a session knows one of its shared subscriptions, from 0 to
/// [`ShareNo::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShareNo(u16);

/// From this code on, lanes are those of shared subscriptions.
const FIRST_SHARE: u16 = 0x8000;

/// The code of the lane of dead letters.
const DEAD: u16 = u16::MAX;

impl LineNo {
    /// The highest number.
    pub const MAX: u16 = FIRST_SHARE - 1;

    /// The line numbered `number`; `None` for 0 and beyond [`LineNo::MAX`].
    pub fn new(number: u16) -> Option<LineNo> {
        let number = NonZeroU16::new(number)?;
        (number.get() <= LineNo::MAX).then_some(LineNo(number))
    }

    /// All numbers, from 1.
    pub fn all() -> impl Iterator<Item = LineNo> {
        (1..=LineNo::MAX).filter_map(LineNo::new)
    }

    /// Counted from 1.
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// Counted from 0.
    pub fn index(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

impl ShareNo {
    /// The highest number.
    pub const MAX: u16 = DEAD - 1 - FIRST_SHARE;

    /// The first and the last number.
    pub const ENDS: [ShareNo; 2] = [ShareNo(0), ShareNo(ShareNo::MAX)];

    /// The shared subscription numbered `number`; `None` beyond [`ShareNo::MAX`].
    pub fn new(number: u16) -> Option<ShareNo> {
        (number <= ShareNo::MAX).then_some(ShareNo(number))
    }

    /// All numbers, from 0.
    pub fn all() -> impl Iterator<Item = ShareNo> {
        (0..=ShareNo::MAX).map(ShareNo)
    }
}

impl Lane {
    /// The lane as the store has it: 0, the number of a line, beyond those that of a share, and at
    /// the top that of dead letters.
    pub fn code(self) -> u16 {
        match self {
            Lane::Client => 0,
            Lane::Bridge(line) => line.get(),
            Lane::Share(share) => FIRST_SHARE + share.0,
            Lane::Dead => DEAD,
        }
    }

    /// The lane that the store has as `code`.
    pub fn from_code(code: u16) -> Lane {
        let share = code.checked_sub(FIRST_SHARE).map(ShareNo::new);
        match (LineNo::new(code), share) {
            (Some(line), _) => Lane::Bridge(line),
            (None, Some(Some(share))) => Lane::Share(share),
            (None, Some(None)) => Lane::Dead,
            (None, None) => Lane::Client,
        }
    }

    /// The `topic` line of a bridge.
    pub fn line(self) -> Option<LineNo> {
        match self {
            Lane::Bridge(line) => Some(line),
            Lane::Client | Lane::Share(_) | Lane::Dead => None,
        }
    }

    /// True for the lane of a shared subscription.
    pub fn is_share(self) -> bool {
        matches!(self, Lane::Share(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_one_lane() {
        for code in 0..=u16::MAX {
            assert_eq!(Lane::from_code(code).code(), code);
        }
        assert_eq!(Lane::from_code(0), Lane::Client);
        assert_eq!(LineNo::new(0), None);
        assert_eq!(LineNo::all().next().map(LineNo::index), Some(0));
        assert_eq!(LineNo::all().count(), usize::from(LineNo::MAX));
        assert_eq!(ShareNo::new(ShareNo::MAX + 1), None);
        assert_eq!(ShareNo::all().count(), 0x7FFF);
        assert_eq!(Lane::from_code(u16::MAX), Lane::Dead);
    }
}
