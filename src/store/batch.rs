//! What one commit holds.

use std::ops::Range;

use super::record::{IDENTITY, STATE, SessionKey, SessionRecord, StateRecord};
use super::row::{Target, encode_message, encode_retained};
use crate::message::{Message, MessageId, SessionId};
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
    pub fn put_message(&mut self, id: MessageId, message: &Message, targets: &[Target]) {
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

    fn slice(&self, span: &Span) -> &[u8] {
        &self.arena[span.start as usize..span.end as usize]
    }

    fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.arena.len() as u32;
        encode(&mut self.arena);
        start..self.arena.len() as u32
    }
}
