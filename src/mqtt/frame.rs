//! Packets in a stream of bytes: the fixed header (5.0 §2.1) around the bodies.

use super::error::{Error, Fault};
use super::packets::qos_and_dup;
use super::wire::{
    MAX_VARIABLE_BYTE_INTEGER, Reader, Variable, patch_variable, put_id, put_variable, variable,
    variable_len,
};
use super::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, Publish, Reason, SubAck,
    Subscribe, UnsubAck, Unsubscribe, Version,
};

/// The largest remaining length: 268,435,455 bytes (5.0 §2.1.4).
pub const MAX_REMAINING_LENGTH: usize = MAX_VARIABLE_BYTE_INTEGER;

/// Decodes the packet at the front of `buf`, on a connection that speaks `version`; a CONNECT
/// says itself which version it is. `Ok(None)` means that more bytes are needed, otherwise the
/// answer has the packet and the bytes it takes. Until a packet is complete only its fixed header
/// is looked at.
///
/// `max_packet` bounds the whole packet in bytes, fixed header included. A larger one is refused
/// as soon as its fixed header is there.
///
/// # Errors
/// [`Error`] says what is wrong and, by [`Error::reason`], how to report it. The connection must
/// be closed: there is no way to find the next packet.
pub fn decode(
    buf: &[u8],
    version: Version,
    max_packet: usize,
) -> Result<Option<(Packet<'_>, usize)>, Error> {
    if let Some(ack) = plain_puback(buf, max_packet) {
        return Ok(Some((Packet::PubAck(ack), PLAIN_PUBACK)));
    }
    let Some(header) = Header::read(buf, version)? else {
        return Ok(None);
    };
    let size = header.len + header.remaining;
    if size > max_packet {
        return Err(Error::PacketTooLarge {
            size,
            max: max_packet,
        });
    }
    let Some(body) = buf.get(header.len..size) else {
        return Ok(None);
    };
    let packet = read_body(&header, Reader::new(body), version)?;
    Ok(Some((packet, size)))
}

/// The size in bytes, fixed header included, that the packet at the front of `buf` announces;
/// `None` until its remaining length is there. Nothing else of it is looked at.
pub fn announced_size(buf: &[u8]) -> Option<usize> {
    match variable(buf.get(1..)?) {
        Variable::Value { value, len, .. } => Some(1 + len + value as usize),
        Variable::Partial | Variable::TooLong => None,
    }
}

/// Bytes of a PUBACK without a reason code.
const PLAIN_PUBACK: usize = 4;

/// The PUBACK at the front of `buf` if it is the plain one, which all versions have in common: every
/// second packet of a busy receiver.
#[inline]
fn plain_puback(buf: &[u8], max_packet: usize) -> Option<Ack<'static>> {
    let &[0x40, 2, high, low, ..] = buf else {
        return None;
    };
    let id = PacketId::new(u16::from_be_bytes([high, low]))?;
    (max_packet >= PLAIN_PUBACK).then(|| Ack::new(id, Reason::SUCCESS))
}

/// Appends `packet` to `out`, as `version` has it; a CONNECT says itself which version it is.
/// What a version lacks is left out: properties, reason codes and session present where there are
/// none, subscription options other than the QoS.
///
/// # Errors
/// [`Fault::FieldTooLong`] in an [`Error::Body`] for a string or binary value longer than 65,535
/// bytes, [`Fault::PasswordWithoutUserName`] before 5.0, [`Error::PacketTooLarge`] for a
/// remaining length over [`MAX_REMAINING_LENGTH`], [`Error::PacketType`] for an AUTH before 5.0.
/// `out` is then as it was.
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    let result = match packet {
        Packet::Publish(publish) => {
            encode_head(publish, version, out).map(|()| out.extend_from_slice(publish.payload))
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack)
            if ack.is_short(version) =>
        {
            let kind = packet.kind();
            out.push((kind as u8) << 4 | fixed_flags(kind));
            out.push(2);
            put_id(out, ack.id);
            Ok(())
        }
        _ => put_packet(packet, version, out),
    };
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends all of a PUBLISH but its payload, which must follow.
///
/// # Errors
/// As [`encode`].
pub fn encode_head(
    publish: &Publish<'_>,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    let remaining = publish.body_len(version);
    check_remaining(remaining)?;
    out.push((PacketType::Publish as u8) << 4 | publish.flags());
    put_variable(out, remaining);
    publish.put_head(version, out).map_err(|fault| {
        out.truncate(start);
        Error::Body(PacketType::Publish, fault)
    })
}

/// A fixed header.
struct Header {
    kind: PacketType,
    /// The lower four bits of the first byte.
    flags: u8,
    /// Bytes of the header itself.
    len: usize,
    /// Bytes that follow.
    remaining: usize,
    /// The remaining length takes no more bytes than it needs.
    shortest: bool,
}

impl Header {
    /// Reads as much as is there; `None` when more is needed.
    #[inline]
    fn read(buf: &[u8], version: Version) -> Result<Option<Header>, Error> {
        let Some((&first, rest)) = buf.split_first() else {
            return Ok(None);
        };
        let (bits, flags) = (first >> 4, first & 0x0f);
        let kind = PacketType::from_bits(bits, version).ok_or(Error::PacketType(bits))?;
        check_flags(kind, flags, version)?;
        let (remaining, len, shortest) = match variable(rest) {
            Variable::Partial => return Ok(None),
            // 3.1.1 does not ask for the shortest form, and which version a CONNECT is shows later.
            Variable::Value {
                value,
                len,
                shortest,
            } if shortest || version < Version::V5 || kind == PacketType::Connect => {
                (value as usize, len, shortest)
            }
            _ => return Err(Error::RemainingLength),
        };
        if fixed_length(kind, version).is_some_and(|fixed| remaining != fixed) {
            return Err(Error::Body(kind, Fault::Length));
        }
        Ok(Some(Header {
            kind,
            flags,
            len: 1 + len,
            remaining,
            shortest,
        }))
    }
}

