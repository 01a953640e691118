//! Rows of messages: who is owed one, then the message itself.
//!
//! A row is `format, flags, arrival, [expiry], targets, [origin], topic, properties, payload,
//! crc32`, numbers as varints. Targets stand before the payload, so that the scan at start-up
//! stops there. A retained row has the same shape; its topic is its key and not repeated.

use std::ops::Range;
use std::rc::Rc;

use super::codec::{CRC_LEN, Reader, put_bytes, put_varint, seal, tail, unseal};
use crate::lane::Lane;
use crate::message::{Message, MessageId, Origin, Parts, SessionId};
use crate::mqtt::QoS;
use crate::owed::Owed;
use crate::store::error::Corrupt;
use crate::time::Time;

/// The format of message rows.
const FORMAT: u8 = 1;

const QOS_MASK: u8 = 0x03;
const RETAIN: u8 = 0x04;
const EXPIRY: u8 = 0x08;
const ORIGIN: u8 = 0x10;
const USERNAME: u8 = 0x20;
const LISTENER: u8 = 0x40;

const TARGET_LANE: u8 = 0x10;
const TARGET_SUB_IDS: u8 = 0x20;

/// Appends the row of a queued message to `out`, its length before it; returns where the row
/// stands. The origin is not stored: routing is done.
pub(in crate::store) fn encode_message(
    id: MessageId,
    message: &Message,
    targets: &[Owed],
    out: &mut Vec<u8>,
) -> Range<usize> {
    let start = out.len();
    put_head(message, targets, None, out);
    put_bytes(message.topic().as_bytes(), out);
    put_bytes(message.props(), out);
    // The length is known only now. The payload, which may be large, is not moved for it.
    let end = out.len();
    put_varint(
        (end - start + message.payload().len() + CRC_LEN) as u64,
        out,
    );
    let width = out.len() - end;
    tail(out, start).rotate_right(width);
    out.extend_from_slice(message.payload());
    let row = start + width;
    seal(&id.0.to_le_bytes(), row, out);
    row..out.len()
}

/// Appends the row of a retained message to `out`; its key is its topic.
pub(in crate::store) fn encode_retained(message: &Message, out: &mut Vec<u8>) {
    let start = out.len();
    put_head(message, &[], Some(&message.origin), out);
    put_body("", message, out);
    seal(message.topic().as_bytes(), start, out);
}

/// Decodes the row of a queued message. Its origin is empty.
///
/// # Errors
/// [`Corrupt`] if the row is not what was written under `id`.
pub fn decode_message(id: MessageId, row: &[u8]) -> Result<(Message, Vec<Owed>), Corrupt> {
    let mut reader = unseal(&id.0.to_le_bytes(), row)?;
    let head = Head::read(&mut reader)?;
    let targets = read_targets(&mut reader)?;
    let origin = head.read_origin(&mut reader)?;
    let topic = reader.str()?;
    Ok((head.read_message(topic, reader, origin)?, targets))
}

/// Decodes the row of a retained message, with its publisher.
///
/// # Errors
/// [`Corrupt`] if the row is not what was written under `topic`.
pub fn decode_retained(topic: &str, row: &[u8]) -> Result<Message, Corrupt> {
    let mut reader = unseal(topic.as_bytes(), row)?;
    let head = Head::read(&mut reader)?;
    read_targets(&mut reader)?;
    let origin = head.read_origin(&mut reader)?;
    reader.str()?;
    head.read_message(topic, reader, origin)
}

/// Who is owed the message in `row`.
///
/// # Errors
/// [`Corrupt`] if the row is not what was written under `id`.
pub fn decode_targets(id: MessageId, row: &[u8]) -> Result<Vec<Owed>, Corrupt> {
    let mut reader = unseal(&id.0.to_le_bytes(), row)?;
    Head::read(&mut reader)?;
    read_targets(&mut reader)
}

/// What the scan at start-up wants of a message row.
pub(in crate::store) struct Scanned<'a> {
    /// Its topic.
    pub(in crate::store) topic: &'a str,
    /// When it arrived.
    pub(in crate::store) arrival: Time,
    /// When it expires.
    pub(in crate::store) expiry: Option<Time>,
    /// Its [`Message::size`].
    pub(in crate::store) size: u32,
}

/// Walks the targets of a row without allocating a list of them.
pub(in crate::store) fn scan(
    id: MessageId,
    row: &[u8],
    mut visit: impl FnMut(Owed),
) -> Result<Scanned<'_>, Corrupt> {
    let mut reader = unseal(&id.0.to_le_bytes(), row)?;
    let head = Head::read(&mut reader)?;
    for _ in 0..reader.count(3)? {
        visit(read_target(&mut reader)?);
    }
    head.read_origin(&mut reader)?;
    let topic = reader.str()?;
    let props = reader.bytes()?.len();
    let size = topic.len() + props + reader.rest().len();
    Ok(Scanned {
        topic,
        arrival: head.arrival,
        expiry: head.expiry,
        size: size.try_into().map_err(|_| Corrupt)?,
    })
}

