//! The end of a connection or an attempt: what comes next, and when; and what is done without from
//! then on.

use std::time::Duration;

use super::Link;
use super::state::{Ended, State, Up};
use crate::bridge::Error;
use crate::bridge::rest::{Next, Rest};
use crate::bridge::upstream::addresses::Left;
use crate::bridge::upstream::isolation::{Asked, Isolation, Loss, Unanswered, UnderWay, Wait};
use crate::bridge::upstream::primary::Held;
use crate::bridge::upstream::verdicts::Feature;
use crate::mqtt::{PacketId, Reason, Version};
use crate::store::GivenUpRecord;
use crate::time::Time;

/// A connection that has held for so long has worked; one that was lost sooner counts as an attempt that
/// failed, so that upstreams which take a connection and end it are not called without a pause.
const HELD: Duration = Duration::from_secs(10);

impl Link {
    /// The attempt or the connection is over: decides what comes next, and when.
    pub(super) fn lost(&mut self, error: &Error, now: Time) {
        let address = self.addresses.current();
        if matches!(self.state, State::Waiting { .. } | State::Resting { .. }) {
            return;
        }
        let (is_fresh, held) = match self.enter(State::Waiting { until: now }, now) {
            State::Waiting { .. } | State::Resting { .. } => return,
            State::Handshake { .. } => {
                // Where another address waits, the one that is silent has had its time.
                let is_silent = matches!(error, Error::ConnAckTimeout);
                let on_trial = self.primary.is_on_trial() && !self.addresses.stands_in();
                let others_wait = self.addresses.is_hurried() || on_trial;
                if !(is_silent && others_wait) && self.falls_back(error) {
                    return;
                }
                if is_silent && on_trial {
                    self.primary.lost(&Held::NOTHING, now);
                }
                (self.addresses.failed(), None)
            }
            State::Connecting { .. } => (self.addresses.failed(), None),
            State::Up(up) => self.connection_lost(&up, error, now),
        };
        self.verdicts.tick(now);
        // The attempt there is over: a later probe of it begins with what is known.
        self.begin_offers_at(address);
        self.begin_offers();
        let wait = if is_fresh {
            self.backoff.next(held, &mut self.rng)
        } else {
            Duration::ZERO
        };
        self.enter(State::Waiting { until: now + wait }, now);
        if self.ended.is_none() {
            let next = if is_fresh {
                self.rest_or(wait, now)
            } else {
                Next::In(wait)
            };
            let address = self.spec.addresses.get(address);
            self.reporter.down(address, error, next, now);
        }
    }

    /// A connection that was up is over: true if a wait comes first; and how long it held.
    fn connection_lost(&mut self, up: &Up, error: &Error, now: Time) -> (bool, Option<Duration>) {
        let held = now.since(up.since);
        if !self.addresses.stands_in() && self.primary.lost(&held_by(up, error, held), now) {
            self.reporter.note(error);
            return (self.addresses.failed(), Some(held));
        }
        self.note_end(up, error, now);
        if self.primary.leave_by().is_some() {
            self.go_back();
            (false, None)
        } else if self.addresses.has_others() && held >= HELD {
            let waits = !self.backoff.spares_wait(held);
            self.addresses.lost(left(error), waits);
            (waits, Some(held))
        } else {
            (self.addresses.failed(), Some(held))
        }
    }

    /// The primary is tried next, because a probe says that it is there.
    pub(super) fn go_back(&mut self) {
        self.primary.tries();
        self.addresses.go_back();
    }

    /// What is offered at the next address begins with the best that it is known to take.
    fn begin_offers(&mut self) {
        self.begin_offers_at(self.addresses.current());
    }

    fn begin_offers_at(&mut self, address: usize) {
        if let Some(ladder) = self.ladders.get_mut(address) {
            ladder.begin(&self.verdicts);
        }
    }

    /// This address is to be tried next, for what happens there is to be found out.
    fn stay(&mut self, address: usize) {
        self.addresses.stay(address);
        self.begin_offers();
    }

