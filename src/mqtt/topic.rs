//! Topic names and topic filters (5.0 §4.7).

use super::Error;
use super::error::Fault;
use super::wire::check_characters;

/// Slashes that a topic name or filter may have, as in Mosquitto (`TOPIC_HIERARCHY_LIMIT`).
pub const MAX_LEVELS: usize = 200;

/// A checked topic name: 1 to 65,535 bytes, no wildcard, no control character.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a topic name.
    ///
    /// # Errors
    /// [`Error::TopicName`] when it is empty [MQTT-4.7.3-1] or too long [MQTT-4.7.3-3], has a
    /// wildcard [MQTT-3.3.2-2], a character that no string may have, or more than
    /// [`MAX_LEVELS`] slashes.
    pub fn new(name: &'a str) -> Result<TopicName<'a>, Error> {
        check_length(name)
            .and_then(|()| check_name(name))
            .map_err(Error::TopicName)?;
        Ok(TopicName(name))
    }

    /// The name.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// A checked topic filter: wildcards only where they are allowed; a `$share/` filter has a share
/// name and a filter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// Checks a topic filter.
    ///
    /// # Errors
    /// [`Error::TopicFilter`] when it is empty [MQTT-4.7.3-1] or too long [MQTT-4.7.3-3], has a
    /// misplaced wildcard [MQTT-4.7.1-1], a malformed share name [MQTT-4.8.2-1], a character
    /// that no string may have, or more than [`MAX_LEVELS`] slashes.
    pub fn new(filter: &'a str) -> Result<TopicFilter<'a>, Error> {
        check_length(filter)
            .and_then(|()| check_characters(filter))
            .and_then(|()| check_filter(filter))
            .map_err(Error::TopicFilter)?;
        Ok(TopicFilter(filter))
    }

    /// The filter with its `$share/` prefix, if it has one.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// Share name and topic filter of a shared subscription, `$share/NAME/FILTER` (5.0 §4.8.2); `None`
/// for any other filter.
pub fn share(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix("$share/")?.split_once('/')
}

/// True if `topic`, a topic name, matches `filter`, a topic filter without `$share/`.
///
/// A wildcard in the first level does not match a topic that starts with `$` [MQTT-4.7.2-1]; `#`
/// matches the parent level too (5.0 §4.7.1.2), and `+` an empty level.
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    filter_matches_bytes(filter, topic.as_bytes())
}

/// [`filter_matches`] for the bytes of a topic name, which need no look whether they are UTF-8.
pub fn filter_matches_bytes(filter: &str, topic: &[u8]) -> bool {
    if topic.first() == Some(&b'$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut topic) = (Some(filter.as_bytes()), Some(topic));
    while let Some(wanted) = take_level(&mut filter) {
        if wanted == b"#" {
            return true;
        }
        match take_level(&mut topic) {
            Some(level) if wanted == level || wanted == b"+" => {}
            _ => return false,
        }
    }
    topic.is_none()
}

/// Takes the first level off what is left of a topic. `None` once there is nothing left; an empty topic
/// has one level.
fn take_level<'a>(rest: &mut Option<&'a [u8]>) -> Option<&'a [u8]> {
    let levels = (*rest)?;
    let end = levels.iter().position(|byte| *byte == b'/');
    *rest = end.and_then(|end| levels.get(end + 1..));
    levels.get(..end.unwrap_or(levels.len()))
}

fn check_length(topic: &str) -> Result<(), Fault> {
    if topic.len() > usize::from(u16::MAX) {
        Err(Fault::FieldTooLong)
    } else {
        Ok(())
    }
}

fn check_levels(topic: &str) -> Result<(), Fault> {
    let too_many =
        topic.len() > MAX_LEVELS && topic.bytes().filter(|&byte| byte == b'/').count() > MAX_LEVELS;
    if too_many { Err(Fault::Levels) } else { Ok(()) }
}

/// The bytes that almost all topic names are made of: printable ASCII without the wildcards.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'+' && byte != b'#';
        byte += 1;
    }
    plain
};

/// Checks all of a topic name but its length. In one pass if it is plain: this is most of the work of
/// decoding a PUBLISH.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(Fault::TopicEmpty);
    }
    if !name.bytes().all(|byte| PLAIN[usize::from(byte)]) {
        check_characters(name)?;
        if name.contains(['+', '#']) {
            return Err(Fault::Wildcard);
        }
    }
    check_levels(name)
}

/// Checks what a topic filter has beyond a string.
pub(super) fn check_filter(filter: &str) -> Result<(), Fault> {
    if filter.is_empty() {
        return Err(Fault::TopicEmpty);
    }
    let mut levels = filter.split('/').peekable();
    if filter == "$share" || filter.starts_with("$share/") {
        levels.next();
        let name = levels.next().unwrap_or_default();
        let rest = filter
            .get("$share/".len() + name.len() + 1..)
            .unwrap_or_default();
        if name.is_empty() || name.contains(['+', '#']) || rest.is_empty() {
            return Err(Fault::ShareSyntax);
        }
    }
    while let Some(level) = levels.next() {
        let misplaced = match level {
            "+" => false,
            "#" => levels.peek().is_some(),
            _ => level.contains(['+', '#']),
        };
        if misplaced {
            return Err(Fault::FilterSyntax);
        }
    }
    check_levels(filter)
}
