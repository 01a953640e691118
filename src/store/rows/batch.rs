//! What one commit holds.

use std::ops::Range;

use super::codec::{MAX_VARINT, Reader, put_bytes, put_varint, slice};
use super::format::Format;
use super::message::{encode_message, encode_retained};
use super::part::{IdPage, encode_ids, encode_subscription, ids_key, subscription_key};
use super::session::{IDENTITY, STATE, SessionKey, SessionRecord, SubscriptionRecord, is_wide};
use super::state::StateRecord;
use super::{part, state};
use crate::impossible;
use crate::message::{Message, MessageId, SessionId};
use crate::owed::Owed;
use crate::store::error::Corrupt;
use crate::time::Time;

/// Where a row stands in its buffer.
type Span = Range<usize>;

/// Bytes of buffer that a batch keeps for the next commit.
const KEPT_BYTES: usize = 256 << 10;
/// Bytes kept free before the messages for the start of a record: what a journal puts there, and
/// how many messages there are.
const FRONT: usize = MAX_FRONT + MAX_VARINT;
/// What a journal may put before the contents of a record, in bytes.
pub(in crate::store) const MAX_FRONT: usize = 96;

/// The changes of one commit, already encoded: plain bytes that can go to the storage thread.
///
/// Puts apply before deletes, and of two changes to one row the later wins; what deletes a session
/// deletes the parts that it had before the batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// The number of the commit.
    pub seq: u64,
    /// The newest time the broker has seen.
    pub floor: Time,
    /// Milliseconds since 1970 by the wall clock at that time; 0 if unknown.
    pub wall: u64,
    /// The latest time that is known, in milliseconds since 1970, though the wall clock may be behind; 0 if
    /// unknown.
    pub known: u64,
    /// [`FRONT`] bytes, and then the messages as a record of the journal has them: what is in a
    /// message is copied here once, and goes to the file from here. Empty without messages.
    record: Vec<u8>,
    /// The rows in `record`.
    messages: Vec<(MessageId, Span)>,
    deletes: Vec<Range<u64>>,
    /// All other rows, the topics of retained messages and the keys of parts, one after another.
    arena: Vec<u8>,
    sessions: Vec<(SessionKey, Option<Span>)>,
    /// What a program must know to read it.
    format: Format,
    retained: Vec<(Span, Option<Span>)>,
    parts: Vec<(Span, Option<Span>)>,
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
        for buffer in [&mut self.record, &mut self.arena] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        self.messages.clear();
        self.deletes.clear();
        self.sessions.clear();
        self.format = Format::First;
        self.retained.clear();
        self.parts.clear();
    }

    /// Stores a message for the sessions that are owed it. Cheapest with rising ids.
    pub fn put_message(&mut self, id: MessageId, message: &Message, targets: &[Owed]) {
        if targets.iter().any(|target| is_wide(target.session)) {
            self.needs(Format::Wide);
        }
        let record = self.record_for(id);
        let row = encode_message(id, message, targets, record);
        self.messages.push((id, row));
    }

    /// Stores a row that a record of the journal holds.
    fn put_message_row(&mut self, id: MessageId, row: &[u8]) {
        let record = self.record_for(id);
        put_bytes(row, record);
        let end = record.len();
        self.messages.push((id, end - row.len()..end));
    }

    /// Where the length and the row of message `id` belong.
    fn record_for(&mut self, id: MessageId) -> &mut Vec<u8> {
        if self.record.is_empty() {
            self.record.resize(FRONT, 0);
        }
        let last = self.messages.last().map_or(0, |(last, _)| last.0);
        put_varint(id.0.wrapping_sub(last), &mut self.record);
        &mut self.record
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
        self.needs(record.format());
        let row = self.append(|out| record.encode(id, out));
        self.push_session((id.0, IDENTITY), Some(row));
    }

    /// Stores where a session's delivery stands.
    pub fn put_state(&mut self, id: SessionId, record: &StateRecord) {
        self.needs(record.format());
        let row = self.append(|out| record.encode(id, out));
        self.push_session((id.0, STATE), Some(row));
    }

    /// Stores one subscription of a session.
    pub fn put_subscription(&mut self, id: SessionId, record: &SubscriptionRecord) {
        let key = subscription_key(id, &record.filter);
        self.needs(record.format());
        let row = self.append(|out| encode_subscription(&key, record, out));
        self.push_part(&key, Some(row));
    }

    /// Deletes the row of a subscription, if it has one of its own.
    pub fn delete_subscription(&mut self, id: SessionId, filter: &str) {
        self.push_part(&subscription_key(id, filter), None);
    }

    /// Stores a page of the packet ids that a session holds.
    pub fn put_ids(&mut self, id: SessionId, number: u8, page: &IdPage) {
        let key = ids_key(id, number);
        let row = self.append(|out| encode_ids(&key, page, out));
        self.push_part(&key, Some(row));
    }

    /// Deletes the row of a page of packet ids, if there is one.
    pub fn delete_ids(&mut self, id: SessionId, number: u8) {
        self.push_part(&ids_key(id, number), None);
    }

    fn push_part(&mut self, key: &[u8], row: Option<Span>) {
        self.needs(Format::Parts);
        let key = self.copy(key);
        self.parts.push((key, row));
    }

    fn needs(&mut self, format: Format) {
        self.format = self.format.max(format);
    }

    /// Deletes a session, state, parts and all.
    pub fn delete_session(&mut self, id: SessionId) {
        self.push_session((id.0, IDENTITY), None);
        self.push_session((id.0, STATE), None);
    }

    fn push_session(&mut self, key: SessionKey, row: Option<Span>) {
        if is_wide(SessionId(key.0)) {
            self.needs(Format::Wide);
        }
        self.sessions.push((key, row));
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
        let messages = self.messages.iter().map(|(_, row)| row.len());
        messages.sum::<usize>() + self.arena.len()
    }

    /// True if there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.deletes.is_empty()
            && self.sessions.is_empty()
            && self.retained.is_empty()
            && self.parts.is_empty()
    }

    /// What a program must know to read it.
    pub(in crate::store) fn format(&self) -> Format {
        self.format
    }

    /// The messages to store, in the order they were put.
    pub(in crate::store) fn messages(&self) -> impl ExactSizeIterator<Item = (u64, &[u8])> {
        let rows = self.messages.iter();
        rows.map(|(id, row)| (id.0, slice(&self.record, row)))
    }

    /// The ranges of messages to delete.
    pub(in crate::store) fn deletes(&self) -> &[Range<u64>] {
        &self.deletes
    }

    /// The session rows to store or, with `None`, delete.
    pub(in crate::store) fn sessions(
        &self,
    ) -> impl ExactSizeIterator<Item = (SessionKey, Option<&[u8]>)> {
        self.sessions
            .iter()
            .map(|(key, row)| (*key, row.as_ref().map(|row| slice(&self.arena, row))))
    }

    /// The retained rows to store or, with `None`, delete, by topic.
    pub(in crate::store) fn retained(
        &self,
    ) -> impl ExactSizeIterator<Item = (&str, Option<&[u8]>)> {
        self.retained.iter().map(|(topic, row)| {
            let topic = std::str::from_utf8(slice(&self.arena, topic));
            let topic = topic.unwrap_or_else(|_| {
                impossible!("a topic that was a &str when it was put into a batch is none");
                ""
            });
            (topic, row.as_ref().map(|row| slice(&self.arena, row)))
        })
    }

    /// The rows of parts to store or, with `None`, delete, by key.
    pub(in crate::store) fn parts(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        self.parts.iter().map(|(key, row)| {
            let row = row.as_ref().map(|row| slice(&self.arena, row));
            (slice(&self.arena, key), row)
        })
    }

    /// Lays all changes out as the contents of a record, for [`Batch::decode`], behind `front`,
    /// and has `write` do something with it: it gets a buffer and where in it `front` begins, and
    /// may append. Messages stay where they are. `None`, and nothing is done, if `front` is longer
    /// than [`MAX_FRONT`].
    pub(in crate::store) fn with_record<T>(
        &mut self,
        front: &[u8],
        write: impl FnOnce(&mut Vec<u8>, usize) -> T,
    ) -> Option<T> {
        let mut front = front.to_vec();
        put_varint(self.messages.len() as u64, &mut front);
        let start = FRONT.checked_sub(front.len())?;
        let mut record = std::mem::take(&mut self.record);
        let end = record.len();
        record.resize(end.max(FRONT), 0);
        if let Some(room) = record.get_mut(start..FRONT) {
            room.copy_from_slice(&front);
        }
        self.encode_others(&mut record);
        let done = write(&mut record, start);
        record.truncate(end);
        self.record = record;
        Some(done)
    }

    /// Appends all changes but the messages to put.
    fn encode_others(&self, out: &mut Vec<u8>) {
        put_varint(self.deletes.len() as u64, out);
        for ids in &self.deletes {
            put_varint(ids.start, out);
            put_varint(ids.end.saturating_sub(ids.start), out);
        }
        put_varint(self.sessions.len() as u64, out);
        for ((number, kind), row) in self.sessions() {
            put_varint(number, out);
            out.push(kind);
            put_row(row, out);
        }
        put_varint(self.retained.len() as u64, out);
        for (topic, row) in self.retained() {
            put_bytes(topic.as_bytes(), out);
            put_row(row, out);
        }
        // Formats without parts end here.
        if self.parts.is_empty() {
            return;
        }
        put_varint(self.parts.len() as u64, out);
        for (key, row) in self.parts() {
            put_bytes(key, out);
            put_row(row, out);
        }
    }

    /// Decodes what [`Batch::with_record`] laid out; the rows themselves are looked into
    /// for no more than their format.
    ///
    /// # Errors
    /// [`Corrupt`] if it is anything else.
    pub(in crate::store) fn decode(mut reader: Reader<'_>) -> Result<Batch, Corrupt> {
        let mut batch = Batch::default();
        let mut id = 0u64;
        for _ in 0..reader.count(2)? {
            id = id.wrapping_add(reader.varint()?);
            batch.put_message_row(MessageId(id), reader.bytes()?);
        }
        for _ in 0..reader.count(2)? {
            let (start, len) = (reader.varint()?, reader.varint()?);
            batch.delete(start..start.checked_add(len).ok_or(Corrupt)?);
        }
        for _ in 0..reader.count(3)? {
            let key = (reader.varint()?, reader.byte()?);
            let row = read_row(&mut reader)?;
            batch.needs(row.map_or(Format::First, |row| state::format_of(key, row)));
            let row = row.map(|row| batch.copy(row));
            batch.push_session(key, row);
        }
        for _ in 0..reader.count(2)? {
            let topic = batch.copy(reader.str()?.as_bytes());
            let row = read_row(&mut reader)?.map(|row| batch.copy(row));
            batch.retained.push((topic, row));
        }
        if !reader.is_empty() {
            for _ in 0..reader.count(2)? {
                let key = reader.bytes()?;
                let row = read_row(&mut reader)?;
                batch.needs(row.map_or(Format::Parts, |row| part::format_of(key, row)));
                let row = row.map(|row| batch.copy(row));
                batch.push_part(key, row);
            }
        }
        reader.end()?;
        Ok(batch)
    }

    fn copy(&mut self, bytes: &[u8]) -> Span {
        self.append(|out| out.extend_from_slice(bytes))
    }

    fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.arena.len();
        encode(&mut self.arena);
        start..self.arena.len()
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
