//! Captures of a `topic` line: `{1}` to `{9}`, each a level of its own. A capture stands for one level,
//! as `+` does, whose text goes where the same number stands on the other side.

use super::super::error::shortened;
use super::super::{BridgeTopic, Direction, Kind};
use crate::mqtt::TopicFilter;

/// The number of a level that is a capture.
pub(crate) fn capture(level: &str) -> Option<u8> {
    let number = level.strip_prefix('{')?.strip_suffix('}')?;
    match number.as_bytes() {
        [digit @ b'1'..=b'9'] => Some(digit - b'0'),
        _ => None,
    }
}

/// Topics with captures as the filter that they match: a `+` for each.
pub(crate) fn filter_of(topics: &str) -> String {
    let levels = topics.split('/');
    let levels = levels.map(|level| capture(level).map_or(level, |_| "+"));
    levels.collect::<Vec<_>>().join("/")
}

/// True for a text with captures: such a prefix is the whole topic on its side.
pub(super) fn is_template(text: &str) -> bool {
    text.split('/').any(|level| capture(level).is_some())
}

impl BridgeTopic {
    /// True for a line with captures.
    pub fn has_captures(&self) -> bool {
        [&self.pattern, &self.local, &self.remote].map(|text| is_template(text)) != [false; 3]
    }

    /// The local topics: prefix and pattern, or the prefix alone where it has captures.
    pub fn local_topics(&self) -> String {
        self.topics(&self.local)
    }

    /// The remote topics, as [`local_topics`](BridgeTopic::local_topics).
    pub fn remote_topics(&self) -> String {
        self.topics(&self.remote)
    }

    fn topics(&self, prefix: &str) -> String {
        let pattern = if is_template(prefix) {
            ""
        } else {
            &self.pattern
        };
        format!("{prefix}{pattern}")
    }
}

/// Whether the two sides of a line with captures go together.
pub(super) fn check(topic: &BridgeTopic) -> Result<(), Kind> {
    let prefixes = [("local", &topic.local), ("remote", &topic.remote)];
    if !topic.pattern.is_empty() && prefixes.iter().all(|(_, prefix)| is_template(prefix)) {
        return wrong(format!(
            "both prefixes have captures, so they are the two whole topics, and the pattern `{}` \
             stands for nothing; write `\"\"` for it",
            shortened(&topic.pattern)
        ));
    }
    for (side, prefix) in prefixes {
        if is_template(prefix) && prefix.ends_with('/') {
            return wrong(format!(
                "`{}` has captures, so it is the whole {side} topic and no prefix; end it without `/`",
                shortened(prefix)
            ));
        }
    }
    let (local, remote) = (topic.local_topics(), topic.remote_topics());
    for (side, topics) in [("local", &local), ("remote", &remote)] {
        check_side(side, topics)?;
    }
    let is_open = |topics: &str| topics.split('/').next_back() == Some("#");
    if is_open(&local) != is_open(&remote) {
        return wrong(
            "with captures, `#` must end both sides or none, as in `topic a/{1}/# out 1 \"\" b/{1}/#`"
                .to_owned(),
        );
    }
    let ways: &[[(&str, &str); 2]] = match topic.direction {
        Direction::Out => &[[("local", &local), ("remote", &remote)]],
        Direction::In => &[[("remote", &remote), ("local", &local)]],
        Direction::Both => &[
            [("local", &local), ("remote", &remote)],
            [("remote", &remote), ("local", &local)],
        ],
    };
    for [(from, source), (to, target)] in ways {
        let mut wanted = target.split('/').filter_map(capture);
        let missing = wanted.find(|number| !source.split('/').any(|l| capture(l) == Some(*number)));
        if let Some(number) = missing {
            return wrong(format!(
                "`{{{number}}}` of the {to} topic is not in the {from} one, where its text would \
                 come from"
            ));
        }
    }
    Ok(())
}

/// Whether one side can be subscribed to, and names each capture once.
fn check_side(side: &str, topics: &str) -> Result<(), Kind> {
    let mut seen = Vec::new();
    for level in topics.split('/') {
        match capture(level) {
            Some(number) if seen.contains(&number) => {
                return wrong(format!(
                    "`{{{number}}}` is twice in the {side} topic; give the other a number of its own"
                ));
            }
            Some(number) => seen.push(number),
            None if level == "+" => {
                return wrong(format!(
                    "`+` in the {side} topic of a line with captures; write {{1}} to {{9}} for each \
                     level that may be anything"
                ));
            }
            None if is_meant_as_capture(level) => {
                return wrong(format!(
                    "`{}` in the {side} topic: a capture is {{1}} to {{9}}, and a level of its own",
                    shortened(level)
                ));
            }
            None => {}
        }
    }
    let filter = filter_of(topics);
    if topics.len() > usize::from(u16::MAX) || TopicFilter::new(&filter).is_err() {
        return wrong(format!(
            "the {side} topic would be `{}`, which is no topic filter; `#` must be the last level, \
             and the whole of it",
            shortened(&filter)
        ));
    }
    Ok(())
}

