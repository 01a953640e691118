//! The log of one link, which does not repeat itself through a long outage.

use log::{Level, info, log, warn};
use std::rc::Rc;

use super::losses::{Losses, Rival, SOON};
use super::outage::{Backlog, Outage};
use crate::bridge::rest::Next;
use crate::bridge::upstream::ladder::{Dialect, Offer};
use crate::bridge::upstream::verdicts::GivenUp;
use crate::bridge::{Error, Limits};
use crate::config::log_type::NOTICE;
use crate::config::{self, UpstreamAddress};
use crate::time::Time;

/// How many different failures are remembered, to not mention them again.
const REMEMBERED: usize = 16;

/// Writes the log of one link.
///
/// A failure is mentioned once until a connection has held for a minute; the hourly reminder of the
/// outage says which one it is by then.
#[derive(Debug)]
pub(in crate::bridge) struct Reporter {
    spec: Rc<config::Bridge>,
    last_error: Option<String>,
    /// The failures mentioned since a connection has held.
    said: Vec<String>,
    up: Option<Up>,
    outage: Outage,
    losses: Losses,
}

/// A connection that is up.
#[derive(Clone, Copy, Debug)]
struct Up {
    since: Time,
    /// It goes on with a session.
    resumed: bool,
    /// The log says that it is up.
    is_told: bool,
    /// It has held.
    is_settled: bool,
}

impl Reporter {
    /// The log of the link of `spec`, which is down at first.
    pub(in crate::bridge) fn new(spec: &Rc<config::Bridge>, now: Time) -> Reporter {
        Reporter {
            spec: Rc::clone(spec),
            last_error: None,
            said: Vec::new(),
            up: None,
            outage: Outage::new(now),
            losses: Losses::default(),
        }
    }

    pub(in crate::bridge) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Since when there has been no connection though one is wanted.
    pub(in crate::bridge) fn down_since(&self) -> Option<Time> {
        self.outage.since()
    }

    /// What is owed to the upstream by now: to be told before the other calls.
    pub(in crate::bridge) fn owe(&mut self, backlog: Backlog) {
        self.outage.owe(backlog);
    }

    /// What is owed to the upstream, as was told last.
    pub(in crate::bridge) fn owed(&self) -> Backlog {
        self.outage.owed_now()
    }

    /// The link does not connect by itself: the log is not reminded of that.
    pub(in crate::bridge) fn rest(&mut self) {
        self.up = None;
        self.outage.rest();
    }

    /// Says what is due at `now`.
    pub(in crate::bridge) fn tick(&mut self, now: Time) {
        let name = &self.spec.name;
        let is_down = self.outage.is_on();
        if let Some(line) = self.outage.tick(self.last_error.as_deref(), now) {
            let level = if is_down { Level::Warn } else { Level::Info };
            log!(target: NOTICE, level, "Bridge {name}: {line}");
        }
        if let Some(up) = &mut self.up
            && !up.is_settled
            && now >= up.since + SOON
        {
            up.is_settled = true;
            self.said.clear();
            if let Some(count) = self.losses.settle() {
                up.is_told = true;
                info!(
                    target: NOTICE,
                    "Bridge {name}: connected for a minute, after {count} connections that were \
                     lost sooner"
                );
            }
        }
        if let Some(line) = self.losses.tick(now) {
            let error = self.last_error.as_deref().unwrap_or("no reason given");
            warn!(target: NOTICE, "Bridge {name}: {line}: {error}");
        }
    }

    /// When to call [`Reporter::tick`] next.
    pub(in crate::bridge) fn next(&self) -> Option<Time> {
        let up = self.up.filter(|up| !up.is_settled);
        let settles = up.map(|up| up.since + SOON);
        let times = [self.outage.next(), self.losses.next(), settles];
        times.into_iter().flatten().min()
    }

    pub(in crate::bridge) fn connecting(&self, address: &UpstreamAddress) {
        let level = if self.said.is_empty() {
            Level::Info
        } else {
            Level::Debug
        };
        let name = &self.spec.name;
        log!(target: NOTICE, level, "Connecting bridge {name} ({address})");
    }

