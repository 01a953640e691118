//! An application message as the broker holds it: decoded once, shared by every receiver.

use std::rc::Rc;

use crate::held::{ALLOCATION, Charge, MESSAGES};
use crate::impossible;
use crate::mqtt::QoS;
use crate::time::Time;

/// The number of a message that is owed to someone; rises, is never reused, and orders each
/// queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MessageId(pub u64);

/// The number of a session; rises and is never reused, also across restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// Who published a message. Shared by all messages of one connection.
///
/// Every session has one, so names that are short lie in it, and others in one allocation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Origin(Names);

/// Client id, user name and listener, one after another, and how long the first two are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Names {
    Short {
        client_id_len: u8,
        username_len: u8,
        len: u8,
        bytes: [u8; SHORT],
    },
    Long(Box<Long>),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Long {
    names: Box<str>,
    client_id_len: u32,
    /// [`NO_USERNAME`], or how long it is: it may be empty.
    username_len: u32,
}

/// So many bytes of names lie in an [`Origin`]: most devices have no more.
const SHORT: usize = 20;

/// Stands for the length of a user name that there is not.
const NO_USERNAME: u32 = u32::MAX;
/// The same where names are short.
const NO_SHORT_USERNAME: u8 = u8::MAX;

impl Origin {
    /// A client. `client_id` is empty for the broker itself; `listener` is the name of the one it
    /// is or was connected to, if rules depend on that.
    pub fn new(client_id: &str, username: Option<&str>, listener: Option<&str>) -> Origin {
        let names = [client_id, username.unwrap_or(""), listener.unwrap_or("")];
        let short = |name: &str| {
            u8::try_from(name.len())
                .ok()
                .filter(|len| usize::from(*len) <= SHORT)
        };
        let names = names.concat();
        if let (Some(len), Some(client_id_len)) = (short(&names), short(client_id)) {
            let mut bytes = [0; SHORT];
            for (place, byte) in bytes.iter_mut().zip(names.bytes()) {
                *place = byte;
            }
            let username_len = username.and_then(short);
            return Origin(Names::Short {
                client_id_len,
                username_len: username_len.unwrap_or(NO_SHORT_USERNAME),
                len,
                bytes,
            });
        }
        Origin(Names::Long(Box::new(Long {
            names: names.into_boxed_str(),
            client_id_len: length(client_id),
            username_len: username.map_or(NO_USERNAME, length),
        })))
    }

    /// What it takes in memory, in bytes.
    pub fn held(&self) -> usize {
        let long = match &self.0 {
            Names::Short { .. } => 0,
            Names::Long(long) => long.names.len() + size_of::<Long>() + 2 * ALLOCATION,
        };
        long + size_of::<Origin>() + 2 * size_of::<usize>() + ALLOCATION
    }

    /// All names, and how long the client id and the user name are.
    fn names(&self) -> (&str, usize, Option<usize>) {
        match &self.0 {
            Names::Short {
                client_id_len,
                username_len,
                len,
                bytes,
            } => {
                let names = bytes.get(..usize::from(*len)).unwrap_or_default();
                let username = (*username_len != NO_SHORT_USERNAME).then_some(*username_len);
                // They were a &str.
                let names = std::str::from_utf8(names).unwrap_or_default();
                (
                    names,
                    usize::from(*client_id_len),
                    username.map(usize::from),
                )
            }
            Names::Long(long) => {
                let username = (long.username_len != NO_USERNAME).then_some(long.username_len);
                let username = username.map(|len| len as usize);
                (&long.names, long.client_id_len as usize, username)
            }
        }
    }

    /// The client id; empty for the broker's own messages.
    pub fn client_id(&self) -> &str {
        let (names, client_id, _) = self.names();
        names.get(..client_id).unwrap_or_default()
    }

    /// The user name.
    pub fn username(&self) -> Option<&str> {
        let (names, client_id, username) = self.names();
        names.get(client_id..client_id + username?)
    }

    /// The listener it is or was connected to, if rules depend on that.
    pub fn listener(&self) -> Option<&str> {
        let (names, client_id, username) = self.names();
        let name = names.get(client_id + username.unwrap_or(0)..)?;
        // Every listener has a name.
        (!name.is_empty()).then_some(name)
    }
}

/// How long a name is: a peer's has at most 65,535 bytes.
fn length(name: &str) -> u32 {
    u32::try_from(name.len()).unwrap_or_else(|_| {
        impossible!("a name of {} bytes", name.len());
        0
    })
}

impl Default for Origin {
    /// The broker itself.
    fn default() -> Origin {
        Origin::new("", None, None)
    }
}

/// What a message takes in memory beside topic, properties and payload, in bytes: itself, the two
/// counts of its `Rc`, and what the two allocations cost.
pub const OVERHEAD: usize = size_of::<Message>() + 2 * size_of::<usize>() + 2 * ALLOCATION;

/// An application message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Topic, properties and payload, one after another in one allocation.
    bytes: Box<[u8]>,
    _held: Charge<MESSAGES>,
    topic_len: u16,
    props_len: u32,
    /// The QoS it was published with.
    pub qos: QoS,
    /// The RETAIN flag it was published with.
    pub retain: bool,
    /// When it arrived here.
    pub arrival: Time,
    /// When it is no longer to be delivered.
    pub expiry: Option<Time>,
    /// Who published it.
    pub origin: Rc<Origin>,
}

