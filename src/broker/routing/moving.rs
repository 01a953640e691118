//! How far subscriptions have moved to a new tree, so that the memory of the old one goes back.

use crate::keys::SessionKey;

/// How far they have moved.
#[derive(Debug, Default)]
pub(super) struct Moving {
    /// Sessions whose subscriptions are still to move, the last first. Those that have come since are
    /// in the new tree.
    pub(super) left: Vec<SessionKey>,
    /// Of the last one, the filters up to this one have.
    pub(super) passed: Option<Box<str>>,
}
