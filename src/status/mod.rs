//! What the operator can see of a running broker.

mod level;
mod links;
mod load;
mod memory;
mod overview;
mod queues;
mod sys;
mod traffic;
mod turns;

pub use links::Links;
pub use overview::bridge;
pub use sys::Sys;
pub use traffic::Traffic;
