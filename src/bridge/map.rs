//! The topic map: `topic PATTERN DIRECTION QOS LOCAL-PREFIX REMOTE-PREFIX`, by Mosquitto's rules.
//!
//! A line stands for two filters, LOCAL-PREFIX and REMOTE-PREFIX each put before the pattern; an
//! empty pattern (`""`) makes the prefixes the two whole topics. A message that crosses loses
//! the one prefix and gains the other. On a line with captures each side is a template instead, from
//! which a message takes what its topic has in their place.

mod captures;
pub(super) mod numbering;

use std::collections::HashMap;

use captures::Template;

use crate::config::{BridgeTopic, Direction};
use crate::mqtt::{QoS, filter_matches_bytes, share};

/// The `topic` lines of one bridge.
#[derive(Debug)]
pub struct Map {
    lines: Vec<TopicLine>,
}

/// What the map says about a message beside its new topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// The `topic` line that decides: its place among the lines, from 0.
    pub line: usize,
    /// The highest QoS to carry the message at.
    pub qos: QoS,
}

/// What tells a line from others, whatever its place, its QoS and its options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineId {
    /// A number that stands for its prefixes, its pattern, and whether it carries anything out.
    line: u64,
    /// The same for its local topics alone.
    local: u64,
}

#[derive(Debug)]
struct TopicLine {
    direction: Direction,
    qos: QoS,
    local: End,
    remote: End,
}

/// One end of a line.
#[derive(Debug)]
struct End {
    /// Prefix and pattern.
    filter: String,
    prefix_len: usize,
    /// The length of `$share/GROUP/` before it, which no topic has.
    share_len: usize,
    /// The topics of a line with captures.
    template: Option<Template>,
}

impl End {
    fn new(prefix: &str, pattern: &str) -> End {
        let filter = format!("{prefix}{pattern}");
        End {
            share_len: filter.len() - without_share(&filter).len(),
            filter,
            prefix_len: prefix.len(),
            template: None,
        }
    }

    /// The end of a line with captures.
    fn with_captures(topics: &str) -> End {
        let template = Template::new(without_share(topics));
        let share = topics.strip_suffix(template.text()).unwrap_or_default();
        End {
            filter: format!("{share}{}", template.filter()),
            prefix_len: 0,
            share_len: share.len(),
            template: Some(template),
        }
    }

    /// The filter that topics match.
    fn plain(&self) -> &str {
        self.filter.get(self.share_len..).unwrap_or_default()
    }

    fn is_shared(&self) -> bool {
        self.share_len > 0
    }

    /// The prefix that topics have.
    fn plain_prefix(&self) -> &str {
        let prefix = self.filter.get(self.share_len..self.prefix_len);
        prefix.unwrap_or_default()
    }

    /// What tells it from others: prefix and filter, or filter and template.
    fn identity(&self) -> [&[u8]; 2] {
        let template = self.template.as_ref();
        let [first, second] = match template {
            Some(template) => [&*self.filter, template.text()],
            None => [
                self.filter.get(..self.prefix_len).unwrap_or_default(),
                &*self.filter,
            ],
        };
        [first.as_bytes(), second.as_bytes()]
    }
}

/// A filter without `$share/GROUP/` before it.
fn without_share(filter: &str) -> &str {
    share(filter).map_or(filter, |(_, plain)| plain)
}

/// Which way a message crosses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Out,
    In,
}

impl TopicLine {
    /// The end that a message arrives at, and the one it leaves from.
    fn ends(&self, way: Way) -> (&End, &End) {
        match way {
            Way::Out => (&self.local, &self.remote),
            Way::In => (&self.remote, &self.local),
        }
    }

    /// True if the line carries messages on `topic` this way. `L/#` matches `L` too, which has not the
    /// prefix `L/`: with `R/` for it, it would become what `L/L` does.
    fn covers(&self, way: Way, topic: &[u8]) -> bool {
        let goes = match way {
            Way::Out => self.goes_out(),
            Way::In => self.comes_in(),
        };
        let (from, _) = self.ends(way);
        let has_prefix = || !self.remaps() || topic.starts_with(from.plain_prefix().as_bytes());
        goes && filter_matches_bytes(from.plain(), topic) && has_prefix()
    }

    /// Hands over the parts of the topic at the other end, for one that the line covers.
    fn translated(&self, way: Way, topic: &[u8], mut part: impl FnMut(&[u8])) {
        let (from, to) = self.ends(way);
        if let (Some(from), Some(to)) = (&from.template, &to.template) {
            to.parts(topic, &from.captured(topic)).for_each(part);
        } else if self.remaps() {
            part(to.plain_prefix().as_bytes());
            part(topic.get(from.plain_prefix().len()..).unwrap_or_default());
        } else {
            part(topic);
        }
    }

