//! `bridge …`: bridges are listed, started, stopped, added and removed while the broker runs.

mod add;
mod list;
mod remove;
mod saved;
mod start;
mod stop;
mod words;

use super::command::Command;

/// Every command about bridges.
pub(super) const ALL: &[&Command] = &[
    &list::COMMAND,
    &start::COMMAND,
    &stop::COMMAND,
    &add::COMMAND,
    &remove::COMMAND,
];
