//! `footbridge retained`: what a running broker retains is listed or cleared.

use std::fmt::Write as _;

use super::amounts::{bytes, span};
use super::control::{Which, confirmed};
use super::words::Words;
use super::{Error, put};
use crate::config::printable::printable;
use crate::json::Value;
use crate::run::control::protocol::Request;

/// What `--help` prints.
pub const HELP: &str = include_str!("retained.txt");

/// So much of a payload is shown to a person, in characters.
const SHOWN: usize = 60;

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retained {
    which: Which,
    filter: String,
    action: Action,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    List { json: bool },
    Clear { yes: bool },
}

impl Retained {
    /// Understands the words behind `retained`.
    ///
    /// # Errors
    /// [`Error::Usage`], [`Error::Help`].
    pub fn parse(args: &[&str]) -> Result<Retained, Error> {
        let mut which = Which::default();
        let (mut json, mut yes, mut plain) = (false, false, Vec::new());
        let mut words = Words::new(args);
        while let Some(word) = words.next() {
            match word {
                "--help" => return Err(Error::Help),
                "--json" => json = true,
                "--yes" => yes = true,
                _ if which.take(word, &mut words)? => {}
                _ if word.starts_with('-') => {
                    return Err(Error::Usage(format!("Unknown option '{word}'.")));
                }
                _ => plain.push(word),
            }
        }
        let usage = |what: &str| Err(Error::Usage(what.to_owned()));
        // A filter may be called clear, too: then that stands twice.
        let (filter, action) = match *plain {
            ["clear", filter] => (filter, Action::Clear { yes }),
            [filter] => (filter, Action::List { json }),
            _ => return usage("Give one topic filter, # for all."),
        };
        match action {
            Action::List { .. } if yes => usage("--yes is for clear."),
            Action::Clear { .. } if json => usage("--json is for the list."),
            _ => Ok(Retained {
                which,
                filter: filter.to_owned(),
                action,
            }),
        }
    }

    /// Asks the broker, and prints what it says.
    ///
    /// # Errors
    /// The broker is not there or refuses; the answer to the question was no.
    pub fn run(&self) -> Result<(), Error> {
        let list = || {
            self.which
                .ask(&Request::new("retained").with("filter", &*self.filter))
        };
        let text = match self.action {
            Action::List { json: true } => {
                let mut out = String::new();
                Value::List(list()?.items).write(&mut out);
                out.push('\n');
                out
            }
            Action::List { json: false } => screen(&list()?.items),
            Action::Clear { yes } => {
                if !yes {
                    let (count, filter) = (list()?.items.len(), printable(&self.filter));
                    confirmed(&format!("Clears {count} retained messages on {filter}."))?;
                }
                let request = Request::new("retained clear").with("filter", &*self.filter);
                let cleared = self.which.ask(&request)?.items.len();
                format!("Cleared {cleared} retained messages.\n")
            }
        };
        put(&text).map_err(Error::Write)
    }
}

fn screen(items: &[Value]) -> String {
    if items.is_empty() {
        return "Nothing is retained there.\n".to_owned();
    }
    let mut out = format!("{:>10}  {:>8}  topic and payload\n", "bytes", "age");
    for item in items {
        let count = |name: &str| item.get(name).and_then(Value::as_u64).unwrap_or(0);
        let text = |name: &str| item.get(name).and_then(Value::as_text).unwrap_or_default();
        let payload: String = text("payload").chars().take(SHOWN).collect();
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "{:>10}  {:>8}  {} {}",
            bytes(count("bytes")),
            span(count("age_seconds")),
            printable(text("topic")),
            printable(&payload)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood() {
        let parsed = |args: &[&str]| Retained::parse(args).unwrap();
        assert_eq!(parsed(&["a/#"]).action, Action::List { json: false });
        assert_eq!(
            parsed(&["clear", "--yes", "a/#"]).action,
            Action::Clear { yes: true }
        );
        let named = parsed(&["clear"]);
        assert_eq!(
            (&*named.filter, named.action),
            ("clear", Action::List { json: false })
        );
        for (args, says) in [
            (&[][..], "one topic filter"),
            (&["a", "b"], "one topic filter"),
            (&["a", "--yes"], "--yes is for"),
            (&["clear", "a", "--json"], "--json is for"),
            (&["a", "--sort"], "Unknown option"),
        ] {
            match Retained::parse(args) {
                Err(Error::Usage(what)) => assert!(what.contains(says), "{what}"),
                other => panic!("{args:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn topics_have_a_line_each() {
        let items =
            Value::parse(r#"[{"topic":"t\u0007","bytes":3,"age_seconds":5,"payload":"on\n"}]"#);
        let Ok(Value::List(items)) = items else {
            panic!("no list");
        };
        assert!(
            screen(&items).ends_with("   3 bytes       5 s  t\\u{7} on\\n\n"),
            "{}",
            screen(&items)
        );
        assert_eq!(screen(&[]), "Nothing is retained there.\n");
    }
}
