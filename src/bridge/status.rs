//! What a link tells the operator: its state, and one-line log messages.

mod activity;
mod losses;
mod outage;
mod reporter;
mod volume;

use std::fmt;

pub use activity::{Activity, Moved, Rates};
pub use outage::Backlog;
pub(super) use reporter::Reporter;
pub use volume::Volume;

use super::rest::Rest;
use super::upstream::ladder::{Dialect, Offer};
use super::upstream::verdicts::GivenUp;
use crate::config::UpstreamAddress;
use crate::mqtt::{QoS, Reason, Version};
use crate::time::Time;

/// The state of a link.
#[derive(Clone, Debug)]
pub struct Status<'a> {
    /// The name of the `connection` section.
    pub name: &'a str,
    /// What the link is doing.
    pub phase: Phase,
    /// Since when it has been doing that.
    pub since: Time,
    /// Since when it has had no connection though it wants one; `None` if it has one, or rests.
    pub down_since: Option<Time>,
    /// When the upstream last answered or acknowledged something, or sent a message.
    pub progress: Option<Time>,
    /// The address in use, or the next to be tried.
    pub address: Option<&'a UpstreamAddress>,
    /// Why the last connection or attempt ended.
    pub last_error: Option<&'a str>,
    /// The filters that the upstream refused, with its reasons.
    pub refused: &'a [(Box<str>, Reason)],
    /// The filters that the upstream granted at a lower QoS than asked for.
    pub lowered: &'a [(Box<str>, QoS)],
    /// What the bridge does without, and why.
    pub given_up: Vec<&'a GivenUp>,
}

/// What a link is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Waits for its next attempt.
    Waiting {
        /// When that is.
        until: Time,
    },
    /// Does not connect by itself, for this reason.
    Resting(Rest),
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

impl Phase {
    /// All names, for programs.
    pub const WORDS: [&str; 8] = [
        "up",
        "connecting",
        "handshake",
        "waiting",
        "stopped",
        "idle",
        "manual",
        "once",
    ];

    /// Its name, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Waiting { .. } => "waiting",
            Phase::Resting(rest) => rest.word(),
            Phase::Connecting => "connecting",
            Phase::Handshake => "handshake",
            Phase::Up { .. } => "up",
        }
    }

    /// The MQTT version that is spoken, while connected.
    pub fn protocol(self) -> Option<&'static str> {
        match self {
            Phase::Up { version, .. } => Some(match version {
                Version::V31 => "3.1",
                Version::V311 => "3.1.1",
                Version::V5 => "5",
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Status<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bridge {}: ", self.name)?;
        match self.phase {
            Phase::Waiting { .. } => write!(f, "not connected, next is ")?,
            Phase::Resting(rest) => write!(f, "{rest}, next is ")?,
            Phase::Connecting => write!(f, "connecting to ")?,
            Phase::Handshake => write!(f, "waiting for CONNACK of ")?,
            Phase::Up { version, .. } => write!(f, "up with {} at ", text(version))?,
        }
        if let Some(address) = self.address {
            address.fmt(f)?;
        }
        for (filter, reason) in self.refused {
            write!(f, "; topic {filter} refused: {reason}")?;
        }
        for (filter, qos) in self.lowered {
            write!(f, "; topic {filter} at QoS {} only", *qos as u8)?;
        }
        for given_up in &self.given_up {
            write!(f, "; {given_up}")?;
        }
        match (self.phase, self.last_error) {
            (Phase::Up { .. }, _) | (_, None) => Ok(()),
            (_, Some(error)) => write!(f, "; {error}"),
        }
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
