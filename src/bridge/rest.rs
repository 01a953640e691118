//! Bridges that do not connect by themselves: why, and what the operator says to that.

use std::fmt;
use std::time::Duration;

use crate::time::Time;

/// How often a lazy link looks at what waits.
const LOOK: Duration = Duration::from_secs(1);
/// How often a link is looked after that waits for the operator: no reason to wake up.
const DAY: Duration = Duration::from_secs(86_400);

/// Why a link does not connect by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// The operator has stopped it.
    Stopped,
    /// `start_type manual`, and it was not started.
    Manual,
    /// `start_type once`, and that was it.
    Once,
    /// `start_type lazy`, and less waits than `threshold` says.
    Idle,
}

impl Rest {
    /// Its name, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Rest::Stopped => "stopped",
            Rest::Manual => "manual",
            Rest::Once => "once",
            Rest::Idle => "idle",
        }
    }

    /// When to look after it again.
    pub(super) fn look_at(self, now: Time) -> Time {
        now + if self == Rest::Idle { LOOK } else { DAY }
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rest::Stopped => "stopped",
            Rest::Manual => "not started (start_type manual)",
            Rest::Once => "not connected again (start_type once)",
            Rest::Idle => "idle (start_type lazy)",
        })
    }
}

/// The word of the operator about a bridge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// It is to connect, whatever its `start_type` says.
    Start,
    /// It is to have no connection until it is started.
    Stop,
}

/// What comes behind an attempt or a connection that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// The next attempt, after so long.
    In(Duration),
    /// None by itself.
    Rest(Rest),
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Next::In(wait) => write!(f, "next attempt in {:.1} s", wait.as_secs_f32()),
            Next::Rest(rest) => rest.fmt(f),
        }
    }
}
