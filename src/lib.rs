//! footbridge: a small MQTT broker with a durable bridge.
#![forbid(unsafe_code)]

pub mod auth;
pub mod broker;
pub mod config;
pub mod message;
pub mod mqtt;
pub mod route;
pub mod session;
pub mod status;
pub mod store;
pub mod time;
