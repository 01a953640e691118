//! The control socket: whoever may open it asks by a line, and is answered by lines.
//!
//! What they say is not known here. One task accepts and serves all connections, of which there are few;
//! an answer is given in pieces, each when the one before is written, so that who does not read holds up
//! nobody, and what is long takes many turns.

mod conversation;
mod lines;
mod overview;
mod server;
mod socket;

use std::task::{Context, Poll};

pub use server::control;
pub use socket::{Access, ControlSocket};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// A line, without its end. It may be anything.
    Line(&'a [u8]),
    /// A line that is longer than 64 KB. The connection ends after the answer.
    TooLong,
}

/// The pieces of an answer, each of whole lines; `None` after the last. It is polled for a piece when the
/// one before was taken, and not in the turn of that one.
pub type Answer = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<String>>>;

#[cfg(test)]
mod tests;
