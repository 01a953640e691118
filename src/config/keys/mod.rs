//! The one table of directives: the parser, `--help config`, the man page and the sample all
//! come from it.
//!
//! Each directive is in one of four classes, so that none is ever ignored in silence:
//! implemented; accepted, with a line in the log that says what happens instead; refused, with
//! the reason and what to use; left to a later version, and refused until then.

mod bridge;
mod general;
mod key;
mod limits;
mod listener;
mod log;
pub(super) mod nearest;
mod restart;
mod store;
mod tls;
mod web;

pub(super) use key::{Class, Key, Section, Unset};

use nearest::nearest_of;

/// Every row, section by section.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    [
        general::KEYS,
        general::auth_socket::KEYS,
        general::control::KEYS,
        general::plugins::KEYS,
        store::KEYS,
        limits::KEYS,
        limits::doors::KEYS,
        log::KEYS,
        listener::KEYS,
        web::KEYS,
        tls::KEYS,
        bridge::KEYS,
        bridge::tls::KEYS,
        bridge::password::KEYS,
        bridge::start::KEYS,
        bridge::way::KEYS,
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
    fn a_slip_finds_the_directive_that_was_meant() {
        assert_eq!(nearest("persistance"), Some("persistence"));
        assert_eq!(nearest("Allow-Anonymous"), Some("allow_anonymous"));
        assert_eq!(nearest("tpoic"), Some("topic"));
        assert_eq!(nearest("frobnicate"), None);
        // At once: a binary file may be one line of a megabyte.
        assert_eq!(nearest(&"persistence".repeat(1 << 17)), None);
    }
}
