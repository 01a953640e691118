//! The two halves of a session: messages on their way to the peer ([`Outbound`]) and the QoS 2
//! messages on their way from it ([`Inbound`]).
//!
//! Both are plain state machines without sockets or clocks. The protocol is symmetric here, so
//! devices and the uplink of a bridge share them.

mod acks;
mod aside;
mod disowned;
mod entry;
mod hold;
mod inbound;
mod low;
mod outbound;
mod places;
#[cfg(test)]
mod recount;
mod refill;
mod share;
#[cfg(test)]
mod tests;

pub use disowned::Disowned;
pub use entry::{Done, Entry};
pub use inbound::{Inbound, Receipt};
pub use outbound::Outbound;
pub use places::READ_BYTES;
