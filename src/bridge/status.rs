//! What a link tells the operator: its state, and one-line log messages.

use std::fmt;
use std::time::Duration;

use log::{Level, info, log, warn};

use super::upstream::ladder::{Dialect, Offer};
use super::upstream::verdicts::GivenUp;
use super::{Error, Limits};
use crate::config;
use crate::config::log_type::NOTICE;
use crate::mqtt::{QoS, Reason, Version};
use crate::time::Time;

/// The state of a link.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// The name of the `connection` section.
    pub name: &'a str,
    /// What the link is doing.
    pub phase: Phase,
    /// The address in use, or the next to be tried.
    pub address: Option<&'a (String, u16)>,
    /// Why the last connection or attempt ended.
    pub last_error: Option<&'a str>,
    /// The filters that the upstream refused, with its reasons.
    pub refused: &'a [(Box<str>, Reason)],
    /// The filters that the upstream granted at a lower QoS than asked for.
    pub lowered: &'a [(Box<str>, QoS)],
    /// What the bridge does without, and why.
    pub given_up: &'a [GivenUp],
}

/// What a link is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Waits for its next attempt.
    Waiting {
        /// When that is.
        until: Time,
    },
    /// Connects.
    Connecting,
    /// Waits for the CONNACK.
    Handshake,
    /// Is connected.
    Up {
        /// Since its CONNACK.
        since: Time,
        /// The protocol version spoken.
        version: Version,
    },
}

impl fmt::Display for Status<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bridge {}: ", self.name)?;
        match self.phase {
            Phase::Waiting { .. } => write!(f, "not connected, next is ")?,
            Phase::Connecting => write!(f, "connecting to ")?,
            Phase::Handshake => write!(f, "waiting for CONNACK of ")?,
            Phase::Up { version, .. } => write!(f, "up with {} at ", text(version))?,
        }
        if let Some((host, port)) = self.address {
            write!(f, "{host}:{port}")?;
        }
        for (filter, reason) in self.refused {
            write!(f, "; topic {filter} refused: {reason}")?;
        }
        for (filter, qos) in self.lowered {
            write!(f, "; topic {filter} at QoS {} only", *qos as u8)?;
        }
        for given_up in self.given_up {
            write!(f, "; {given_up}")?;
        }
        match (self.phase, self.last_error) {
            (Phase::Up { .. }, _) | (_, None) => Ok(()),
            (_, Some(error)) => write!(f, "; {error}"),
        }
    }
}

/// How long the same failure goes unmentioned.
const REPEAT: Duration = Duration::from_secs(600);

/// How many different failures are remembered, to not mention them again.
const REMEMBERED: usize = 8;

/// Writes the log of one link, without repeating itself through a long outage.
#[derive(Debug)]
pub(super) struct Reporter {
    name: Box<str>,
    last_error: Option<String>,
    /// The failures mentioned since the link was up, and when.
    said: Vec<(String, Time)>,
}

impl Reporter {
    pub(super) fn new(name: &str) -> Reporter {
        Reporter {
            name: name.into(),
            last_error: None,
            said: Vec::new(),
        }
    }

    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    pub(super) fn connecting(&self, host: &str, port: u16) {
        let level = if self.said.is_empty() {
            Level::Info
        } else {
            Level::Debug
        };
        log!(target: NOTICE, level, "Connecting bridge {} ({host}:{port})", self.name);
    }

    /// The CONNACK accepts. `asked` is the session expiry asked for, in seconds.
    pub(super) fn up(
        &mut self,
        spec: &config::Bridge,
        address: usize,
        dialect: Dialect,
        limits: &Limits,
        asked: Option<u32>,
    ) {
        let name = &self.name;
        let session = if limits.session_present {
            "session resumed"
        } else {
            "new session"
        };
        let (host, port) = spec
            .addresses
            .get(address)
            .map_or(("", 0), |(h, p)| (h.as_str(), *p));
        info!(target: NOTICE, "Bridge {name} connected to {host}:{port} with {dialect}, {session}");
        if let (Some(given), Some(asked)) = (limits.session_expiry, asked)
            && given.as_secs() < asked.into()
        {
            warn!(
                "Bridge {name}: upstream keeps the session for {} s only, not {asked} s: after a \
                 longer outage its messages for us are lost",
                given.as_secs()
            );
        }
        if spec.topics.iter().any(|topic| topic.qos > limits.max_qos) {
            warn!(
                "Bridge {name}: upstream takes QoS {} at most",
                limits.max_qos as u8
            );
        }
        self.said.clear();
    }

    pub(super) fn fallback(&self, refused: Offer, next: Offer, error: &Error) {
        info!(
            target: NOTICE,
            "Bridge {}: upstream does not take {refused} ({}), trying {next}",
            self.name,
            error.short()
        );
    }

    /// Something is done without from now on.
    pub(super) fn given_up(&self, given_up: &GivenUp) {
        let GivenUp { feature, why, .. } = given_up;
        warn!(
            "Bridge {}: upstream does not take {feature} ({why}): {}. SIGHUP tries it again.",
            self.name,
            feature.instead()
        );
    }

    /// The next connection is careful.
    pub(super) fn careful(&self) {
        warn!(
            "Bridge {}: upstream closes the connection again and again: sending one thing at a time, \
             to find out on what",
            self.name
        );
    }

    /// A careful connection goes on as others do.
    pub(super) fn careful_is_over(&self) {
        info!(target: NOTICE, "Bridge {}: going on at full speed", self.name);
    }

    pub(super) fn local_notifications(&self, why: &str) {
        warn!(
            "Bridge {}: notifications stay local ({why}); set notification_topic to a topic that \
             upstream allows, or notifications_local_only true",
            self.name
        );
    }

    /// The connection is over, for this reason: what the log is to say follows.
    pub(super) fn note(&mut self, error: &Error) {
        self.last_error = Some(error.to_string());
    }

    /// An attempt at `address`, or the connection, is over.
    pub(super) fn down(
        &mut self,
        address: Option<&(String, u16)>,
        error: &Error,
        wait: Duration,
        now: Time,
    ) {
        let (host, port) = address.map_or(("", 0), |(host, port)| (host.as_str(), *port));
        let error = error.to_string();
        let what = format!("Bridge {} ({host}:{port}): {error}", self.name);
        self.said.retain(|(_, at)| now.since(*at) < REPEAT);
        let level = if self.said.iter().any(|(said, _)| *said == what) {
            Level::Debug
        } else {
            Level::Warn
        };
        let next = wait.as_secs_f32();
        log!(target: NOTICE, level, "{what}; next attempt in {next:.1} s");
        if level == Level::Warn {
            self.said.truncate(REMEMBERED - 1);
            self.said.push((what, now));
        }
        self.last_error = Some(error);
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dialect.fmt(f)?;
        if !self.notifications {
            f.write_str(" without a will")?;
        }
        if !self.own_client_id {
            f.write_str(" under a plain client id")?;
        }
        Ok(())
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(self.version))?;
        f.write_str(if self.bridge {
            " with the bridge bit"
        } else {
            ""
        })
    }
}

fn text(version: Version) -> &'static str {
    match version {
        Version::V31 => "MQTT 3.1",
        Version::V311 => "MQTT 3.1.1",
        Version::V5 => "MQTT 5",
    }
}