    /// True if there can be a topic as the line makes it.
    fn fits(&self, way: Way, topic: &[u8]) -> bool {
        let mut len = 0;
        self.translated(way, topic, |part| len += part.len());
        (1..=usize::from(u16::MAX)).contains(&len)
    }

    /// Puts the topic at the other end into `buf`. False if there can be none.
    fn translate(&self, way: Way, topic: &str, buf: &mut String) -> bool {
        buf.clear();
        self.translated(way, topic.as_bytes(), |part| {
            // The parts are cut at characters of ASCII.
            buf.push_str(std::str::from_utf8(part).unwrap_or_default());
        });
        (1..=usize::from(u16::MAX)).contains(&buf.len())
    }

    fn goes_out(&self) -> bool {
        self.direction != Direction::In
    }

    fn comes_in(&self) -> bool {
        self.direction != Direction::Out
    }

    fn id(&self) -> LineId {
        let way: &[u8] = if self.goes_out() { b"out" } else { b"in" };
        let ends = [&self.local, &self.remote];
        let ends = ends.map(End::identity);
        let local = self.local.filter.as_bytes();
        LineId {
            line: fingerprint(ends.into_iter().flatten().chain([way])),
            local: fingerprint([local, way].into_iter()),
        }
    }

    fn remaps(&self) -> bool {
        let is_other = |end: &End| end.prefix_len > 0 || end.template.is_some();
        is_other(&self.local) || is_other(&self.remote)
    }
}

impl Map {
    /// The map of a bridge's `topic` lines.
    pub fn new(topics: &[BridgeTopic]) -> Map {
        let line = |topic: &BridgeTopic| {
            let (local, remote) = if topic.has_captures() {
                let [local, remote] = [topic.local_topics(), topic.remote_topics()];
                (End::with_captures(&local), End::with_captures(&remote))
            } else {
                let end = |prefix: &str| End::new(prefix, &topic.pattern);
                (end(&topic.local), end(&topic.remote))
            };
            TopicLine {
                direction: topic.direction,
                qos: topic.qos,
                local,
                remote,
            }
        };
        Map {
            lines: topics.iter().map(line).collect(),
        }
    }

    /// The line by which a message on `local_topic` goes upstream; `None` if no `out` or `both`
    /// line covers it.
    ///
    /// The first line with a prefix or captures that matches decides, otherwise the first without (as in
    /// Mosquitto, which looks at lines without a prefix only when nothing is to be remapped).
    /// Also `None` where the prefixes would leave an empty topic or one beyond 65,535 bytes,
    /// which no upstream accepts.
    pub fn outward_line(&self, local_topic: &[u8]) -> Option<Mapped> {
        let (line, topic) = self.decide(Way::Out, local_topic)?;
        topic.fits(Way::Out, local_topic).then_some(Mapped {
            line,
            qos: topic.qos,
        })
    }

    /// What tells each of the lines from the others.
    pub fn line_ids(&self) -> Vec<LineId> {
        self.lines.iter().map(TopicLine::id).collect()
    }

    /// The highest QoS at which a message on `local_topic` goes upstream, for which the line at the
    /// place `line` was decided. The line that carries it, and `None`, are as for
    /// [`outward`](Map::outward).
    pub fn outward_qos(&self, line: Option<usize>, local_topic: &[u8]) -> Option<QoS> {
        let (_, topic) = self.carrier(line, local_topic)?;
        Some(topic.qos)
    }

    /// Puts the topic that `local_topic` has upstream into `buf`, by the line at the place `line`;
    /// where that is gone or does not cover it, by the one that does. `None` as for
    /// [`outward_line`](Map::outward_line).
    pub fn outward(
        &self,
        line: Option<usize>,
        local_topic: &str,
        buf: &mut String,
    ) -> Option<Mapped> {
        let (line, topic) = self.carrier(line, local_topic.as_bytes())?;
        topic
            .translate(Way::Out, local_topic, buf)
            .then_some(Mapped {
                line,
                qos: topic.qos,
            })
    }

