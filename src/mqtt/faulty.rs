//! What can be told of a packet that [`decode`](super::decode) refuses, as long as its frame is
//! intact: where it ends, and what an answer to it needs.

use super::error::{Error, Fault};
use super::types::TOPIC_ALIAS;
use super::wire::{Reader, Variable, variable};
use super::{Delivery, PacketId, PacketType, QoS, Reason, Version};

/// So many bytes of a packet are looked at, at most: the longest topic name, the packet id, and in
/// all likelihood the properties.
pub const FAULTY_HEAD: usize = 128 * 1024;

/// A packet that is not as the standard has it, in an intact frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Faulty<'a> {
    /// Its type; `None` for 0, which does not exist.
    pub kind: Option<PacketType>,
    /// The bytes that it takes, with its fixed header.
    pub size: usize,
    /// The packet id, where the packet has one that is not 0.
    pub id: Option<PacketId>,
    /// The first reason code, where the packet has one.
    pub reason: Option<Reason>,
    /// The topic name of a PUBLISH, of whatever bytes.
    pub topic: Option<&'a [u8]>,
    /// How a PUBLISH is to be acknowledged; `None` at QoS 3 and where the packet id can't be read.
    pub delivery: Option<Delivery>,
    /// The topic alias of a PUBLISH.
    pub alias: FaultyAlias,
}

/// The topic alias of a PUBLISH, as far as it can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultyAlias {
    /// It has none.
    None,
    /// This one.
    Of(u16),
    /// It may have any.
    Unknown,
}

/// Reads what can be read of the packet at the front of `buf`. `Ok(None)` means that more bytes are
/// needed: all of the packet, or [`FAULTY_HEAD`] of it.
///
/// # Errors
/// [`Error::RemainingLength`]: the frame itself is broken, and there is no way to find the next one.
pub fn read_faulty(buf: &[u8], version: Version) -> Result<Option<Faulty<'_>>, Error> {
    let Some((&first, rest)) = buf.split_first() else {
        return Ok(None);
    };
    let (size, at) = match variable(rest) {
        Variable::Partial => return Ok(None),
        Variable::Value {
            value,
            len,
            shortest,
        } if shortest || version < Version::V5 => (1 + len + value as usize, 1 + len),
        _ => return Err(Error::RemainingLength),
    };
    let body = buf
        .get(..size.min(FAULTY_HEAD))
        .and_then(|head| head.get(at..));
    let Some(body) = body else {
        return Ok(None);
    };
    let mut faulty = Faulty {
        kind: PacketType::from_bits(first >> 4, Version::V5),
        size,
        id: None,
        reason: None,
        topic: None,
        delivery: None,
        alias: FaultyAlias::None,
    };
    faulty.read_body(first & 0x0f, Reader::new(body), version);
    Ok(Some(faulty))
}

impl<'a> Faulty<'a> {
    fn read_body(&mut self, flags: u8, mut reader: Reader<'a>, version: Version) {
        match self.kind {
            Some(PacketType::Publish) => self.read_publish(flags, reader, version),
            Some(
                PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp,
            ) => {
                self.id = reader.packet_id().ok();
                if version == Version::V5 {
                    self.reason = reader.u8().ok().map(Reason);
                }
            }
            Some(PacketType::SubAck | PacketType::UnsubAck) => {
                self.id = reader.packet_id().ok();
                let is_skipped = version < Version::V5 || skip_section(&mut reader).is_ok();
                if is_skipped {
                    self.reason = reader.u8().ok().map(Reason);
                }
            }
            Some(PacketType::Disconnect) => self.reason = reader.u8().ok().map(Reason),
            _ => {}
        }
    }

    fn read_publish(&mut self, flags: u8, mut reader: Reader<'a>, version: Version) {
        self.topic = reader.binary().ok();
        let qos = QoS::from_bits(flags >> 1 & 3);
        if self.topic.is_some() && qos != Some(QoS::AtMostOnce) {
            // At QoS 3 there is one, in all likelihood.
            self.id = reader.u16().ok().and_then(PacketId::new);
        }
        self.delivery = match (qos, self.id) {
            (Some(QoS::AtMostOnce), _) => Some(Delivery::AtMostOnce),
            (Some(qos), Some(id)) => Some(Delivery::new(qos, id, flags & 0x08 != 0)),
            _ => None,
        };
        if version == Version::V5 {
            self.alias = match self.topic {
                Some(_) => find_alias(reader).unwrap_or(FaultyAlias::Unknown),
                None => FaultyAlias::Unknown,
            };
        }
    }
}

/// Skips a property section.
fn skip_section(reader: &mut Reader<'_>) -> Result<(), Fault> {
    let len = reader.variable()?;
    reader.take(len as usize)?;
    Ok(())
}

/// Looks for the topic alias of a PUBLISH among its properties, whatever else they hold.
fn find_alias(mut reader: Reader<'_>) -> Result<FaultyAlias, Fault> {
    let len = reader.variable()?;
    let mut section = Reader::new(reader.take(len as usize)?);
    let mut found = FaultyAlias::None;
    while !section.is_empty() {
        match section.u8()? {
            TOPIC_ALIAS if found != FaultyAlias::None => return Ok(FaultyAlias::Unknown),
            TOPIC_ALIAS => found = FaultyAlias::Of(section.u16()?),
            id => skip_value(id, &mut section)?,
        }
    }
    Ok(found)
}

/// Skips the value of the property `id` (5.0 table 2-4), unchecked.
fn skip_value(id: u8, reader: &mut Reader<'_>) -> Result<(), Fault> {
    match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => reader.take(1).map(drop),
        0x13 | 0x21 | 0x22 => reader.take(2).map(drop),
        0x02 | 0x11 | 0x18 | 0x27 => reader.take(4).map(drop),
        0x0b => reader.variable().map(drop),
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => reader.binary().map(drop),
        0x26 => {
            reader.binary()?;
            reader.binary().map(drop)
        }
        _ => Err(Fault::Property(id)),
    }
}