/// What stands before the targets.
struct Head {
    flags: u8,
    qos: QoS,
    arrival: Time,
    expiry: Option<Time>,
}

impl Head {
    fn read(reader: &mut Reader<'_>) -> Result<Head, Corrupt> {
        if reader.byte()? != FORMAT {
            return Err(Corrupt);
        }
        let flags = reader.byte()?;
        Ok(Head {
            flags,
            qos: QoS::from_bits(flags & QOS_MASK).ok_or(Corrupt)?,
            arrival: Time::from_millis(reader.varint()?),
            expiry: match flags & EXPIRY {
                0 => None,
                _ => Some(Time::from_millis(reader.varint()?)),
            },
        })
    }

    fn read_origin(&self, reader: &mut Reader<'_>) -> Result<Origin, Corrupt> {
        if self.flags & ORIGIN == 0 {
            return Ok(Origin::default());
        }
        let client_id = reader.str()?;
        let username = match self.flags & USERNAME {
            0 => None,
            _ => Some(reader.str()?),
        };
        let listener = match self.flags & LISTENER {
            0 => None,
            _ => Some(reader.str()?),
        };
        Ok(Origin::new(client_id, username, listener))
    }

    fn read_message(
        &self,
        topic: &str,
        mut reader: Reader<'_>,
        origin: Origin,
    ) -> Result<Message, Corrupt> {
        let parts = Parts {
            topic,
            props: reader.bytes()?,
            payload: reader.rest(),
        };
        let mut message =
            Message::new(parts, self.arrival, Rc::new(origin)).map_err(|_| Corrupt)?;
        message.qos = self.qos;
        message.retain = self.flags & RETAIN != 0;
        message.expiry = self.expiry;
        Ok(message)
    }
}

fn put_head(message: &Message, targets: &[Owed], origin: Option<&Origin>, out: &mut Vec<u8>) {
    let mut flags = message.qos as u8;
    if message.retain {
        flags |= RETAIN;
    }
    if message.expiry.is_some() {
        flags |= EXPIRY;
    }
    let username = origin.and_then(Origin::username);
    if origin.is_some() {
        flags |= ORIGIN;
    }
    if username.is_some() {
        flags |= USERNAME;
    }
    let listener = origin.and_then(Origin::listener);
    if listener.is_some() {
        flags |= LISTENER;
    }
    out.extend_from_slice(&[FORMAT, flags]);
    put_varint(message.arrival.as_millis(), out);
    if let Some(expiry) = message.expiry {
        put_varint(expiry.as_millis(), out);
    }
    put_varint(targets.len() as u64, out);
    for target in targets {
        put_target(target, out);
    }
    if let Some(origin) = origin {
        put_bytes(origin.client_id().as_bytes(), out);
    }
    for name in [username, listener].into_iter().flatten() {
        put_bytes(name.as_bytes(), out);
    }
}

fn put_body(topic: &str, message: &Message, out: &mut Vec<u8>) {
    put_bytes(topic.as_bytes(), out);
    put_bytes(message.props(), out);
    out.extend_from_slice(message.payload());
}

fn put_target(target: &Owed, out: &mut Vec<u8>) {
    let mut flags = target.qos as u8;
    if target.retain {
        flags |= RETAIN;
    }
    if target.lane != Lane::Client {
        flags |= TARGET_LANE;
    }
    if !target.sub_ids.is_empty() {
        flags |= TARGET_SUB_IDS;
    }
    out.push(flags);
    put_varint(target.session.0, out);
    put_varint(target.seq, out);
    if target.lane != Lane::Client {
        put_varint(target.lane.code().into(), out);
    }
    if !target.sub_ids.is_empty() {
        put_varint(target.sub_ids.len() as u64, out);
        for &id in &target.sub_ids {
            put_varint(id.into(), out);
        }
    }
}

fn read_targets(reader: &mut Reader<'_>) -> Result<Vec<Owed>, Corrupt> {
    let n = reader.count(3)?;
    let mut targets = Vec::with_capacity(n);
    for _ in 0..n {
        targets.push(read_target(reader)?);
    }
    Ok(targets)
}

fn read_target(reader: &mut Reader<'_>) -> Result<Owed, Corrupt> {
    let flags = reader.byte()?;
    Ok(Owed {
        session: SessionId(reader.varint()?),
        seq: reader.varint()?,
        qos: QoS::from_bits(flags & QOS_MASK).ok_or(Corrupt)?,
        retain: flags & RETAIN != 0,
        lane: match flags & TARGET_LANE {
            0 => Lane::Client,
            _ => Lane::from_code(reader.number()?),
        },
        sub_ids: match flags & TARGET_SUB_IDS {
            0 => Box::default(),
            _ => (0..reader.count(1)?)
                .map(|_| reader.number())
                .collect::<Result<_, _>>()?,
        },
    })
}