/// True for a level with a number in braces somewhere.
fn is_meant_as_capture(level: &str) -> bool {
    let mut braces = level.split('{').skip(1);
    braces.any(|behind| {
        let number = behind.split_once('}').map(|(number, _)| number);
        number
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })
}

fn wrong(sentence: String) -> Result<(), Kind> {
    Err(Kind::Topic(sentence))
}

#[cfg(test)]
mod tests {
    use super::super::super::{Config, Env};
    use super::*;

    /// The line with this behind `topic`, or the errors.
    fn parse(line: &str) -> Result<BridgeTopic, String> {
        let text = format!("connection b\naddress up\ntopic {line}");
        let loaded = Config::parse(&text, "x", &Env::default()).map_err(|e| e.to_string())?;
        Ok(loaded.config.bridges[0].topics[0].clone())
    }

    /// What stands behind `topic`, and the topics of the two sides.
    #[test]
    fn where_a_prefix_has_captures_it_is_the_whole_topic() {
        for (line, local, remote) in [
            (
                "site/{1}/temp out 1 \"\" cloud/{1}/t",
                "site/{1}/temp",
                "cloud/{1}/t",
            ),
            (
                "site/{1}/temp out \"\" cloud/{1}/t",
                "site/{1}/temp",
                "cloud/{1}/t",
            ),
            ("{1}/t both 1 site/ cloud/{1}", "site/{1}/t", "cloud/{1}"),
            ("{1}/t in 1 here/{1} cloud/", "here/{1}", "cloud/{1}/t"),
            ("\"\" both 1 a/{1}/{2} b/{2}/{1}", "a/{1}/{2}", "b/{2}/{1}"),
            ("a/{1}/# both 1 \"\" b/{1}/#", "a/{1}/#", "b/{1}/#"),
            ("a/{1}/{2} out 1 \"\" b/{2}", "a/{1}/{2}", "b/{2}"),
            ("\"\" out 1 a/{1} b", "a/{1}", "b"),
            ("{1}/t out 1 \"\" up/", "{1}/t", "up/{1}/t"),
            (
                "\"\" in 1 here/{1} $share/g/site/{1}",
                "here/{1}",
                "$share/g/site/{1}",
            ),
        ] {
            let topic = parse(line).unwrap();
            assert!(topic.has_captures(), "{line}");
            assert_eq!(topic.local_topics(), local, "{line}");
            assert_eq!(topic.remote_topics(), remote, "{line}");
        }
        assert_eq!(filter_of("a/{1}/x{2}/#"), "a/+/x{2}/#");
    }

    #[test]
    fn braces_that_are_no_captures_are_text() {
        for line in [
            "a/{}/{x}/{1 out 1",
            "dev-{1}/t out 1",
            "{10}/{0} out 1 {a}/ {b}/",
        ] {
            let topic = parse(line).unwrap();
            assert!(!topic.has_captures(), "{line}");
        }
    }

    #[test]
    fn captures_that_do_not_go_together_say_why() {
        for (line, says) in [
            (
                "a/{1} out 1 \"\" b/{2}",
                "`{2}` of the remote topic is not in the local",
            ),
            (
                "a/{1}/{2} both 1 \"\" b/{2}",
                "`{1}` of the local topic is not in the remote",
            ),
            ("a/{1} in 1 \"\" b/{1}/{2}/# ", "`#` must end both sides"),
            (
                "a/{1} in 1 c/{1}/{2} \"\"",
                "`{2}` of the local topic is not in the remote",
            ),
            ("a/{1}/{1} out 1", "`{1}` is twice in the local topic"),
            (
                "a/{1} out 1 \"\" b/{1}/{1}",
                "`{1}` is twice in the remote topic",
            ),
            ("a/{1}/+ out 1 \"\" b/{1}", "`+` in the local topic"),
            ("a/{1} out 1 \"\" b/dev-{1}/{1}", "a level of its own"),
            ("a/{1}/{10} out 1 \"\" b/{1}", "a capture is {1} to {9}"),
            ("a/{1} out 1 \"\" b/{1}/", "end it without `/`"),
            ("a/{1} out 1 c/{1} b/{1}", "stands for nothing"),
            ("a/{1}/# out 1 \"\" b/{1}", "`#` must end both sides"),
            ("a/{1} out 1 \"\" b/#/{1}", "which is no topic filter"),
            ("a/{1} out 1 b#/ c/{1}", "has a wildcard"),
            (
                "\"\" out 1 \"\" c/{1}",
                "needs both the local and the remote",
            ),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
