//! What of the retained messages the upstream of a bridge has: a part of the state row of its session.

use super::codec::{Reader, put_varint};
use crate::store::error::Corrupt;
use crate::time::Time;

/// What of the retained messages the upstream of a bridge has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SyncRecord {
    /// Which map that is about.
    pub map: u64,
    /// Which upstream.
    pub upstream: u64,
    /// What does not go by the durable queue has arrived if it came up to then; nothing is known of
    /// that before the broker stops.
    pub synced: Time,
    /// What goes by the durable queue may not have arrived if it came within this.
    pub need: Option<(Time, Time)>,
}

impl SyncRecord {
    /// True if it was written by a broker that stopped in good order.
    pub fn is_final(&self) -> bool {
        self.synced > Time::ZERO
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.map, out);
        put_varint(self.upstream, out);
        put_varint(self.synced.as_millis(), out);
        out.push(self.need.is_some().into());
        for at in self.need.into_iter().flat_map(|(from, to)| [from, to]) {
            put_varint(at.as_millis(), out);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<SyncRecord, Corrupt> {
        let mut record = SyncRecord {
            map: reader.varint()?,
            upstream: reader.varint()?,
            synced: Time::from_millis(reader.varint()?),
            need: None,
        };
        if reader.byte()? != 0 {
            let (from, to) = (reader.varint()?, reader.varint()?);
            record.need = Some((Time::from_millis(from), Time::from_millis(to)));
        }
        Ok(record)
    }
}
