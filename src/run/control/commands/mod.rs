//! What can be asked for over the control socket: a file a command.

mod bridge;
mod command;
mod log;
mod status;

use crate::config::printable::printable;
use crate::json::Value;
use crate::run::control::protocol::{Refusal, Request};
pub(super) use command::{Command, Outcome, Parts};

/// Every command.
fn all() -> impl Iterator<Item = &'static Command> {
    let own = [&HELP, &status::COMMAND, &log::COMMAND];
    own.into_iter().chain(bridge::ALL.iter().copied())
}

/// The command that a request is for, if what the request says is known to it.
pub(super) fn find(request: &Request) -> Result<&'static Command, Refusal> {
    let found = all().find(|command| command.name == request.command);
    let command = found.ok_or_else(|| {
        Refusal::new("there is no such command in this version: `help` lists those that there are")
    })?;
    request.has_only(command.members)?;
    Ok(command)
}

/// Says in the log that something is to be changed, also where it is refused then. Not by whom:
/// `SO_PEERCRED` has no process for one outside of a container, and rustix takes that for an error.
pub(super) fn note(command: &Command, request: &Request) {
    if command.changes {
        let name = request
            .text("name")
            .map(|name| format!(" {}", printable(name)));
        ::log::info!(
            "Control socket: {}{}.",
            command.name,
            name.unwrap_or_default()
        );
    }
}

/// `help`: the commands.
const HELP: Command = Command {
    name: "help",
    members: &[],
    help: "Lists the commands that this version has.",
    changes: false,
    run: |_, _| {
        let item = |command: &&Command| {
            let members = command.members.iter().map(|name| Value::from(*name));
            Value::object([
                ("do", command.name.into()),
                ("members", Value::List(members.collect())),
                ("help", command.help.into()),
            ])
        };
        let mut commands = Some(all().map(|command| item(&command)).collect());
        Ok(Outcome::Listed(Box::new(move |_| commands.take())))
    },
};
