//! What a bridge does without towards an upstream, because the upstream can't do with it: kept in the
//! store, so that it is found out once. With it go the sessions that its upstreams were seen with.

use std::fmt;
use std::time::Duration;

use crate::bridge::map::fingerprint;
use crate::config::{self, UpstreamAddress};
use crate::store::GivenUpRecord;
use crate::time::Time;

/// The most of these that are kept for one bridge; the oldest go first.
const MAX_KEPT: usize = 64;

/// The number in the store of a session that an upstream was seen with: no [`Feature`] has it. Older
/// programs skip the record.
const SESSION: u8 = 13;

/// A session that an upstream was seen with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::bridge) struct SeenSession {
    /// The number of the upstream and the client id there ([`session_number`]).
    pub place: u64,
    /// The number of its group.
    pub group: u32,
}

impl SeenSession {
    fn of(record: &GivenUpRecord) -> Option<SeenSession> {
        let group = record
            .about
            .parse()
            .ok()
            .filter(|_| record.feature == SESSION)?;
        let place = record.upstream;
        Some(SeenSession { place, group })
    }

    fn record(&self) -> GivenUpRecord {
        GivenUpRecord {
            upstream: self.place,
            feature: SESSION,
            about: self.group.to_string().into(),
            why: "".into(),
            seen: 0,
            until: Time::ZERO,
        }
    }
}

/// A number that stands for the session of a client id at an upstream, by its own number.
pub(in crate::bridge) fn session_number(upstream: u64, client_id: &str) -> u64 {
    fingerprint([&upstream.to_le_bytes(), client_id.as_bytes()].into_iter())
}

/// What a bridge can do without.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Feature {
    /// MQTT 5: it speaks 3.1.1.
    Mqtt5,
    /// The bridge bit of a 3.1.1 CONNECT (`try_private`).
    BridgeBit,
    /// The will and the state notification: its state is published here only.
    Notifications,
    /// The client id as it is: it has letters, digits and `-` only.
    ClientId,
    /// UNSUBSCRIBE: what the configuration no longer has goes on coming, and is dropped here.
    Unsubscribe,
    /// Topic aliases set for the upstream.
    Aliases,
    /// QoS 2 towards the upstream.
    Qos2,
    /// More than so many messages unacknowledged at once.
    Window(u16),
    /// The subscription to this filter upstream.
    Subscription(Box<str>),
    /// What goes to this topic upstream.
    Topic(Box<str>),
    /// Messages of more than so many bytes, topic upstream and payload.
    Size(usize),
    /// No Local: the bridge recognises by itself what comes back of its own.
    NoLocal,
}

impl Feature {
    /// The number of its kind in the store, and what it is about.
    fn code(&self) -> (u8, String) {
        match self {
            Feature::Mqtt5 => (1, String::new()),
            Feature::BridgeBit => (2, String::new()),
            Feature::Notifications => (3, String::new()),
            Feature::ClientId => (4, String::new()),
            Feature::Unsubscribe => (5, String::new()),
            Feature::Aliases => (6, String::new()),
            Feature::Qos2 => (7, String::new()),
            Feature::Window(size) => (8, size.to_string()),
            Feature::Subscription(filter) => (9, filter.to_string()),
            Feature::Topic(topic) => (10, topic.to_string()),
            Feature::NoLocal => (11, String::new()),
            Feature::Size(size) => (12, size.to_string()),
        }
    }

    fn from_code(code: u8, about: &str) -> Option<Feature> {
        Some(match code {
            1 => Feature::Mqtt5,
            2 => Feature::BridgeBit,
            3 => Feature::Notifications,
            4 => Feature::ClientId,
            5 => Feature::Unsubscribe,
            6 => Feature::Aliases,
            7 => Feature::Qos2,
            8 => Feature::Window(about.parse().ok()?),
            9 => Feature::Subscription(about.into()),
            10 => Feature::Topic(about.into()),
            11 => Feature::NoLocal,
            12 => Feature::Size(about.parse().ok()?),
            _ => return None,
        })
    }

