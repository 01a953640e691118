//! What the row of a bridge's session has beside that of a client.

use super::codec::{Reader, flag, put_bytes, put_varint};
use crate::lane::LineNo;
use crate::store::error::Corrupt;
use crate::time::Time;

/// By which number the queue of a bridge knows a `topic` line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineRecord {
    /// The number.
    pub number: LineNo,
    /// What stands for the line.
    pub line: u64,
    /// What stands for its local topics.
    pub local: u64,
}

/// Something that a bridge has found out about one upstream: what it does without there, or which session
/// it was seen with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GivenUpRecord {
    /// The number of the upstream.
    pub upstream: u64,
    /// The number of what it is.
    pub feature: u8,
    /// What it is about: a topic, say.
    pub about: Box<str>,
    /// What the upstream did.
    pub why: Box<str>,
    /// How often.
    pub seen: u8,
    /// When it is tried again.
    pub until: Time,
}

/// Bytes that went over the uplink of a bridge: a part of the state row of its session. Days are numbered from
/// 1970 on, months from the year 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VolumeRecord {
    /// The number of the day.
    pub day: u64,
    /// Bytes on that day.
    pub today: u64,
    /// The number of the month.
    pub month: u64,
    /// Bytes in that month.
    pub this_month: u64,
}

/// What is given up, and a number that stands for what that was found with.
type GivenUp = (u64, Vec<GivenUpRecord>);

/// There are lines.
const LINES: u8 = 0x01;
/// There is something given up.
const GIVEN_UP: u8 = 0x02;

/// Appends the end of a row.
pub(super) fn encode_more(lines: &[LineRecord], given_up: &GivenUp, out: &mut Vec<u8>) {
    let (made_with, records) = given_up;
    out.push(flag(!lines.is_empty(), LINES) | flag(!records.is_empty(), GIVEN_UP));
    if !lines.is_empty() {
        put_varint(lines.len() as u64, out);
        lines.iter().for_each(|line| line.encode(out));
    }
    if !records.is_empty() {
        put_varint(*made_with, out);
        put_varint(records.len() as u64, out);
        records.iter().for_each(|record| record.encode(out));
    }
}

/// Decodes what [`encode_more`] has written.
pub(super) fn decode_more(reader: &mut Reader<'_>) -> Result<(Vec<LineRecord>, GivenUp), Corrupt> {
    let flags = reader.byte()?;
    if flags & !(LINES | GIVEN_UP) != 0 {
        return Err(Corrupt);
    }
    let mut lines = Vec::new();
    if flags & LINES != 0 {
        let records = (0..reader.count(3)?).map(|_| LineRecord::decode(reader));
        lines = records.collect::<Result<_, _>>()?;
    }
    let mut given_up = (0, Vec::new());
    if flags & GIVEN_UP != 0 {
        let made_with = reader.varint()?;
        let records = (0..reader.count(6)?).map(|_| GivenUpRecord::decode(reader));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        // The number says nothing without them, and is not written then.
        if !records.is_empty() {
            given_up = (made_with, records);
        }
    }
    Ok((lines, given_up))
}

impl LineRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.number.get().into(), out);
        put_varint(self.line, out);
        put_varint(self.local, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<LineRecord, Corrupt> {
        Ok(LineRecord {
            number: LineNo::new(reader.number()?).ok_or(Corrupt)?,
            line: reader.varint()?,
            local: reader.varint()?,
        })
    }
}

impl VolumeRecord {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.day, self.today, self.month, self.this_month] {
            put_varint(number, out);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<VolumeRecord, Corrupt> {
        Ok(VolumeRecord {
            day: reader.varint()?,
            today: reader.varint()?,
            month: reader.varint()?,
            this_month: reader.varint()?,
        })
    }
}

impl GivenUpRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.upstream, out);
        out.push(self.feature);
        put_bytes(self.about.as_bytes(), out);
        put_bytes(self.why.as_bytes(), out);
        out.push(self.seen);
        put_varint(self.until.as_millis(), out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<GivenUpRecord, Corrupt> {
        Ok(GivenUpRecord {
            upstream: reader.varint()?,
            feature: reader.byte()?,
            about: reader.str()?.into(),
            why: reader.str()?.into(),
            seen: reader.byte()?,
            until: Time::from_millis(reader.varint()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing: a row that no version writes must read as what is written of it.
    #[test]
    fn nothing_given_up_has_no_number() {
        let row = [GIVEN_UP, 80, 0];
        let (lines, given_up) = decode_more(&mut Reader::new(&row)).unwrap();
        assert!(lines.is_empty());
        assert_eq!(given_up, (0, Vec::new()));
    }
}
