//! footbridge: a small MQTT broker with a durable bridge.
#![forbid(unsafe_code)]

pub mod config;
pub mod message;
pub mod mqtt;
pub mod time;
