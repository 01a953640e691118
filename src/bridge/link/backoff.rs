//! `restart_timeout`: how long to wait before the next attempt to connect.

use std::time::Duration;

use fastrand::Rng;

use crate::config::Restart;

/// The waits between attempts.
///
/// With jitter, each wait is drawn between the base and three times the last wait, up to the
/// cap ("decorrelated jitter", as in Mosquitto), so that a thousand routers that lost the same
/// upstream do not come back at the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    restart: Restart,
    last: Duration,
}

impl Backoff {
    /// Starts at the base.
    pub fn new(restart: Restart) -> Backoff {
        Backoff {
            restart,
            last: base(restart),
        }
    }

    /// The shortest wait there is.
    pub(super) fn shortest(&self) -> Duration {
        base(self.restart)
    }

    /// How long to wait now, after a connection that held for `held` from its CONNACK on
    /// (`None` without CONNACK). One that held long enough starts over at the base.
    pub fn next(&mut self, held: Option<Duration>, rng: &mut Rng) -> Duration {
        self.last = match self.restart {
            Restart::Constant(wait) => wait,
            Restart::Jitter { base, stable, .. } if held.is_some_and(|held| held >= stable) => base,
            Restart::Jitter { base, cap, .. } => {
                let low = millis(base);
                let high = low.max(millis(self.last.saturating_mul(3)));
                Duration::from_millis(rng.u64(low..=high)).min(cap)
            }
        };
        self.last
    }
}

/// Half a billion years are enough.
fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

fn base(restart: Restart) -> Duration {
    match restart {
        Restart::Constant(wait) => wait,
        Restart::Jitter { base, .. } => base,
    }
}
