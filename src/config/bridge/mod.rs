//! When a bridge connects: `start_type`, and `restart_timeout`.

use std::fmt;
use std::time::Duration;

/// `start_type`, `threshold` and `idle_timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// `start_type`. Default automatic.
    pub kind: StartType,
    /// `threshold`: so many messages make a lazy bridge connect, 1 or more. Default 10.
    pub threshold: u64,
    /// `idle_timeout`: after so long without traffic a lazy bridge disconnects. Default 60 s.
    pub idle_timeout: Duration,
}

/// When a bridge connects by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartType {
    /// At the start of the broker, and again whenever the connection is lost.
    #[default]
    Automatic,
    /// When so many messages wait, until it was idle for so long.
    Lazy,
    /// At the start of the broker, and not again.
    Once,
    /// Never.
    Manual,
}

impl StartType {
    /// All of them.
    pub const ALL: [StartType; 4] = [
        StartType::Automatic,
        StartType::Lazy,
        StartType::Once,
        StartType::Manual,
    ];

    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            StartType::Automatic => "automatic",
            StartType::Lazy => "lazy",
            StartType::Once => "once",
            StartType::Manual => "manual",
        }
    }
}

impl fmt::Display for StartType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Default for Start {
    fn default() -> Start {
        Start {
            kind: StartType::Automatic,
            threshold: 10,
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// `restart_timeout`: how long to wait between attempts to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// `restart_timeout SECONDS`: always this long.
    Constant(Duration),
    /// `restart_timeout BASE CAP [STABLE]`: decorrelated jitter between base and cap; back to
    /// base once a connection has held for STABLE. Default 5 s to 30 s, as in Mosquitto.
    Jitter {
        /// The shortest wait.
        base: Duration,
        /// The longest wait.
        cap: Duration,
        /// How long a connection must hold before the wait starts over at `base`.
        stable: Duration,
    },
}
