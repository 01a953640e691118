//! Why a link is down.

use std::fmt;

use crate::mqtt::{self, Reason};

/// Why a connection to an upstream ended. The text names the cause and, where the operator can
/// do something, the directive to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// No TCP (or TLS) connection in time.
    ConnectTimeout,
    /// No CONNACK in time.
    ConnAckTimeout,
    /// No answer to a PINGREQ in time.
    PingTimeout,
    /// A publish or a request was not acknowledged in time.
    AckTimeout,
    /// The CONNACK refuses.
    Refused(Reason),
    /// The upstream sent a DISCONNECT.
    Disconnected(Reason),
    /// Connecting failed, or the connection ended: what the system says.
    Io(String),
    /// The upstream sent a packet that has no place here [MQTT-4.13.1-1].
    Unexpected(&'static str),
    /// A packet of ours cannot be encoded: a directive holds too long a value.
    Encode(mqtt::Error),
    /// `connected` came after the attempt was given up.
    GivenUp,
}

impl std::error::Error for Error {}

impl From<mqtt::Error> for Error {
    fn from(error: mqtt::Error) -> Error {
        Error::Encode(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::ConnectTimeout => f.write_str("no connection in time: check address"),
            Error::ConnAckTimeout => {
                f.write_str("no CONNACK in time: check that address names an MQTT listener")
            }
            Error::PingTimeout => f.write_str("no answer to PINGREQ"),
            Error::AckTimeout => f.write_str("no acknowledgement in time: connecting again"),
            Error::Refused(reason) => write!(f, "connection refused: {reason}{}", cure(*reason)),
            Error::Disconnected(reason) => {
                write!(f, "disconnected by upstream: {reason}{}", cure(*reason))
            }
            Error::Io(why) => f.write_str(why),
            Error::Unexpected(packet) => write!(f, "protocol error: unexpected {packet}"),
            Error::Encode(error) => write!(f, "cannot encode a packet: {error}"),
            Error::GivenUp => f.write_str("connected too late"),
        }
    }
}

/// What the operator can look at, to go behind the reason.
fn cure(reason: Reason) -> &'static str {
    match reason {
        Reason::BAD_USER_NAME_OR_PASSWORD => ": check remote_username and remote_password",
        Reason::NOT_AUTHORIZED => {
            ": check remote_username and remote_password, and what upstream allows this \
             remote_clientid and its topics"
        }
        Reason::CLIENT_IDENTIFIER_NOT_VALID => ": check remote_clientid",
        Reason::UNSUPPORTED_PROTOCOL_VERSION => ": check bridge_protocol_version",
        Reason::BANNED => ": upstream bans this remote_clientid, remote_username or address",
        Reason::SESSION_TAKEN_OVER => {
            ": another client uses the same remote_clientid; give each box its own, as with \
             ${hostname} or ${mac}"
        }
        Reason::BAD_AUTHENTICATION_METHOD => ": upstream wants an authentication method",
        Reason::PACKET_TOO_LARGE => ": upstream takes smaller packets only",
        Reason::QOS_NOT_SUPPORTED => ": lower the QoS of the topic lines",
        Reason::TOPIC_NAME_INVALID | Reason::TOPIC_FILTER_INVALID => ": check the topic lines",
        Reason::USE_ANOTHER_SERVER | Reason::SERVER_MOVED => ": change address",
        _ => "",
    }
}
