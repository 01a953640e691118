//! The topic map: `topic PATTERN DIRECTION QOS LOCAL-PREFIX REMOTE-PREFIX`, by Mosquitto's rules.
//!
//! A line stands for two filters, LOCAL-PREFIX and REMOTE-PREFIX each put before the pattern; an
//! empty pattern (`""`) makes the prefixes the two whole topics. A message that crosses loses
//! the one prefix and gains the other.

use crate::config::{BridgeTopic, Direction};
use crate::mqtt::{QoS, filter_matches};

/// The `topic` lines of one bridge.
#[derive(Debug)]
pub struct Map {
    lines: Vec<Line>,
}

/// What the map says about a message beside its new topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// The number of the `topic` line, from 1.
    pub mapping: u16,
    /// The highest QoS to carry the message at.
    pub qos: QoS,
}

#[derive(Debug)]
struct Line {
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
}

impl End {
    fn new(prefix: &str, pattern: &str) -> End {
        End {
            filter: format!("{prefix}{pattern}"),
            prefix_len: prefix.len(),
        }
    }

    fn prefix(&self) -> &str {
        &self.filter[..self.prefix_len]
    }
}

impl Line {
    fn goes_out(&self) -> bool {
        self.direction != Direction::In
    }

    fn comes_in(&self) -> bool {
        self.direction != Direction::Out
    }

    fn remaps(&self) -> bool {
        self.local.prefix_len > 0 || self.remote.prefix_len > 0
    }
}

impl Map {
    /// The map of a bridge's `topic` lines.
    pub fn new(topics: &[BridgeTopic]) -> Map {
        let line = |topic: &BridgeTopic| Line {
            direction: topic.direction,
            qos: topic.qos,
            local: End::new(&topic.local, &topic.pattern),
            remote: End::new(&topic.remote, &topic.pattern),
        };
        Map {
            lines: topics.iter().map(line).collect(),
        }
    }

    /// Puts the topic that `local_topic` has upstream into `buf`; `None` if no `out` or `both`
    /// line covers it.
    ///
    /// The first line with a prefix that matches decides, otherwise the first without (as in
    /// Mosquitto, which looks at lines without a prefix only when nothing is to be remapped).
    /// Also `None` where the prefixes would leave an empty topic or one beyond 65,535 bytes,
    /// which no upstream accepts.
    pub fn outward(&self, local_topic: &str, buf: &mut String) -> Option<Mapped> {
        let lines = self.numbered().filter(|(_, line)| line.goes_out());
        translate(
            lines.map(|(n, l)| (n, l, &l.local, &l.remote)),
            local_topic,
            buf,
        )
    }

    /// Puts the topic that `remote_topic` has here into `buf`; `None` if no `in` or `both` line
    /// covers it. The rules are those of [`outward`](Map::outward), mirrored.
    pub fn inward(&self, remote_topic: &str, buf: &mut String) -> Option<Mapped> {
        let lines = self.numbered().filter(|(_, line)| line.comes_in());
        translate(
            lines.map(|(n, l)| (n, l, &l.remote, &l.local)),
            remote_topic,
            buf,
        )
    }

    /// The filters to subscribe to here, each once: with the number of its first line, and the
    /// highest QoS that a line asks for.
    pub fn local_filters(&self) -> impl Iterator<Item = (&str, Mapped)> {
        once(&self.lines, Line::goes_out, |line| &line.local)
    }

    /// The filters to subscribe to upstream, each once, in the order of their lines, at the
    /// highest QoS that a line asks for.
    pub fn remote_filters(&self) -> impl Iterator<Item = (&str, QoS)> {
        self.upstream()
            .filter_map(|(filter, qos)| Some((filter, qos?)))
    }

    /// The filters of `out` lines, which an earlier configuration may have left subscribed
    /// upstream.
    pub fn remote_unsubscribes(&self) -> impl Iterator<Item = &str> {
        self.upstream()
            .filter_map(|(filter, qos)| qos.is_none().then_some(filter))
    }

    /// Each remote filter once, in the order of the lines: with the QoS to subscribe at, or
    /// `None` to unsubscribe.
    pub(super) fn upstream(&self) -> impl Iterator<Item = (&str, Option<QoS>)> {
        let wanted = move |filter: &str| {
            let mut incoming = self.lines.iter().filter(|line| line.comes_in());
            incoming.any(|line| line.remote.filter == filter)
        };
        let subscribe = once(&self.lines, Line::comes_in, |line| &line.remote)
            .map(|(filter, mapped)| (mapped.mapping, filter, Some(mapped.qos)));
        let unsubscribe = once(&self.lines, Line::goes_out, |line| &line.remote)
            .filter(move |(filter, _)| !wanted(filter))
            .map(|(filter, mapped)| (mapped.mapping, filter, None));
        let mut all: Vec<_> = subscribe.chain(unsubscribe).collect();
        all.sort_by_key(|(mapping, ..)| *mapping);
        all.into_iter().map(|(_, filter, qos)| (filter, qos))
    }

    /// True if a message sent upstream could come back through one of the subscriptions there.
    pub fn may_echo(&self) -> bool {
        self.lines.iter().filter(|l| l.goes_out()).any(|out| {
            let incoming = self.lines.iter().filter(|l| l.comes_in());
            incoming
                .into_iter()
                .any(|l| overlap(&out.remote.filter, &l.remote.filter))
        })
    }

    fn numbered(&self) -> impl Iterator<Item = (u16, &Line)> {
        (1..=u16::MAX).zip(&self.lines)
    }
}

/// The filters at one end of the lines that go one way, each once: with its first line's number
/// and the highest QoS of all that have it.
fn once(
    lines: &[Line],
    goes: fn(&Line) -> bool,
    end: fn(&Line) -> &End,
) -> impl Iterator<Item = (&str, Mapped)> {
    (1..=u16::MAX)
        .zip(lines)
        .filter_map(move |(mapping, line)| {
            let filter = end(line).filter.as_str();
            let mut same = lines.iter().filter(|l| goes(l) && end(l).filter == filter);
            let first = same.next().is_some_and(|first| std::ptr::eq(first, line));
            let qos = same.map(|l| l.qos).chain([line.qos]).max()?;
            first.then_some((filter, Mapped { mapping, qos }))
        })
}

/// Applies the line that decides to `topic`. The lines come with the end the topic arrives at
/// and the end it leaves from.
fn translate<'a>(
    lines: impl Iterator<Item = (u16, &'a Line, &'a End, &'a End)>,
    topic: &str,
    buf: &mut String,
) -> Option<Mapped> {
    let mut plain = None;
    let mut found = None;
    for (mapping, line, from, to) in lines {
        if !filter_matches(&from.filter, topic) {
            continue;
        }
        let mapped = Mapped {
            mapping,
            qos: line.qos,
        };
        if line.remaps() {
            found = Some((mapped, from.prefix(), to.prefix()));
            break;
        }
        plain = plain.or(Some((mapped, "", "")));
    }
    let (mapped, from, to) = found.or(plain)?;
    // `L/#` also matches `L`, which has no prefix `L/` to lose.
    let rest = topic.strip_prefix(from).unwrap_or(topic);
    buf.clear();
    buf.push_str(to);
    buf.push_str(rest);
    (1..=usize::from(u16::MAX))
        .contains(&buf.len())
        .then_some(mapped)
}

/// True if some topic matches both filters; errs towards true for topics that begin with `$`.
fn overlap(a: &str, b: &str) -> bool {
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
