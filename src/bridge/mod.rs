//! The bridge: what makes a session of this broker also a client of another one.
//!
//! Its queue, packet ids and windows are an ordinary session's. Here is only what is new: the
//! topic map, the wait between attempts, the client's side of the handshake, and the
//! recognition of its own messages when they come back. No sockets and no clock: `net` drives
//! a [`Link`].

mod dialect;
mod echo;
mod error;
mod limits;
mod link;
mod local_end;
mod map;
mod rate;
mod refusal;
mod status;
mod sync;
mod wire;

pub use echo::Echo;
pub use error::{Error, Said};
pub use limits::{Announced, Limits};
pub use link::{Action, Backoff, CONNACK_TIMEOUT, CONNECT_TIMEOUT, Link, Step};
pub use local_end::{LineBounds, LocalEnd};
pub use map::numbering::Numbering;
pub use map::{LineId, Map, Mapped};
pub use rate::Rate;
pub use refusal::{Loudness, PausedLane, Refusal, Refusals, Suspect, Verdict};
pub use status::{Phase, Status};
pub use sync::{Outcome, RetainedSync};
pub use wire::Wire;

#[cfg(test)]
mod tests;
