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

use super::Who;
use super::patterns::Patterns;
use super::rule::{LineError, Operation, Rule};
use super::topics::Topics;

/// The rules of a file.
#[derive(Debug, Default)]
pub(super) struct Acl {
    /// For clients without a user name.
    anonymous: Topics,
    users: HashMap<String, Topics>,
    /// For every client.
    patterns: Patterns,
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
        match keyword {
            "user" => {
                *user = Some(value.to_owned());
                self.users.entry(value.to_owned()).or_default();
            }
            "pattern" => self.patterns.add(Rule::parse(value)?),
            "topic" => {
                let rule = Rule::parse(value)?;
                match user {
                    Some(user) => self.users.entry(user.clone()).or_default().add(rule),
                    None => self.anonymous.add(rule),
                }
            }
            other => return Err(LineError::Keyword(other.to_owned())),
        }
        Ok(())
    }

    /// Whether `who` may do `operation` with `topic`.
    pub(super) fn allows(&self, who: &Who<'_>, topic: &str, operation: Operation) -> bool {
        let own = match who.username {
            Some(name) => self.users.get(name),
            None => Some(&self.anonymous),
        };
        let verdict = own.and_then(|topics| topics.verdict(topic, operation));
        let verdict = verdict.or_else(|| self.patterns.verdict(who, topic, operation));
        verdict.unwrap_or(false)
    }

    /// Whether patterns give `who` less than others, for what its names are.
    pub(super) fn keeps_out(&self, who: &Who<'_>) -> bool {
        self.patterns.keep_out(who)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::rule::Access;
    use crate::mqtt::filter_matches;

    impl Acl {
        /// How many rules and nodes a question takes a look at.
        fn looked_at(&self, who: &Who<'_>, topic: &str) -> usize {
            let own = match who.username {
                Some(name) => self.users.get(name),
                None => Some(&self.anonymous),
            };
            own.map_or(0, |own| own.looked_at(topic)) + self.patterns.looked_at(who, topic)
        }
    }

    fn who<'a>(client_id: &'a str, username: Option<&'a str>) -> Who<'a> {
        Who {
            client_id,
            username,
            listener: None,
            is_connected: true,
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

    /// What the lines of a file say, looked at one by one in the order that Mosquitto keeps them in.
    fn said_by(lines: &[String], who: &Who<'_>, topic: &str, operation: Operation) -> bool {
        let (mut own, mut patterns, mut user) = (Vec::new(), Vec::new(), None);
        for line in lines {
            let (keyword, value) = line.split_once(' ').unwrap();
            let list = match keyword {
                "user" => {
                    user = Some(value);
                    continue;
                }
                "pattern" => &mut patterns,
                _ if user == who.username => &mut own,
                _ => continue,
            };
            let rule = Rule::parse(value).unwrap();
            match rule.access {
                Access::Deny => list.insert(0, rule),
                _ => list.push(rule),
            }
        }
        let of_tree = |rule: &Rule| !topic.starts_with('$') || rule.filter.starts_with('$');
        let verdict = own.iter().find_map(|rule| {
            let matches = of_tree(rule) && filter_matches(&rule.filter, topic);
            matches.then(|| rule.access.verdict(operation)).flatten()
        });
        let names = [Some(who.client_id), who.username];
        let is_wild = names.into_iter().flatten().any(|n| n.contains(['+', '#']));
        let pattern = |rule: &Rule| {
            if is_wild || !of_tree(rule) || rule.access != Access::Deny && rule.is_spread_by(who) {
                return None;
            }
            let matches = filter_matches(&rule.for_client(who)?, topic);
            matches.then(|| rule.access.verdict(operation)).flatten()
        };
        let verdict = verdict.or_else(|| patterns.iter().find_map(pattern));
        verdict.unwrap_or(false)
    }

    fn line() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec![
            "a", "b", "+", "%c", "%c", "%u", "x%c", "$x", "$%c", "%%c", "", "+",
        ]);
        let filter = (prop::collection::vec(level, 1..4), any::<bool>());
        let filter = filter.prop_map(|(mut levels, multi)| {
            if multi {
                levels.push("#");
            }
            levels.join("/")
        });
        let filter = filter.prop_filter("not empty", |filter| !filter.is_empty());
        let access = prop::sample::select(vec!["read ", "write ", "readwrite ", "deny ", ""]);
        prop_oneof![
            1 => prop::sample::select(vec!["user a", "user b", "user a/b"]).prop_map(String::from),
            8 => (prop::sample::select(vec!["topic", "pattern"]), access, filter)
                .prop_map(|(keyword, access, filter)| format!("{keyword} {access}{filter}")),
        ]
    }

    fn name() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "a", "a", "b", "a/b", "a/b", "a/b", "/", "$x", "+", "a#", "%u",
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        /// Few lines or many, the index says what the lines say.
        #[test]
        fn the_index_agrees_with_the_lines(
            lines in prop::collection::vec(line(), 0..80),
            asked in prop::collection::vec(
                (name(), prop::option::of(name()), topic(), any::<bool>()),
                1..30,
            ),
        ) {
            let acl = acl(&lines.join("\n"));
            for (client_id, username, topic, reads) in asked {
                let who = who(client_id, username);
                let operation = if reads { Operation::Read } else { Operation::Write };
                prop_assert_eq!(
                    acl.allows(&who, &topic, operation),
                    said_by(&lines, &who, &topic, operation),
                    "{:?} {}", who, topic
                );
            }
        }
    }

    fn topic() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec![
            "a", "a", "a", "b", "b", "b", "xa", "x", "", "$x", "$a", "%a",
        ]);
        prop::collection::vec(level, 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("not empty", |topic| !topic.is_empty())
    }

    /// Thousands of lines cost a question no more than those that may be about it.
    #[test]
    fn only_lines_that_may_match_are_looked_at() {
        let mut lines: Vec<String> = (0..3000)
            .flat_map(|n| {
                [
                    format!("topic read t/{n}/#"),
                    format!("pattern write p/{n}/%c/x"),
                    format!("pattern deny d/{n}/%u"),
                ]
            })
            .collect();
        lines.extend((0..3000).map(|n| format!("user u{n}\ntopic deny t/{n}")));
        let acl = acl(&lines.join("\n"));
        for client in [who("c", None), who("a/b", None), who("c", Some("u7"))] {
            for topic in ["t/2999/x", "p/2999/c/x", "d/2999/u7", "none/of/them"] {
                let looked_at = acl.looked_at(&client, topic);
                assert!(looked_at < 20, "{looked_at} for {client:?} {topic}");
            }
        }
        assert!(acl.allows(&who("c", None), "t/2999/x", Operation::Read));
        assert!(acl.allows(&who("c", Some("u7")), "p/2999/c/x", Operation::Write));
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
