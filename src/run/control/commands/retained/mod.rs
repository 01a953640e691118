//! `retained …`: retained messages are listed and cleared.

mod clear;
mod list;
mod words;

use super::command::Command;

/// Every command about retained messages.
pub(super) const ALL: &[&Command] = &[&list::COMMAND, &clear::COMMAND];
