//! footbridge: a small MQTT broker with a durable bridge.
#![forbid(unsafe_code)]

pub mod auth;
pub mod bridge;
pub mod broker;
pub mod cli;
pub mod config;
pub mod message;
pub mod mqtt;
pub mod net;
pub mod route;
pub mod run;
pub mod session;
pub mod status;
pub mod store;
pub mod time;
