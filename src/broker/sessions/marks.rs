//! What is true of a session or not.

/// What is true of a session or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Mark {
    /// Its identity row must be written with the next commit.
    IdentityUnsaved = 1,
    /// Its state row must be written with the next commit.
    StateUnsaved = 2,
    /// It has rows in the store.
    OnDisk = 4,
    /// It is in the list of sessions that wait for a commit.
    Stalled = 8,
    /// Messages of some of its lanes are told apart by topic.
    ByTopic = 16,
    /// The packet ids that it received have changed since they were written.
    IdsUnsaved = 32,
    /// Its subscriptions have rows of their own.
    FiltersApart = 64,
    /// Some of those rows must be written with the next commit.
    FiltersUnsaved = 128,
}

/// The [`Mark`]s of a session, in one byte: there are thousands of sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks(u8);

impl Marks {
    pub(super) fn has(self, mark: Mark) -> bool {
        self.0 & mark as u8 != 0
    }

    /// Sets a mark or takes it off; returns whether it was there.
    pub(super) fn set(&mut self, mark: Mark, on: bool) -> bool {
        let had = self.has(mark);
        self.0 = if on {
            self.0 | mark as u8
        } else {
            self.0 & !(mark as u8)
        };
        had
    }

    /// True if a row must be written with the next commit.
    pub(super) fn is_unsaved(self) -> bool {
        let rows = [
            Mark::IdentityUnsaved,
            Mark::StateUnsaved,
            Mark::IdsUnsaved,
            Mark::FiltersUnsaved,
        ];
        rows.into_iter().any(|row| self.has(row))
    }
}