/// Checks the lower four bits of the first byte [MQTT-2.1.3-1]. But for PUBLISH, MQTT 3.1 says
/// that they are unused, and its clients set DUP on what they send again.
#[inline]
fn check_flags(kind: PacketType, flags: u8, version: Version) -> Result<(), Error> {
    let right = match kind {
        PacketType::Publish => {
            return qos_and_dup(flags)
                .map(drop)
                .map_err(|fault| Error::Body(kind, fault));
        }
        // Checked when the version is known.
        PacketType::Connect => true,
        _ => version == Version::V31 || flags == fixed_flags(kind),
    };
    if right {
        Ok(())
    } else {
        Err(Error::HeaderFlags(kind, flags))
    }
}

/// The lower four bits of the first byte (5.0 table 2-2) of all but PUBLISH.
const fn fixed_flags(kind: PacketType) -> u8 {
    match kind {
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 2,
        _ => 0,
    }
}

/// The remaining length, if it is the same for all packets of this type.
const fn fixed_length(kind: PacketType, version: Version) -> Option<usize> {
    match (kind, version) {
        (PacketType::PingReq | PacketType::PingResp, _) => Some(0),
        (_, Version::V5) => None,
        (PacketType::Disconnect, _) => Some(0),
        (
            PacketType::ConnAck
            | PacketType::PubAck
            | PacketType::PubRec
            | PacketType::PubRel
            | PacketType::PubComp
            | PacketType::UnsubAck,
            _,
        ) => Some(2),
        _ => None,
    }
}

#[inline]
fn read_body<'a>(
    header: &Header,
    reader: Reader<'a>,
    version: Version,
) -> Result<Packet<'a>, Error> {
    let kind = header.kind;
    let packet = match kind {
        PacketType::Connect => {
            let connect = Connect::read(reader, header.flags)?;
            if connect.version == Version::V5 && !header.shortest {
                return Err(Error::RemainingLength);
            }
            return Ok(Packet::Connect(Box::new(connect)));
        }
        PacketType::Publish => Publish::read(reader, header.flags, version).map(Packet::Publish),
        PacketType::ConnAck => ConnAck::read(reader, version).map(Packet::ConnAck),
        PacketType::PubAck => Ack::read(reader, kind, version).map(Packet::PubAck),
        PacketType::PubRec => Ack::read(reader, kind, version).map(Packet::PubRec),
        PacketType::PubRel => Ack::read(reader, kind, version).map(Packet::PubRel),
        PacketType::PubComp => Ack::read(reader, kind, version).map(Packet::PubComp),
        PacketType::Subscribe => Subscribe::read(reader, version).map(Packet::Subscribe),
        PacketType::SubAck => SubAck::read(reader, version).map(Packet::SubAck),
        PacketType::Unsubscribe => Unsubscribe::read(reader, version).map(Packet::Unsubscribe),
        PacketType::UnsubAck => UnsubAck::read(reader, version).map(Packet::UnsubAck),
        PacketType::PingReq => reader.finish(Packet::PingReq),
        PacketType::PingResp => reader.finish(Packet::PingResp),
        PacketType::Disconnect => Disconnect::read(reader, version).map(Packet::Disconnect),
        PacketType::Auth => Auth::read(reader, version).map(Packet::Auth),
    };
    packet.map_err(|fault| Error::Body(kind, fault))
}

/// Puts the body after room for a remaining length of one byte, as almost all have, and makes
/// more room if it takes more.
fn put_packet(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) -> Result<(), Error> {
    let kind = packet.kind();
    if kind == PacketType::Auth && version < Version::V5 {
        return Err(Error::PacketType(kind as u8));
    }
    out.push((kind as u8) << 4 | fixed_flags(kind));
    let length_at = out.len();
    out.push(0);
    put_body(packet, version, out).map_err(|fault| Error::Body(kind, fault))?;
    let remaining = out.len() - length_at - 1;
    check_remaining(remaining)?;
    patch_variable(out, length_at, remaining);
    Ok(())
}

fn put_body(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
    match packet {
        Packet::Connect(connect) => connect.put(out),
        Packet::ConnAck(ack) => ack.put(version, out),
        // Has an encoder of its own: encode_head.
        Packet::Publish(_) => Ok(()),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.put(version, out)
        }
        Packet::Subscribe(subscribe) => subscribe.put(version, out),
        Packet::SubAck(ack) => ack.put(version, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.put(version, out),
        Packet::UnsubAck(ack) => ack.put(version, out),
        Packet::PingReq | Packet::PingResp => Ok(()),
        Packet::Disconnect(disconnect) => disconnect.put(version, out),
        Packet::Auth(auth) => auth.put(version, out),
    }
}

fn check_remaining(remaining: usize) -> Result<(), Error> {
    if remaining <= MAX_REMAINING_LENGTH {
        return Ok(());
    }
    let max = 1 + variable_len(MAX_REMAINING_LENGTH) + MAX_REMAINING_LENGTH;
    Err(Error::PacketTooLarge {
        size: 1 + variable_len(remaining) + remaining,
        max,
    })
}
