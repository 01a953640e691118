//! `restart_timeout`: how long to wait before the next attempt to connect.

use std::time::Duration;

use fastrand::Rng;

use crate::config::Restart;

/// A connection to one of several addresses that has held for so long was worth it, unless the waits are
/// longer.
const WORTH: Duration = Duration::from_secs(60);
/// One that has held for so long was in any case.
const WORTH_AT_MOST: Duration = Duration::from_secs(300);

/// The waits between attempts.
///
/// With jitter, each wait is drawn between the base and three times the last wait, up to the
/// cap ("decorrelated jitter", as in Mosquitto), so that a thousand routers that lost the same
/// upstream do not come back at the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    restart: Restart,
    last: Duration,
    /// The next connection that ends too soon may be followed at once.
    may_spare: bool,
}

impl Backoff {
    /// Starts at the base.
    pub fn new(restart: Restart) -> Backoff {
        Backoff {
            restart,
            last: base(restart),
            may_spare: true,
        }
    }

    /// The shortest wait there is.
    pub(super) fn shortest(&self) -> Duration {
        base(self.restart)
    }

    /// A connection to one of several addresses is over that has held for so long. True if the next may
    /// be tried without a wait: it has held for long, or is the first since one that did. Where each
    /// ends soon, each costs a handshake and all that is sent again.
    pub(super) fn spares_wait(&mut self, held: Duration) -> bool {
        let longest = match self.restart {
            Restart::Constant(wait) => wait,
            Restart::Jitter { cap, .. } => cap,
        };
        let was_worth_it = held >= longest.clamp(WORTH, WORTH_AT_MOST);
        if let Restart::Jitter { base, stable, .. } = self.restart
            && held >= stable
        {
            self.last = base;
        }
        std::mem::replace(&mut self.may_spare, was_worth_it) || was_worth_it
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