    /// What the bridge does instead, for the log.
    pub(in crate::bridge) fn instead(&self) -> &'static str {
        match self {
            Feature::Mqtt5 => "it speaks MQTT 3.1.1",
            Feature::BridgeBit => "it connects as an ordinary client",
            Feature::Notifications => {
                "its state is published here only; set notification_topic to a topic that upstream \
                 allows, or notifications_local_only true"
            }
            Feature::ClientId => {
                "it connects under one of letters, digits and - only; set remote_clientid to choose \
                 another"
            }
            Feature::Unsubscribe => {
                "what is no longer configured goes on coming, and is dropped here"
            }
            Feature::Aliases => "it sends whole topics",
            Feature::Qos2 => "it sends at QoS 1 what would go at QoS 2",
            Feature::Window(_) => "fewer are under way at once",
            Feature::Subscription(_) => "nothing comes in by this topic line",
            Feature::NoLocal => "what comes back of its own is recognised here, and dropped",
            Feature::Topic(_) | Feature::Size(_) => {
                "they are set aside as dead letters, and dropped at QoS 0"
            }
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Feature::Mqtt5 => f.write_str("MQTT 5"),
            Feature::BridgeBit => f.write_str("the bridge bit"),
            Feature::Notifications => f.write_str("state notifications"),
            Feature::ClientId => f.write_str("the client id"),
            Feature::Unsubscribe => f.write_str("UNSUBSCRIBE"),
            Feature::Aliases => f.write_str("topic aliases"),
            Feature::Qos2 => f.write_str("QoS 2"),
            Feature::Window(size) => write!(f, "more than {size} unacknowledged messages"),
            Feature::Subscription(filter) => {
                write!(f, "the subscription to {}", filter.escape_debug())
            }
            Feature::NoLocal => f.write_str("No Local"),
            Feature::Size(size) => write!(f, "messages of more than {size} bytes"),
            Feature::Topic(topic) => write!(f, "messages on {}", topic.escape_debug()),
        }
    }
}

/// What a bridge does without towards one upstream, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GivenUp {
    /// The number of the upstream ([`upstream_number`]).
    pub upstream: u64,
    /// What.
    pub feature: Feature,
    /// What the upstream did.
    pub why: Box<str>,
    /// How often it was found.
    pub seen: u8,
    /// When it is tried again: after an hour first, for an outage can look like it.
    pub until: Time,
}

/// What was found so often, or refused in so many words, is tried again after [`WEEK`] only.
pub(in crate::bridge) const CERTAIN: u8 = 3;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// For how long something is done without that was found so often.
fn rest(seen: u8) -> Duration {
    match seen {
        ..=1 => HOUR,
        2 => DAY,
        CERTAIN.. => WEEK,
    }
}

impl GivenUp {
    /// As the store has it; `None` if another version of this program wrote what this one doesn't know.
    pub fn of(record: &GivenUpRecord) -> Option<GivenUp> {
        Some(GivenUp {
            upstream: record.upstream,
            feature: Feature::from_code(record.feature, &record.about)?,
            why: record.why.clone(),
            seen: record.seen,
            until: record.until,
        })
    }
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "without {} ({})", self.feature, self.why)
    }
}

/// A number that stands for an upstream's address.
pub(in crate::bridge) fn upstream_number(address: Option<&UpstreamAddress>) -> u64 {
    let number = address.map(|UpstreamAddress { host, port, web }| {
        let port = port.to_string();
        let path = web.as_ref().map(|web| web.path.as_bytes());
        fingerprint([host.as_bytes(), port.as_bytes()].into_iter().chain(path))
    });
    number.unwrap_or_default()
}

/// All that a bridge does without.
#[derive(Debug)]
pub(in crate::bridge) struct Verdicts {
    /// A number that stands for what they were found with: another version of this program or another
    /// configuration starts over.
    made_with: u64,
    /// Also those that are tried again.
    list: Vec<GivenUp>,
    /// They hold whatever the rest was found with.
    sessions: Vec<SeenSession>,
    has_changed: bool,
    now: Time,
}

impl Verdicts {
    /// None, of a bridge with this configuration.
    pub(in crate::bridge) fn new(spec: &config::Bridge) -> Verdicts {
        let secret = config::Bridge {
            remote_password: None,
            remote_password_file: None,
            remote_password_command: None,
            ..spec.clone()
        };
        let parts = [env!("CARGO_PKG_VERSION").to_owned(), format!("{secret:?}")];
        Verdicts {
            made_with: fingerprint(parts.iter().map(String::as_bytes)),
            list: Vec::new(),
            sessions: Vec::new(),
            has_changed: false,
            now: Time::ZERO,
        }
    }

    /// It is this late. True if something is tried again from now on.
    pub(in crate::bridge) fn tick(&mut self, now: Time) -> bool {
        let before = std::mem::replace(&mut self.now, now);
        let mut list = self.list.iter();
        list.any(|known| known.until > before && known.until <= now)
    }

