//! Conversations with a broker on virtual time, each named after what the specification or the
//! design promises, and a seeded simulation of many clients.

mod world;

mod sim;

use std::time::Duration;

use world::{Dial, Got, Peer, World};

/// Milliseconds.
const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Seconds.
const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
