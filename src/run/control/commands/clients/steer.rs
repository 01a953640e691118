//! `client kick`, `client forget`: a client is disconnected, or its session ended.

use super::words::client;
use crate::broker::{Steered, Unsteered};
use crate::run::control::commands::command::{Command, Outcome};
use crate::run::control::protocol::Refusal;

pub(super) const KICK: Command = Command {
    name: "client kick",
    members: &["client"],
    help: "Disconnects a client, as if its connection were lost: its will is published, its session stays.",
    changes: true,
    run: |running, request| {
        let mut hub = running.hub.borrow_mut();
        let now = hub.now();
        told(hub.broker.kick(client(request)?, now))
    },
};

pub(super) const FORGET: Command = Command {
    name: "client forget",
    members: &["client"],
    help: "Ends the session of a client: its subscriptions, what waits for it, and its connection.",
    changes: true,
    run: |running, request| {
        let mut hub = running.hub.borrow_mut();
        let now = hub.now();
        told(hub.broker.forget(client(request)?, now))
    },
};

fn told(done: Result<Steered, Unsteered>) -> Result<Outcome, Refusal> {
    let steered = done.map_err(|e| Refusal::new(e.to_string()))?;
    Ok(Outcome::Said(vec![
        ("messages".to_owned(), steered.queued.into()),
        ("bytes".to_owned(), steered.queued_bytes.into()),
    ]))
}
