//! The state notifications: where they go, and whether upstream may have them.

use std::time::Duration;

use crate::bridge::Error;
use crate::config;
use crate::mqtt::{Reason, Version};

/// A link lost this soon after the notification was most likely closed because of it.
const SUSPICION: Duration = Duration::from_secs(5);

/// The state topic of a link.
#[derive(Debug)]
pub(super) struct Notifications {
    topic: Option<Box<str>>,
    upstream: Upstream,
    /// Connections in a row on which nothing came any more once the notification was acknowledged.
    silent: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Upstream {
    Told,
    /// Not told any more, as it seemed to close the connection for that. The notification was
    /// innocent if the next connection ends as soon without.
    Suspected,
    /// Not to be told.
    Untold,
}

impl Notifications {
    pub(super) fn new(spec: &config::Bridge) -> Notifications {
        Notifications {
            silent: 0,
            topic: spec.notifications.then(|| spec.state_topic().into()),
            upstream: if spec.notifications_local_only {
                Upstream::Untold
            } else {
                Upstream::Told
            },
        }
    }

    /// The state topic, if there are notifications at all.
    pub(super) fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// The state topic, if upstream is to be told.
    pub(super) fn upstream(&self) -> Option<&str> {
        self.topic().filter(|_| self.upstream == Upstream::Told)
    }

    /// True if a ping is to show at once whether the upstream still answers after a notification.
    pub(super) fn wants_ping(&self) -> bool {
        self.silent > 0
    }

    /// A connection has ended. `is_silent`: nothing came any more once the notification was
    /// acknowledged, and a ping had no answer. True if that has happened three times: amqtt puts out of
    /// the broker, without a word, a client that publishes to a topic that begins with `$`.
    pub(super) fn blame_silence(&mut self, is_silent: bool) -> bool {
        self.silent = if is_silent { self.silent + 1 } else { 0 };
        self.silent >= 3
    }

    /// True if the suspicion has proven right: a connection without the notification did not end as
    /// soon. `was_useful`: a message was acknowledged on it.
    pub(super) fn is_proven(&self, was_useful: bool, held: Duration) -> bool {
        self.upstream == Upstream::Suspected && (was_useful || held >= SUSPICION)
    }

    /// Nothing is suspected any more: the verdict says whether upstream is told.
    pub(super) fn acquit(&mut self) {
        self.upstream = Upstream::Told;
    }

    /// Watches for an upstream that ends the connection because of the notification; true if
    /// this one seems to. `alone` says that the notification is out and the only thing that is not
    /// acknowledged, `held` how long the connection did.
    pub(super) fn blame(
        &mut self,
        alone: bool,
        held: Duration,
        version: Version,
        error: &Error,
    ) -> bool {
        if held >= SUSPICION {
            return false;
        }
        if self.upstream == Upstream::Suspected {
            self.upstream = Upstream::Told;
            return false;
        }
        let blamed = alone && is_verdict(version, error);
        if blamed {
            self.upstream = Upstream::Suspected;
        }
        blamed
    }
}

/// True if the connection may have ended because of a publish that the upstream does not allow.
/// With MQTT 5 it can say so; before, it has nothing but to close.
fn is_verdict(version: Version, error: &Error) -> bool {
    match error {
        Error::Closed(_) => version < Version::V5,
        Error::Disconnected(reason, _) => matches!(
            *reason,
            Reason::NOT_AUTHORIZED
                | Reason::TOPIC_NAME_INVALID
                | Reason::QOS_NOT_SUPPORTED
                | Reason::RETAIN_NOT_SUPPORTED
        ),
        _ => false,
    }
}
