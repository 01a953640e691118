//! The bounds of queues: what fits, what is refused or dropped to make room, what grows too old,
//! and what the operator is told of it.

pub(crate) mod age;
pub(crate) mod bounds;
pub(crate) mod dead;
pub(crate) mod drops;
pub(crate) mod refused;
pub(crate) mod report;
