//! `topic` lines of a bridge, the addresses it connects to, and how.

mod address;
pub(crate) mod captures;
mod tcp;
mod upstream;

use std::time::Duration;

use super::error::shortened;
use super::keys::nearest::nearest_of as nearest;
use super::value::Value;
use super::{Bounds, BridgeTopic, Direction, Kind, Overflow};
use crate::mqtt::{QoS, TopicFilter};
pub use tcp::{BridgeTcp, TcpKeepalive};
pub use upstream::{Proxy, UpstreamAddress, WebAddress};

/// The options of a `topic` line.
pub(super) const OPTIONS: [&str; 5] = [
    "max_queued_bytes",
    "max_queued_messages",
    "overflow",
    "qos0",
    "ttl",
];

/// One `topic` line: Mosquitto's `PATTERN [DIRECTION [QOS [LOCAL [REMOTE [LANE]]]]]`, or RSMB's
/// `PATTERN [DIRECTION [LOCAL [REMOTE [LANE]]]]`, told apart by the third word, which is a number
/// only in Mosquitto's. RSMB passes messages on at the QoS they have, so its form means QoS 2.
/// The first of our own options (`NAME=VALUE`) ends either form.
///
/// The flag is true for a line in RSMB's form.
pub(super) fn parse(value: Value<'_>) -> Result<(BridgeTopic, bool), Kind> {
    let mut words = value.0.split_ascii_whitespace().peekable();
    let Some(pattern) = words.next() else {
        return Err(Kind::NoValue(
            "a pattern, such as `topic sensors/# out 1`".to_owned(),
        ));
    };
    let mut next = || words.next_if(|word| option(word).is_none());
    let direction = next().map_or(Ok(Direction::Out), direction)?;
    let (qos, rsmb, first) = match next() {
        Some(word) if !is_number(word) => (QoS::ExactlyOnce, true, Some(word)),
        None => (QoS::AtMostOnce, false, None),
        Some(word) => (qos(word)?, false, None),
    };
    let local = first.or_else(&mut next).unwrap_or_default();
    let remote = next().unwrap_or_default();
    let low = next().map_or(Ok(false), lane)?;
    let mut topic = BridgeTopic {
        pattern: unquote(pattern).to_owned(),
        direction,
        qos,
        local: unquote(local).to_owned(),
        remote: unquote(remote).to_owned(),
        low,
        bounds: Bounds::default(),
        overflow: None,
        ttl: None,
        keeps_qos0: false,
    };
    let mut given = Vec::new();
    for word in words.take_while(|word| !word.starts_with('#')) {
        take_option(&mut topic, word)?;
        let name = word.split('=').next().unwrap_or_default();
        if given.contains(&name) {
            return Err(Kind::Topic(format!("`{name}=` is there twice; keep one")));
        }
        given.push(name);
    }
    check(&topic)?;
    Ok((topic, rsmb))
}

/// Name and value of an option.
fn option(word: &str) -> Option<(&str, Value<'_>)> {
    let (name, value) = word.split_once('=')?;
    // A prefix with an equals sign in it is one of levels: a mistyped option must not become one,
    // and the line carry nothing.
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_option = OPTIONS.contains(&name) || (is_name && !value.contains('/'));
    is_option.then_some((name, Value(value)))
}

fn take_option(topic: &mut BridgeTopic, word: &str) -> Result<(), Kind> {
    let known = option(word).filter(|(name, _)| OPTIONS.contains(name));
    let Some((name, value)) = known else {
        return Err(Kind::Topic(match word.split_once('=') {
            None => format!("`{}` is one word too many; remove it", shortened(word)),
            Some((name, _)) => match nearest(name, OPTIONS) {
                Some(near) => format!(
                    "unknown option `{}`; did you mean `{near}=`?",
                    shortened(word)
                ),
                None => format!(
                    "unknown option `{}`; the known ones are {}",
                    shortened(word),
                    OPTIONS.join(", ")
                ),
            },
        }));
    };
    match name {
        "max_queued_bytes" => topic.bounds.bytes = value.size(u64::MAX)?,
        "max_queued_messages" => topic.bounds.messages = value.number(0..=u64::MAX)?,
        "overflow" => topic.overflow = Some(overflow(value)?),
        "qos0" => topic.keeps_qos0 = keeps_qos0(value)?,
        _ => topic.ttl = Some(ttl(value)?),
    }
    if topic.direction == Direction::In {
        return Err(Kind::Topic(format!(
            "`{}` is for what goes out, and this line only takes in; remove it",
            shortened(word)
        )));
    }
    Ok(())
}

