//! What a command is, and what may come of one.

use std::future::Future;
use std::pin::Pin;

use crate::json::Value;
use crate::run::control::protocol::{Refusal, Request};
use crate::run::reload::Reloadable;

/// A command.
pub(in crate::run::control) struct Command {
    /// As `do` names it.
    pub name: &'static str,
    /// What else a request may say.
    pub members: &'static [&'static str],
    /// What it does, in one line.
    pub help: &'static str,
    /// It changes something: the log says that it was asked for.
    pub changes: bool,
    /// Does it, in less than 2 ms.
    pub run: fn(&mut Reloadable, &Request) -> Result<Outcome, Refusal>,
}

/// What an answer says beside `v` and `ok`.
pub(in crate::run::control) type Members = Vec<(String, Value)>;

/// What goes on elsewhere.
pub(in crate::run::control) type Work = Pin<Box<dyn Future<Output = Result<Members, Refusal>>>>;

/// Makes the next part of a list, in less than 1 ms; `None` when it is over.
pub(in crate::run::control) type Parts = Box<dyn FnMut(&mut Reloadable) -> Option<Vec<Value>>>;

/// What has come of a command.
pub(in crate::run::control) enum Outcome {
    /// It is done.
    Said(Members),
    /// It is done, or not, when this is over.
    Awaited(Work),
    /// A long list.
    Listed(Parts),
    /// It is not done.
    Refused(Refusal),
}
