//! Work: what packets cost, counted in units that are the same on every machine.
//!
//! A peer decides how much a packet of a few bytes costs: how many receivers it has, how many filters it
//! meets, how many retained messages it asks for. Who drives the broker looks at what was done, and
//! lets others have their turn once it is enough; what is more than enough by itself is done in pieces.

/// What was done so far. A unit is what a message costs for one receiver for whom it is stored: about a
/// microsecond on a fast machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Work {
    done: u64,
}

impl Work {
    /// So much more was done.
    pub(crate) fn add(&mut self, units: usize) {
        self.done = self.done.saturating_add(units as u64);
    }

    /// All that was done since the start, in units.
    pub(crate) fn done(self) -> u64 {
        self.done
    }
}
