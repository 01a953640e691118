//! A retained message as it lies here: there may be a hundred thousand, and most are small.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::held::ALLOCATION;
use crate::impossible;
use crate::message::{self, Message, Origin, Parts};
use crate::mqtt::QoS;
use crate::time::Time;

/// So many bytes of topic, properties and payload are packed; more are shared with the queues that they
/// wait in, as any message is.
const PACKED: usize = 512;

/// The flags of a packed message, above the two bits of its QoS.
const RETAIN: u8 = 4;
const EXPIRES: u8 = 8;
const HAS_PROPS: u8 = 16;

/// What stands before the topic of a packed message at most, in bytes.
const HEAD: usize = 1 + ARRIVAL + 2 + 8 + 2;

/// How many bytes an arrival takes: in milliseconds they reach for 8,900 years.
const ARRIVAL: usize = 6;

/// What the place of a message takes, in bytes: one place in eight is empty.
const PLACE: usize = size_of::<Kept>() / 8 * 9;

/// A retained message.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// In one allocation: flags, arrival, the length of the topic; if it has them, expiry and length of the
    /// properties; then topic, properties and payload.
    Packed(Box<[u8]>, Rc<Origin>),
    /// As it came.
    Whole(Rc<Message>),
}

/// A retained message, or one that has cleared a topic, as it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a>(Seen<'a>);

#[derive(Clone, Copy, Debug)]
enum Seen<'a> {
    Packed(Fields<'a>, &'a Rc<Origin>),
    Whole(&'a Rc<Message>),
}

/// What a packed message says.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    flags: u8,
    arrival: Time,
    expiry: Option<Time>,
    topic: &'a [u8],
    props: &'a [u8],
    payload: &'a [u8],
}

impl Kept {
    /// A message as it is kept.
    pub(super) fn new(message: Rc<Message>) -> Kept {
        if message.size() as usize > PACKED {
            return Kept::Whole(message);
        }
        match pack(&message) {
            Some(bytes) => Kept::Packed(bytes, Rc::clone(&message.origin)),
            // From a clock that is thousands of years ahead.
            None => Kept::Whole(message),
        }
    }

    /// What it says.
    pub(super) fn value(&self) -> Value<'_> {
        Value(match self {
            Kept::Packed(bytes, origin) => {
                let fields = unpack(bytes).unwrap_or_else(|| {
                    impossible!("a retained message has lost a part");
                    Fields::default()
                });
                Seen::Packed(fields, origin)
            }
            Kept::Whole(message) => Seen::Whole(message),
        })
    }

    /// The bytes of the topic name.
    pub(super) fn topic(&self) -> &[u8] {
        match self {
            Kept::Packed(bytes, _) => packed_topic(bytes).unwrap_or_default(),
            Kept::Whole(message) => message.topic_bytes(),
        }
    }

    /// What it takes in memory here, in bytes, with its place, and without a message that is shared.
    pub(super) fn held(&self) -> usize {
        match self {
            Kept::Packed(bytes, _) => PLACE + bytes.len() + ALLOCATION,
            Kept::Whole(_) => PLACE,
        }
    }

    /// What the message takes that is shared, in bytes.
    pub(super) fn shared(&self) -> usize {
        match self {
            Kept::Packed(..) => 0,
            Kept::Whole(message) => message.size() as usize + message::OVERHEAD,
        }
    }
}

fn pack(message: &Message) -> Option<Box<[u8]>> {
    let (topic, props) = (message.topic_bytes(), message.props());
    let arrival = message.arrival.as_millis().to_be_bytes();
    let (unused, arrival) = arrival.split_at(arrival.len() - ARRIVAL);
    if unused.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut flags = message.qos as u8;
    flags |= if message.retain { RETAIN } else { 0 };
    flags |= if message.expiry.is_some() { EXPIRES } else { 0 };
    flags |= if props.is_empty() { 0 } else { HAS_PROPS };
    let size = topic_start(flags) + message.size() as usize;
    let mut bytes = Vec::with_capacity(size);
    bytes.push(flags);
    bytes.extend_from_slice(arrival);
    bytes.extend_from_slice(&u16::try_from(topic.len()).ok()?.to_be_bytes());
    if let Some(at) = message.expiry {
        bytes.extend_from_slice(&at.as_millis().to_be_bytes());
    }
    if !props.is_empty() {
        bytes.extend_from_slice(&u16::try_from(props.len()).ok()?.to_be_bytes());
    }
    for part in [topic, props, message.payload()] {
        bytes.extend_from_slice(part);
    }
    Some(bytes.into_boxed_slice())
}

/// Takes the first `N` bytes.
fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(first)
}

