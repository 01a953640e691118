//! `topic` lines of several bridges that feed each other: what one takes up to an upstream another
//! brings back from there, and the first takes it up again. The lines of one bridge alone do no such
//! thing: an upstream is asked not to return what the bridge published, and the bridge knows it.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write as _;

use crate::bridge::overlap;
use crate::config::captures::filter_of;
use crate::config::{Bridge, BridgeTopic, Config, Direction};
use crate::mqtt::share;

/// More lines of bridges with a common upstream are not looked at: each is held against each other.
const MOST_LINES: usize = 512;

/// So many rings are told.
const MOST_TOLD: usize = 8;

/// Which way a line carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Out,
    In,
}

/// A line of a bridge, one way.
struct Step<'a> {
    bridge: &'a Bridge,
    topic: &'a BridgeTopic,
    way: Way,
    /// The filters of both sides.
    local: String,
    remote: String,
}

impl<'a> Step<'a> {
    fn new(bridge: &'a Bridge, topic: &'a BridgeTopic, way: Way) -> Step<'a> {
        let filter = |topics: String| {
            let filter = filter_of(&topics);
            share(&filter).map_or_else(|| filter.clone(), |(_, plain)| plain.to_owned())
        };
        Step {
            bridge,
            topic,
            way,
            local: filter(topic.local_topics()),
            remote: filter(topic.remote_topics()),
        }
    }

    /// True if what comes out of it may go into `next`.
    fn feeds(&self, next: &Step<'_>) -> bool {
        if self.bridge.name == next.bridge.name {
            return false;
        }
        match (self.way, next.way) {
            (Way::Out, Way::In) => {
                have_common_upstream(self.bridge, next.bridge)
                    && overlap(&self.remote, &next.remote)
            }
            (Way::In, Way::Out) => overlap(&self.local, &next.local),
            _ => false,
        }
    }
}

fn have_common_upstream(a: &Bridge, b: &Bridge) -> bool {
    a.addresses.iter().any(|one| {
        let mut others = b.addresses.iter();
        others.any(|other| one.port == other.port && one.host.eq_ignore_ascii_case(&other.host))
    })
}

/// A sentence for each ring of lines.
pub(in crate::run) fn find(config: &Config) -> Vec<String> {
    let bridges = &config.bridges;
    let is_near = |bridge: &&Bridge| {
        let mut others = bridges.iter().filter(|other| other.name != bridge.name);
        others.any(|other| have_common_upstream(bridge, other))
    };
    let mut steps = Vec::new();
    for bridge in bridges.iter().filter(is_near) {
        for topic in &bridge.topics {
            let ways = match topic.direction {
                Direction::Out => &[Way::Out][..],
                Direction::In => &[Way::In],
                Direction::Both => &[Way::Out, Way::In],
            };
            steps.extend(ways.iter().map(|way| Step::new(bridge, topic, *way)));
        }
    }
    if steps.len() > MOST_LINES {
        return Vec::new();
    }
    let (mut told, mut seen) = (Vec::new(), HashSet::new());
    for first in 0..steps.len() {
        let ring = if seen.contains(&first) {
            None
        } else {
            ring_of(&steps, first)
        };
        if let Some(ring) = ring.filter(|_| told.len() < MOST_TOLD) {
            told.push(sentence(ring.iter().filter_map(|at| steps.get(*at))));
            seen.extend(ring);
        }
    }
    told
}

/// The shortest way from a step that goes out back to itself.
fn ring_of(steps: &[Step<'_>], first: usize) -> Option<Vec<usize>> {
    let start = steps.get(first).filter(|step| step.way == Way::Out)?;
    let mut before: Vec<Option<usize>> = vec![None; steps.len()];
    let mut queue = VecDeque::from([first]);
    while let Some(at) = queue.pop_front() {
        let step = steps.get(at)?;
        if step.feeds(start) {
            let mut ring = vec![at];
            while let Some(previous) = ring.last().copied().filter(|last| *last != first) {
                ring.push((*before.get(previous)?)?);
            }
            ring.reverse();
            return Some(ring);
        }
        for (n, (next, before)) in steps.iter().zip(&mut before).enumerate() {
            if n != first && before.is_none() && step.feeds(next) {
                *before = Some(at);
                queue.push_back(n);
            }
        }
    }
    None
}

fn sentence<'a>(ring: impl Iterator<Item = &'a Step<'a>>) -> String {
    let mut text = String::new();
    for step in ring {
        let verb = match (step.way, text.is_empty()) {
            (Way::Out, true) => "takes up",
            (Way::Out, false) => "takes up again",
            (Way::In, _) => "brings back",
        };
        let sep = if text.is_empty() { "" } else { ", " };
        let (name, line) = (&step.bridge.name, line_of(step.topic));
        // To write to a String does not fail.
        let _ = write!(text, "{sep}connection {name} {verb} by `{line}`");
    }
    format!(
        "these topic lines feed each other: {text}, and so on. Leave one of the ways out, or give it \
         topics of its own"
    )
}

