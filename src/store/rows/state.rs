//! Rows of sessions: where their delivery stands.

use super::bridge::VolumeRecord;
use super::codec::{Reader, flag, put_varint, seal, unseal};
use super::format::Format;
use super::session::{
    FORMAT, IDENTITY, STATE, SessionKey, SessionRecord, is_wide, key_bytes, read_format,
};
use super::sync::SyncRecord;
use crate::lane::Lane;
use crate::message::{MessageId, SessionId};
use crate::mqtt::PacketId;
use crate::store::error::Corrupt;
use crate::time::Time;

/// Where the delivery of a session stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StateRecord {
    /// The position that the next message in the outbound sequence gets.
    pub next_seq: u64,
    /// Every message up to and including this was sent at least once, but for those of the lanes in
    /// [`StateRecord::lanes`]. It says nothing about dead letters.
    pub cursor: MessageId,
    /// The same for the low lane, which runs behind.
    pub low_cursor: MessageId,
    /// The messages at or below the cursors that are still owed, rising.
    pub sent: Vec<MessageId>,
    /// Outbound QoS 2: PUBREC came in, PUBCOMP not yet. The message is kept until then: a
    /// receiver that loses its session in between has lost it. Message 0 is none.
    pub releasing: Vec<(PacketId, MessageId)>,
    /// Inbound QoS 2: ids received and not yet released, as far as they don't have rows of their own.
    pub received: Vec<PacketId>,
    /// What was dropped.
    pub drops: Vec<DropRecord>,
    /// Bytes an hour that are queued, averaged over as many seconds; `None` if not known.
    pub rate: Option<(u64, u64)>,
    /// Messages are dropped by topic: the scan at start-up must tell topics apart.
    pub by_topic: bool,
    /// The lanes that have a cursor of their own in place of [`StateRecord::cursor`]: they were
    /// paused, and are behind the others.
    pub lanes: Vec<(Lane, MessageId)>,
    /// What of the retained messages the upstream of a bridge has; `None` if not known.
    pub retained: Option<SyncRecord>,
    /// What went over the uplink of a bridge; `None` if nothing did yet.
    pub volume: Option<VolumeRecord>,
}

/// Messages that were dropped from a session's queue for one reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DropRecord {
    /// The lane they belonged to.
    pub lane: Lane,
    /// The reason, as the broker numbers them.
    pub reason: u8,
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first was dropped.
    pub first: Time,
    /// When the last was dropped.
    pub last: Time,
}

impl StateRecord {
    const DROPS: u8 = 0x01;
    const RATE: u8 = 0x02;
    const BY_TOPIC: u8 = 0x04;
    const RETAINED: u8 = 0x80;
    const LANES: u8 = 0x08;
    const VOLUME: u8 = 0x10;

    /// What a program must know to read its row: those before that take what follows at the end for damage.
    pub(super) fn format(&self) -> Format {
        if self.volume.is_some() {
            Format::Volume
        } else {
            Format::First
        }
    }

    /// Every message of `lane` up to and including this was sent at least once.
    pub fn cursor_of(&self, lane: Lane) -> MessageId {
        let own = self.lanes.iter().find(|(known, _)| *known == lane);
        own.map_or(self.cursor, |(_, cursor)| *cursor)
    }

    /// Appends the row of session `id` to `out`.
    pub(in crate::store) fn encode(&self, id: SessionId, out: &mut Vec<u8>) {
        let start = out.len();
        let flags = flag(!self.drops.is_empty(), Self::DROPS)
            | flag(self.rate.is_some(), Self::RATE)
            | flag(self.by_topic, Self::BY_TOPIC)
            | flag(!self.lanes.is_empty(), Self::LANES)
            | flag(self.retained.is_some(), Self::RETAINED)
            | flag(self.volume.is_some(), Self::VOLUME);
        out.extend_from_slice(&[FORMAT, flags]);
        put_varint(self.next_seq, out);
        put_varint(self.cursor.0, out);
        put_varint(self.low_cursor.0, out);
        put_varint(self.sent.len() as u64, out);
        let mut last = 0;
        for id in &self.sent {
            // Rising ids make small steps; any other order still comes back the same.
            put_varint(id.0.wrapping_sub(last), out);
            last = id.0;
        }
        put_varint(self.releasing.len() as u64, out);
        for (id, message) in &self.releasing {
            out.extend_from_slice(&id.get().to_le_bytes());
            put_varint(message.0, out);
        }
        put_packet_ids(&self.received, out);
        if !self.drops.is_empty() {
            put_varint(self.drops.len() as u64, out);
            self.drops.iter().for_each(|record| record.encode(out));
        }
        if let Some((rate, seconds)) = self.rate {
            put_varint(rate, out);
            put_varint(seconds, out);
        }
        if !self.lanes.is_empty() {
            put_varint(self.lanes.len() as u64, out);
            for (lane, cursor) in &self.lanes {
                put_varint(lane.code().into(), out);
                put_varint(cursor.0, out);
            }
        }
        if let Some(retained) = &self.retained {
            retained.encode(out);
        }
        if let Some(volume) = &self.volume {
            volume.encode(out);
        }
        seal(&key_bytes(id, STATE), start, out);
    }

