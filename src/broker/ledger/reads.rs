//! What is read back from disk: in turns where much is asked for, and each message decoded once for all
//! who are owed it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::{Rc, Weak};

use crate::held::{ALLOCATION, Charge, STORE};
use crate::impossible;
use crate::keys::SessionKey;
use crate::message::{Message, MessageId, SessionId};
use crate::owed::Owed;
use crate::session::READ_BYTES;
use crate::store::{IdRanges, ReadRequest};

/// While so many bytes are asked for, nobody else asks: the answers would lie in memory side by side.
const ASKED_BYTES: usize = 256 * 1024;
/// So many messages are known at least before those are looked for that nobody has any more.
const KNOWN: usize = 64;

/// Who asked for rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reader {
    /// A session's queue, with the number it gave the question.
    Queue(SessionKey, u16),
    /// A group of shared subscriptions, with the number of what a member has left to it.
    Leftover(u32),
    /// Dead letters of a bridge that are to be sent again.
    Dead(SessionKey),
}

/// A message that was read, and what each session is owed of it that has not looked for it yet.
#[derive(Debug)]
struct Known {
    message: Weak<Message>,
    owed: Vec<Owed>,
    held: Charge<STORE>,
}

impl Known {
    fn new(message: &Rc<Message>, owed: Vec<Owed>) -> Known {
        let mut known = Known {
            message: Rc::downgrade(message),
            owed,
            held: Charge::default(),
        };
        known.shrink();
        known
    }

    /// Gives back the room of those who have what they are owed, and counts what is left.
    fn shrink(&mut self) {
        self.owed.shrink_to_fit();
        let owed = self.owed.len() * size_of::<Owed>();
        let bytes = size_of::<(MessageId, Known)>() + owed + ALLOCATION;
        self.held.set(bytes);
    }
}

/// What is asked of the storage thread, and what it has answered.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Questions for the storage thread.
    requests: Vec<ReadRequest>,
    /// Who asked what is not answered yet, and about how many bytes come.
    readers: HashMap<u64, (Reader, usize)>,
    next: u64,
    /// All bytes that are asked for.
    asked: Charge<STORE>,
    /// Sessions that wait until they may ask, the first to ask first.
    waiting: VecDeque<SessionKey>,
    is_waiting: HashSet<SessionKey>,
    /// Messages that several are owed, as long as somebody has them.
    known: HashMap<MessageId, Known>,
    /// With so many it is looked for those that nobody has.
    look_at: usize,
}

impl Reads {
    /// Asks for rows; `bytes`: how many come, about.
    pub(super) fn ask(&mut self, reader: Reader, ids: &IdRanges, bytes: usize) {
        self.next += 1;
        self.asked.shift(bytes, 0);
        self.readers.insert(self.next, (reader, bytes));
        self.requests.push(ReadRequest {
            token: self.next,
            ranges: ids.runs().collect(),
            max_bytes: READ_BYTES,
        });
    }

    /// Who asked for the rows that have come.
    pub(super) fn answered(&mut self, token: u64) -> Option<Reader> {
        let Some((reader, bytes)) = self.readers.remove(&token) else {
            impossible!("rows have come that nobody asked for");
            return None;
        };
        self.asked.shift(0, bytes);
        if self.readers.is_empty() {
            self.clear_dead();
        }
        Some(reader)
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    pub(super) fn take(&mut self) -> std::vec::Drain<'_, ReadRequest> {
        self.requests.drain(..)
    }

    /// True if a session may ask; else it is told when it may try again.
    pub(super) fn may_ask(&mut self, key: SessionKey) -> bool {
        let may = self.asked.bytes() < ASKED_BYTES;
        if !may && self.is_waiting.insert(key) {
            self.waiting.push_back(key);
        }
        may
    }

    /// The next session that has waited and may ask.
    pub(super) fn next_waiting(&mut self) -> Option<SessionKey> {
        if self.asked.bytes() >= ASKED_BYTES {
            return None;
        }
        let key = self.waiting.pop_front()?;
        self.is_waiting.remove(&key);
        Some(key)
    }

    /// A message was read: `owed` is what others than the reader are owed of it. Without them nobody
    /// will look for it.
    pub(super) fn note(&mut self, id: MessageId, message: &Rc<Message>, owed: Vec<Owed>) {
        if owed.is_empty() {
            return;
        }
        if self.known.len() >= self.look_at.max(KNOWN) {
            self.clear_dead();
        }
        self.known.insert(id, Known::new(message, owed));
    }

    /// Forgets the messages that nobody has in memory any more.
    pub(super) fn clear_dead(&mut self) {
        if self.known.is_empty() {
            return;
        }
        self.known
            .retain(|_, known| known.message.strong_count() > 0);
        self.look_at = 2 * self.known.len();
        self.known.shrink_to(self.look_at.max(KNOWN));
    }

    /// A message that was read for somebody who still has it, and what `session` is owed of it, which
    /// takes it: it is there once, and with the last of those who are owed the message that is forgotten.
    pub(super) fn take_known(
        &mut self,
        id: MessageId,
        session: SessionId,
    ) -> Option<(Rc<Message>, Owed)> {
        let known = self.known.get_mut(&id)?;
        let at = known.owed.iter().position(|owed| owed.session == session)?;
        let message = known.message.upgrade()?;
        let owed = known.owed.swap_remove(at);
        if known.owed.is_empty() {
            self.known.remove(&id);
        } else if known.owed.len() <= known.owed.capacity() / 2 {
            known.shrink();
        }
        Some((message, owed))
    }
}
