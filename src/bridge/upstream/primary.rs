//! When the primary is asked whether it is there again, while another address serves; and what its answer
//! is worth.

use std::time::Duration;

use fastrand::Rng;

use crate::config::Restart;
use crate::time::Time;

/// The longest wait between two probes, unless `restart_timeout` is longer: each costs traffic.
const LONGEST: Duration = Duration::from_secs(300);
/// A connection to the primary that has held for so long shows that it works.
const STABLE: Duration = Duration::from_secs(60);
/// How long what is under way is waited for before the bridge leaves for the primary.
const LEAVE: Duration = Duration::from_secs(5);
/// How long the bridge stays after it has gone to a primary in vain that had not accepted the probe, or
/// that has accepted it and then did not serve.
const FIRST_STAY: Duration = Duration::from_secs(3600);
/// The longest of that: it doubles each time.
const LONGEST_STAY: Duration = Duration::from_secs(24 * 3600);

/// What a probe has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bridge) enum Found {
    /// A CONNACK that accepts.
    Accepted,
    /// A CONNACK that refuses this client id or its login: it may be that it takes that of the bridge only.
    Stranger,
    /// CONNECT was answered by closing. A broker may say by that what [`Found::Stranger`] says, and a proxy
    /// that there is no broker behind it.
    Closed,
    /// Nothing that could serve.
    Nothing,
}

/// How a connection to the primary went that is over.
#[derive(Clone, Copy, Debug)]
pub(in crate::bridge) struct Held {
    /// For how long.
    pub time: Duration,
    /// It has acknowledged or brought a message.
    pub was_useful: bool,
    /// It has answered nothing but CONNECT, or does not acknowledge what it was sent.
    pub is_silent: bool,
}

impl Held {
    /// It did not answer CONNECT.
    pub(in crate::bridge) const NOTHING: Held = Held {
        time: Duration::ZERO,
        was_useful: false,
        is_silent: true,
    };
}

/// The watch over the primary.
#[derive(Debug)]
pub(in crate::bridge) struct Primary {
    shortest: Duration,
    longest: Duration,
    /// The next wait; it doubles each time that the primary is not there, or does not hold.
    wait: Duration,
    due: Option<Time>,
    /// From when on the bridge may go to a primary that has not accepted the probe.
    may_try_at: Time,
    /// From when on it is asked at all.
    may_ask_at: Time,
    /// How long the bridge stays after the next time in vain.
    stay: Duration,
    /// The bridge has gone back to it, and whether it serves is not known.
    is_on_trial: bool,
    /// By when the bridge leaves for the primary.
    leave_by: Option<Time>,
}

impl Primary {
    pub(in crate::bridge) fn new(restart: Restart) -> Primary {
        let base = match restart {
            Restart::Constant(wait) => wait,
            Restart::Jitter { base, .. } => base,
        };
        let shortest = base.max(Duration::from_secs(1));
        Primary {
            shortest,
            longest: LONGEST.max(shortest),
            wait: shortest,
            due: None,
            may_try_at: Time::ZERO,
            may_ask_at: Time::ZERO,
            stay: FIRST_STAY,
            is_on_trial: false,
            leave_by: None,
        }
    }

    /// A connection is up, at another address than the primary if it `stands_in`.
    pub(in crate::bridge) fn connected(&mut self, stands_in: bool, now: Time, rng: &mut Rng) {
        self.leave_by = None;
        let known = self.due.take();
        if stands_in {
            self.is_on_trial = false;
            self.schedule(now, rng);
            self.due = self.due.into_iter().chain(known).min();
        }
    }

    /// The bridge goes back to it.
    pub(in crate::bridge) fn tries(&mut self) {
        self.is_on_trial = true;
    }

    /// True while it has yet to show that it serves. What it does then says nothing about what is sent.
    pub(in crate::bridge) fn is_on_trial(&self) -> bool {
        self.is_on_trial
    }

    /// A connection to the primary is over. True if the bridge has come back to it in vain: the address that
    /// served is the better one.
    pub(in crate::bridge) fn lost(&mut self, held: &Held, now: Time) -> bool {
        let is_stable = held.time >= STABLE;
        let serves = held.was_useful || is_stable && !held.is_silent;
        let in_vain = std::mem::take(&mut self.is_on_trial) && !serves;
        if in_vain {
            self.may_ask_at = now + self.next_stay();
        } else if is_stable {
            (self.wait, self.stay) = (self.shortest, FIRST_STAY);
            self.may_try_at = Time::ZERO;
        }
        in_vain
    }

    fn next_stay(&mut self) -> Duration {
        let longer = (self.stay * 2).min(LONGEST_STAY);
        std::mem::replace(&mut self.stay, longer)
    }

    fn schedule(&mut self, now: Time, rng: &mut Rng) {
        let due = now + self.wait.mul_f64(0.75 + rng.f64() / 2.0);
        self.due = Some(due.max(self.may_ask_at));
    }

    /// When the next probe is due.
    pub(in crate::bridge) fn due(&self) -> Option<Time> {
        self.due
    }

    /// True if a probe begins now.
    pub(in crate::bridge) fn begins(&mut self, now: Time) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// The probe is over; the connection that serves has been up since `since`. True if the bridge is to
    /// leave for the primary.
    pub(in crate::bridge) fn found(
        &mut self,
        found: Found,
        since: Time,
        now: Time,
        rng: &mut Rng,
    ) -> bool {
        let is_tried = match found {
            Found::Accepted => true,
            Found::Stranger => now >= self.may_try_at,
            Found::Closed => now >= self.may_try_at.max(since + FIRST_STAY),
            Found::Nothing => false,
        };
        self.wait = (self.wait * 2).min(self.longest);
        if is_tried {
            self.leave_by = Some(now + LEAVE);
        } else {
            self.schedule(now, rng);
        }
        if is_tried && found != Found::Accepted {
            self.may_try_at = now + self.next_stay();
        }
        is_tried
    }

    /// The probe is to be made again at once, in another way.
    pub(in crate::bridge) fn again(&mut self, now: Time) {
        self.due = Some(now);
    }

    /// By when the bridge leaves for the primary, if it does.
    pub(in crate::bridge) fn leave_by(&self) -> Option<Time> {
        self.leave_by
    }
}