    /// Decodes the row of session `id`.
    ///
    /// # Errors
    /// [`Corrupt`] if the row is not what was written under `id`.
    pub(in crate::store) fn decode(id: SessionId, row: &[u8]) -> Result<StateRecord, Corrupt> {
        let mut reader = unseal(&key_bytes(id, STATE), row)?;
        let flags = read_format(&mut reader)?;
        let mut record = StateRecord {
            by_topic: flags & Self::BY_TOPIC != 0,
            next_seq: reader.varint()?,
            cursor: MessageId(reader.varint()?),
            low_cursor: MessageId(reader.varint()?),
            ..StateRecord::default()
        };
        let mut last = 0u64;
        for _ in 0..reader.count(1)? {
            last = last.wrapping_add(reader.varint()?);
            record.sent.push(MessageId(last));
        }
        for _ in 0..reader.count(3)? {
            let id = read_packet_id(&mut reader)?;
            record.releasing.push((id, MessageId(reader.varint()?)));
        }
        record.received = read_packet_ids(&mut reader)?;
        if flags & Self::DROPS != 0 {
            record.drops = (0..reader.count(6)?)
                .map(|_| DropRecord::decode(&mut reader))
                .collect::<Result<_, _>>()?;
        }
        if flags & Self::RATE != 0 {
            record.rate = Some((reader.varint()?, reader.varint()?));
        }
        if flags & Self::LANES != 0 {
            for _ in 0..reader.count(2)? {
                let lane = Lane::from_code(reader.number()?);
                record.lanes.push((lane, MessageId(reader.varint()?)));
            }
        }
        if flags & Self::RETAINED != 0 {
            record.retained = Some(SyncRecord::decode(&mut reader)?);
        }
        if flags & Self::VOLUME != 0 {
            record.volume = Some(VolumeRecord::decode(&mut reader)?);
        }
        reader.end()?;
        Ok(record)
    }
}

/// What a program must know to read the row of a session under `key`, whatever else is in the store.
pub(in crate::store) fn format_of((id, kind): SessionKey, row: &[u8]) -> Format {
    let (of_number, id) = (format_of_number(id), SessionId(id));
    let of_row = match kind {
        IDENTITY => SessionRecord::decode(id, row).map(|record| record.format()),
        STATE => StateRecord::decode(id, row).map(|record| record.format()),
        _ => return of_number,
    };
    of_row.map_or(of_number, |of_row| of_row.max(of_number))
}

fn format_of_number(id: u64) -> Format {
    if is_wide(SessionId(id)) {
        Format::Wide
    } else {
        Format::First
    }
}

impl DropRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.lane.code().into(), out);
        out.push(self.reason);
        put_varint(self.messages, out);
        put_varint(self.bytes, out);
        put_varint(self.first.as_millis(), out);
        put_varint(self.last.as_millis(), out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<DropRecord, Corrupt> {
        Ok(DropRecord {
            lane: Lane::from_code(reader.number()?),
            reason: reader.byte()?,
            messages: reader.varint()?,
            bytes: reader.varint()?,
            first: Time::from_millis(reader.varint()?),
            last: Time::from_millis(reader.varint()?),
        })
    }
}

fn put_packet_ids(ids: &[PacketId], out: &mut Vec<u8>) {
    put_varint(ids.len() as u64, out);
    for id in ids {
        out.extend_from_slice(&id.get().to_le_bytes());
    }
}

fn read_packet_ids(reader: &mut Reader<'_>) -> Result<Vec<PacketId>, Corrupt> {
    (0..reader.count(2)?)
        .map(|_| read_packet_id(reader))
        .collect()
}

fn read_packet_id(reader: &mut Reader<'_>) -> Result<PacketId, Corrupt> {
    let id = u16::from_le_bytes([reader.byte()?, reader.byte()?]);
    PacketId::new(id).ok_or(Corrupt)
}
