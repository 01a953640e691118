//! How far PUBLISH packets that wait for room were tried again.

use crate::broker::routing::Behind;

/// How far those that wait for room were tried again.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// How many connections are still to be looked at, the first of the list first.
    pub(super) left: usize,
    /// How many messages of the first one were tried, and wait on.
    pub(super) at: usize,
    /// Where these wait.
    pub(super) behind: Vec<Behind>,
}
