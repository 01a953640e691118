//! CONNECT and CONNACK (5.0 §3.1, §3.2).

use crate::mqtt::error::{Error, Fault};
use crate::mqtt::property::Place;
use crate::mqtt::topic::check_name;
use crate::mqtt::wire::{Reader, put_binary, put_string};
use crate::mqtt::{PacketType, Props, QoS, Reason, Version};

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

/// The bit of the protocol level with which a bridge makes itself known.
const BRIDGE: u8 = 0x80;

// Connect flags (5.0 §3.1.2.3).
const RESERVED: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

impl<'a> Connect<'a> {
    /// Reads a body; `flags` are the lower four bits of the first byte.
    pub(in crate::mqtt) fn read(mut reader: Reader<'a>, flags: u8) -> Result<Connect<'a>, Error> {
        let (version, bridge) = read_protocol(&mut reader)?;
        if flags != 0 && version != Version::V31 {
            return Err(Error::HeaderFlags(PacketType::Connect, flags));
        }
        Connect::read_rest(reader, version, bridge).map_err(in_connect)
    }

    fn read_rest(
        mut reader: Reader<'a>,
        version: Version,
        bridge: bool,
    ) -> Result<Connect<'a>, Fault> {
        let flags = read_flags(&mut reader, version)?;
        let keep_alive = reader.u16()?;
        let props = read_props(&mut reader, Place::Packet(PacketType::Connect), version)?;
        let client_id = reader.string()?;
        let will = match flags & WILL {
            0 => None,
            _ => Some(Will::read(&mut reader, flags, version)?),
        };
        // MQTT 3.1 §3.1: the flag may be set although the string is missing.
        let present =
            |flag, r: &Reader<'_>| flags & flag != 0 && !(version == Version::V31 && r.is_empty());
        let username = if present(USER_NAME, &reader) {
            Some(reader.string()?)
        } else {
            None
        };
        let password = if present(PASSWORD, &reader) {
            Some(reader.binary()?)
        } else {
            None
        };
        let clean_start = flags & CLEAN_START != 0;
        reader.finish(Connect {
            version,
            bridge,
            clean_start,
            keep_alive,
            client_id,
            will,
            username,
            password,
            props,
        })
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | (will.qos as u8) << WILL_QOS_SHIFT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        if self.username.is_some() {
            flags |= USER_NAME;
        }
        flags
    }

    pub(in crate::mqtt) fn put(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.password.is_some() && self.username.is_none() && self.version < Version::V5 {
            return Err(Fault::PasswordWithoutUserName);
        }
        put_string(
            out,
            if self.version == Version::V31 {
                "MQIsdp"
            } else {
                "MQTT"
            },
        )?;
        let bridge = if self.bridge && self.version < Version::V5 {
            BRIDGE
        } else {
            0
        };
        out.push(self.version as u8 | bridge);
        out.push(self.flags());
        out.extend_from_slice(&self.keep_alive.to_be_bytes());
        if self.version == Version::V5 {
            self.props.put(out)?;
        }
        put_string(out, self.client_id)?;
        if let Some(will) = &self.will {
            if self.version == Version::V5 {
                will.props.put(out)?;
            }
            put_string(out, will.topic)?;
            put_binary(out, will.payload)?;
        }
        self.username
            .map_or(Ok(()), |username| put_string(out, username))?;
        self.password
            .map_or(Ok(()), |password| put_binary(out, password))
    }
}

const fn in_connect(fault: Fault) -> Error {
    Error::Body(PacketType::Connect, fault)
}

/// Protocol name and level.
fn read_protocol(reader: &mut Reader<'_>) -> Result<(Version, bool), Error> {
    let name = reader.binary().map_err(in_connect)?;
    if !matches!(name, b"MQTT" | b"MQIsdp") {
        return Err(Error::ProtocolName);
    }
    let level = reader.u8().map_err(in_connect)?;
    match (name, level & !BRIDGE) {
        (b"MQIsdp", 3) => Ok((Version::V31, level & BRIDGE != 0)),
        (b"MQTT", 4) => Ok((Version::V311, level & BRIDGE != 0)),
        (b"MQTT", 5) if level & BRIDGE == 0 => Ok((Version::V5, false)),
        _ => Err(Error::UnsupportedVersion(level)),
    }
}

