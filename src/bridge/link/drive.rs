//! What a link does when its time has come.

use super::state::State;
use super::{Action, CONNECT_TIMEOUT, Link};
use crate::bridge::Error;
use crate::time::Time;

impl Link {
    /// Does what is due at `now`: call it again until it says [`Action::Idle`], after every
    /// other call, and at [`next_timeout`](Link::next_timeout). May append a PINGREQ to `out`.
    pub fn drive(&mut self, now: Time, out: &mut Vec<u8>) -> Action<'_> {
        self.reporter.tick(now);
        if self.verdicts.tick(now) {
            self.forbid_topics();
            if let State::Up(up) = &self.state
                && up.careful.is_none()
            {
                let limits = up.limits;
                return Action::Window(self.window(&limits));
            }
        }
        if self.leave_if_idle(now, out) {
            return Action::Leave;
        }
        match &mut self.state {
            State::Waiting { until } if *until <= now => self.start(now),
            State::Resting { rest, look } if *look <= now => {
                let rest = *rest;
                self.look(rest, now)
            }
            State::Connecting { deadline, .. } if *deadline <= now => {
                self.lost(&Error::ConnectTimeout, now);
                Action::Close
            }
            State::Handshake { deadline, .. } if *deadline <= now => {
                self.lost(&Error::ConnAckTimeout, now);
                Action::Close
            }
            State::Up(up) if up.ack_timeout().is_some_and(|due| up.has_missed(due, now)) => {
                let awaited = self.requests.awaited();
                self.lost(&Error::AckTimeout(awaited), now);
                Action::Close
            }
            State::Up(up)
                if self.primary.leave_by().is_some_and(|by| {
                    by <= now || up.unacked.is_none() && !self.requests.are_pending()
                }) =>
            {
                self.go_back();
                self.goodbye(now, out);
                Action::Leave
            }
            State::Up(up) if up.careful.is_some() => self.drive_careful(now, out),
            State::Up(up) if up.doubts_life(now) => {
                up.ping(now, out);
                Action::Idle
            }
            State::Up(up) if up.ping_timeout() <= now => {
                if up.ping_due.is_none() && up.ping(now, out)
                    || !up.has_missed(up.ping_timeout(), now)
                {
                    return Action::Idle;
                }
                self.lost(&Error::PingTimeout, now);
                Action::Close
            }
            _ => Action::Idle,
        }
    }

    /// When to call [`drive`](Link::drive) at the latest.
    pub fn next_timeout(&self) -> Time {
        let next = match &self.state {
            State::Waiting { until } => *until,
            State::Resting { look, .. } => *look,
            // What the log is to be told waits for the end of the attempt.
            State::Connecting { deadline, .. } | State::Handshake { deadline, .. } => {
                return *deadline;
            }
            State::Up(up) => {
                let others = [self.idle_at(), self.primary.leave_by()];
                let others = others.into_iter().flatten();
                others.fold(up.next_timeout(), Time::min)
            }
        };
        self.reporter.next().map_or(next, |at| at.min(next))
    }

    pub(super) fn start(&mut self, now: Time) -> Action<'_> {
        let deadline = now + self.hurried(CONNECT_TIMEOUT);
        let at = self.addresses.current();
        let next = if at < self.spec.addresses.len() {
            State::Connecting {
                since: now,
                deadline,
            }
        } else {
            // A section without address is refused when it is read.
            let until = now + CONNECT_TIMEOUT;
            State::Waiting { until }
        };
        self.enter(next, now);
        match self.spec.addresses.get(at) {
            Some(address) => {
                self.reporter.connecting(address);
                Action::Connect { address, deadline }
            }
            None => Action::Idle,
        }
    }
}
