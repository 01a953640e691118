//! How much is done at once.

/// How much of something is done at once, before it goes on in pieces.
#[derive(Debug)]
pub(crate) struct Portions {
    /// So many units of work one packet does at once, at most, for filters or for receivers of its message.
    pub(crate) whole: usize,
    /// Filters and receivers that are left wait until a test says otherwise.
    #[cfg(test)]
    pub(crate) are_held: bool,
}

impl Default for Portions {
    fn default() -> Portions {
        Portions {
            whole: 500,
            #[cfg(test)]
            are_held: false,
        }
    }
}