    /// The CONNACK accepts. `asked` is the session expiry asked for, in seconds.
    pub(in crate::bridge) fn up(
        &mut self,
        address: usize,
        dialect: Dialect,
        limits: &Limits,
        asked: Option<u32>,
        now: Time,
    ) {
        let name = &self.spec.name;
        let session = if limits.session_present {
            "session resumed"
        } else {
            "new session"
        };
        let address = self.spec.addresses.get(address);
        let address = address.map(ToString::to_string).unwrap_or_default();
        let is_told = !self.losses.are_many();
        let level = |told| if is_told { told } else { Level::Debug };
        log!(
            target: NOTICE,
            level(Level::Info),
            "Bridge {name} connected to {address} with {dialect}, {session}"
        );
        if let (Some(given), Some(asked)) = (limits.session_expiry, asked)
            && given.as_secs() < asked.into()
        {
            log!(
                level(Level::Warn),
                "Bridge {name}: upstream keeps the session for {} s only, not {asked} s: after a \
                 longer outage its messages for us are lost",
                given.as_secs()
            );
        }
        let mut topics = self.spec.topics.iter();
        if topics.any(|topic| topic.qos > limits.max_qos) {
            log!(
                level(Level::Warn),
                "Bridge {name}: upstream takes QoS {} at most",
                limits.max_qos as u8
            );
        }
        if let Some(line) = self.outage.up(now) {
            log!(target: NOTICE, level(Level::Info), "Bridge {name}: {line}");
        }
        self.up = Some(Up {
            since: now,
            resumed: limits.session_present,
            is_told,
            is_settled: false,
        });
    }

    pub(in crate::bridge) fn fallback(&self, refused: Offer, next: Offer, error: &Error) {
        let level = if self.said.is_empty() {
            Level::Info
        } else {
            Level::Debug
        };
        log!(
            target: NOTICE,
            level,
            "Bridge {}: upstream does not take {refused} ({}), trying {next}",
            self.spec.name,
            error.short()
        );
    }

    /// Something is done without from now on.
    pub(in crate::bridge) fn given_up(&self, given_up: &GivenUp) {
        let GivenUp { feature, why, .. } = given_up;
        warn!(
            "Bridge {}: upstream does not take {feature} ({why}): {}. SIGHUP tries it again.",
            self.spec.name,
            feature.instead()
        );
    }

    /// The next connection is careful.
    pub(in crate::bridge) fn careful(&self) {
        warn!(
            "Bridge {}: upstream closes the connection again and again: sending one thing at a time, \
             to find out on what",
            self.spec.name
        );
    }

    /// A careful connection goes on as others do.
    pub(in crate::bridge) fn careful_is_over(&self) {
        info!(target: NOTICE, "Bridge {}: going on at full speed", self.spec.name);
    }

    /// The connection is over, for this reason: what the log is to say follows.
    pub(in crate::bridge) fn note(&mut self, error: &Error) {
        self.last_error = Some(error.explain(&self.spec));
    }

    pub(in crate::bridge) fn local_notifications(&self, why: &str) {
        warn!(
            "Bridge {}: notifications stay local ({why}); set notification_topic to a topic that \
             upstream allows, or notifications_local_only true",
            self.spec.name
        );
    }

    /// An attempt at `address`, or the connection, is over.
    pub(in crate::bridge) fn down(
        &mut self,
        address: Option<&UpstreamAddress>,
        error: &Error,
        next: Next,
        now: Time,
    ) {
        // A connection that held without a tick in time.
        self.tick(now);
        self.outage.down(now);
        let up = self.up.take();
        let text = self.explain(up, error, now);
        let address = address.map(ToString::to_string).unwrap_or_default();
        let what = format!("Bridge {} ({address}): {text}", self.spec.name);
        let is_known = self.said.contains(&what);
        // The log does not end with a line that says it is up.
        let level = if is_known && !up.is_some_and(|up| up.is_told) {
            Level::Debug
        } else {
            Level::Warn
        };
        log!(target: NOTICE, level, "{what}; {next}");
        if !is_known {
            self.said.truncate(REMEMBERED - 1);
            self.said.push(what);
        }
        self.last_error = Some(text);
        if matches!(next, Next::Rest(_)) {
            self.rest();
        }
    }

    /// The failure in words, with what is suspected to be behind it.
    fn explain(&mut self, up: Option<Up>, error: &Error, now: Time) -> String {
        let id = &self.spec.remote_clientid;
        let rival = match up {
            Some(up) => self
                .losses
                .lost(now.since(up.since), up.resumed, error, now),
            None => {
                self.losses.failed();
                Rival::No
            }
        };
        match rival {
            Rival::No => error.explain(&self.spec),
            Rival::Perhaps => format!(
                "{error}, again and again: perhaps another client uses the remote_clientid {id}, \
                 too (give each box its own, as with ${{mac}}), or upstream closes because of a \
                 topic line"
            ),
            Rival::Yes => format!(
                "disconnected by upstream again and again: another client uses the \
                 remote_clientid {id}, too, and each disconnects the other; give each box its own, \
                 as with ${{mac}}"
            ),
        }
    }
}
