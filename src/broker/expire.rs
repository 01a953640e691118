//! Time: keep-alive, session expiry, delayed wills, retained messages that expire.
//!
//! One wheel with slots of a second. A timer is not moved when its deadline moves: when its slot
//! comes it looks whether it is due, and if not goes back in at the new deadline.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::conn::Stage;
use super::publish::reserved;
use super::reply::CLOSE_TIMEOUT;
use super::session::{NEVER, PendingWill};
use super::{Broker, CONNECT_TIMEOUT, ConnId};
use crate::config::log_type::NOTICE;
use crate::message::SessionId;
use crate::mqtt::Reason;
use crate::time::Time;

/// What to look at when a slot comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Timer {
    /// The keep-alive, or the CONNECT that is due.
    Conn(ConnId, u32),
    /// The expiry or the delayed will of a session without a connection.
    Session(usize, SessionId),
    /// Nothing but a look at what is parked and what is retained.
    Wake,
}

/// Timers by the second in which to look at them.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    slots: BTreeMap<u64, Vec<Timer>>,
}

impl Wheel {
    fn add(&mut self, at: Time, timer: Timer) {
        // Rounded up: a timer must not find itself too early every time.
        self.slots
            .entry(at.as_millis().div_ceil(1000))
            .or_default()
            .push(timer);
    }

    /// Makes [`Broker::tick`] look around at `at`.
    pub fn wake(&mut self, at: Time) {
        self.add(at, Timer::Wake);
    }

    fn next(&self) -> Option<Time> {
        self.slots.keys().next().map(|secs| Time::from_secs(*secs))
    }

    /// The timers of one slot that has come.
    fn take(&mut self, now: Time) -> Option<Vec<Timer>> {
        let entry = self.slots.first_entry()?;
        (*entry.key() <= now.as_secs()).then(|| entry.remove())
    }
}

impl Broker {
    /// When [`Broker::tick`] or [`Broker::take_batch`] has something to do next.
    pub fn next_timeout(&self) -> Option<Time> {
        match (self.wheel.next(), self.store.next_timeout()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Time) {
        while let Some(timers) = self.wheel.take(now) {
            for timer in timers {
                match timer {
                    Timer::Conn(c, serial) => self.check_conn(c, serial, now),
                    Timer::Session(index, id) => self.check_session(index, id, now),
                    Timer::Wake => {}
                }
            }
        }
        if !self.parked.is_empty() {
            self.retry_parked(now);
        }
        if self.retained.next_expiry().is_some_and(|at| at <= now) {
            self.expire_retained(now);
        }
        self.purge(now);
        self.watch_drops(now);
        self.settle(now);
    }

    /// Looks at a connection again after `wait`.
    pub(super) fn watch(&mut self, c: ConnId, wait: Duration, now: Time) {
        if let Some(conn) = self.conns.get(c.0) {
            self.wheel.add(now + wait, Timer::Conn(c, conn.serial));
        }
    }

    /// Ends a connection that has not sent its CONNECT in time, or nothing for one and a half
    /// keep-alives [MQTT-3.1.2-22].
    fn check_conn(&mut self, c: ConnId, serial: u32, now: Time) {
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        if conn.serial != serial {
            return;
        }
        if conn.stage == Stage::Closing {
            // An older timer of the connection may come first.
            if now >= conn.last_seen + CLOSE_TIMEOUT {
                self.abort(c);
            }
            return;
        }
        if conn.stage == Stage::New {
            if now >= conn.last_seen + CONNECT_TIMEOUT {
                log::info!(target: NOTICE, "{} sent no CONNECT in time.", conn.peer);
                self.finish(c, now);
            }
            return;
        }
        if conn.keep_alive == 0 || conn.wire().is_some() {
            return;
        }
        let deadline = conn.last_seen + Duration::from_millis(u64::from(conn.keep_alive) * 1500);
        // A connection that the broker does not read is not silent of its own will.
        if deadline > now || !self.may_read(c) {
            let again = deadline.max(now + Duration::from_secs(1));
            self.wheel.add(again, Timer::Conn(c, serial));
            return self.rest(c);
        }
        log::info!(
            target: NOTICE,
            "Client {} has exceeded timeout, disconnecting.",
            self.name(conn)
        );
        self.close(c, Reason::KEEP_ALIVE_TIMEOUT, now);
    }

    /// Gives back what a busy time has left a connection.
    fn rest(&mut self, c: ConnId) {
        let Some(conn) = self.conns.get_mut(c.0) else {
            return;
        };
        conn.rest();
        if let Some(session) = conn.session().and_then(|s| self.sessions.get_mut(s)) {
            session.outbound.rest();
        }
    }

    /// Sets the timer for what happens to a session without a connection.
    pub(super) fn watch_session(&mut self, index: usize, now: Time) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        let id = session.id;
        if let Some(at) = session.will_due() {
            self.wheel.add(at.max(now), Timer::Session(index, id));
        }
        if session.expiry != NEVER {
            let at = session.since + Duration::from_secs(u64::from(session.expiry));
            self.wheel.add(at.max(now), Timer::Session(index, id));
        }
    }

    pub(super) fn check_session(&mut self, index: usize, id: SessionId, now: Time) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if session.id != id || session.conn.is_some() || session.ended {
            return;
        }
        let end = session.since + Duration::from_secs(u64::from(session.expiry));
        let expires = session.expiry != NEVER && end <= now;
        // The end of the session publishes the will at the latest [MQTT-3.1.2-8].
        let due = session.will_due().is_some_and(|at| at <= now || expires);
        if let Some(will) = session.will.take_if(|_| due) {
            self.publish_will(*will, index, now);
            self.unsave_identity(index);
            self.store.lazy(now);
        }
        if expires {
            if let Some(session) = self.sessions.get(index) {
                log::info!(target: NOTICE, "Expiring client {} due to timeout.", session.client_id());
            }
            self.counters.expired += 1;
            self.end_session(index, now);
        }
    }

    /// Publishes a will. There is nobody to refuse it to: where a queue is full it is dropped
    /// and counted.
    pub(super) fn publish_will(&mut self, will: PendingWill, from: usize, now: Time) {
        let mut message = Rc::unwrap_or_clone(will.message);
        message.arrival = now;
        message.expiry = will
            .expiry
            .map(|secs| now + Duration::from_secs(u64::from(secs)));
        let allowed = self.sessions.get(from).is_none_or(|session| {
            self.auth.may_publish(&session.who(), message.topic()) && !reserved(message.topic())
        });
        if !allowed {
            self.counters.denied += 1;
            return;
        }
        let message = Rc::new(message);
        if let Err(full) = self.route(&message, Some(from), None, now) {
            self.drop_unrefused(full, &message, now);
        }
    }

    pub(super) fn expire_retained(&mut self, now: Time) {
        for message in self.retained.expire(now) {
            if !message.topic().starts_with("$SYS/") {
                self.unwritten.promised(message.topic());
                self.store.lazy(now);
            }
        }
        if let Some(at) = self.retained.next_expiry() {
            self.wheel.wake(at);
        }
    }
}