/// `queue_overflow`, and `overflow=` of a line.
pub(super) fn overflow(value: Value<'_>) -> Result<Overflow, Kind> {
    let wants = "refuse, oldest, newest or latest-per-topic";
    match value.word(wants)? {
        "refuse" => Ok(Overflow::Refuse),
        "oldest" => Ok(Overflow::Oldest),
        "newest" => Ok(Overflow::Newest),
        "latest-per-topic" => Ok(Overflow::LatestPerTopic),
        other => Err(Kind::bad(other, wants)),
    }
}

fn keeps_qos0(value: Value<'_>) -> Result<bool, Kind> {
    match value.word("keep")? {
        "keep" => Ok(true),
        other => Err(Kind::bad(other, "keep, or nothing: leave qos0= out")),
    }
}

fn ttl(value: Value<'_>) -> Result<Duration, Kind> {
    let ttl = value.duration()?;
    match ttl.as_secs() {
        0 => Err(Kind::bad(value.0, "at least a second, such as ttl=1d")),
        _ => Ok(ttl),
    }
}

/// True for digits alone.
pub(super) fn is_number(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_digit())
}

fn unquote(word: &str) -> &str {
    match word {
        "\"\"" => "",
        word => word,
    }
}

fn direction(word: &str) -> Result<Direction, Kind> {
    match word.to_ascii_lowercase().as_str() {
        "in" => Ok(Direction::In),
        "out" => Ok(Direction::Out),
        "both" => Ok(Direction::Both),
        _ => Err(Kind::bad(word, "the direction as out, in or both")),
    }
}

fn qos(word: &str) -> Result<QoS, Kind> {
    match word {
        "0" => Ok(QoS::AtMostOnce),
        "1" => Ok(QoS::AtLeastOnce),
        "2" => Ok(QoS::ExactlyOnce),
        _ => Err(Kind::bad(word, "the QoS as 0, 1 or 2")),
    }
}

fn lane(word: &str) -> Result<bool, Kind> {
    match word.to_ascii_lowercase().as_str() {
        "low" => Ok(true),
        "high" => Ok(false),
        comment if comment.starts_with('#') => Ok(false),
        _ => Err(Kind::bad(word, "high or low after the two prefixes")),
    }
}

