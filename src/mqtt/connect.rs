//! CONNECT and CONNACK (5.0 §3.1, §3.2).

use super::{Props, QoS, Reason, Version};

/// A CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connect<'a> {
    /// The protocol version asked for.
    pub version: Version,
    /// Bit 0x80 of the protocol level: the client is a bridge (Mosquitto's `try_private`;
    /// before 5.0 only).
    pub bridge: bool,
    /// Clean Start (5.0) or Clean Session.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive: u16,
    /// The client identifier; may be empty.
    pub client_id: &'a str,
    /// The will.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password: binary data.
    pub password: Option<&'a [u8]>,
    /// The CONNECT properties (5.0).
    pub props: Props<'a>,
}

/// The will of a CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    /// The will topic, checked as a topic name.
    pub topic: &'a str,
    /// The will payload.
    pub payload: &'a [u8],
    /// The will QoS.
    pub qos: QoS,
    /// The will RETAIN flag.
    pub retain: bool,
    /// The will properties (5.0).
    pub props: Props<'a>,
}

/// A CONNACK. Before 5.0 the reason is mapped to and from the five return codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnAck<'a> {
    /// The server has the session's state.
    pub session_present: bool,
    /// Success, or why not.
    pub reason: Reason,
    /// The CONNACK properties (5.0).
    pub props: Props<'a>,
}
