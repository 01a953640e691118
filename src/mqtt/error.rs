//! What can be wrong with a packet.

use std::fmt;

use super::types::TOPIC_ALIAS;
use super::{PacketType, Reason};

/// Why bytes are not a packet, or a packet cannot be written. Ends the connection it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The packet type (the upper four bits of the first byte) does not exist in this version.
    PacketType(u8),
    /// The lower four bits of the first byte are wrong for the packet type [MQTT-2.1.3-1].
    HeaderFlags(PacketType, u8),
    /// The remaining length takes more than four bytes, or more bytes than it needs (5.0 §1.5.5).
    RemainingLength,
    /// The packet with its fixed header is `size` bytes long; only `max` are allowed.
    PacketTooLarge {
        /// Bytes the packet takes.
        size: usize,
        /// Bytes a packet may take.
        max: usize,
    },
    /// A CONNECT asks for a protocol level that does not exist [MQTT-3.1.2-2].
    UnsupportedVersion(u8),
    /// A CONNECT for a protocol other than MQTT [MQTT-3.1.2-1].
    ProtocolName,
    /// Something in the body of a packet is wrong.
    Body(PacketType, Fault),
    /// A topic name is wrong.
    TopicName(Fault),
    /// A topic filter is wrong.
    TopicFilter(Fault),
}

impl Error {
    /// The reason code for the CONNACK or DISCONNECT that reports the error (5.0 §4.13). Where the
    /// specification does not say which, Mosquitto's.
    pub const fn reason(&self) -> Reason {
        match self {
            Error::PacketType(_) => Reason::PROTOCOL_ERROR,
            Error::HeaderFlags(..) | Error::RemainingLength => Reason::MALFORMED_PACKET,
            Error::PacketTooLarge { .. } => Reason::PACKET_TOO_LARGE,
            Error::UnsupportedVersion(_) | Error::ProtocolName => {
                Reason::UNSUPPORTED_PROTOCOL_VERSION
            }
            Error::Body(
                PacketType::Subscribe | PacketType::Unsubscribe,
                Fault::PacketIdZero | Fault::TopicEmpty,
            ) => Reason::MALFORMED_PACKET,
            Error::Body(_, fault) => fault.reason(),
            Error::TopicName(_) => Reason::TOPIC_NAME_INVALID,
            Error::TopicFilter(_) => Reason::TOPIC_FILTER_INVALID,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::PacketType(kind) => write!(f, "packet type {kind} does not exist"),
            Error::HeaderFlags(kind, flags) => {
                write!(f, "{kind} with fixed header flags 0x{flags:x}")
            }
            Error::RemainingLength => write!(f, "badly encoded remaining length"),
            Error::PacketTooLarge { size, max } => {
                write!(f, "packet of {size} bytes, at most {max} allowed")
            }
            Error::UnsupportedVersion(level) => {
                write!(f, "CONNECT with unsupported protocol level {level}")
            }
            Error::ProtocolName => write!(f, "CONNECT with an unknown protocol name"),
            Error::Body(kind, fault) => write!(f, "{kind}: {fault}"),
            Error::TopicName(fault) => write!(f, "topic name: {fault}"),
            Error::TopicFilter(fault) => write!(f, "topic filter: {fault}"),
        }
    }
}

impl std::error::Error for Error {}

/// What is wrong in the body of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The packet ends in the middle of a field.
    Truncated,
    /// Bytes follow the last field.
    TrailingBytes,
    /// The remaining length is not the one that every packet of this type has.
    Length,
    /// A field is longer than its length prefix can say.
    FieldTooLong,
    /// A string is not UTF-8 [MQTT-1.5.4-1].
    Utf8,
    /// A string holds U+0000 [MQTT-1.5.4-2], a control character or a non-character.
    Character,
    /// A variable byte integer takes more bytes than it needs or may have [MQTT-1.5.5-1].
    VariableByteInteger,
    /// The packet id is zero [MQTT-2.2.1-3].
    PacketIdZero,
    /// A PUBLISH or will with both QoS bits set [MQTT-3.3.1-4].
    QoS,
    /// DUP at QoS 0 [MQTT-3.3.1-2].
    DupAtQoS0,
    /// The topic name is empty [MQTT-4.7.3-1], and no topic alias stands in for it.
    TopicEmpty,
    /// A topic name with a wildcard [MQTT-3.3.2-2].
    Wildcard,
    /// A topic filter with a misplaced wildcard [MQTT-4.7.1-1].
    FilterSyntax,
    /// A `$share` filter without a share name or a filter [MQTT-4.8.2-1] [MQTT-4.8.2-2].
    ShareSyntax,
    /// A topic of more levels than [`MAX_LEVELS`](super::MAX_LEVELS).
    Levels,
    /// A SUBSCRIBE or UNSUBSCRIBE without a filter [MQTT-3.8.3-2] [MQTT-3.10.3-2].
    NoFilter,
    /// Reserved bits of the subscription options are set [MQTT-3.8.3-5].
    SubscriptionOptions(u8),
    /// The maximum QoS of a subscription is 3 (5.0 §3.8.3.1).
    SubscriptionQoS,
    /// The retain handling of a subscription is 3 (5.0 §3.8.3.1).
    RetainHandling,
    /// No Local on a shared subscription [MQTT-3.8.3-4].
    NoLocalShared,
    /// A SUBACK or UNSUBACK without a reason code.
    NoReason,
    /// The reserved connect flag is set [MQTT-3.1.2-3].
    ConnectFlags(u8),
    /// Will QoS or will retain without a will [MQTT-3.1.2-11].
    WillFlags,
    /// A password without a user name (3.1.1 [MQTT-3.1.2-22]).
    PasswordWithoutUserName,
    /// Reserved bits of the acknowledge flags are set [MQTT-3.2.2-1].
    AckFlags(u8),
    /// Session present together with a refusal [MQTT-3.2.2-6].
    SessionPresent,
    /// A reason code that this packet cannot carry.
    ReasonCode(u8),
    /// A property that this packet cannot carry, or that does not exist (5.0 §2.2.2.2).
    Property(u8),
    /// A property that may stand only once stands twice.
    PropertyRepeated(u8),
    /// A property with a value out of its range.
    PropertyValue(u8),
    /// Authentication data without an authentication method (5.0 §3.1.2.11.10).
    AuthMethodMissing,
}

