//! `bridge start`: a bridge connects, whatever its `start_type`.

use super::words::{refused, told};
use crate::run::control::commands::command::{Command, Outcome};

pub(super) const COMMAND: Command = Command {
    name: "bridge start",
    members: &["name"],
    help: "Has a bridge connect, whatever its start_type; one that waits for its next attempt tries at once.",
    changes: true,
    run: |running, request| {
        let started = running.bridges.start(request.text("name")?);
        started
            .map(|done| Outcome::Said(told(done)))
            .map_err(|e| refused(&e))
    },
};
