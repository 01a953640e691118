//! Why a link is down.

pub(super) mod foreign;

use std::fmt;

pub use foreign::Foreign;

use crate::config;
use crate::mqtt::{self, Props, Reason, Version};

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
    AckTimeout(Awaited),
    /// The CONNACK refuses.
    Refused(Reason, Said),
    /// The upstream sent a DISCONNECT.
    Disconnected(Reason, Said),
    /// The CONNACK claims a session where none was asked for [MQTT-3.2.2-4].
    SessionPresent,
    /// Connecting failed, or the connection broke: what the system says.
    Io(String),
    /// There is no password to connect with: why.
    Password(String),
    /// The upstream ended the connection, without a word: what the system says.
    Closed(String),
    /// What came is no packet.
    Malformed(String),
    /// Another protocol answers at this address.
    NotMqtt(Foreign),
    /// The upstream sent a packet that has no place before CONNACK [MQTT-4.13.1-1].
    Unexpected(&'static str),
    /// A packet of ours cannot be encoded: a directive holds too long a value.
    Encode(mqtt::Error),
    /// `connected` came after the attempt was given up.
    GivenUp,
}

impl std::error::Error for Error {}

impl Error {
    /// True for the end of a connection without a word, by which an upstream says what it has no
    /// other way to say before MQTT 5.
    pub(super) const fn is_wordless(&self) -> bool {
        matches!(self, Error::Closed(_))
    }

    /// The text for the log of the bridge `spec`: it names what of the configuration is meant.
    pub(super) fn explain(&self, spec: &config::Bridge) -> String {
        match self {
            Error::Refused(reason, said) if LOGIN.contains(reason) => {
                let cure = cure(*reason);
                match &spec.remote_username {
                    Some(name) => format!("upstream refuses user {name}: {reason}{said}{cure}"),
                    None => {
                        format!("upstream refuses a client without user name: {reason}{said}{cure}")
                    }
                }
            }
            Error::Refused(Reason::UNSUPPORTED_PROTOCOL_VERSION, said) => match spec.version {
                Some(Version::V5) => {
                    format!("no MQTT 5 here{said}: set bridge_protocol_version mqttv311")
                }
                Some(Version::V311) => {
                    format!("no MQTT 3.1.1 here{said}: set bridge_protocol_version mqttv50")
                }
                Some(Version::V31) => {
                    format!("no MQTT 3.1 here{said}: set bridge_protocol_version mqttv311")
                }
                None => self.to_string(),
            },
            Error::Refused(Reason::CLIENT_IDENTIFIER_NOT_VALID, said) => {
                // MQTT 3.1 §3.1.
                let is_long =
                    spec.version == Some(Version::V31) && spec.remote_clientid.chars().count() > 23;
                let cure = if is_long {
                    "set a remote_clientid of at most 23 characters, as MQTT 3.1 has it"
                } else {
                    "check remote_clientid"
                };
                let id = &spec.remote_clientid;
                format!("upstream refuses client id {id}{said}: {cure}")
            }
            _ => self.to_string(),
        }
    }

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

/// The reasons that concern user name and password.
const LOGIN: [Reason; 2] = [Reason::BAD_USER_NAME_OR_PASSWORD, Reason::NOT_AUTHORIZED];

/// The acknowledgement that an upstream owes for too long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// That of a message: PUBACK, PUBREC or PUBCOMP.
    Message,
    /// The PUBACK of the state notification.
    Notification,
    /// The SUBACK for this filter.
    Subscription(Box<str>),
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Awaited::Message => f.write_str("no acknowledgement of a message"),
            Awaited::Notification => f.write_str("no acknowledgement of the state notification"),
            Awaited::Subscription(filter) => write!(f, "no SUBACK for topic {filter}"),
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
            Error::AckTimeout(what) => write!(f, "{what} in time: connecting again"),
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
            Error::Io(why) | Error::Password(why) | Error::Closed(why) => f.write_str(why),
            Error::Malformed(why) => write!(f, "upstream sent what is no packet: {why}"),
            Error::NotMqtt(foreign) => foreign.fmt(f),
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
