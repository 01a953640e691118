//! What the configuration of a bridge says about its queue here.

use std::rc::Rc;
use std::time::Duration;

use super::{Activity, Map, Numbering, Pace, Rate, Refusals, RetainedSync, Volume};
use crate::config::{Bounds, BridgeTopic, Direction, Overflow};
use crate::lane::{Lane, LineNo};
use crate::mqtt::QoS;
use crate::store::GivenUpRecord;
use crate::time::Time;

/// One `topic` line, as far as the queue is concerned.
#[derive(Clone, Debug)]
pub struct LineBounds {
    /// Local prefix and pattern, or what stands for them with captures.
    pub pattern: Box<str>,
    /// How much the line may have queued.
    pub bounds: Bounds,
    /// What happens when that is reached; `None`: as `queue_overflow` says.
    pub overflow: Option<Overflow>,
    /// Older messages are dropped.
    pub ttl: Option<Duration>,
    /// What is published at QoS 0 is queued, too, and sent at the QoS of the line.
    pub keeps_qos0: bool,
    /// What goes out by it waits while anything of other lines does.
    pub is_low: bool,
}

/// The end of a bridge that is a session of this broker.
#[derive(Clone, Debug)]
pub struct LocalEnd {
    /// The name after `connection`.
    pub name: Box<str>,
    lines: Vec<LineBounds>,
    /// By which number the queue knows each line.
    numbering: Numbering,
    /// `None` between a start and the moment when the configuration is known.
    map: Option<Rc<Map>>,
    /// How fast the queue fills.
    pub rate: Rate,
    /// The log has the sentence about the bound, with the rate.
    pub told: bool,
    /// When the log was told last what becomes of messages that come while the uplink is down.
    pub told_offline: Option<Time>,
    /// The log has nothing yet of what becomes of them in this outage, or the next.
    pub is_outage_new: bool,
    /// Since the last connection the queue has had no room for a message.
    pub has_overflowed: bool,
    /// The filters that our session upstream is subscribed to, by its acknowledgements.
    pub subscribed: Vec<Box<str>>,
    /// What the bridge does without towards its upstreams, as its link has it kept.
    pub given_up: (u64, Vec<GivenUpRecord>),
    /// How much goes to the upstream at a time, while the link is up.
    pub pace: Option<Pace>,
    /// What the upstream refuses.
    pub refusals: Refusals,
    /// What of the retained messages the upstream has.
    pub retained: RetainedSync,
    /// What was moved since the start.
    pub activity: Activity,
    /// What went over the uplink.
    pub volume: Volume,
}

impl LocalEnd {
    /// The end of a bridge that the store knows, whose configuration is not known yet.
    pub fn restored(
        name: &str,
        numbering: Numbering,
        rate: Rate,
        retained: RetainedSync,
    ) -> LocalEnd {
        LocalEnd {
            refusals: Refusals::new(name),
            name: name.into(),
            lines: Vec::new(),
            numbering,
            map: None,
            rate,
            told: false,
            told_offline: None,
            is_outage_new: true,
            has_overflowed: false,
            subscribed: Vec::new(),
            given_up: (0, Vec::new()),
            pace: None,
            retained,
            activity: Activity::default(),
            volume: Volume::default(),
        }
    }

    /// The end of a bridge with these `topic` lines, which `map` and `numbering` are of.
    pub fn new(
        name: &str,
        topics: &[BridgeTopic],
        (map, numbering): (Rc<Map>, Numbering),
        rate: Rate,
        retained: RetainedSync,
    ) -> LocalEnd {
        let line = |topic: &BridgeTopic| LineBounds {
            pattern: topic.local_topics().into(),
            bounds: topic.bounds,
            overflow: topic.overflow,
            ttl: topic.ttl,
            keeps_qos0: topic.keeps_qos0,
            is_low: topic.low && topic.direction != Direction::In,
        };
        LocalEnd {
            lines: topics.iter().map(line).collect(),
            map: Some(map),
            ..LocalEnd::restored(name, numbering, rate, retained)
        }
    }

    /// What holds for a lane, if it is that of a line.
    pub fn line(&self, lane: Lane) -> Option<&LineBounds> {
        self.lines.get(self.place(lane)?)
    }

    /// The place among the lines of that of a lane; `None` if it is none, or the configuration has it
    /// no more.
    pub fn place(&self, lane: Lane) -> Option<usize> {
        self.numbering.place(lane.line()?)
    }

    /// The lines in the order of the configuration, with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (LineNo, &LineBounds)> {
        self.numbering.numbers().zip(&self.lines)
    }

    /// The lanes of the lines of low priority.
    pub fn low_lanes(&self) -> Vec<Lane> {
        let low = self.lines().filter(|(_, line)| line.is_low);
        low.map(|(number, _)| Lane::Bridge(number)).collect()
    }

    /// By which number the queue knows each line.
    pub fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    /// The lane of a message on `topic`, and the highest QoS that its line carries. `None` if no
    /// line does. While the lines are not known it belongs to none, at `qos`.
    pub fn lane(&self, topic: &[u8], qos: QoS) -> Option<(Lane, QoS)> {
        let Some(map) = &self.map else {
            return Some((Lane::Client, qos));
        };
        let mapped = map.outward_line(topic)?;
        let number = self.numbering.number(mapped.line);
        Some((number.map_or(Lane::Client, Lane::Bridge), mapped.qos))
    }

    /// The highest QoS at which a message on `topic` that waits in `lane` goes upstream: that of its
    /// line as the configuration has it by now. `None` if no line takes it any more.
    pub fn waiting_qos(&self, lane: Lane, topic: &[u8]) -> Option<QoS> {
        self.map.as_ref()?.outward_qos(self.place(lane), topic)
    }

    /// True if what is published at QoS 0 is queued in `lane` and goes out at the QoS of the line.
    pub fn keeps_qos0(&self, lane: Lane) -> bool {
        self.line(lane).is_some_and(|line| line.keeps_qos0)
    }
}

/// True if `id` is the default of `local_clientid` of the bridge `name` for some host: `local.HOST.NAME`. A
/// host with a dot in its name can't be told from a bridge with one.
pub fn is_default_client_id(name: &str, id: &str) -> bool {
    let host = id
        .strip_prefix("local.")
        .and_then(|id| id.strip_suffix(name)?.strip_suffix('.'));
    host.is_some_and(|host| !host.is_empty() && !host.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_known_by_its_parts() {
        for (id, is_default) in [
            ("local.OpenWrt.cloud", true),
            ("local.box-7.cloud", true),
            ("local..cloud", false),
            ("local.cloud", false),
            ("local.box.a.cloud", false),
            ("local.boxcloud", false),
            ("box.cloud", false),
        ] {
            assert_eq!(is_default_client_id("cloud", id), is_default, "{id}");
        }
        assert!(is_default_client_id("a.cloud", "local.box.a.cloud"));
    }
}
