//! How much is done at once.

/// How much of something is done at once, in units of work, before it goes on in pieces.
#[derive(Debug)]
pub(crate) struct Portions {
    /// For the filters of a packet.
    pub(crate) filters: usize,
    /// For the receivers of a message.
    pub(crate) receivers: usize,
    /// For those of a message whose publisher is not told what has become of it.
    pub(crate) unanswered: usize,
    /// Filters and receivers that are left wait until a test says otherwise.
    #[cfg(test)]
    pub(crate) are_held: bool,
}

impl Default for Portions {
    fn default() -> Portions {
        Portions {
            filters: 500,
            receivers: 500,
            unanswered: 500,
            #[cfg(test)]
            are_held: false,
        }
    }
}