fn unpack(mut bytes: &[u8]) -> Option<Fields<'_>> {
    let [flags] = *take(&mut bytes)?;
    let [a, b, c, d, e, f] = *take::<ARRIVAL>(&mut bytes)?;
    let topic_len = usize::from(u16::from_be_bytes(*take(&mut bytes)?));
    let mut fields = Fields {
        flags,
        arrival: Time::from_millis(u64::from_be_bytes([0, 0, a, b, c, d, e, f])),
        ..Fields::default()
    };
    if flags & EXPIRES != 0 {
        fields.expiry = Some(Time::from_millis(u64::from_be_bytes(*take(&mut bytes)?)));
    }
    let mut props_len = 0;
    if flags & HAS_PROPS != 0 {
        props_len = usize::from(u16::from_be_bytes(*take(&mut bytes)?));
    }
    (fields.topic, bytes) = bytes.split_at_checked(topic_len)?;
    (fields.props, fields.payload) = bytes.split_at_checked(props_len)?;
    Some(fields)
}

/// The topic alone, which is asked for all along the way through a tree.
fn packed_topic(bytes: &[u8]) -> Option<&[u8]> {
    let flags = *bytes.first()?;
    let len = bytes.get(1 + ARRIVAL..)?.first_chunk()?;
    let len = usize::from(u16::from_be_bytes(*len));
    bytes.get(topic_start(flags)..)?.get(..len)
}

/// Where the topic of a packed message begins.
fn topic_start(flags: u8) -> usize {
    let expiry = if flags & EXPIRES != 0 { 8 } else { 0 };
    let props_len = if flags & HAS_PROPS != 0 { 2 } else { 0 };
    1 + ARRIVAL + 2 + expiry + props_len
}

impl<'a> Value<'a> {
    /// A message that is not kept here.
    pub fn of(message: &'a Rc<Message>) -> Value<'a> {
        Value(Seen::Whole(message))
    }

    /// The bytes of the topic name.
    pub fn topic_bytes(&self) -> &'a [u8] {
        match self.0 {
            Seen::Packed(fields, _) => fields.topic,
            Seen::Whole(message) => message.topic_bytes(),
        }
    }

    /// The topic name.
    pub fn topic(&self) -> &'a str {
        std::str::from_utf8(self.topic_bytes()).unwrap_or_else(|_| {
            impossible!("a retained topic that was a &str is none");
            ""
        })
    }

    /// The [key] of the topic.
    pub fn key(&self) -> Box<[u8]> {
        key(self.topic())
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        match self.0 {
            Seen::Packed(fields, _) => fields.payload,
            Seen::Whole(message) => message.payload(),
        }
    }

    /// Bytes of topic, properties and payload.
    pub fn size(&self) -> u32 {
        match self.0 {
            Seen::Packed(
                Fields {
                    topic,
                    props,
                    payload,
                    ..
                },
                _,
            ) => {
                let size = topic.len() + props.len() + payload.len();
                u32::try_from(size).unwrap_or(u32::MAX)
            }
            Seen::Whole(message) => message.size(),
        }
    }

    /// What it takes in memory while it is retained, in bytes, without what finds its expiry.
    pub(super) fn weight(&self) -> usize {
        let size = self.size() as usize;
        if size > PACKED {
            PLACE + size + message::OVERHEAD
        } else {
            PLACE + size + HEAD + ALLOCATION
        }
    }

    /// The QoS that it was published at.
    pub fn qos(&self) -> QoS {
        match self.0 {
            // A message was made of these flags.
            Seen::Packed(fields, _) => QoS::from_bits(fields.flags & 3).unwrap_or_default(),
            Seen::Whole(message) => message.qos,
        }
    }

    /// When it arrived here.
    pub fn arrival(&self) -> Time {
        match self.0 {
            Seen::Packed(fields, _) => fields.arrival,
            Seen::Whole(message) => message.arrival,
        }
    }

    /// When it is no longer to be delivered.
    pub fn expiry(&self) -> Option<Time> {
        match self.0 {
            Seen::Packed(fields, _) => fields.expiry,
            Seen::Whole(message) => message.expiry,
        }
    }

    /// True once `now` has reached its expiry.
    pub fn expired(&self, now: Time) -> bool {
        self.expiry().is_some_and(|at| at <= now)
    }

    /// Who published it.
    pub fn origin(&self) -> &'a Rc<Origin> {
        match self.0 {
            Seen::Packed(_, origin) => origin,
            Seen::Whole(message) => &message.origin,
        }
    }

    /// The message; one that is packed is made anew. `None` only where something impossible has happened.
    pub fn message(&self) -> Option<Rc<Message>> {
        let (fields, origin) = match self.0 {
            Seen::Packed(fields, origin) => (fields, origin),
            Seen::Whole(message) => return Some(Rc::clone(message)),
        };
        let parts = Parts {
            topic: self.topic(),
            props: fields.props,
            payload: fields.payload,
        };
        let made = Message::new(parts, fields.arrival, Rc::clone(origin));
        let made = made.inspect_err(|error| {
            impossible!("a retained message can't be made again: {error}");
        });
        let mut message = made.ok()?;
        message.qos = QoS::from_bits(fields.flags & 3).unwrap_or_default();
        message.retain = fields.flags & RETAIN != 0;
        message.expiry = fields.expiry;
        Some(Rc::new(message))
    }
}

