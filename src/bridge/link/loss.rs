//! The end of a connection or an attempt: what comes next, and when; and what is done without from
//! then on.

use std::time::Duration;

use super::Link;
use super::state::{Ended, State, Up};
use crate::bridge::Error;
use crate::bridge::upstream::isolation::{Asked, Isolation, Loss, Unanswered, UnderWay, Wait};
use crate::bridge::upstream::verdicts::Feature;
use crate::mqtt::{PacketId, Reason, Version};
use crate::store::GivenUpRecord;
use crate::time::Time;

impl Link {
    /// The attempt or the connection is over: decides what comes next, and when.
    pub(super) fn lost(&mut self, error: &Error, now: Time) {
        let address = self.address;
        let waiting = State::Waiting { until: now };
        let (is_fresh, held) = match std::mem::replace(&mut self.state, waiting) {
            State::Waiting { until } => {
                self.state = State::Waiting { until };
                return;
            }
            State::Handshake { .. } => {
                if self.falls_back(error) {
                    return;
                }
                (self.next_address(), None)
            }
            State::Connecting { .. } => (self.next_address(), None),
            State::Up(up) => {
                let held = now.since(up.since);
                self.note_end(&up, error, now);
                if self.spec.round_robin {
                    self.next_address();
                } else {
                    self.address = 0;
                }
                (true, Some(held))
            }
        };
        self.verdicts.tick(now);
        if let Some(ladder) = self.ladders.get_mut(self.address) {
            ladder.begin(&self.verdicts);
        }
        let wait = if is_fresh {
            self.backoff.next(held, &mut self.rng)
        } else {
            Duration::ZERO
        };
        self.state = State::Waiting { until: now + wait };
        if self.ended.is_none() {
            let address = self.spec.addresses.get(address);
            self.reporter.down(address, error, wait, now);
        }
    }

    /// What kept the link from connecting is mended: it tries again now.
    pub fn try_now(&mut self, now: Time) {
        if let State::Waiting { until } = &mut self.state {
            *until = now;
        }
    }

    /// The handshake has failed. True if something else is to be offered at once.
    fn falls_back(&mut self, error: &Error) -> bool {
        let Some(ladder) = self.ladders.get_mut(self.address) else {
            return false;
        };
        let refused = ladder.current();
        let Some(next) = ladder.refused(error, &self.verdicts) else {
            return false;
        };
        self.reporter.note(error);
        self.reporter.fallback(refused, next, error);
        true
    }

    fn note_end(&mut self, up: &Up, error: &Error, now: Time) {
        let held = now.since(up.since);
        let asked = self.requests.unanswered();
        let version = up.limits.version;
        let is_silent = matches!(error, Error::PingTimeout | Error::AckTimeout(_))
            && up
                .notified
                .is_some_and(|notified| notified >= up.last_received);
        if self.notifications.blame_silence(is_silent) {
            self.give_up(Feature::Notifications, "is silent after one");
        }
        self.prove(up.was_useful, held);
        self.reporter.note(error);
        if matches!(error, Error::AckTimeout(_)) {
            self.requests.give_up_waiting();
        }
        self.ended = Some(Ended {
            error: error.clone(),
            address: self.address,
            at: now,
            version,
            loss: Loss {
                by_upstream: is_by_upstream(up, error),
                is_broken: matches!(
                    error,
                    Error::Malformed(_) | Error::Unexpected(_) | Error::SessionPresent
                ),
                held,
                asked,
                topic: self.wire.last_topic(),
                size: self.wire.last_size(),
                is_qos0_open: self.wire.is_qos0_open(),
                was_useful: up.was_useful || up.brought,
                with_aliases: version == Version::V5
                    && self.for_session(&up.limits).topic_alias_max > 0,
            },
        });
    }

    /// The connection is over that was up, and so much was under way on it: decides what is to be done
    /// about that. What is returned the session is to set aside, as one that the upstream closes the
    /// connection on.
    pub fn judge(&mut self, under_way: &UnderWay, now: Time) -> Option<Unanswered> {
        let Ended {
            error,
            address,
            loss,
            at,
            version,
        } = self.ended.take()?;
        let State::Waiting { until } = self.state else {
            return None;
        };
        let is_alone =
            loss.asked == [Asked::Notification] && under_way.count == 0 && !loss.is_qos0_open;
        let was_careful = self.isolation.is_careful();
        if !was_careful
            && self
                .notifications
                .blame(is_alone, loss.held, version, &error)
        {
            self.reporter
                .local_notifications("upstream closed the connection after the first");
        }
        let judgement = self.isolation.judge(&loss, under_way, now);
        if let Some(feature) = judgement.give_up {
            self.give_up_at(
                address,
                feature,
                "closed the connection on it again and again",
            );
        }
        let until = match judgement.wait {
            Wait::Usual => until,
            Wait::Short => at + self.backoff.shortest(),
            Wait::AtLeast(wait) => until.max(at + wait.mul_f64(0.75 + self.rng.f64() / 2.0)),
        };
        self.state = State::Waiting { until };
        self.leave_hasty(address);
        let wait = until.since(now);
        let address = self.spec.addresses.get(address);
        self.reporter.down(address, &error, wait, now);
        if self.isolation.is_careful() && !was_careful {
            self.reporter.careful();
        }
        judgement.set_aside
    }