/// A line as the file may have it.
fn line_of(topic: &BridgeTopic) -> String {
    let quoted = |text: &str| match text {
        "" => "\"\"".to_owned(),
        text => text.to_owned(),
    };
    let direction = match topic.direction {
        Direction::Out => "out",
        Direction::In => "in",
        Direction::Both => "both",
    };
    let pattern = quoted(&topic.pattern);
    let mut line = format!("topic {pattern} {direction} {}", topic.qos as u8);
    if !topic.local.is_empty() || !topic.remote.is_empty() {
        let prefixes = [quoted(&topic.local), quoted(&topic.remote)];
        line = format!("{line} {}", prefixes.join(" "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    /// What is found of bridges a, b, c…, each given by its address and its lines.
    fn found(bridges: &[(&str, &[&str])]) -> Vec<String> {
        let mut text = String::new();
        for ((address, lines), name) in bridges.iter().zip('a'..) {
            text += &format!("connection {name}\naddress {address}\n");
            for line in *lines {
                text += &format!("topic {line}\n");
            }
        }
        find(&Config::parse(&text, "x", &Env::default()).unwrap().config)
    }

    #[test]
    fn lines_that_feed_each_other_are_named() {
        assert_eq!(
            found(&[
                ("up", &["x/# in 1 y/ \"\""]),
                ("UP:1883", &["# out 1 y/x/ x/"])
            ]),
            [
                "these topic lines feed each other: connection b takes up by `topic # out 1 y/x/ x/`, \
                 connection a brings back by `topic x/# in 1 y/ \"\"`, and so on. Leave one of the ways \
                 out, or give it topics of its own"
            ]
        );
        for bridges in [
            &[("up", &["# both 1"][..]), ("up", &["# both 1"])][..],
            &[("up", &["a/+ out"]), ("up", &["a/b in"])],
            &[("other up", &["# out"]), ("up third", &["$share/g/t/# in"])],
            &[
                ("up", &["s/{1}/t out 0 \"\" c/{1}"]),
                ("up", &["\"\" in 0 s/{1}/t c/{1}"]),
            ],
            // Over two upstreams.
            &[
                ("up", &["x/# out"]),
                ("up", &["x/# in 0 y/ \"\""]),
                ("up2", &["y/# out"]),
                ("up2", &["# in 0 x/ y/"]),
            ],
        ] {
            assert!(!found(bridges).is_empty(), "{bridges:?}");
        }
    }

    #[test]
    fn others_are_not() {
        for bridges in [
            &[("up", &["# both 1"][..])][..],
            &[("up", &["# both 1"]), ("up2", &["# both 1"])],
            &[("up", &["# both 1"]), ("up:1884", &["# both 1"])],
            &[("up", &["# out 1 \"\" site/"]), ("up", &["cmd/# in 1"])],
            &[("up", &["sensor/# out 1"]), ("up", &["# in 1 cloud/ \"\""])],
            &[("up", &["# out"]), ("up", &["# out"])],
            &[("up", &["# in"]), ("up", &["# in"])],
        ] {
            assert!(found(bridges).is_empty(), "{bridges:?}");
        }
    }

    #[test]
    fn few_of_many_are_told() {
        let (out, back): (Vec<_>, Vec<_>) = (0..100)
            .map(|n| (format!("t{n} out"), format!("t{n} in")))
            .unzip();
        let lines = |lines: &[String]| {
            lines
                .iter()
                .map(|l| format!("\ntopic {l}"))
                .collect::<String>()
        };
        let text = format!(
            "connection a\naddress u{}\nconnection b\naddress u{}",
            lines(&out),
            lines(&back)
        );
        let config = Config::parse(&text, "x", &Env::default()).unwrap().config;
        assert_eq!(find(&config).len(), MOST_TOLD);
    }
}
