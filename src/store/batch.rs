//! What one commit holds.

use std::ops::Range;

use super::codec::{Reader, put_bytes, put_varint};
use super::error::Corrupt;
use super::record::{IDENTITY, STATE, SessionKey, SessionRecord, StateRecord};
use super::row::{encode_message, encode_retained};
use crate::message::{Message, MessageId, SessionId};
use crate::owed::Owed;
use crate::time::Time;

/// A span of [`Batch::arena`].
type Span = Range<u32>;

/// Bytes of buffer that a batch keeps for the next commit.
const KEEP: usize = 256 << 10;

/// The changes of one commit, already encoded: plain bytes that can go to the storage thread.
///
/// Puts apply before deletes, and of two changes to one row the later wins.
#[derive(Debug, Default)]
pub struct Batch {
    /// The number of the commit.
    pub seq: u64,
    /// The newest time the broker has seen.
    pub floor: Time,
    /// Milliseconds since 1970 by the wall clock at that time; 0 if unknown.
    pub wall: u64,
    /// All encoded rows and retained topics, one after another.
    arena: Vec<u8>,
    messages: Vec<(MessageId, Span)>,
    deletes: Vec<Range<u64>>,
    sessions: Vec<(SessionKey, Option<Span>)>,
    retained: Vec<(Span, Option<Span>)>,
}

impl Batch {
    /// An empty batch for commit number `seq`.
    pub fn new(seq: u64) -> Batch {
        Batch {
            seq,
            ..Batch::default()
        }
    }

    /// Empties the batch for commit number `seq`; its buffers stay, unless they grew large.
    pub fn reset(&mut self, seq: u64) {
        self.seq = seq;
        self.arena.clear();
        self.arena.shrink_to(KEEP);
        self.messages.clear();
        self.deletes.clear();
        self.sessions.clear();
        self.retained.clear();
    }

    /// Stores a message for the sessions that are owed it. Cheapest with rising ids.
    pub fn put_message(&mut self, id: MessageId, message: &Message, targets: &[Owed]) {
        let row = self.append(|out| encode_message(id, message, targets, out));
        self.messages.push((id, row));
    }

    /// Deletes the messages in `ids`, stored or not.
    pub fn delete(&mut self, ids: Range<u64>) {
        match self.deletes.last_mut() {
            Some(last) if last.end == ids.start => last.end = ids.end,
            _ if ids.is_empty() => {}
            _ => self.deletes.push(ids),
        }
    }

    /// Stores who a session is.
    pub fn put_session(&mut self, id: SessionId, record: &SessionRecord) {
        let row = self.append(|out| record.encode(id, out));
        self.sessions.push(((id.0, IDENTITY), Some(row)));
    }

    /// Stores where a session's delivery stands.
    pub fn put_state(&mut self, id: SessionId, record: &StateRecord) {
        let row = self.append(|out| record.encode(id, out));
        self.sessions.push(((id.0, STATE), Some(row)));
    }

    /// Deletes a session, state and all.
    pub fn delete_session(&mut self, id: SessionId) {
        self.sessions.push(((id.0, IDENTITY), None));
        self.sessions.push(((id.0, STATE), None));
    }

    /// Stores the retained message of its topic, with its publisher.
    pub fn put_retained(&mut self, message: &Message) {
        let topic = self.append(|out| out.extend_from_slice(message.topic().as_bytes()));
        let row = self.append(|out| encode_retained(message, out));
        self.retained.push((topic, Some(row)));
    }

    /// Deletes the retained message of `topic`, if there is one.
    pub fn delete_retained(&mut self, topic: &str) {
        let topic = self.append(|out| out.extend_from_slice(topic.as_bytes()));
        self.retained.push((topic, None));
    }