    /// Goes on with the next address if the upstream at this one ends each connection in haste: the
    /// others may do better.
    fn leave_hasty(&mut self, address: usize) {
        if self.isolation.is_hasty() && self.spec.addresses.len() > 1 && self.address == address {
            self.next_address();
            if let Some(ladder) = self.ladders.get_mut(self.address) {
                ladder.begin(&self.verdicts);
            }
        }
    }

    /// A connection without the notification goes well: then it was that.
    fn prove(&mut self, was_useful: bool, held: Duration) {
        if self.notifications.is_proven(was_useful, held) {
            self.give_up(Feature::Notifications, "closed the connection on one");
            self.notifications.acquit();
        }
    }

    /// The message with this packet id was acknowledged to the end.
    pub(super) fn acknowledged(&mut self, id: PacketId, now: Time) {
        if let State::Up(up) = &mut self.state {
            up.was_useful = true;
        }
        if let Some(size) = self.wire.acknowledged(id) {
            self.isolation.taken(size);
        }
        self.prove(true, Duration::ZERO);
        let topic = self.wire.last_topic();
        if let Some(feature) = self.isolation.acknowledged(topic.as_deref(), now) {
            self.give_up(feature, "did not take a message at QoS 2, and did at QoS 1");
        }
    }

    /// The upstream in use can't do this: it is done without from now on.
    pub(super) fn give_up(&mut self, feature: Feature, why: &str) {
        self.give_up_at(self.address, feature, why);
    }

    fn give_up_at(&mut self, address: usize, feature: Feature, why: &str) {
        let Some(ladder) = self.ladders.get(address) else {
            return;
        };
        let upstream = ladder.upstream();
        if let Some(given_up) = self.verdicts.add(upstream, feature, why, false) {
            self.reporter.given_up(given_up);
            self.forbid_topics();
        }
    }

    /// Tells the wire what goes upstream no more.
    pub(super) fn forbid_topics(&self) {
        let features = self.verdicts.at(self.upstream());
        let topics = features.filter_map(|feature| match feature {
            Feature::Topic(topic) => Some(topic.clone()),
            _ => None,
        });
        let largest = self.verdicts.largest(self.upstream());
        self.wire.forbid(topics.collect(), largest);
    }

    /// Takes in what an earlier link has found out about its upstreams, as
    /// [`take_given_up`](Link::take_given_up) gave it. It is forgotten where it was found with another
    /// configuration, or by another version of this program.
    #[must_use]
    pub fn with_given_up(mut self, known: &(u64, Vec<GivenUpRecord>)) -> Link {
        self.verdicts.restore(known);
        if let Some(ladder) = self.ladders.get_mut(self.address) {
            ladder.begin(&self.verdicts);
        }
        self
    }

    /// What has been found out about the upstreams, if that has changed since the last call: to be
    /// asked for after each [`packet`](Link::packet) and [`judge`](Link::judge), and kept.
    pub fn take_given_up(&mut self) -> Option<(u64, Vec<GivenUpRecord>)> {
        self.verdicts.take_changed()
    }

    /// Everything is tried again, from the next connection on.
    pub fn forget_given_up(&mut self) {
        self.verdicts.clear();
        self.isolation = Isolation::default();
        self.is_forgetful = matches!(self.state, State::Handshake { .. });
        self.forbid_topics();
        if !matches!(self.state, State::Up(_) | State::Handshake { .. })
            && let Some(ladder) = self.ladders.get_mut(self.address)
        {
            ladder.begin(&self.verdicts);
        }
    }
}

/// True if the upstream has ended the connection for something that was sent to it, as far as can be
/// told.
fn is_by_upstream(up: &Up, error: &Error) -> bool {
    match error {
        Error::Closed(_) => true,
        Error::Disconnected(reason, _) => !matches!(
            *reason,
            Reason::SUCCESS
                | Reason::SERVER_BUSY
                | Reason::SERVER_SHUTTING_DOWN
                | Reason::KEEP_ALIVE_TIMEOUT
                | Reason::SESSION_TAKEN_OVER
                | Reason::ADMINISTRATIVE_ACTION
                | Reason::USE_ANOTHER_SERVER
                | Reason::SERVER_MOVED
                | Reason::CONNECTION_RATE_EXCEEDED
                | Reason::MAXIMUM_CONNECT_TIME
        ),
        // It has answered a ping that it got after what it does not acknowledge.
        Error::AckTimeout(_) => up.answered.is_some() && up.answered >= up.unacked,
        _ => false,
    }
}
