//! What the model speaks of.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::session::Options;
use super::topics::matches;
use crate::mqtt::{QoS, Version};
use crate::time::Time;

/// What the broker must not do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Violation {
    /// The client never asked for it, or has had it.
    NotOwed,
    WrongQoS,
    WrongRetain,
    WrongSubscriptionIds,
    WrongProperties,
    WrongExpiry,
    Expired,
    WrongDup,
    /// Another packet id than the first time.
    WrongPacketId,
    PacketIdInUse,
    /// Again, though the client has it.
    Twice,
    OutOfOrder,
    /// PUBREL without a PUBREC before.
    ReleasedUntaken,
    BeyondReceiveMaximum,
    TooLarge,
    BadAlias,
    /// A session ended early, or was lost in a crash.
    SessionLost,
    /// A session goes on after its time.
    SessionLeft,
    WillEarly,
    WillLate,
    /// A crash has brought back what was never on disk, or lost what was promised.
    WrongExpiryRestored,
    WrongWillRestored,
    WrongSubscriptionRestored,
    WrongIdRestored,
    WrongRetainedRestored(Rc<str>),
}

/// An application message.
#[derive(Clone, PartialEq, Eq)]
pub struct Publication {
    /// The number of the client.
    pub publisher: usize,
    pub topic: Rc<str>,
    /// Begins with a number that no other has, if it is not empty.
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    /// The properties that go on to receivers, as they stand on the wire.
    pub props: Vec<u8>,
    pub expires: Option<Time>,
}

impl Publication {
    /// What its payload begins with.
    pub fn number(&self) -> Cow<'_, str> {
        let end = self.payload.iter().position(|b| *b == b' ');
        let end = end.unwrap_or(self.payload.len());
        String::from_utf8_lossy(&self.payload[..end])
    }

    /// The same as a number, by which one that its publisher has sent later has a higher one.
    pub fn count(&self) -> Option<u32> {
        self.number().parse().ok()
    }
}

/// What a subscription is still to bring of what is retained.
#[derive(Clone, Debug)]
pub struct Walk {
    pub filter: Rc<str>,
    pub options: Options,
    /// The key of the last topic it has come to: it goes by their order.
    pub passed: Option<Box<[u8]>>,
}

impl Walk {
    /// True if it is still to come to `topic`.
    pub fn comes_to(&self, topic: &str) -> bool {
        let is_beyond = |passed: &[u8]| *crate::route::key(topic) > *passed;
        matches(&self.filter, topic) && self.passed.as_deref().is_none_or(is_beyond)
    }
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Publication { topic, qos, .. } = self;
        write!(
            f,
            "{} from {} on {topic} {qos:?}",
            self.number(),
            self.publisher
        )?;
        write!(f, " retain {}", self.retain)?;
        match self.expires {
            Some(end) => write!(f, " until {}", end.as_millis()),
            None => Ok(()),
        }
    }
}

/// A will.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Will {
    pub publication: Publication,
    /// Seconds.
    pub delay: u32,
    pub expiry: Option<u32>,
}

/// What a CONNECT asks for.
#[derive(Clone, Debug)]
pub struct Hello {
    pub version: Version,
    pub clean: bool,
    /// Session expiry interval in seconds; `u32::MAX` for the clean session 0 of older versions.
    pub expiry: u32,
    pub max_packet: usize,
    pub will: Option<Will>,
}

impl Will {
    /// The message of a will that is published at `now`.
    pub fn publication(&self, now: Time) -> Rc<Publication> {
        let expiry = self.expiry.map(|secs| Duration::from_secs(secs.into()));
        Rc::new(Publication {
            expires: expiry.map(|expiry| now + expiry),
            ..self.publication.clone()
        })
    }
}
