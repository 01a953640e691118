//! `acl_file`: which topics a client may publish to and read.
//!
//! The rules are Mosquitto 2.0's. A client without a user name has the `topic` lines above the
//! first `user`; one with a user name has those below its `user` line, and no others. `pattern`
//! lines are for all, wherever they stand, and come second: a `topic` line that allows wins over
//! a `pattern` that denies. In each list, denies go first. What no line allows is denied.
//!
//! Where a `pattern` names the client, the name must be one level of a topic: with `/` in it a client
//! would reach what is another's (`a/b` the topics of `a`), with `+` or `#` those of all
//! (CVE-2017-7650). A client may choose its id, so a line that would give it more by that gives it
//! nothing.

use std::collections::HashMap;
use std::fmt;

use super::Who;
use crate::mqtt::{TopicFilter, filter_matches};

/// The rules of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Acl {
    /// For clients without a user name.
    anonymous: Vec<Rule>,
    users: HashMap<String, Vec<Rule>>,
    /// For every client; `%u` and `%c` stand for its names.
    patterns: Vec<Rule>,
}

/// One `topic` or `pattern` line. Denies stand first in their list.
#[derive(Clone, Debug)]
struct Rule {
    access: Access,
    filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
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
        }
    }
}

impl Acl {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The lines that are not understood, with their numbers.
    pub(super) fn parse(text: &str) -> Result<Acl, Vec<(usize, LineError)>> {
        let mut acl = Acl::default();
        let mut user: Option<String> = None;
        let mut wrong = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(error) = acl.line(line, &mut user) {
                wrong.push((n + 1, error));
            }
        }
        if wrong.is_empty() {
            Ok(acl)
        } else {
            Err(wrong)
        }
    }

    fn line(&mut self, line: &str, user: &mut Option<String>) -> Result<(), LineError> {
        let (keyword, value) = line.split_once(' ').ok_or(match line {
            "topic" | "pattern" | "user" => LineError::Missing,
            other => LineError::Keyword(other.to_owned()),
        })?;
        let value = value.trim();
        let list = match keyword {
            "user" => {
                *user = Some(value.to_owned());
                self.users.entry(value.to_owned()).or_default();
                return Ok(());
            }
            "pattern" => &mut self.patterns,
            "topic" => match user {
                Some(user) => self.users.entry(user.clone()).or_default(),
                None => &mut self.anonymous,
            },
            other => return Err(LineError::Keyword(other.to_owned())),
        };
        let rule = Rule::parse(value)?;
        match rule.access {
            Access::Deny => list.insert(0, rule),
            _ => list.push(rule),
        }
        Ok(())
    }

    /// Whether `who` may do `operation` with `topic`.
    pub(super) fn allows(&self, who: &Who<'_>, topic: &str, operation: Operation) -> bool {
        let own = match who.username {
            Some(name) => self.users.get(name),
            None => Some(&self.anonymous),
        };
        let verdict = own.into_iter().flatten().find_map(|rule| {
            let matches = rule.is_of_tree(topic) && filter_matches(&rule.filter, topic);
            matches.then(|| rule.access.verdict(operation)).flatten()
        });
        verdict.unwrap_or_else(|| self.pattern_allows(who, topic, operation))
    }

    fn pattern_allows(&self, who: &Who<'_>, topic: &str, operation: Operation) -> bool {
        if self.patterns.is_empty() || is_wild(who) {
            return false;
        }
        let verdict = self.patterns.iter().find_map(|rule| {
            if !rule.is_of_tree(topic) || rule.access != Access::Deny && rule.is_spread_by(who) {
                return None;
            }
            let filter = rule.for_client(who)?;
            let matches = filter_matches(&filter, topic);
            matches.then(|| rule.access.verdict(operation)).flatten()
        });
        verdict.unwrap_or(false)
    }

    /// Whether patterns give `who` less than others, for what its names are.
    pub(super) fn keeps_out(&self, who: &Who<'_>) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.any(|rule| rule.access != Access::Deny && (is_wild(who) || rule.is_spread_by(who)))
    }
}

/// Whether a name of the client would match other names.
fn is_wild(who: &Who<'_>) -> bool {
    let mut names = [Some(who.client_id), who.username].into_iter().flatten();
    names.any(|name| name.contains(['+', '#']))
}

