//! Why a conversation with a broker ended.

use std::fmt;
use std::io;

use crate::mqtt::{self, PacketType, Reason, Version};

/// Ends a connection. The text is what mosquitto_pub and mosquitto_sub print.
#[derive(Debug)]
pub enum Error {
    /// The name of the broker, or of the address to bind to, can't be resolved.
    Resolve(String),
    /// No TCP connection.
    Connect(io::Error),
    /// The broker accepted the TCP connection and did not answer the CONNECT in time.
    NoConnAck,
    /// CONNACK with a failure.
    Refused(Version, Reason),
    /// The connection broke.
    Lost,
    /// The broker did not answer a PINGREQ within the keep-alive time.
    KeepAlive,
    /// The broker said goodbye (5.0).
    Disconnected(Reason),
    /// The broker sent something that is not MQTT, or a packet cannot be encoded.
    Packet(mqtt::Error),
    /// The broker sent a packet that has no place there.
    Unexpected(PacketType),
    /// A message asks for what the broker said it can't do (5.0).
    Unsupported(&'static str),
}

impl Error {
    /// The exit status that mosquitto_pub and mosquitto_sub end with: the code of the CONNACK,
    /// else a number of libmosquitto.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Refused(Version::V5, reason) => reason.0,
            Error::Refused(_, reason) => return_code(*reason).0,
            Error::Resolve(_) | Error::Connect(_) => 1,
            Error::Packet(_) | Error::Unexpected(_) => 2,
            Error::Lost | Error::NoConnAck | Error::Disconnected(_) => 7,
            Error::KeepAlive => 19,
            Error::Unsupported(_) => 3,
        }
    }

    /// True if another attempt may succeed where this one failed.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Resolve(_) | Error::Connect(_) | Error::NoConnAck => true,
            Error::Lost | Error::KeepAlive => true,
            // Another client with our name: coming back would throw it out in turn, for ever.
            Error::Disconnected(reason) => *reason != Reason::SESSION_TAKEN_OVER,
            Error::Refused(_, reason) => {
                matches!(*reason, Reason::SERVER_UNAVAILABLE | Reason::SERVER_BUSY)
            }
            Error::Packet(_) | Error::Unexpected(_) | Error::Unsupported(_) => false,
        }
    }
}

/// Number and text of the CONNACK return code (3.1.1 §3.2.2.3) that the codec made a reason of.
fn return_code(reason: Reason) -> (u8, &'static str) {
    match reason {
        Reason::UNSUPPORTED_PROTOCOL_VERSION => (1, "unacceptable protocol version."),
        Reason::CLIENT_IDENTIFIER_NOT_VALID => (2, "identifier rejected."),
        Reason::SERVER_UNAVAILABLE => (3, "broker unavailable."),
        Reason::BAD_USER_NAME_OR_PASSWORD => (4, "bad user name or password."),
        Reason::NOT_AUTHORIZED => (5, "not authorised."),
        _ => (6, "unknown reason."),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Resolve(name) => write!(f, "Unable to connect (Lookup error of {name:?})."),
            Error::Connect(error) => write!(f, "Error: {}", plain(error)),
            Error::NoConnAck => write!(f, "Error: The broker did not answer the CONNECT in time."),
            Error::Refused(Version::V5, reason) => {
                write!(f, "Connection error: {}", capital(reason.text()))?;
                if *reason == Reason::UNSUPPORTED_PROTOCOL_VERSION {
                    write!(f, ". Try -V 311 or -V 31")?;
                }
                Ok(())
            }
            Error::Refused(_, reason) => {
                write!(
                    f,
                    "Connection error: Connection Refused: {}",
                    return_code(*reason).1
                )
            }
            Error::Lost => write!(f, "Error: The connection was lost."),
            Error::KeepAlive => write!(f, "Error: Keepalive exceeded"),
            Error::Disconnected(reason) => {
                write!(
                    f,
                    "Error: The broker disconnected: {}",
                    capital(reason.text())
                )
            }
            Error::Packet(error) => write!(f, "Error: {error}"),
            Error::Unexpected(kind) => write!(f, "Error: {kind} from the broker, out of place"),
            Error::Unsupported(what) => write!(f, "Error: The broker does not support {what}."),
        }
    }
}

impl std::error::Error for Error {}

impl From<mqtt::Error> for Error {
    fn from(error: mqtt::Error) -> Error {
        Error::Packet(error)
    }
}

/// An operating system's error without the "(os error 111)" that std adds.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((plain, _)) => plain.to_owned(),
        None => capital(&text),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_and_end_as_mosquittos() {
        let old = Error::Refused(Version::V311, Reason::NOT_AUTHORIZED);
        assert_eq!(
            (old.to_string().as_str(), old.exit_status()),
            ("Connection error: Connection Refused: not authorised.", 5)
        );
        let new = Error::Refused(Version::V5, Reason::NOT_AUTHORIZED);
        assert_eq!(
            (new.to_string().as_str(), new.exit_status()),
            ("Connection error: Not authorized", 135)
        );
        let down = Error::Connect(io::Error::from_raw_os_error(111));
        assert_eq!(down.to_string(), "Error: Connection refused");
    }
}
