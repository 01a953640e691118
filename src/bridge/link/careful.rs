//! A careful connection: one thing at a time, to find out what the upstream closes on.

use super::state::State;
use super::{Action, Link};
use crate::time::Time;

impl Link {
    /// Does what is due on a careful connection.
    pub(super) fn drive_careful(&mut self, now: Time, out: &mut Vec<u8>) -> Action<'_> {
        let State::Up(up) = &mut self.state else {
            return Action::Idle;
        };
        up.looked(now);
        let is_late = up.ping_timeout() <= now;
        if up.ping_due.is_some() {
            if up.has_missed(up.ping_timeout(), now) {
                self.lost(&super::Error::PingTimeout, now);
                return Action::Close;
            }
            return Action::Idle;
        }
        let asks = self.requests.want_ping() || self.wire.awaits_arrival();
        if is_late || asks || up.doubts_life(now) {
            up.ping(now, out);
            self.wire.pinged();
            return Action::Idle;
        }
        let Some(careful) = &mut up.careful else {
            return Action::Idle;
        };
        let Some(ready) = careful.ready else {
            return Action::Idle;
        };
        let Some(open) = careful.open else {
            if ready + self.isolation.hold() > now {
                return Action::Idle;
            }
            careful.open = Some(now);
            self.wire.open();
            return Action::Window(1);
        };
        if !self.isolation.is_over(open, now) {
            return Action::Idle;
        }
        self.requests.ask_last();
        let limits = up.limits;
        up.careful = None;
        self.wire.end_careful();
        self.reporter.careful_is_over();
        Action::Window(self.window(&limits))
    }
}
