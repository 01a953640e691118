//! What the operator can see of a running broker.

mod level;
mod load;
mod memory;
mod queues;
mod sys;
mod traffic;
mod turns;

pub use sys::Sys;
pub use traffic::Traffic;
