//! `clients`: all sessions, those of bridges among them.

use super::words::item;
use crate::json::Value;
use crate::run::control::commands::command::{Command, Outcome};

/// So many places of the table are looked at for a part.
const PART: u32 = 64;

pub(super) const COMMAND: Command = Command {
    name: "clients",
    members: &[],
    help: "Lists the clients that are connected, and the sessions of those that are not.",
    changes: false,
    run: |_, _| {
        let mut next = Some(0);
        Ok(Outcome::Listed(Box::new(move |running| {
            let from = next?;
            let mut hub = running.hub.borrow_mut();
            let now = hub.now();
            let (views, then) = hub.broker.clients((from, PART), now);
            next = then;
            Some(views.map(|view| Value::Object(item(&view))).collect())
        })))
    },
};
