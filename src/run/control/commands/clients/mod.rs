//! `clients`, `client …`: clients and their sessions are listed, looked at, disconnected and forgotten.

mod list;
mod show;
mod steer;
mod words;

use super::command::Command;

/// Every command about clients.
pub(super) const ALL: &[&Command] = &[&list::COMMAND, &show::COMMAND, &steer::KICK, &steer::FORGET];