    /// What kept the link from connecting is mended: it tries again now, also if that was the one attempt
    /// of its `start_type`; not against the word of the operator.
    pub fn try_now(&mut self, now: Time) {
        if matches!(
            self.state,
            State::Waiting { .. }
                | State::Resting {
                    rest: Rest::Once | Rest::Idle,
                    ..
                }
        ) {
            self.enter(State::Waiting { until: now }, now);
        }
    }

    /// The handshake has failed. True if something else is to be offered at once.
    fn falls_back(&mut self, error: &Error) -> bool {
        let Some(ladder) = self.ladders.get_mut(self.addresses.current()) else {
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
        let error = &with_request(error, &asked);
        let version = up.limits.version;
        let is_silent = matches!(error, Error::PingTimeout | Error::AckTimeout(_))
            && up
                .notified
                .is_some_and(|notified| notified >= up.last_received);
        if self.notifications.blame_silence(is_silent) {
            self.give_up(Feature::Notifications, "is silent after one");
        }
        self.prove(up.acknowledged > 0, held);
        self.reporter.note(error);
        if matches!(error, Error::AckTimeout(_)) {
            self.requests.give_up_waiting();
        }
        self.ended = Some(Ended {
            error: error.clone(),
            address: self.addresses.current(),
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
                was_useful: was_useful(up),
                acknowledged: up.acknowledged,
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
        let is_blamed = !was_careful
            && self
                .notifications
                .blame(is_alone, loss.held, version, &error);
        if is_blamed {
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
            Wait::Usual if is_blamed && self.addresses.has_others() => {
                self.stay(address);
                at + self.backoff.shortest()
            }
            Wait::Usual => until,
            Wait::Short => {
                self.stay(address);
                at + self.backoff.shortest()
            }
            // The other addresses may do better.
            Wait::AtLeast(_) if !self.addresses.is_round_over() => until,
            Wait::AtLeast(wait) => until.max(at + wait.mul_f64(0.75 + self.rng.f64() / 2.0)),
        };
        self.enter(State::Waiting { until }, now);
        let next = self.rest_or(until.since(now), now);
        let address = self.spec.addresses.get(address);
        self.reporter.down(address, &error, next, now);
        if self.isolation.is_careful() && !was_careful {
            self.reporter.careful();
        }
        judgement.set_aside
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
            up.acknowledged += 1;
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
        self.give_up_at(self.addresses.current(), feature, why);
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
    /// configuration, or by another version of this program, but for whose session is whose.
    #[must_use]
    pub fn with_given_up(mut self, known: &(u64, Vec<GivenUpRecord>)) -> Link {
        self.verdicts.restore(known);
        self.restore_sessions();
        self.begin_offers();
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
        self.parked.fill_with(Isolation::default);
        self.is_forgetful = matches!(self.state, State::Handshake { .. });
        self.forbid_topics();
        if !matches!(self.state, State::Up(_) | State::Handshake { .. }) {
            self.begin_offers();
        }
    }
}

/// The error, and what it was most likely about: before MQTT 5 an upstream has no other way to say no to a
/// SUBSCRIBE, or that it has no queue for it at the moment, than to close.
fn with_request(error: &Error, asked: &[Asked]) -> Error {
    match (error, asked) {
        (Error::Closed(why), [Asked::Subscription(filter), ..]) => {
            Error::Closed(format!("{why}, without a SUBACK for topic {filter}"))
        }
        _ => error.clone(),
    }
}

fn was_useful(up: &Up) -> bool {
    up.acknowledged > 0 || up.brought
}

fn held_by(up: &Up, error: &Error, time: Duration) -> Held {
    Held {
        time,
        was_useful: was_useful(up),
        is_silent: matches!(error, Error::AckTimeout(_)) || up.last_received <= up.since,
    }
}

/// What the end of a connection that has worked says about its upstream.
fn left(error: &Error) -> Left {
    match error {
        Error::PingTimeout | Error::AckTimeout(_) | Error::Io(_) => Left::Gone,
        Error::Disconnected(
            Reason::SERVER_BUSY
            | Reason::SERVER_SHUTTING_DOWN
            | Reason::USE_ANOTHER_SERVER
            | Reason::SERVER_MOVED,
            _,
        ) => Left::Gone,
        _ => Left::Cut,
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
