//! The two halves of a session: messages on their way to the peer ([`Outbound`]) and the QoS 2
//! messages on their way from it ([`Inbound`]).
//!
//! Both are plain state machines without sockets or clocks. The protocol is symmetric here, so
//! devices and the uplink of a bridge share them.

mod inbound;
mod outbound;
#[cfg(test)]
mod tests;

pub use inbound::{Inbound, Receipt};
pub use outbound::{Done, Entry, Outbound, READ_BYTES};
