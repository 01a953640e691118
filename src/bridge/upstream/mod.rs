//! What is known of an upstream: what it says that it takes, and what had to be found out.

pub(super) mod addresses;
pub(super) mod isolation;
pub(super) mod ladder;
pub(super) mod limits;
pub(super) mod pace;
pub(super) mod primary;
mod sizes;
pub(super) mod verdicts;
