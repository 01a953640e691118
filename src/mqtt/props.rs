//! MQTT 5.0 property sections (5.0 §2.2.2).
//!
//! A [`Props`] borrows the raw property section of one packet, already checked when the packet
//! was decoded: known identifiers, allowed in that packet, no forbidden repeats, values in range.
//! Reading one property walks the section; nothing is allocated.

use std::fmt;

use super::error::Fault;
use super::property::{self, Place};
use super::wire::{MAX_VARIABLE_BYTE_INTEGER, Reader, put_variable};
use super::{PacketType, Property};

/// The checked property section of a packet, without its length.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Props<'a>(&'a [u8]);

macro_rules! getters {
    ($($name:ident $property:ident $type:ty, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub fn $name(&self) -> Option<$type> {
                self.iter().find_map(|property| match property {
                    Property::$property(value) => Some(value),
                    _ => None,
                })
            }
        )*
    };
}

impl<'a> Props<'a> {
    /// No properties.
    pub const EMPTY: Props<'static> = Props(&[]);

    /// A section that [`Props::read_publish`] wrote earlier. Bytes from elsewhere do no harm:
    /// [`Props::iter`] stops at the first that are no property.
    pub const fn from_checked(section: &'a [u8]) -> Props<'a> {
        Props(section)
    }

    /// Reads the length of a section and the section, and checks it for `place`.
    pub(super) fn read(reader: &mut Reader<'a>, place: Place) -> Result<Props<'a>, Fault> {
        let len = reader.variable()?;
        let section = reader.take(len as usize)?;
        property::check(section, place)?;
        Ok(Props(section))
    }

    /// The properties of a PUBLISH, as they stand there: their length, and then they. None at all are
    /// none. `None` if it is anything else.
    pub fn of_publish(bytes: &'a [u8]) -> Option<Props<'a>> {
        if bytes.is_empty() {
            return Some(Props::EMPTY);
        }
        let mut reader = Reader::new(bytes);
        let props = Props::read(&mut reader, Place::Packet(PacketType::Publish)).ok()?;
        reader.is_empty().then_some(props)
    }

    /// Appends the length of the section and the section.
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.0.len() > MAX_VARIABLE_BYTE_INTEGER {
            return Err(Fault::FieldTooLong);
        }
        put_variable(out, self.0.len());
        out.extend_from_slice(self.0);
        Ok(())
    }

    /// True if there is no property.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The properties as they stand on the wire, one after another.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The properties, in order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || Property::read(&mut reader).ok())
    }

    getters! {
        payload_format PayloadFormat u8, "Payload Format Indicator: 0 or 1.";
        message_expiry MessageExpiry u32, "Message Expiry Interval, in seconds.";
        content_type ContentType &'a str, "Content Type.";
        response_topic ResponseTopic &'a str, "Response Topic.";
        session_expiry SessionExpiry u32, "Session Expiry Interval, in seconds; `u32::MAX` never expires.";
        assigned_client_id AssignedClientId &'a str, "Assigned Client Identifier.";
        server_keep_alive ServerKeepAlive u16, "Server Keep Alive, in seconds.";
        auth_method AuthMethod &'a str, "Authentication Method.";
        auth_data AuthData &'a [u8], "Authentication Data.";
        request_problem_info RequestProblemInfo u8, "Request Problem Information: 0 or 1.";
        request_response_info RequestResponseInfo u8, "Request Response Information: 0 or 1.";
        will_delay WillDelay u32, "Will Delay Interval, in seconds.";
        server_reference ServerReference &'a str, "Server Reference.";
        reason_string ReasonString &'a str, "Reason String.";
        receive_maximum ReceiveMaximum u16, "Receive Maximum: not 0.";
        topic_alias_maximum TopicAliasMaximum u16, "Topic Alias Maximum.";
        topic_alias TopicAlias u16, "Topic Alias: not 0.";
        maximum_qos MaximumQoS u8, "Maximum QoS: 0 or 1.";
        retain_available RetainAvailable u8, "Retain Available: 0 or 1.";
        maximum_packet_size MaximumPacketSize u32, "Maximum Packet Size, in bytes: not 0.";
        wildcard_subscription_available WildcardSubscriptionAvailable u8, "Wildcard Subscription Available: 0 or 1.";
        subscription_id_available SubscriptionIdAvailable u8, "Subscription Identifiers Available: 0 or 1.";
        shared_subscription_available SharedSubscriptionAvailable u8, "Shared Subscription Available: 0 or 1.";
    }

    /// The Subscription Identifiers, in order.
    pub fn subscription_ids(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionId(id) => Some(id),
            _ => None,
        })
    }

    /// Reads the properties of a PUBLISH or will in one pass. Those that go on to receivers unchanged
    /// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-20] are appended
    /// to `forwarded`: payload format, content type, response topic, correlation data and user
    /// properties, in their order [MQTT-3.3.2-18].
    pub fn read_publish(&self, forwarded: &mut Vec<u8>) -> PublishProps {
        let mut props = PublishProps::default();
        let mut reader = Reader::new(self.0);
        while !reader.is_empty() {
            let from = reader.unread();
            let Ok(property) = Property::read(&mut reader) else {
                // As in `iter`: what is no property ends the section.
                break;
            };
            match property {
                Property::TopicAlias(alias) => props.topic_alias = Some(alias),
                Property::MessageExpiry(secs) => props.expiry = Some(secs),
                Property::SubscriptionId(_) => props.has_subscription_id = true,
                Property::PayloadFormat(format) => props.is_text = format == 1,
                _ => {}
            }
            if property.is_forwardable() {
                let len = from.len().saturating_sub(reader.unread().len());
                let (bytes, _) = from.split_at(len);
                forwarded.extend_from_slice(bytes);
            }
        }
        props
    }
}

/// What the properties of a PUBLISH or will say to the broker itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PublishProps {
    /// The topic alias.
    pub topic_alias: Option<u16>,
    /// The message expiry interval, in seconds.
    pub expiry: Option<u32>,
    /// There is a subscription identifier.
    pub has_subscription_id: bool,
    /// The payload format indicator says that the payload is UTF-8.
    pub is_text: bool,
}

impl fmt::Debug for Props<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What a buffer of properties keeps of its memory from one packet to the next, in bytes.
pub const KEPT_PROPS_BYTES: usize = 64 * 1024;

/// Properties being put together for a packet to encode.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PropsBuf(Vec<u8>);

impl PropsBuf {
    /// No properties yet.
    pub const fn new() -> PropsBuf {
        PropsBuf(Vec::new())
    }

    /// Drops all properties and keeps the allocation, up to [`KEPT_PROPS_BYTES`].
    pub fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(KEPT_PROPS_BYTES);
    }

    /// Appends a property. One that cannot be encoded, with a string or binary value longer than
    /// 65,535 bytes or a subscription identifier over 268,435,455, is left out, and the answer is
    /// `false`.
    pub fn push(&mut self, property: Property<'_>) -> bool {
        let len = self.0.len();
        let fits = property.put(&mut self.0).is_ok();
        if !fits {
            self.0.truncate(len);
        }
        fits
    }

    /// Appends properties that [`Props::read_publish`] wrote.
    pub fn extend_raw(&mut self, section: &[u8]) {
        self.0.extend_from_slice(section);
    }

    /// The bytes that it has room for.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// The properties so far.
    pub fn as_props(&self) -> Props<'_> {
        Props(&self.0)
    }
}

impl fmt::Debug for PropsBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_props().fmt(f)
    }
}
