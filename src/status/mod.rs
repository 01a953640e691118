//! What the operator can see of a running broker.

mod sys;

pub use sys::Sys;
