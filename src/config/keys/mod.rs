//! The one table of directives: the parser, `--help config`, the man page and the sample all
//! come from it.
//!
//! Each directive is in one of four classes, so that none is ever ignored in silence:
//! implemented; accepted, with a line in the log that says what happens instead; refused, with
//! the reason and what to use; left to a later version, and refused until then.

mod bridge;
mod general;
mod limits;
mod listener;
mod log;
mod store;
mod tls;
mod web;

use super::Kind;
use super::draft::Draft;
use super::value::Value;

/// Which part of a file a directive belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// The whole broker.
    General,
    /// A `listener`, or the default listener.
    Listener,
    /// A `connection`.
    Bridge,
}

/// Takes the value of a directive into the draft.
pub(super) type Parse = fn(&mut Draft<'_>, Value<'_>) -> Result<(), Kind>;

/// What footbridge makes of a directive.
#[derive(Clone, Copy)]
pub(super) enum Class {
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
pub(super) enum Unset {
    /// As if it were there with this value.
    Is(&'static str),
    /// In words.
    Means(&'static str),
}

/// A row of the table.
pub(super) struct Key {
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
    pub harmless: &'static [&'static str],
    /// What it does, in one line.
    pub help: &'static str,
    /// What the man page adds.
    pub more: &'static str,
}

const fn implemented(
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
        harmless: &[],
        help,
        more,
    }
}

const fn accepted(
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

const fn refused(
    section: Section,
    name: &'static str,
    syntax: &'static str,
    harmless: &'static [&'static str],
    reason: &'static str,
    cure: &'static str,
) -> Key {
    Key {
        class: Class::Refused(cure),
        ..other(section, name, syntax, harmless, reason)
    }
}

const fn later(
    section: Section,
    name: &'static str,
    syntax: &'static str,
    harmless: &'static [&'static str],
    help: &'static str,
    cure: &'static str,
) -> Key {
    Key {
        class: Class::Later(cure),
        ..other(section, name, syntax, harmless, help)
    }
}

const fn other(
    section: Section,
    name: &'static str,
    syntax: &'static str,
    harmless: &'static [&'static str],
    help: &'static str,
) -> Key {
    Key {
        name,
        section,
        syntax,
        unset: Unset::Means("none"),
        class: Class::Accepted,
        harmless,
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
use set;

/// A [`Parse`] that sets one field of the listener that the line belongs to.
macro_rules! set_listener {
    ($field:ident, $value:ident => $parsed:expr) => {
        |draft, $value| {
            draft.listener().$field = $parsed;
            Ok(())
        }
    };
}
use set_listener;

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
use set_security;

/// Every row, section by section.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    [
        general::KEYS,
        store::KEYS,
        limits::KEYS,
        log::KEYS,
        listener::KEYS,
        web::KEYS,
        tls::KEYS,
        bridge::KEYS,
        bridge::OTHERS,
    ]
    .into_iter()
    .flatten()
}

/// The row for `directive`.
pub(super) fn find(directive: &str) -> Option<&'static Key> {
    all().find(|key| match key.name.strip_suffix('*') {
        Some(stem) => directive.starts_with(stem),
        None => key.name == directive,
    })
}

/// The known directive nearest to `word`, if one is near enough to be meant.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    nearest_of(word, all().map(|key| key.name))
}

/// The nearest to `word` of the `known`, if one is near enough to be meant.
pub(super) fn nearest_of(
    word: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    // Longer than a directive by more than a slip of the pen: comparing would only take time.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| (distance(&word, name), name))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, _)| distance <= (word.len() / 3).clamp(1, 4))
        .map(|(_, name)| name)
}

/// How many letters to insert, remove, change or swap with their neighbour to make `b` of `a`
/// (the optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // The rows of the table for the letters of `a` before: entry j is the distance to the first j
    // letters of `b`.
    let mut second_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_x = None;
    for (i, &x) in a.iter().enumerate() {
        let mut left = i + 1;
        let mut row = vec![left];
        let mut previous_y = None;
        // For entry j it is entry j - 1 of the second last row that a swap adds to.
        let mut swapped = None;
        let mut to_swap = second_last.iter();
        for (&y, above) in b.iter().zip(last.windows(2)) {
            let &[diagonal, above] = above else { continue };
            let change = diagonal + usize::from(x != y);
            let mut best = change.min(above + 1).min(left + 1);
            if let Some(swapped) =
                swapped.filter(|_| previous_x == Some(y) && previous_y == Some(x))
            {
                best = best.min(swapped + 1);
            }
            row.push(best);
            (left, previous_y) = (best, Some(y));
            swapped = to_swap.next().copied();
        }
        second_last = std::mem::replace(&mut last, row);
        previous_x = Some(x);
    }
    last.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().map(|key| key.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_row_says_what_it_does() {
        for key in all() {
            assert!(
                !key.help.is_empty() && !key.syntax.is_empty(),
                "{}",
                key.name
            );
            if let Class::Refused(cure) | Class::Later(cure) = key.class {
                assert!(!cure.is_empty(), "{}", key.name);
            }
        }
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("tpoic", "topic"), 1);
    }

    #[test]
    fn a_slip_finds_the_directive_that_was_meant() {
        assert_eq!(nearest("persistance"), Some("persistence"));
        assert_eq!(nearest("Allow-Anonymous"), Some("allow_anonymous"));
        assert_eq!(nearest("tpoic"), Some("topic"));
        assert_eq!(nearest("frobnicate"), None);
        // At once: a binary file may be one line of a megabyte.
        assert_eq!(nearest(&"persistence".repeat(1 << 17)), None);
    }
}