/// The connect flags. MQTT 3.1 leaves the reserved bit, and the will bits without a will, unused
/// instead of zero.
fn read_flags(reader: &mut Reader<'_>, version: Version) -> Result<u8, Fault> {
    let flags = reader.u8()?;
    let v31 = version == Version::V31;
    if flags & RESERVED != 0 && !v31 {
        return Err(Fault::ConnectFlags(flags));
    }
    if flags & WILL == 0 && flags & (3 << WILL_QOS_SHIFT | WILL_RETAIN) != 0 && !v31 {
        return Err(Fault::WillFlags);
    }
    if flags & (USER_NAME | PASSWORD) == PASSWORD && version < Version::V5 {
        return Err(Fault::PasswordWithoutUserName);
    }
    Ok(flags)
}

/// The properties in 5.0, none before.
fn read_props<'a>(
    reader: &mut Reader<'a>,
    place: Place,
    version: Version,
) -> Result<Props<'a>, Fault> {
    match version {
        Version::V5 => Props::read(reader, place),
        _ => Ok(Props::EMPTY),
    }
}

impl<'a> Will<'a> {
    fn read(reader: &mut Reader<'a>, flags: u8, version: Version) -> Result<Will<'a>, Fault> {
        let qos = QoS::from_bits(flags >> WILL_QOS_SHIFT & 3).ok_or(Fault::QoS)?;
        let props = read_props(reader, Place::Will, version)?;
        let topic = reader.utf8()?;
        check_name(topic)?;
        let payload = reader.binary()?;
        Ok(Will {
            topic,
            payload,
            qos,
            retain: flags & WILL_RETAIN != 0,
            props,
        })
    }
}

/// The return code for everything that has no other.
const SERVER_UNAVAILABLE: u8 = 3;

/// The return codes of 3.1.1 (table 3.1) by their number, as reasons.
const RETURN_CODES: [Reason; 6] = [
    Reason::SUCCESS,
    Reason::UNSUPPORTED_PROTOCOL_VERSION,
    Reason::CLIENT_IDENTIFIER_NOT_VALID,
    Reason::SERVER_UNAVAILABLE,
    Reason::BAD_USER_NAME_OR_PASSWORD,
    Reason::NOT_AUTHORIZED,
];

impl<'a> ConnAck<'a> {
    /// The return code of 3.1.1 that says the same. `None` if there is none: then the connection
    /// is to be closed without a CONNACK (3.1.1 [MQTT-3.2.2-6]).
    pub fn return_code(&self) -> Option<u8> {
        let reason = match self.reason {
            Reason::SERVER_BUSY | Reason::SERVER_SHUTTING_DOWN => Reason::SERVER_UNAVAILABLE,
            // A will that is too large, as in Mosquitto.
            Reason::PACKET_TOO_LARGE => Reason::NOT_AUTHORIZED,
            reason => reason,
        };
        let codes = (0..).zip(RETURN_CODES);
        codes
            .into_iter()
            .find_map(|(code, known)| (known == reason).then_some(code))
    }

    pub(in crate::mqtt) fn read(
        mut reader: Reader<'a>,
        version: Version,
    ) -> Result<ConnAck<'a>, Fault> {
        let mut flags = reader.u8()?;
        if version == Version::V31 {
            // A reserved byte, there.
            flags = 0;
        }
        if flags > 1 {
            return Err(Fault::AckFlags(flags));
        }
        let reason = match version {
            Version::V5 => reader.reason(PacketType::ConnAck)?,
            _ => {
                let code = reader.u8()?;
                *RETURN_CODES
                    .get(usize::from(code))
                    .ok_or(Fault::ReasonCode(code))?
            }
        };
        let session_present = flags == 1;
        if session_present && reason != Reason::SUCCESS {
            return Err(Fault::SessionPresent);
        }
        let props = read_props(&mut reader, Place::Packet(PacketType::ConnAck), version)?;
        reader.finish(ConnAck {
            session_present,
            reason,
            props,
        })
    }

    pub(in crate::mqtt) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
        out.push(u8::from(self.session_present && version != Version::V31));
        if version < Version::V5 {
            out.push(self.return_code().unwrap_or(SERVER_UNAVAILABLE));
            return Ok(());
        }
        out.push(self.reason.0);
        self.props.put(out)
    }
}
