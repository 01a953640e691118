//! What one client may do, where `auth_socket` says it: lines in the words of an `acl_file`.

use super::Who;
use super::patterns::Patterns;
use super::rule::{LineError, Operation, Rule};
use super::topics::Topics;
use crate::held::{ALLOCATION, Charge, SESSIONS};

/// A rule takes so many bytes beside its filter, about, wherever it lies.
const RULE: usize = 96 + ALLOCATION;

/// The lines of one client, read. They may go from thread to thread.
#[derive(Clone, Debug, Default)]
pub struct Lines(Vec<Line>);

#[derive(Clone, Debug)]
enum Line {
    Topic(Rule),
    Pattern(Rule),
}

impl Lines {
    /// Adds `topic [read|write|readwrite|deny] TOPIC` or a `pattern` line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn add(&mut self, line: &str) -> Result<(), LineError> {
        let line = line.trim();
        let (keyword, value) = line.split_once(' ').ok_or(LineError::Missing)?;
        let line = match keyword {
            "topic" => Line::Topic(Rule::parse(value.trim())?),
            "pattern" => Line::Pattern(Rule::parse(value.trim())?),
            "user" => return Err(LineError::User),
            other => return Err(LineError::Keyword(other.to_owned())),
        };
        self.0.push(line);
        Ok(())
    }
}

/// What one client may do; what no line allows is denied.
#[derive(Debug, Default)]
pub(super) struct Rights {
    topics: Topics,
    patterns: Patterns,
    held: Charge<SESSIONS>,
}

impl Rights {
    pub(super) fn new(lines: Lines) -> Rights {
        let mut rights = Rights::default();
        let mut bytes = size_of::<Rights>();
        for line in lines.0 {
            let (Line::Topic(rule) | Line::Pattern(rule)) = &line;
            bytes += RULE + rule.filter.len();
            match line {
                Line::Topic(rule) => rights.topics.add(rule),
                Line::Pattern(rule) => rights.patterns.add(rule),
            }
        }
        rights.held.set(bytes);
        rights
    }

    /// Whether `who` may do `operation` with `topic`.
    pub(super) fn allows(&self, who: &Who<'_>, topic: &str, operation: Operation) -> bool {
        let verdict = self.topics.verdict(topic, operation);
        let verdict = verdict.or_else(|| self.patterns.verdict(who, topic, operation));
        verdict.unwrap_or(false)
    }

    /// What they take, in bytes.
    pub(super) fn held(&self) -> usize {
        self.held.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_an_acl_file() {
        let mut lines = Lines::default();
        for line in [
            "topic read a/#",
            "topic deny a/secret",
            " pattern write up/%c/%u ",
        ] {
            lines.add(line).unwrap();
        }
        for (wrong, error) in [
            ("user bob", LineError::User),
            ("topic", LineError::Missing),
            ("", LineError::Missing),
            ("topik a", LineError::Keyword("topik".to_owned())),
            ("topic a#", LineError::Filter("a#".to_owned())),
            ("topic all a", LineError::Access("all".to_owned())),
        ] {
            assert_eq!(lines.add(wrong), Err(error), "{wrong}");
        }
        let before = crate::held::of(SESSIONS);
        let rights = Rights::new(lines);
        assert!(crate::held::of(SESSIONS) > before + 3 * RULE as u64);
        let who = Who {
            client_id: "c",
            username: Some("u"),
            listener: None,
            is_connected: true,
        };
        let allows = |topic, operation| rights.allows(&who, topic, operation);
        assert!(allows("a/x", Operation::Read) && !allows("a/x", Operation::Write));
        assert!(!allows("a/secret", Operation::Read) && !allows("b", Operation::Read));
        assert!(allows("up/c/u", Operation::Write) && !allows("up/d/u", Operation::Write));
        let none = Rights::new(Lines::default());
        assert!(!none.allows(&who, "a", Operation::Read));
        drop((rights, none));
        assert_eq!(crate::held::of(SESSIONS), before);
    }
}
