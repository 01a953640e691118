//! What comes of a call of the link: what its driver is to do, what a packet means.

use crate::bridge::Limits;
use crate::config::UpstreamAddress;
use crate::time::Time;

/// What `net` is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action<'a> {
    /// Nothing before [`Link::next_timeout`](crate::bridge::Link::next_timeout).
    Idle,
    /// Connect, then call [`Link::connected`](crate::bridge::Link::connected) or [`Link::failed`](crate::bridge::Link::failed).
    Connect {
        /// Where to.
        address: &'a UpstreamAddress,
        /// When the attempt is given up.
        deadline: Time,
    },
    /// So many QoS 1 and 2 publishes may be unacknowledged from now on.
    Window(u16),
    /// Write what the link has written to `out`, then close the connection and detach the session.
    Leave,
    /// Close the connection, or drop the attempt, and detach the session.
    Close,
}

/// What a packet from upstream means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing to do: the packet was the link's own.
    None,
    /// The CONNACK accepts: attach the session now. What the link has written to `out` goes
    /// first.
    Up(Limits),
    /// The packet is the session's.
    Forward,
    /// Only a client sends such a packet, or only a handshake has it: nothing to do.
    OutOfPlace,
    /// So many QoS 1 and 2 publishes may be unacknowledged from now on. Follows an `Up` whose
    /// receive maximum was one short, for the state notification.
    Window(u16),
    /// All that was sent before this moment has arrived.
    Answered(Time),
}
