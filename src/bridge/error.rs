//! Why a link is down.

use std::fmt;

use crate::mqtt::{self, Props, Reason};

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
    Refused(Reason, Said),
    /// The upstream sent a DISCONNECT.
    Disconnected(Reason, Said),
    /// The CONNACK claims a session where none was asked for [MQTT-3.2.2-4].
    SessionPresent,
    /// Connecting failed, or the connection broke: what the system says.
    Io(String),
    /// The upstream ended the connection, without a word: what the system says.
    Closed(String),
    /// What came is no packet.
    Malformed(String),
    /// The upstream sent a packet that has no place before CONNACK [MQTT-4.13.1-1].
    Unexpected(&'static str),
    /// A packet of ours cannot be encoded: a directive holds too long a value.
    Encode(mqtt::Error),
    /// `connected` came after the attempt was given up.
    GivenUp,
}

impl std::error::Error for Error {}

impl Error {
    /// What the upstream did, in few words.
    pub(super) fn short(&self) -> String {
        match self {
            Error::Refused(reason, _) => format!("refused: {reason}"),
            Error::Closed(_) => "closed without an answer".to_owned(),
            Error::ConnAckTimeout => "no answer".to_owned(),
            other => other.to_string(),
        }
    }
}

/// What an MQTT 5 upstream says beside a reason code, for the log: its Reason String, and the
/// Server Reference. The other server is named, not followed: where a bridge sends what the
/// operator entrusts to it is for the operator to say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Said(Box<str>);

impl Said {
    pub(super) fn new(props: &Props<'_>) -> Said {
        let mut text = String::new();
        if let Some(reason) = props.reason_string() {
            text += &format!(", \"{reason}\"");
        }
        if let Some(server) = props.server_reference() {
            text += &format!(", names {server} instead");
        }
        Said(text.into())
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
            Error::Refused(reason, said) => {
                write!(f, "connection refused: {reason}{said}{}", cure(*reason))
            }
            Error::Disconnected(reason, said) => {
                let cure = cure(*reason);
                write!(f, "disconnected by upstream: {reason}{said}{cure}")
            }
            Error::SessionPresent => {
                f.write_str("protocol error: upstream resumes a session, with cleansession true")
            }
            Error::Io(why) | Error::Closed(why) => f.write_str(why),
            Error::Malformed(why) => write!(f, "upstream sent what is no packet: {why}"),
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
