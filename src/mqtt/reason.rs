//! Reason codes (5.0 §2.4).

use std::fmt;

use super::PacketType;

/// A reason code. Codes from 0x80 up are failures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(pub u8);

macro_rules! reasons {
    ($($code:literal $name:ident $text:literal,)*) => {
        impl Reason {
            $(#[doc = concat!($text, ".")] pub const $name: Reason = Reason($code);)*

            /// The name of the code, in lower case, for logs.
            pub const fn text(self) -> &'static str {
                match self.0 { $($code => $text,)* _ => "unknown reason" }
            }
        }
    };
}

reasons! {
    0x00 SUCCESS "success",
    0x01 GRANTED_QOS_1 "granted QoS 1",
    0x02 GRANTED_QOS_2 "granted QoS 2",
    0x04 DISCONNECT_WITH_WILL "disconnect with will message",
    0x10 NO_MATCHING_SUBSCRIBERS "no matching subscribers",
    0x11 NO_SUBSCRIPTION_EXISTED "no subscription existed",
    0x18 CONTINUE_AUTHENTICATION "continue authentication",
    0x19 RE_AUTHENTICATE "re-authenticate",
    0x80 UNSPECIFIED "unspecified error",
    0x81 MALFORMED_PACKET "malformed packet",
    0x82 PROTOCOL_ERROR "protocol error",
    0x83 IMPLEMENTATION_SPECIFIC "implementation specific error",
    0x84 UNSUPPORTED_PROTOCOL_VERSION "unsupported protocol version",
    0x85 CLIENT_IDENTIFIER_NOT_VALID "client identifier not valid",
    0x86 BAD_USER_NAME_OR_PASSWORD "bad user name or password",
    0x87 NOT_AUTHORIZED "not authorized",
    0x88 SERVER_UNAVAILABLE "server unavailable",
    0x89 SERVER_BUSY "server busy",
    0x8A BANNED "banned",
    0x8B SERVER_SHUTTING_DOWN "server shutting down",
    0x8C BAD_AUTHENTICATION_METHOD "bad authentication method",
    0x8D KEEP_ALIVE_TIMEOUT "keep alive timeout",
    0x8E SESSION_TAKEN_OVER "session taken over",
    0x8F TOPIC_FILTER_INVALID "topic filter invalid",
    0x90 TOPIC_NAME_INVALID "topic name invalid",
    0x91 PACKET_IDENTIFIER_IN_USE "packet identifier in use",
    0x92 PACKET_IDENTIFIER_NOT_FOUND "packet identifier not found",
    0x93 RECEIVE_MAXIMUM_EXCEEDED "receive maximum exceeded",
    0x94 TOPIC_ALIAS_INVALID "topic alias invalid",
    0x95 PACKET_TOO_LARGE "packet too large",
    0x96 MESSAGE_RATE_TOO_HIGH "message rate too high",
    0x97 QUOTA_EXCEEDED "quota exceeded",
    0x98 ADMINISTRATIVE_ACTION "administrative action",
    0x99 PAYLOAD_FORMAT_INVALID "payload format invalid",
    0x9A RETAIN_NOT_SUPPORTED "retain not supported",
    0x9B QOS_NOT_SUPPORTED "QoS not supported",
    0x9C USE_ANOTHER_SERVER "use another server",
    0x9D SERVER_MOVED "server moved",
    0x9E SHARED_SUBSCRIPTIONS_NOT_SUPPORTED "shared subscriptions not supported",
    0x9F CONNECTION_RATE_EXCEEDED "connection rate exceeded",
    0xA0 MAXIMUM_CONNECT_TIME "maximum connect time",
    0xA1 SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED "subscription identifiers not supported",
    0xA2 WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED "wildcard subscriptions not supported",
}

impl Reason {
    /// True for codes from 0x80 up.
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }
}

impl Reason {
    /// True for what the DISCONNECT of a client may say (5.0 §3.14.2.1).
    pub const fn is_said_by_clients(self) -> bool {
        matches!(self.0, 0 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99)
    }
}

impl Reason {
    /// True for what a client's PUBACK and PUBREC may say (5.0 §3.4.2.1, §3.5.2.1), and three more: 0x89,
    /// 0x93 and 0x96 say "not now", 0x95 Mosquitto says for its message_size_limit.
    pub const fn answers_publish(self) -> bool {
        matches!(
            self.0,
            0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x89 | 0x90 | 0x91 | 0x93 | 0x95..=0x97 | 0x99
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.text(), self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether packets of type `kind` may carry the code: the tables of 5.0 §3.2.2.2, §3.4.2.1 to §3.7.2.1, §3.9.3, §3.11.3, §3.14.2.1, §3.15.2.1.
pub(super) const fn is_allowed(code: u8, kind: PacketType) -> bool {
    match kind {
        PacketType::ConnAck => matches!(
            code,
            0 | 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f
        ),
        PacketType::PubAck | PacketType::PubRec => {
            // Whatever an upstream has against a message: to end the connection for a code that has no
            // place here would bring the same message, and the same code, again. Of clients fewer
            // are taken ([`Reason::answers_publish`]).
            matches!(code, 0 | 0x10 | 0x80..)
        }
        PacketType::PubRel | PacketType::PubComp => matches!(code, 0 | 0x92),
        PacketType::SubAck => matches!(
            code,
            0..=2 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91 | 0x97 | 0x9e | 0xa1 | 0xa2
        ),
        PacketType::UnsubAck => matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91),
        PacketType::Disconnect => matches!(
            code,
            0 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b..=0x90 | 0x93..=0xa2
        ),
        PacketType::Auth => matches!(code, 0 | 0x18 | 0x19),
        _ => false,
    }
}