/// The byte of a key that stands for one of a topic.
fn folded(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

/// The key of a topic: keys sort in the order in which
/// [`Retained::search`](super::Retained::search) finds topics.
pub fn key(topic: &str) -> Box<[u8]> {
    topic.bytes().map(folded).collect()
}

/// The order of two topics or keys: a separator sorts below every character.
pub fn order(a: &[u8], b: &[u8]) -> Ordering {
    const WORD: usize = 8;
    let words = a.chunks_exact(WORD).zip(b.chunks_exact(WORD));
    let alike = WORD * words.take_while(|(a, b)| a == b).count();
    let (a, b) = (
        a.get(alike..).unwrap_or_default(),
        b.get(alike..).unwrap_or_default(),
    );
    a.iter()
        .map(|byte| folded(*byte))
        .cmp(b.iter().map(|byte| folded(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, props: &[u8], payload: &[u8]) -> Message {
        let parts = Parts {
            topic,
            props,
            payload,
        };
        let origin = Rc::new(Origin::new("c", Some("u"), None));
        Message::new(parts, Time::from_millis(1_234_567_890_123), origin).unwrap()
    }

    /// Whether it is packed or not.
    #[test]
    fn a_message_comes_back_as_it_was() {
        let large = [b'x'; PACKED];
        for (props, payload) in [(&b""[..], &b"p"[..]), (b"props", b"p"), (b"props", &large)] {
            for (qos, retain, expiry) in [
                (QoS::AtMostOnce, true, None),
                (QoS::ExactlyOnce, false, Some(Time::from_millis(u64::MAX))),
            ] {
                let mut message = message("a/b", props, payload);
                (message.qos, message.retain, message.expiry) = (qos, retain, expiry);
                let message = Rc::new(message);
                let kept = Kept::new(Rc::clone(&message));
                assert_eq!(matches!(kept, Kept::Packed(..)), payload.len() == 1);
                assert_eq!(kept.topic(), b"a/b");
                let value = kept.value();
                assert_eq!((value.topic(), value.payload()), ("a/b", payload));
                assert_eq!((value.arrival(), value.expiry()), (message.arrival, expiry));
                assert_eq!(
                    (value.size(), value.origin()),
                    (message.size(), &message.origin)
                );
                let made = value.message().unwrap();
                assert_eq!(
                    (made.topic(), made.props(), made.payload()),
                    ("a/b", props, payload)
                );
                assert_eq!((made.qos, made.retain), (qos, retain));
                assert_eq!((made.arrival, made.expiry), (message.arrival, expiry));
            }
        }
    }

    #[test]
    fn a_moment_that_does_not_fit_is_kept_too() {
        let mut late = message("a/b", b"", b"p");
        late.arrival = Time::from_millis(1 << 48);
        let kept = Kept::new(Rc::new(late));
        assert_eq!(kept.value().arrival(), Time::from_millis(1 << 48));
    }

    #[test]
    fn the_order_is_that_of_keys() {
        let topics = [
            "a",
            "a/b",
            "a/b/c",
            "a!",
            "a0/x",
            "aaaaaaaa/b",
            "aaaaaaaa!",
            "/",
            "ä/b",
        ];
        for a in topics {
            for b in topics {
                let keys = [a, b].map(key);
                let [x, y] = &keys;
                assert_eq!(order(a.as_bytes(), b.as_bytes()), x.cmp(y), "{a} {b}");
                assert_eq!(order(a.as_bytes(), y), x.cmp(y), "{a} {b}");
            }
        }
    }

    /// One allocation and 24 bytes of the tree.
    #[test]
    fn it_is_small() {
        assert_eq!(size_of::<Kept>(), 24);
        let kept = Kept::new(Rc::new(message("a/b", b"", b"p")));
        assert!(matches!(kept, Kept::Packed(bytes, _) if bytes.len() == 4 + 9));
    }
}
