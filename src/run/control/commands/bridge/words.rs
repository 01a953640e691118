//! What the commands about bridges have to say in common.

use crate::json::Value;
use crate::run::bridges::control::{Done, Error};
use crate::run::control::commands::command::Members;
use crate::run::control::protocol::Refusal;

/// What is told of a command that may have had nothing to do.
pub(super) fn told(done: Done) -> Members {
    let already = done == Done::Already;
    vec![("already".to_owned(), Value::from(already))]
}

pub(super) fn refused(error: &Error) -> Refusal {
    Refusal::new(error.to_string())
}