/// Whether both sides of the mapping name something (the table of mosquitto.conf(5)), and whether
/// the options go together.
fn check(topic: &BridgeTopic) -> Result<(), Kind> {
    if topic.keeps_qos0 && topic.qos == QoS::AtMostOnce {
        return Err(Kind::Topic(
            "qos0=keep sends what it keeps at the QoS of the line, and at QoS 0 nobody \
             acknowledges it; give the line QoS 1 or 2, as in `topic t/# out 1 qos0=keep`"
                .to_owned(),
        ));
    }
    if topic.pattern.is_empty() && (topic.local.is_empty() || topic.remote.is_empty()) {
        return Err(Kind::Topic(
            "an empty pattern needs both the local and the remote topic; \
             write `topic \"\" out 1 LOCAL REMOTE`"
                .to_owned(),
        ));
    }
    let has_captures = topic.has_captures();
    for (side, prefix) in [("local", &topic.local), ("remote", &topic.remote)] {
        if prefix.contains(['+', '#']) && !captures::is_template(prefix) {
            return Err(Kind::Topic(format!(
                "the {side} prefix `{}` has a wildcard; only the pattern may have one",
                shortened(prefix)
            )));
        }
        if has_captures {
            continue;
        }
        let whole = format!("{prefix}{}", topic.pattern);
        if whole.len() > usize::from(u16::MAX) {
            return Err(Kind::Topic(format!(
                "the {side} prefix and the pattern make a topic of {} bytes; 65535 is the most",
                whole.len()
            )));
        }
        if TopicFilter::new(&whole).is_err() {
            return Err(Kind::Topic(format!(
                "the {side} prefix and the pattern make `{}`, which is no topic filter; `+` and \
                 `#` must be a level of their own, `#` the last, so end a prefix with `/`",
                shortened(&whole)
            )));
        }
    }
    if has_captures {
        captures::check(topic)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(line: &str) -> BridgeTopic {
        parse(Value(line)).unwrap().0
    }

    #[test]
    fn a_pattern_alone_goes_out_at_qos_0() {
        let topic = topic("a/#");
        assert_eq!(topic.pattern, "a/#");
        assert_eq!(topic.direction, Direction::Out);
        assert_eq!(topic.qos, QoS::AtMostOnce);
        assert_eq!((topic.local.as_str(), topic.remote.as_str()), ("", ""));
        assert!(!topic.low);
    }

    #[test]
    fn all_fields_of_mosquittos_form() {
        let topic = topic("#  BOTH 2  local/  remote/ low");
        assert_eq!(topic.direction, Direction::Both);
        assert_eq!(topic.qos, QoS::ExactlyOnce);
        assert_eq!(
            (topic.local.as_str(), topic.remote.as_str()),
            ("local/", "remote/")
        );
        assert!(topic.low);
    }

    #[test]
    fn rsmbs_form_has_no_qos() {
        let (topic, rsmb) = parse(Value("# in \"\" up/ high")).unwrap();
        assert!(rsmb);
        assert_eq!(topic.qos, QoS::ExactlyOnce);
        assert_eq!((topic.local.as_str(), topic.remote.as_str()), ("", "up/"));
        assert!(!topic.low);
        assert!(parse(Value("# in up/ \"\" low")).unwrap().0.low);
    }

    #[test]
    fn options_end_the_line() {
        let all = "sensors/# out 1 local/ remote/ low ttl=1d max_queued_messages=1000 \
                   max_queued_bytes=10M overflow=latest-per-topic";
        let line = topic(all);
        assert!(line.low);
        assert_eq!((line.bounds.messages, line.bounds.bytes), (1000, 10 << 20));
        assert_eq!(line.overflow, Some(Overflow::LatestPerTopic));
        assert_eq!(line.ttl, Some(Duration::from_secs(86_400)));
        for short in [
            "a ttl=60",
            "a out ttl=60",
            "a out 0 ttl=60",
            "a out 0 ttl=60 # why",
        ] {
            let line = topic(short);
            assert_eq!(line.ttl, Some(Duration::from_secs(60)), "{short}");
            assert_eq!((line.qos, &*line.local), (QoS::AtMostOnce, ""), "{short}");
        }
        let prefixed = topic("a both 2 l/ overflow=oldest");
        assert_eq!((&*prefixed.local, &*prefixed.remote), ("l/", ""));
        assert_eq!(prefixed.overflow, Some(Overflow::Oldest));
        assert!(topic("a out 1 l/ r/ qos0=keep").keeps_qos0);
        assert!(
            topic("a out l/ qos0=keep").keeps_qos0,
            "RSMB's form is QoS 2"
        );
        assert!(!prefixed.keeps_qos0);
        // Any other word with an equals sign is a prefix, as ever.
        let odd = topic("a out 1 k=v/ x=y/");
        assert_eq!((&*odd.local, &*odd.remote), ("k=v/", "x=y/"));
    }

    #[test]
    fn options_that_are_wrong_say_why() {
        for (line, says) in [
            ("a out 1 l/ r/ low tll=1d", "did you mean `ttl=`?"),
            (
                "a out 1 ttl=1d max_queued_message=5",
                "`max_queued_messages=`?",
            ),
            ("a out 1 ttl=1d frobnicate=5", "the known ones are"),
            ("a out 1 ttl=1d more", "one word too many"),
            ("a out 1 max_queue_bytes=1M", "`max_queued_bytes=`?"),
            ("a out 1 TTL=1s", "`ttl=`?"),
            ("a out 1 foo=1", "the known ones are"),
            ("a out 1 qos1=keep", "did you mean `qos0=`?"),
            ("a out 1 ttl=1s ttl=2s", "there twice"),
            ("a out 1 ttl=0", "at least a second"),
            ("a out 1 ttl=soon", "a number of seconds"),
            ("a out 1 overflow=latest", "latest-per-topic"),
            ("a in 1 ttl=1d", "only takes in"),
            ("a in 1 qos0=keep", "only takes in"),
            ("a out 1 qos0=drop", "leave qos0= out"),
            ("a out 1 qos0=", "keep"),
            ("a out 0 qos0=keep", "give the line QoS 1 or 2"),
            ("a qos0=keep", "give the line QoS 1 or 2"),
        ] {
            let error = parse(Value(line)).unwrap_err().to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    /// The table "Topic mapping" of mosquitto.conf(5).
    #[test]
    fn empty_markers() {
        for valid in [
            "pattern out 0 L/ R/",
            "pattern out 0 L/ \"\"",
            "pattern out 0 \"\" R/",
            "pattern out 0 \"\" \"\"",
            "\"\" out 0 local remote",
        ] {
            topic(valid);
        }
        for invalid in [
            "\"\" out 0 local \"\"",
            "\"\" out 0 \"\" remote",
            "\"\" out 0 \"\" \"\"",
            "\"\"",
        ] {
            assert!(parse(Value(invalid)).is_err(), "{invalid}");
        }
    }

    #[test]
    fn bad_lines() {
        for bad in [
            "",
            "# sideways",
            "# out 3",
            "# out 0 a",
            "a# out 0",
            "#/a out 0",
            "x out 0 a/+/ b/",
            "# out 0 a/ b/ middle",
            "# out 0 a/ b/ low more",
        ] {
            assert!(parse(Value(bad)).is_err(), "{bad}");
        }
    }
}
