//! A row of the table of directives, and what makes one.

use crate::config::Kind;
use crate::config::draft::Draft;
use crate::config::value::Value;

/// Which part of a file a directive belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Section {
    /// The whole broker.
    General,
    /// A `listener`, or the default listener.
    Listener,
    /// A `connection`.
    Bridge,
}

/// Takes the value of a directive into the draft.
pub(in crate::config) type Parse = fn(&mut Draft<'_>, Value<'_>) -> Result<(), Kind>;

/// What footbridge makes of a directive.
#[derive(Clone, Copy)]
pub(in crate::config) enum Class {
    /// Does what it says.
    Implemented(Parse),
    /// Loads; [`Key::help`] says what happens instead.
    Accepted,
    /// An error; [`Key::help`] is the reason, this is what to use.
    Refused(&'static str),
    /// An error until a later version knows it; this is what to do now.
    Later(&'static str),
}

/// What holds where a directive is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Unset {
    /// As if it were there with this value.
    Is(&'static str),
    /// In words.
    Means(&'static str),
}

/// A row of the table.
pub(in crate::config) struct Key {
    /// The directive; a `*` at the end stands for anything.
    pub name: &'static str,
    /// Where it belongs.
    pub section: Section,
    /// Its value, as a man page writes it.
    pub syntax: &'static str,
    /// What holds without it.
    pub unset: Unset,
    /// What footbridge makes of it.
    pub class: Class,
    /// Values of a directive that is not implemented which ask for what footbridge does anyway.
    pub accepted_values: &'static [&'static str],
    /// What it does, in one line.
    pub help: &'static str,
    /// What the man page adds.
    pub more: &'static str,
}

pub(super) const fn implemented(
    section: Section,
    name: &'static str,
    syntax: &'static str,
    unset: Unset,
    help: &'static str,
    more: &'static str,
    parse: Parse,
) -> Key {
    Key {
        name,
        section,
        syntax,
        unset,
        class: Class::Implemented(parse),
        accepted_values: &[],
        help,
        more,
    }
}

pub(super) const fn accepted(
    section: Section,
    name: &'static str,
    syntax: &'static str,
    instead: &'static str,
) -> Key {
    Key {
        class: Class::Accepted,
        ..other(section, name, syntax, &[], instead)
    }
}

pub(super) const fn refused(
    section: Section,
    name: &'static str,
    syntax: &'static str,
    accepted_values: &'static [&'static str],
    reason: &'static str,
    cure: &'static str,
) -> Key {
    Key {
        class: Class::Refused(cure),
        ..other(section, name, syntax, accepted_values, reason)
    }
}

pub(super) const fn later(
    section: Section,
    name: &'static str,
    syntax: &'static str,
    accepted_values: &'static [&'static str],
    help: &'static str,
    cure: &'static str,
) -> Key {
    Key {
        class: Class::Later(cure),
        ..other(section, name, syntax, accepted_values, help)
    }
}

const fn other(
    section: Section,
    name: &'static str,
    syntax: &'static str,
    accepted_values: &'static [&'static str],
    help: &'static str,
) -> Key {
    Key {
        name,
        section,
        syntax,
        unset: Unset::Means("none"),
        class: Class::Accepted,
        accepted_values,
        help,
        more: "",
    }
}

/// A [`Parse`] that sets one field of `General`.
macro_rules! set {
    ($field:ident, $value:ident => $parsed:expr) => {
        |draft, $value| {
            draft.general.$field = $parsed;
            Ok(())
        }
    };
}
pub(super) use set;

/// A [`Parse`] that sets one field of the listener that the line belongs to.
macro_rules! set_listener {
    ($field:ident, $value:ident => $parsed:expr) => {
        |draft, $value| {
            draft.listener().$field = $parsed;
            Ok(())
        }
    };
}
pub(super) use set_listener;

/// A [`Parse`] that sets one field of `Security`.
macro_rules! set_security {
    ($field:ident, $value:ident => $parsed:expr) => {
        |draft, $value| {
            let value = $parsed;
            draft.security().$field = value;
            Ok(())
        }
    };
}
pub(super) use set_security;
