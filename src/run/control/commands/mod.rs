//! What can be asked for over the control socket: a file a command.

mod bridge;
mod clients;
mod command;
mod log;
mod retained;
mod status;
mod topics;

use crate::config::printable::printable;
use crate::json::Value;
use crate::run::control::protocol::{Refusal, Request};
pub(super) use command::{Command, Outcome, Parts};

/// Every command.
fn all() -> impl Iterator<Item = &'static Command> {
    let rooms = [bridge::ALL, clients::ALL, retained::ALL];
    let others = [&HELP, &status::COMMAND, &log::COMMAND, &topics::COMMAND].into_iter();
    others.chain(rooms.into_iter().flatten().copied())
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
        let mut subjects = ["name", "client", "filter"].into_iter();
        let subject = subjects.find_map(|member| request.text(member).ok());
        let subject = subject.map(|subject| format!(" {}", printable(subject)));
        let subject = subject.unwrap_or_default();
        ::log::info!("Control socket: {}{subject}.", command.name);
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
