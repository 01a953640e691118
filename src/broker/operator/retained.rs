//! Retained messages, as the operator sees and clears them.

use std::time::Duration;

use crate::broker::Broker;
use crate::mqtt::QoS;
use crate::route::Value;
use crate::time::Time;

/// What a topic retains.
#[derive(Clone, Copy, Debug)]
pub struct RetainedView<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS it was published at.
    pub qos: QoS,
    /// How long ago it came.
    pub age: Duration,
    /// When it expires, if it does.
    pub expires_in: Option<Duration>,
}

impl Broker {
    /// Hands to `f` what is retained on the topics that `filter`, a checked topic filter, matches, in the
    /// order of their keys. It looks at about `most` topics behind the key `after`, and answers behind which
    /// key to go on; `None` at the end.
    pub fn retained(
        &self,
        filter: &str,
        (after, most): (Option<&[u8]>, usize),
        now: Time,
        mut f: impl FnMut(RetainedView<'_>),
    ) -> Option<Box<[u8]>> {
        let take = &mut |value: Value<'_>| {
            f(RetainedView {
                topic: value.topic(),
                payload: value.payload(),
                qos: value.qos(),
                age: now.since(value.arrival()),
                expires_in: value.expiry().map(|at| at.since(now)),
            });
        };
        let retained = self.core.router.retained();
        retained.search(filter, (after, most), now, take).reached
    }

    /// Clears what `topic` retains, as a publisher would: with an empty retained message, which goes to all
    /// who are subscribed [MQTT-3.3.1-6], bridges among them.
    pub fn clear_retained(&mut self, topic: &str, now: Time) {
        self.publish_own(topic, &[], true, now);
    }
}
