//! What the operator can see of a running broker.

mod health;
mod level;
mod links;
mod load;
mod memory;
mod metrics;
mod overview;
mod queues;
mod sys;
mod traffic;
mod turns;

pub use health::Health;
pub use links::Links;
pub use metrics::METRICS_TYPE;
pub use overview::bridge;
pub use sys::Sys;
pub use traffic::Traffic;
