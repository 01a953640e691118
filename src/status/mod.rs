//! What the operator can see of a running broker.

mod level;
mod load;
mod memory;
mod queues;
mod sys;

pub use sys::{Sys, Traffic};