    /// Bytes of encoded rows.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// True if there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.deletes.is_empty()
            && self.sessions.is_empty()
            && self.retained.is_empty()
    }

    /// The messages to store, in the order they were put.
    pub(super) fn messages(&self) -> impl ExactSizeIterator<Item = (u64, &[u8])> {
        self.messages
            .iter()
            .map(|(id, row)| (id.0, self.slice(row)))
    }

    /// The ranges of messages to delete.
    pub(super) fn deletes(&self) -> &[Range<u64>] {
        &self.deletes
    }

    /// The session rows to store or, with `None`, delete.
    pub(super) fn sessions(&self) -> impl ExactSizeIterator<Item = (SessionKey, Option<&[u8]>)> {
        self.sessions
            .iter()
            .map(|(key, row)| (*key, row.as_ref().map(|row| self.slice(row))))
    }

    /// The retained rows to store or, with `None`, delete, by topic.
    pub(super) fn retained(&self) -> impl ExactSizeIterator<Item = (&str, Option<&[u8]>)> {
        self.retained.iter().map(|(topic, row)| {
            // The span was a &str when it was appended.
            let topic = std::str::from_utf8(self.slice(topic)).unwrap_or_default();
            (topic, row.as_ref().map(|row| self.slice(row)))
        })
    }

    /// Appends all changes to `out`, for [`Batch::decode`].
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.messages.len() as u64, out);
        let mut last = 0u64;
        for (id, row) in self.messages() {
            put_varint(id.wrapping_sub(last), out);
            put_bytes(row, out);
            last = id;
        }
        put_varint(self.deletes.len() as u64, out);
        for ids in &self.deletes {
            put_varint(ids.start, out);
            put_varint(ids.end.saturating_sub(ids.start), out);
        }
        put_varint(self.sessions.len() as u64, out);
        for ((number, kind), row) in self.sessions() {
            put_varint(number.into(), out);
            out.push(kind);
            put_row(row, out);
        }
        put_varint(self.retained.len() as u64, out);
        for (topic, row) in self.retained() {
            put_bytes(topic.as_bytes(), out);
            put_row(row, out);
        }
    }

    /// Decodes what [`Batch::encode`] wrote; the rows themselves are not looked into.
    ///
    /// # Errors
    /// [`Corrupt`] if it is anything else.
    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Batch, Corrupt> {
        let mut batch = Batch::default();
        let mut id = 0u64;
        for _ in 0..reader.count(2)? {
            id = id.wrapping_add(reader.varint()?);
            let row = batch.copy(reader.bytes()?);
            batch.messages.push((MessageId(id), row));
        }
        for _ in 0..reader.count(2)? {
            let (start, len) = (reader.varint()?, reader.varint()?);
            batch.delete(start..start.checked_add(len).ok_or(Corrupt)?);
        }
        for _ in 0..reader.count(3)? {
            let key = (reader.number()?, reader.byte()?);
            let row = read_row(&mut reader)?.map(|row| batch.copy(row));
            batch.sessions.push((key, row));
        }
        for _ in 0..reader.count(2)? {
            let topic = batch.copy(reader.str()?.as_bytes());
            let row = read_row(&mut reader)?.map(|row| batch.copy(row));
            batch.retained.push((topic, row));
        }
        reader.end()?;
        Ok(batch)
    }

    fn copy(&mut self, bytes: &[u8]) -> Span {
        self.append(|out| out.extend_from_slice(bytes))
    }

    fn slice(&self, span: &Span) -> &[u8] {
        &self.arena[span.start as usize..span.end as usize]
    }

    fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.arena.len() as u32;
        encode(&mut self.arena);
        start..self.arena.len() as u32
    }
}

/// A row, or 0 for none.
fn put_row(row: Option<&[u8]>, out: &mut Vec<u8>) {
    put_varint(row.map_or(0, |row| row.len() as u64 + 1), out);
    out.extend_from_slice(row.unwrap_or_default());
}

fn read_row<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Corrupt> {
    match reader.number::<usize>()? {
        0 => Ok(None),
        len => reader.take(len - 1).map(Some),
    }
}