    /// Puts the topic that `remote_topic` has here into `buf`; `None` if no `in` or `both` line
    /// covers it. The rules are those of [`outward_line`](Map::outward_line), mirrored.
    pub fn inward(&self, remote_topic: &str, buf: &mut String) -> Option<Mapped> {
        let (line, topic) = self.decide(Way::In, remote_topic.as_bytes())?;
        topic
            .translate(Way::In, remote_topic, buf)
            .then_some(Mapped {
                line,
                qos: topic.qos,
            })
    }

    /// The line that carries a message upstream for which `decided` was decided.
    fn carrier(&self, decided: Option<usize>, local_topic: &[u8]) -> Option<(usize, &TopicLine)> {
        let decided = decided.and_then(|line| Some((line, self.lines.get(line)?)));
        let covers = |(_, line): &(usize, &TopicLine)| line.covers(Way::Out, local_topic);
        decided
            .filter(covers)
            .or_else(|| self.decide(Way::Out, local_topic))
    }

    /// The line that decides about `topic`, which comes from one end.
    fn decide(&self, way: Way, topic: &[u8]) -> Option<(usize, &TopicLine)> {
        let mut plain = None;
        let lines = self.lines.iter().enumerate();
        for (place, line) in lines.filter(|(_, line)| line.covers(way, topic)) {
            if line.remaps() {
                return Some((place, line));
            }
            plain = plain.or(Some((place, line)));
        }
        plain
    }

    /// The filters to subscribe to here, each once: with the place of its first line, and the
    /// highest QoS that a line asks for. Here a bridge shares nothing with others.
    pub fn local_filters(&self) -> impl Iterator<Item = (&str, Mapped)> {
        once(&self.lines, TopicLine::goes_out, |line| line.local.plain())
    }

    /// The filters to subscribe to upstream, each once, in the order of their lines, at the
    /// highest QoS that a line asks for.
    pub fn remote_filters(&self) -> impl Iterator<Item = (&str, QoS)> {
        once(&self.lines, TopicLine::comes_in, |line| &line.remote.filter)
            .map(|(filter, mapped)| (filter, mapped.qos))
    }

    /// True if a message sent upstream could come back through one of the subscriptions there.
    pub fn may_echo(&self) -> bool {
        self.returns_by(|_| true)
    }

    /// True if one could by a shared subscription, which knows no No Local [MQTT-3.8.3-4].
    pub fn may_echo_by_share(&self) -> bool {
        self.returns_by(|line| line.remote.is_shared())
    }

    fn returns_by(&self, what: impl Fn(&TopicLine) -> bool) -> bool {
        self.lines.iter().filter(|l| l.goes_out()).any(|out| {
            let mut incoming = self.lines.iter().filter(|l| l.comes_in() && what(l));
            incoming.any(|l| overlap(out.remote.plain(), l.remote.plain()))
        })
    }

    /// A number that changes when what goes upstream does, or under which topic.
    pub fn fingerprint(&self) -> u64 {
        let outgoing = self.lines.iter().filter(|line| line.goes_out());
        fingerprint(outgoing.flat_map(|line| {
            let ends = [&line.local, &line.remote];
            let [local, remote] = ends.map(End::identity);
            let qos: &[u8] = match line.qos {
                QoS::AtMostOnce => b"0",
                QoS::AtLeastOnce => b"1",
                QoS::ExactlyOnce => b"2",
            };
            local.into_iter().chain(remote).chain([qos])
        }))
    }
}

/// A number that stands for these strings, none of which holds a NUL; always the same, since it is
/// written to disk.
pub(super) fn fingerprint<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u64 {
    // FNV-1a.
    let bytes = parts.flat_map(|part| part.iter().chain(&[0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The filters at one end of the lines that go one way, each once: with its first line's place
/// and the highest QoS of all that have it.
fn once(
    lines: &[TopicLine],
    goes: fn(&TopicLine) -> bool,
    filter_of: fn(&TopicLine) -> &str,
) -> impl Iterator<Item = (&str, Mapped)> {
    let mut found: Vec<(&str, Mapped)> = Vec::new();
    let mut places = HashMap::new();
    for (line, topic) in lines.iter().enumerate().filter(|(_, line)| goes(line)) {
        let (filter, qos) = (filter_of(topic), topic.qos);
        let place = *places.entry(filter).or_insert(found.len());
        match found.get_mut(place) {
            Some((_, mapped)) => mapped.qos = mapped.qos.max(qos),
            None => found.push((filter, Mapped { line, qos })),
        }
    }
    found.into_iter()
}

/// True if some topic matches both filters; errs towards true for topics that begin with `$`.
pub fn overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some(x), Some(y)) if x == y || x == "+" || y == "+" => {}
            _ => return false,
        }
    }
}