    /// Takes in those that the store has, unless they were found with something else.
    pub(in crate::bridge) fn restore(&mut self, (made_with, records): &(u64, Vec<GivenUpRecord>)) {
        self.sessions = records.iter().filter_map(SeenSession::of).collect();
        if *made_with != self.made_with {
            self.has_changed = !records.is_empty();
            return;
        }
        let known = records.iter().filter_map(GivenUp::of);
        self.list = known.collect();
    }

    /// What the store is to keep, if that has changed since the last call.
    pub(in crate::bridge) fn take_changed(&mut self) -> Option<(u64, Vec<GivenUpRecord>)> {
        if !std::mem::take(&mut self.has_changed) {
            return None;
        }
        let records = self.list.iter().map(|given_up| {
            let (feature, about) = given_up.feature.code();
            GivenUpRecord {
                upstream: given_up.upstream,
                feature,
                about: about.into(),
                why: given_up.why.clone(),
                seen: given_up.seen,
                until: given_up.until,
            }
        });
        let sessions = self.sessions.iter().map(SeenSession::record);
        Some((self.made_with, records.chain(sessions).collect()))
    }

    /// The sessions that the upstreams were seen with.
    pub(in crate::bridge) fn sessions(&self) -> &[SeenSession] {
        &self.sessions
    }

    /// The upstreams were seen with these sessions last.
    pub(in crate::bridge) fn set_sessions(&mut self, sessions: Vec<SeenSession>) {
        self.has_changed |= sessions != self.sessions;
        self.sessions = sessions;
    }

    /// All that hold, of all upstreams.
    pub(in crate::bridge) fn list(&self) -> impl Iterator<Item = &GivenUp> {
        self.list.iter().filter(|known| known.until > self.now)
    }

    /// Those that hold towards one upstream.
    pub(in crate::bridge) fn at(&self, upstream: u64) -> impl Iterator<Item = &Feature> {
        self.list()
            .filter(move |known| known.upstream == upstream)
            .map(|known| &known.feature)
    }

    /// True if the bridge does without `feature` at an upstream.
    pub(in crate::bridge) fn has(&self, upstream: u64, feature: &Feature) -> bool {
        self.at(upstream).any(|known| known == feature)
    }

    /// The most messages that may be unacknowledged at an upstream, if that is bounded.
    pub(in crate::bridge) fn window(&self, upstream: u64) -> Option<u16> {
        let windows = self.at(upstream).filter_map(|feature| match feature {
            Feature::Window(size) => Some(*size),
            _ => None,
        });
        windows.min()
    }

    /// The size of the largest message that may go to an upstream, if that is bounded.
    pub(in crate::bridge) fn largest(&self, upstream: u64) -> Option<usize> {
        let sizes = self.at(upstream).filter_map(|feature| match feature {
            Feature::Size(size) => Some(*size),
            _ => None,
        });
        sizes.min()
    }

    /// An upstream can't do this, as `why` says. `is_certain`: it has said so. `None` if that is known.
    pub(in crate::bridge) fn add(
        &mut self,
        upstream: u64,
        feature: Feature,
        why: &str,
        is_certain: bool,
    ) -> Option<&GivenUp> {
        if self.has(upstream, &feature) {
            return None;
        }
        let mut list = self.list.iter();
        let is_same = |known: &GivenUp| known.upstream == upstream && known.feature == feature;
        let at = list.position(is_same);
        let seen = at
            .and_then(|at| self.list.get(at))
            .map_or(0, |known| known.seen);
        if let Some(at) = at {
            self.list.remove(at);
        } else if self.list.len() >= MAX_KEPT {
            // Topics can be many; how to connect is not to be found out again for their sake.
            let is_topic = |known: &GivenUp| matches!(known.feature, Feature::Topic(_));
            let oldest = self.list.iter().position(is_topic).unwrap_or(0);
            self.list.remove(oldest);
        }
        let seen = if is_certain {
            CERTAIN
        } else {
            seen.saturating_add(1)
        };
        self.list.push(GivenUp {
            upstream,
            feature,
            why: why.into(),
            seen,
            until: self.now + rest(seen),
        });
        self.has_changed = true;
        self.list.last()
    }

    /// The upstream does take `feature`: an earlier verdict was wrong, or the upstream is another now.
    pub(in crate::bridge) fn remove(&mut self, upstream: u64, feature: &Feature) {
        let before = self.list.len();
        self.list
            .retain(|known| known.upstream != upstream || known.feature != *feature);
        self.has_changed |= self.list.len() < before;
    }

    /// Forgets them all: everything is tried again.
    pub(in crate::bridge) fn clear(&mut self) {
        self.has_changed |= !self.list.is_empty();
        self.list.clear();
    }
}