/// What a [`Message`] is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The topic name, checked.
    pub topic: &'a str,
    /// The raw 5.0 properties that go on to receivers unchanged (all but topic alias,
    /// subscription identifier and message expiry).
    pub props: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

/// Why a [`Message`] can't be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The topic name is empty [MQTT-4.7.3-1].
    NoTopic,
    /// The topic name has more than 65,535 bytes [MQTT-4.7.3-3].
    TopicTooLong(usize),
    /// Topic, properties and payload have more than 4,294,967,295 bytes, more than any packet.
    TooLarge(usize),
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoTopic => f.write_str("a message needs a topic"),
            Error::TopicTooLong(len) => write!(f, "a topic of {len} bytes; 65,535 is the most"),
            Error::TooLarge(size) => write!(f, "a message of {size} bytes is too large"),
        }
    }
}

impl Message {
    /// A QoS 0 message without the RETAIN flag, arrived at `now`, that never expires.
    ///
    /// # Errors
    /// An [`Error`] for parts that no packet can hold.
    pub fn new(parts: Parts<'_>, now: Time, origin: Rc<Origin>) -> Result<Message, Error> {
        let Parts {
            topic,
            props,
            payload,
        } = parts;
        let size = topic.len() + props.len() + payload.len();
        let topic_len = u16::try_from(topic.len()).map_err(|_| Error::TopicTooLong(topic.len()))?;
        let (Ok(props_len), Ok(_)) = (u32::try_from(props.len()), u32::try_from(size)) else {
            return Err(Error::TooLarge(size));
        };
        if topic.is_empty() {
            return Err(Error::NoTopic);
        }
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(topic.as_bytes());
        // Most have none, and even a copy of nothing is a call for each message.
        if !props.is_empty() {
            bytes.extend_from_slice(props);
        }
        bytes.extend_from_slice(payload);
        Ok(Message {
            bytes: bytes.into_boxed_slice(),
            _held: Charge::new(size + OVERHEAD),
            topic_len,
            props_len,
            qos: QoS::AtMostOnce,
            retain: false,
            arrival: now,
            expiry: None,
            origin,
        })
    }

    /// The topic name.
    pub fn topic(&self) -> &str {
        std::str::from_utf8(self.topic_bytes()).unwrap_or_else(|_| {
            impossible!("a topic that was a &str when the message was made is none");
            ""
        })
    }

    /// The bytes of the topic name, which need no look whether they are UTF-8.
    pub fn topic_bytes(&self) -> &[u8] {
        let topic = self.bytes.get(..usize::from(self.topic_len));
        topic.unwrap_or_else(cut_short)
    }

    /// The raw 5.0 properties that go on to receivers unchanged.
    pub fn props(&self) -> &[u8] {
        let start = self.topic_len as usize;
        let props = self.bytes.get(start..start + self.props_len as usize);
        props.unwrap_or_else(cut_short)
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        let start = usize::from(self.topic_len) + self.props_len as usize;
        self.bytes.get(start..).unwrap_or_else(cut_short)
    }

    /// Bytes of topic, properties and payload: what queue bounds count.
    pub fn size(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX) // Message::new has looked.
    }

    /// True once `now` has reached its expiry.
    pub fn expired(&self, now: Time) -> bool {
        self.expiry.is_some_and(|at| at <= now)
    }
}

/// What stands for a part of a message that [`Message::new`] has put there.
#[cold]
fn cut_short<'a>() -> &'a [u8] {
    impossible!("a message has lost a part");
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(topic: &str) -> Result<Message, Error> {
        let parts = Parts {
            topic,
            props: b"p",
            payload: b"payload",
        };
        Message::new(parts, Time::ZERO, Rc::new(Origin::default()))
    }

    #[test]
    fn a_topic_is_taken_whole_or_not_at_all() {
        let longest = "x".repeat(65_535);
        let message = made(&longest).unwrap();
        assert_eq!(message.topic(), longest);
        assert_eq!(
            (message.props(), message.payload()),
            (&b"p"[..], &b"payload"[..])
        );
        assert_eq!(message.size(), 65_543);
        let longer = "x".repeat(65_536);
        assert_eq!(made(&longer).unwrap_err(), Error::TopicTooLong(65_536));
        assert_eq!(made("").unwrap_err(), Error::NoTopic);
    }

    #[test]
    fn an_origin_tells_its_names_apart() {
        let longest = "x".repeat(65_535);
        let short = [
            "x".repeat(SHORT - 1),
            "x".repeat(SHORT),
            "x".repeat(SHORT + 1),
            "ä".repeat(9),
        ];
        let [a, b, c, d] = short.each_ref().map(String::as_str);
        for client_id in ["", "c", a, b, c, d, &longest] {
            for username in [None, Some(""), Some("u"), Some(a), Some(d), Some(&*longest)] {
                for listener in [None, Some("1"), Some("1883")] {
                    let origin = Origin::new(client_id, username, listener);
                    assert_eq!(origin.client_id(), client_id);
                    assert_eq!(origin.username(), username);
                    assert_eq!(origin.listener(), listener);
                    assert_eq!(origin, Origin::new(client_id, username, listener));
                }
            }
        }
    }

    /// With the two counts of an `Rc`, 40 bytes; of those the allocator takes 48.
    #[test]
    fn an_origin_is_small() {
        assert!(size_of::<Origin>() <= 24, "{}", size_of::<Origin>());
    }
}
