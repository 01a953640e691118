//! The bridge: what makes a session of this broker also a client of another one.
//!
//! Its queue, packet ids and windows are an ordinary session's. Here is only what is new: the
//! topic map, the wait between attempts, the client's side of the handshake, and the
//! recognition of its own messages when they come back. No sockets and no clock: `net` drives
//! a [`Link`].

mod echo;
mod error;
mod link;
mod local_end;
mod loop_guard;
mod map;
mod rate;
mod refusal;
mod rest;
mod status;
mod sync;
mod upstream;
mod wire;

pub use echo::Echo;
pub use error::{Awaited, Error, Foreign, Said};
pub use link::{Action, Backoff, CONNECT_TIMEOUT, Faults, Link, Output, Remedy, Step, Unusable};
pub use local_end::{LineBounds, LocalEnd, is_default_client_id};
pub use loop_guard::{LinkKind, LoopGuard, Round, has_marks};
pub use map::numbering::Numbering;
pub use map::{LineId, Map, Mapped, overlap};
pub use rate::Rate;
pub use refusal::{Loudness, PausedLane, Refusal, Refusals, Suspect, Verdict};
pub use rest::{Order, Rest};
pub use status::{Activity, Backlog, Moved, Phase, Rates, Status, Volume};
pub use sync::{Outcome, RetainedSync};
pub use upstream::isolation::{Unanswered, UnderWay};
pub use upstream::limits::{Announced, Limits};
pub use upstream::pace::{Limited, Pace, Passage, Windows};
pub use upstream::verdicts::{Feature, GivenUp};
pub use wire::{Inward, Wire};

#[cfg(test)]
mod tests;
