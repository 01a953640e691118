//! Whose turn it is.

/// Lets several go one after the other.
#[derive(Debug, Default)]
pub(crate) struct Round {
    last: usize,
}

impl Round {
    /// Who of `count` is next.
    pub(crate) fn next(&mut self, count: usize) -> usize {
        self.last = (self.last + 1) % count.max(1);
        self.last
    }
}
