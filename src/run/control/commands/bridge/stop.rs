//! `bridge stop`: a bridge disconnects, and its queue fills.

use super::words::{refused, told};
use crate::run::control::commands::command::{Command, Outcome};

pub(super) const COMMAND: Command = Command {
    name: "bridge stop",
    members: &["name"],
    help: "Ends the connection of a bridge, which stays away until it is started, or the broker is.",
    changes: true,
    run: |running, request| {
        let stopped = running.bridges.stop(request.text("name")?);
        stopped
            .map(|done| Outcome::Said(told(done)))
            .map_err(|e| refused(&e))
    },
};