impl Fault {
    /// Protocol error or malformed packet, as the specification has it case by case; where it
    /// is silent, bits and lengths are malformed, and well-formed values out of place are
    /// protocol errors.
    pub const fn reason(&self) -> Reason {
        match self {
            Fault::PacketIdZero
            | Fault::TopicEmpty
            | Fault::NoFilter
            | Fault::NoReason
            | Fault::SubscriptionQoS
            | Fault::RetainHandling
            | Fault::NoLocalShared
            | Fault::SessionPresent
            | Fault::PasswordWithoutUserName
            | Fault::ReasonCode(_)
            | Fault::PropertyRepeated(_)
            | Fault::AuthMethodMissing => Reason::PROTOCOL_ERROR,
            Fault::PropertyValue(TOPIC_ALIAS) => Reason::TOPIC_ALIAS_INVALID,
            Fault::PropertyValue(_) => Reason::PROTOCOL_ERROR,
            Fault::FieldTooLong => Reason::PACKET_TOO_LARGE,
            _ => Reason::MALFORMED_PACKET,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            Fault::SubscriptionOptions(value)
            | Fault::ConnectFlags(value)
            | Fault::AckFlags(value)
            | Fault::ReasonCode(value)
            | Fault::Property(value)
            | Fault::PropertyRepeated(value)
            | Fault::PropertyValue(value) => write!(f, " (0x{value:02x})"),
            _ => Ok(()),
        }
    }
}

impl Fault {
    const fn text(&self) -> &'static str {
        match self {
            Fault::Truncated => "ends in the middle of a field",
            Fault::TrailingBytes => "bytes after the last field",
            Fault::Length => "wrong remaining length",
            Fault::FieldTooLong => "field too long to be encoded",
            Fault::Utf8 => "string is not UTF-8",
            Fault::Character => "control character or non-character in a string",
            Fault::VariableByteInteger => "badly encoded variable byte integer",
            Fault::PacketIdZero => "packet id 0",
            Fault::QoS => "QoS 3",
            Fault::DupAtQoS0 => "DUP at QoS 0",
            Fault::TopicEmpty => "empty topic",
            Fault::Wildcard => "wildcard in a topic name",
            Fault::FilterSyntax => "misplaced wildcard in a topic filter",
            Fault::ShareSyntax => "malformed shared subscription",
            Fault::Levels => "too many topic levels",
            Fault::NoFilter => "no topic filter",
            Fault::SubscriptionOptions(_) => "reserved bits in subscription options",
            Fault::SubscriptionQoS => "subscription at QoS 3",
            Fault::RetainHandling => "retain handling 3",
            Fault::NoLocalShared => "no local on a shared subscription",
            Fault::NoReason => "no reason code",
            Fault::ConnectFlags(_) => "reserved bit in connect flags",
            Fault::WillFlags => "will flags without a will",
            Fault::PasswordWithoutUserName => "password without user name",
            Fault::AckFlags(_) => "reserved bits in acknowledge flags",
            Fault::SessionPresent => "session present with a refusal",
            Fault::ReasonCode(_) => "reason code out of place",
            Fault::Property(_) => "property out of place",
            Fault::PropertyRepeated(_) => "property repeated",
            Fault::PropertyValue(_) => "property out of range",
            Fault::AuthMethodMissing => "authentication data without method",
        }
    }
}
