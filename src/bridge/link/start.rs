//! When a link connects by itself (`start_type`), when by the word of the operator only, and when it
//! leaves.

mod goodbye;

use std::time::Duration;

use log::info;

use super::state::{State, Up};
use super::{Action, Link};
use crate::bridge::rest::{Next, Order, Rest};
use crate::config::StartType;
use crate::config::log_type::NOTICE;
use crate::mqtt::Packet;
use crate::time::Time;

impl Link {
    /// A link that does as the operator has said.
    #[must_use]
    pub fn with_order(mut self, order: Option<Order>, now: Time) -> Link {
        match order {
            Some(Order::Stop) => self.rest(Rest::Stopped, now),
            Some(Order::Start) if matches!(self.state, State::Resting { .. }) => {
                self.enter(State::Waiting { until: now }, now);
            }
            _ => {}
        }
        self
    }

    /// Rests from the start if its `start_type` says so.
    pub(super) fn rest_at_first(&mut self, now: Time) {
        match self.spec.start.kind {
            StartType::Automatic | StartType::Once => {}
            StartType::Lazy => self.rest(Rest::Idle, now),
            StartType::Manual => self.rest(Rest::Manual, now),
        }
    }

    pub(super) fn rest(&mut self, rest: Rest, now: Time) {
        let look = rest.look_at(now);
        self.enter(State::Resting { rest, look }, now);
        self.reporter.rest();
    }

    /// A resting link was to be looked after: connects if there is a reason by now.
    pub(super) fn look(&mut self, rest: Rest, now: Time) -> Action<'_> {
        if rest == Rest::Idle && self.has_enough() {
            return self.start(now);
        }
        let look = rest.look_at(now);
        self.enter(State::Resting { rest, look }, now);
        Action::Idle
    }

    /// As much waits as makes a lazy link connect. A full queue can't wait for more.
    fn has_enough(&self) -> bool {
        let owed = self.reporter.owed();
        owed.messages >= self.spec.start.threshold.max(1) || owed.is_full
    }

    /// An attempt at all addresses, or a connection, is over, and the next attempt would come after
    /// `wait`: what comes instead, if something does.
    pub(super) fn rest_or(&mut self, wait: Duration, now: Time) -> Next {
        let rest = match self.spec.start.kind {
            StartType::Automatic | StartType::Manual => return Next::In(wait),
            StartType::Once => Rest::Once,
            // What was begun is brought to its end.
            StartType::Lazy if self.reporter.owed().messages > 0 => return Next::In(wait),
            StartType::Lazy => Rest::Idle,
        };
        let look = rest.look_at(now);
        self.enter(State::Resting { rest, look }, now);
        Next::Rest(rest)
    }

    /// When a lazy link that is up will have been idle for long enough.
    pub(super) fn idle_at(&self) -> Option<Time> {
        match &self.state {
            State::Up(up) if self.spec.start.kind == StartType::Lazy => {
                Some(up.moved + self.spec.start.idle_timeout)
            }
            _ => None,
        }
    }

    /// Leaves the upstream if the link is lazy and was idle for long enough. Then the caller has to
    /// write `out` and to close the connection.
    pub(super) fn leave_if_idle(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        if self.idle_at().is_none_or(|at| at > now) {
            return false;
        }
        let is_busy = self.reporter.owed().messages > 0 || self.requests.are_pending();
        match &mut self.state {
            State::Up(up) if is_busy => up.moved = now,
            _ => {
                self.take_leave(out);
                self.rest(Rest::Idle, now);
                let start = self.spec.start;
                info!(
                    target: NOTICE,
                    "Bridge {}: idle for {} s, disconnected until {} messages wait.",
                    self.spec.name,
                    start.idle_timeout.as_secs(),
                    start.threshold
                );
                return true;
            }
        }
        false
    }

    /// What belongs to a message has come.
    pub(super) fn note_traffic(&mut self, packet: &Packet<'_>, now: Time) {
        if let State::Up(up) = &mut self.state
            && !matches!(packet, Packet::PingResp)
        {
            up.moved = now;
        }
    }
}

impl Up {
    /// Bytes were written. What the keep-alive writes is not traffic.
    pub(super) fn wrote(&mut self, now: Time) {
        self.last_sent = now;
        if self.ping_due.is_none() {
            self.moved = now;
        }
    }
}
