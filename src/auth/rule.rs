//! One line of an `acl_file`.

use std::fmt;

use super::Who;
use crate::mqtt::TopicFilter;

/// One `topic` or `pattern` line.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) access: Access,
    pub(super) filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// What a client wants of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
}

/// What is wrong with a line. Prints as cause, then cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineError {
    /// The first word is not `topic`, `pattern` or `user`.
    Keyword(String),
    /// The word before the topic is none of the four.
    Access(String),
    /// Not a topic filter.
    Filter(String),
    /// Nothing after the first word.
    Missing,
    /// A `user` line where all lines are of one client.
    User,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::Keyword(word) => {
                write!(
                    f,
                    "`{word}` is not known; begin the line with topic, pattern or user"
                )
            }
            LineError::Access(word) => {
                write!(
                    f,
                    "`{word}` is no access; use read, write, readwrite or deny"
                )
            }
            LineError::Filter(text) => write!(
                f,
                "`{text}` is no topic filter; + and # must be a level of their own, # the last"
            ),
            LineError::Missing => {
                f.write_str("the line ends too soon; give a topic or a user name")
            }
            LineError::User => {
                f.write_str("a user line has no place here, the rights are those of one client")
            }
        }
    }
}

/// Whether a name of the client would match other names.
pub(super) fn is_wild(who: &Who<'_>) -> bool {
    let mut names = [Some(who.client_id), who.username].into_iter().flatten();
    names.any(|name| name.contains(['+', '#']))
}

impl Rule {
    /// `[read|write|readwrite|deny] FILTER`; only with the first word may the filter have blanks.
    pub(super) fn parse(text: &str) -> Result<Rule, LineError> {
        let (access, filter) = match text.split_once(' ') {
            Some((word, filter)) => (Access::parse(word)?, filter.trim()),
            None => (Access::ReadWrite, text),
        };
        TopicFilter::new(filter).map_err(|_| LineError::Filter(filter.to_owned()))?;
        Ok(Rule {
            access,
            filter: filter.to_owned(),
        })
    }

    /// Whether the line may be about `topic`: what begins with `$` takes a line that does.
    pub(super) fn is_of_tree(&self, topic: &str) -> bool {
        !topic.starts_with('$') || self.filter.starts_with('$')
    }

    /// Whether the line names `who` by something that is more than one level.
    pub(super) fn is_spread_by(&self, who: &Who<'_>) -> bool {
        let names = [("%c", Some(who.client_id)), ("%u", who.username)];
        names.iter().any(|(sign, name)| {
            name.is_some_and(|name| name.contains('/')) && self.filter.contains(sign)
        })
    }

    /// The filter of a `pattern` for `who`, in one pass, so that a name with `%u` in it stays what
    /// it is; `None` where it wants a user name and there is none.
    pub(super) fn for_client(&self, who: &Who<'_>) -> Option<String> {
        let mut filter = String::with_capacity(self.filter.len() + who.client_id.len());
        let mut unread = self.filter.as_str();
        while let Some((before, after)) = unread.split_once('%') {
            filter.push_str(before);
            unread = if let Some(after) = after.strip_prefix('c') {
                filter.push_str(who.client_id);
                after
            } else if let Some(after) = after.strip_prefix('u') {
                filter.push_str(who.username?);
                after
            } else {
                filter.push('%');
                after
            };
        }
        filter.push_str(unread);
        Some(filter)
    }
}

impl Access {
    fn parse(word: &str) -> Result<Access, LineError> {
        match word {
            "read" => Ok(Access::Read),
            "write" => Ok(Access::Write),
            "readwrite" => Ok(Access::ReadWrite),
            "deny" => Ok(Access::Deny),
            other => Err(LineError::Access(other.to_owned())),
        }
    }

    /// What a rule that matches says about `operation`, if anything.
    pub(super) fn verdict(self, operation: Operation) -> Option<bool> {
        match (self, operation) {
            (Access::Deny, _) => Some(false),
            (Access::Read, Operation::Write) | (Access::Write, Operation::Read) => None,
            _ => Some(true),
        }
    }
}