impl Rule {
    /// `[read|write|readwrite|deny] FILTER`; only with the first word may the filter have blanks.
    fn parse(text: &str) -> Result<Rule, LineError> {
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
    fn is_of_tree(&self, topic: &str) -> bool {
        !topic.starts_with('$') || self.filter.starts_with('$')
    }

    /// Whether the line names `who` by something that is more than one level.
    fn is_spread_by(&self, who: &Who<'_>) -> bool {
        let names = [("%c", Some(who.client_id)), ("%u", who.username)];
        names.iter().any(|(sign, name)| {
            name.is_some_and(|name| name.contains('/')) && self.filter.contains(sign)
        })
    }

    /// The filter of a `pattern` for `who`, in one pass, so that a name with `%u` in it stays what
    /// it is; `None` where it wants a user name and there is none.
    fn for_client(&self, who: &Who<'_>) -> Option<String> {
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
    fn verdict(self, operation: Operation) -> Option<bool> {
        match (self, operation) {
            (Access::Deny, _) => Some(false),
            (Access::Read, Operation::Write) | (Access::Write, Operation::Read) => None,
            _ => Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who<'a>(client_id: &'a str, username: Option<&'a str>) -> Who<'a> {
        Who {
            client_id,
            username,
            listener: None,
        }
    }

    fn acl(text: &str) -> Acl {
        Acl::parse(text).unwrap()
    }

    #[test]
    fn topics_above_the_first_user_are_for_clients_without_a_name() {
        let acl = acl("# comment\ntopic read news/#\n\nuser alice\ntopic alice/#\r\n");
        let (nobody, alice, bob) = (
            who("1", None),
            who("2", Some("alice")),
            who("3", Some("bob")),
        );
        assert!(acl.allows(&nobody, "news/a", Operation::Read));
        assert!(!acl.allows(&nobody, "news/a", Operation::Write));
        assert!(!acl.allows(&nobody, "alice/a", Operation::Read));
        assert!(acl.allows(&alice, "alice/a", Operation::Read));
        assert!(acl.allows(&alice, "alice/a", Operation::Write));
        assert!(!acl.allows(&alice, "news/a", Operation::Read));
        assert!(!acl.allows(&bob, "news/a", Operation::Read));
    }

    #[test]
    fn a_user_may_have_several_blocks() {
        let acl = acl("user a\ntopic x\nuser b\ntopic y\nuser a\ntopic z");
        let a = who("1", Some("a"));
        assert!(acl.allows(&a, "x", Operation::Read) && acl.allows(&a, "z", Operation::Read));
        assert!(!acl.allows(&a, "y", Operation::Read));
    }

    #[test]
    fn deny_beats_what_stands_before_it_in_the_same_list() {
        let acl = acl("topic #\ntopic deny secret/#\npattern deny open/#");
        let client = who("1", None);
        assert!(!acl.allows(&client, "secret/x", Operation::Read));
        assert!(!acl.allows(&client, "secret", Operation::Write));
        assert!(
            acl.allows(&client, "open/x", Operation::Read),
            "topics go before patterns"
        );
    }

    #[test]
    fn dollar_topics_need_a_rule_with_a_dollar() {
        let acl = acl("topic #\ntopic +/x\ntopic read $SYS/#");
        let client = who("1", None);
        assert!(acl.allows(&client, "$SYS/uptime", Operation::Read));
        assert!(!acl.allows(&client, "$SYS/uptime", Operation::Write));
        assert!(!acl.allows(&client, "$other/x", Operation::Read));
    }

    #[test]
    fn patterns_take_the_names_of_the_client() {
        let acl = acl("pattern write up/%u/%c\npattern read 100%/%c-x\nuser bob\n");
        let bob = who("b1", Some("bob"));
        assert!(acl.allows(&bob, "up/bob/b1", Operation::Write));
        assert!(!acl.allows(&bob, "up/bob/b2", Operation::Write));
        assert!(!acl.allows(&bob, "up/bob/b1", Operation::Read));
        assert!(acl.allows(&who("b1", None), "100%/b1-x", Operation::Read));
        assert!(!acl.allows(&who("b1", None), "up//b1", Operation::Write));
        let sly = who("%u", Some("x"));
        assert!(
            acl.allows(&sly, "100%/%u-x", Operation::Read),
            "replaced once"
        );
    }

    #[test]
    fn a_wildcard_for_a_name_opens_nothing() {
        let acl = acl("topic a\npattern t/%c\npattern u/%u\npattern all");
        for sly in [
            who("+", None),
            who("#", None),
            who("x", Some("+")),
            who("a#", Some("u")),
        ] {
            for topic in ["t/x", "u/x", "all", "t/+"] {
                assert!(!acl.allows(&sly, topic, Operation::Read), "{sly:?} {topic}");
            }
        }
        assert!(
            acl.allows(&who("+", None), "a", Operation::Read),
            "topics still hold"
        );
    }

    /// The client `a/b` has nothing of what is below the topics of `a`.
    #[test]
    fn a_slash_in_a_name_opens_nothing() {
        let acl = acl(
            "pattern readwrite t/%c/#\npattern readwrite u/%u/#\npattern write c/%c\n\
                       pattern read open/#\npattern deny open/%c\npattern readwrite %c/#",
        );
        let (spread, user) = (who("a/b", Some("u")), who("c", Some("u/v")));
        let deep = who("/", Some("/"));
        for (who, topic) in [
            (spread, "t/a/b/x"),
            (spread, "t/a/b"),
            (spread, "c/a/b"),
            (spread, "a/b/x"),
            (user, "u/u/v/x"),
            (deep, "t///x"),
            (deep, "u///x"),
        ] {
            for operation in [Operation::Read, Operation::Write] {
                assert!(!acl.allows(&who, topic, operation), "{who:?} {topic}");
            }
        }
        // What does not name them holds for them, and so do other names.
        assert!(acl.allows(&spread, "open/x", Operation::Read));
        assert!(acl.allows(&spread, "u/u/x", Operation::Write));
        assert!(acl.allows(&user, "t/c/x", Operation::Write));
        assert!(!acl.allows(&spread, "open/a/b", Operation::Read), "denied");
        let kept_out = [spread, user, deep, who("+", None), who("c", Some("#"))];
        assert!(kept_out.iter().all(|who| acl.keeps_out(who)));
        assert!(!acl.keeps_out(&who("c", Some("u"))) && !acl.keeps_out(&who("c", None)));
        let plain = Acl::parse("topic a\npattern read b\npattern deny %c").unwrap();
        assert!(!plain.keeps_out(&spread));
    }

    /// A client id may be `$SYS`.
    #[test]
    fn a_name_with_a_dollar_opens_nothing() {
        let acl = acl("pattern readwrite %c/#\npattern read $SYS/broker/connection/%c/state");
        let sly = who("$SYS", None);
        assert!(!acl.allows(&sly, "$SYS/broker/uptime", Operation::Read));
        assert!(!acl.allows(&sly, "$SYS/x", Operation::Write));
        let bridge = who("b", None);
        let own = "$SYS/broker/connection/b/state";
        assert!(acl.allows(&bridge, own, Operation::Read));
    }

    /// What mosquitto 2.0.11 answered to these publishers with this file, but for names with a
    /// slash, which it lets spread over levels.
    #[test]
    fn verdicts_of_mosquitto() {
        let acl = acl(
            "topic read news/#\ntopic deny news/secret\nuser bob\ntopic rooms/#\n\
                       topic deny rooms/x\npattern write up/%u/%c\npattern deny rooms/y\n\
                       pattern readwrite priv/%c/+",
        );
        for (username, client_id, topic, allowed) in [
            (None, "c", "news/a", false),
            (Some("bob"), "c", "rooms/a", true),
            (Some("bob"), "c", "rooms/x", false),
            (Some("bob"), "c", "rooms/y", true),
            (Some("bob"), "c", "up/bob/c", true),
            (Some("bob"), "c", "up/bob/d", false),
            (None, "c", "priv/c/1", true),
            (None, "c", "priv/d/1", false),
            (None, "a/b", "priv/a/b/1", false),
            (Some("bob"), "a/b", "up/bob/a/b", false),
            (Some("bob"), "+", "rooms/a", true),
            (Some("amy"), "c", "rooms/a", false),
            (Some("amy"), "c", "up/amy/c", true),
        ] {
            let verdict = acl.allows(&who(client_id, username), topic, Operation::Write);
            assert_eq!(verdict, allowed, "{username:?} {client_id} {topic}");
        }
    }

    /// Names are as long as a packet can hold; with what is around them in a pattern they make a
    /// filter that no topic can match, and nothing else.
    #[test]
    fn long_names_match_what_they_name_and_no_more() {
        let acl = acl("pattern readwrite %c\npattern readwrite u/%u/#\n");
        for len in [65_533, 65_535, 65_536] {
            let name = "n".repeat(len);
            let client = who(&name, Some(&name));
            assert!(acl.allows(&client, &name, Operation::Write), "{len}");
            assert!(acl.allows(&client, &format!("u/{name}/x"), Operation::Write));
            for other in [&name[1..], &name[..100], "", "u/", "u//x", "u/n"] {
                assert!(
                    !acl.allows(&client, other, Operation::Read),
                    "{len} {}",
                    other.len()
                );
            }
        }
        let deep = "a/".repeat(30_000);
        assert!(!acl.allows(&who(&deep, None), &deep, Operation::Write));
        assert!(!acl.allows(&who(&deep, None), "a", Operation::Write));
        let filter = "f".repeat(65_536);
        let error = LineError::Filter(filter.clone());
        let parsed = Acl::parse(&format!("topic {filter}")).map(|_| ());
        assert_eq!(parsed, Err(vec![(1, error)]));
        assert!(Acl::parse(&format!("topic {}", &filter[1..])).is_ok());
    }

    #[test]
    fn an_empty_file_denies_everything() {
        assert!(!acl("").allows(&who("1", None), "a", Operation::Read));
    }

    #[test]
    fn filters_may_have_blanks_after_an_access() {
        let acl = acl("topic read  living room/#  ");
        assert!(acl.allows(&who("1", None), "living room/lamp", Operation::Read));
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, line, error) in [
            ("topik a", 1, LineError::Keyword("topik".into())),
            ("topic a\ntopic", 2, LineError::Missing),
            ("user", 1, LineError::Missing),
            ("pattern", 1, LineError::Missing),
            ("topic all x", 1, LineError::Access("all".into())),
            ("\n\ntopic read a#", 3, LineError::Filter("a#".into())),
        ] {
            let wrong = vec![(line, error)];
            assert_eq!(Acl::parse(text).map(|_| ()), Err(wrong), "{text}");
        }
        let all = Acl::parse("topik a\ntopic b\nuser").unwrap_err();
        let lines: Vec<usize> = all.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3]);
    }
}
