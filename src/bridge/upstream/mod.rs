//! What is known of an upstream: what it says that it takes, and what had to be found out.

pub(super) mod isolation;
pub(super) mod ladder;
pub(super) mod limits;
mod sizes;
pub(super) mod verdicts;
