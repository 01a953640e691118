//! What the operator can see of a running broker.

mod queues;
mod sys;

pub use sys::Sys;
