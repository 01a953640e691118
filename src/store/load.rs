//! The scan at start-up: everything but the payloads of the backlog.

use std::collections::HashMap;
use std::ops::Range;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use super::error::{Corrupt, Error};
use super::ids::IdRanges;
use super::record::{IDENTITY, SessionRecord, StateRecord};
use super::refs::Refs;
use super::rescue::Quarantined;
use super::row::{Scanned, Target, decode_retained, scan};
use super::tables::{MSG, RETAINED, SESSION, read_meta};
use crate::message::{Message, MessageId, SessionId};
use crate::time::Time;

/// What the store held when it was opened.
#[derive(Debug)]
pub struct Loaded {
    /// The sessions, by number.
    pub sessions: Vec<LoadedSession>,
    /// The retained messages, by topic.
    pub retained: Vec<Message>,
    /// How many sessions are owed each message.
    pub refs: Refs,
    /// Stored messages that nobody is owed: to be deleted with the next commit.
    pub orphans: Vec<Range<u64>>,
    /// The first number free for a message.
    pub next_message: MessageId,
    /// The first number free for a session.
    pub next_session: SessionId,
    /// The newest time the store has seen: the broker's clock must not start before it.
    pub floor: Time,
    /// Rows that were skipped because their checksum or contents are wrong.
    pub damaged: u64,
    /// What became of a damaged file.
    pub quarantined: Option<Quarantined>,
    /// Bytes of all rows.
    pub(super) live: u64,
    /// The time floor as it stands in its row.
    pub(super) stored_floor: Time,
}

/// A session with its queue.
#[derive(Debug)]
pub struct LoadedSession {
    /// Its number.
    pub id: SessionId,
    /// Who it is.
    pub record: SessionRecord,
    /// Where its delivery stands.
    pub state: StateRecord,
    /// The messages of the normal lane it is owed.
    pub queue: IdRanges,
    /// The messages of the low lane it is owed.
    pub low: IdRanges,
    /// The sum of [`Message::size`] over both lanes.
    pub bytes: u64,
}

impl LoadedSession {
    /// Whether a stored message is kept until its PUBCOMP, though the receiver has it.
    fn is_releasing(&self, id: MessageId) -> bool {
        self.state
            .releasing
            .iter()
            .any(|(_, message)| *message == id)
    }

    /// Whether a stored message that names the session as a receiver is still owed to it.
    fn is_owed(&self, id: MessageId, low: bool) -> bool {
        let cursor = if low {
            self.state.low_cursor
        } else {
            self.state.cursor
        };
        id > cursor || self.state.sent.binary_search(&id).is_ok()
    }
}

/// Reads the store. `Loaded::quarantined` is the caller's to fill in.
///
/// # Errors
/// [`Error::Newer`] and [`Error::Foreign`] without the path, or what the database says.
pub(super) fn load(database: &Database) -> Result<Loaded, Error> {
    let txn = database.begin_read()?;
    let floor = read_meta(&txn)?;
    let mut loaded = Loaded {
        sessions: Vec::new(),
        retained: Vec::new(),
        refs: Refs::new(),
        orphans: Vec::new(),
        next_message: MessageId(1),
        next_session: SessionId(1),
        floor,
        damaged: 0,
        quarantined: None,
        live: 0,
        stored_floor: floor,
    };
    load_sessions(&txn, &mut loaded)?;
    load_messages(&txn, &mut loaded)?;
    load_retained(&txn, &mut loaded)?;
    Ok(loaded)
}

fn load_sessions(txn: &ReadTransaction, loaded: &mut Loaded) -> Result<(), Error> {
    // The identity comes before the state: keys sort by number, then kind.
    for entry in txn.open_table(SESSION)?.iter()? {
        let (key, row) = entry?;
        let ((number, kind), row) = (key.value(), row.value());
        loaded.live += row.len() as u64;
        let id = SessionId(number);
        loaded.see_session(id);
        let read = if kind == IDENTITY {
            SessionRecord::decode(id, row).map(|record| {
                loaded.sessions.push(LoadedSession {
                    id,
                    record,
                    state: StateRecord::default(),
                    queue: IdRanges::new(),
                    low: IdRanges::new(),
                    bytes: 0,
                })
            })
        } else {
            StateRecord::decode(id, row).map(|state| loaded.see_state(id, state))
        };
        loaded.count_damage(read);
    }
    Ok(())
}

fn load_messages(txn: &ReadTransaction, loaded: &mut Loaded) -> Result<(), Error> {
    let index: HashMap<SessionId, usize> = loaded
        .sessions
        .iter()
        .enumerate()
        .map(|(at, session)| (session.id, at))
        .collect();
    let mut receivers = Vec::new();
    for entry in txn.open_table(MSG)?.iter()? {
        let (key, row) = entry?;
        let (id, row) = (MessageId(key.value()), row.value());
        loaded.live += row.len() as u64;
        loaded.see_message(id);
        receivers.clear();
        let scanned = scan(id, row, |target| receivers.push(target));
        let read = scanned.map(|scanned| loaded.place(id, &scanned, &receivers, &index));
        loaded.count_damage(read);
    }
    Ok(())
}

fn load_retained(txn: &ReadTransaction, loaded: &mut Loaded) -> Result<(), Error> {
    for entry in txn.open_table(RETAINED)?.iter()? {
        let (topic, row) = entry?;
        let (topic, row) = (topic.value(), row.value());
        loaded.live += (topic.len() + row.len()) as u64;
        let read = decode_retained(topic, row).map(|message| {
            loaded.floor = loaded.floor.max(message.arrival);
            loaded.retained.push(message);
        });
        loaded.count_damage(read);
    }
    Ok(())
}

impl Loaded {
    /// Queues a message for those of its receivers that are still owed it.
    fn place(
        &mut self,
        id: MessageId,
        scanned: &Scanned,
        receivers: &[Target],
        index: &HashMap<SessionId, usize>,
    ) {
        self.floor = self.floor.max(scanned.arrival);
        let mut owed = 0;
        for target in receivers {
            self.see_session(target.session);
            let session = index
                .get(&target.session)
                .and_then(|&at| self.sessions.get_mut(at));
            let Some(session) = session else { continue };
            if session.is_releasing(id) {
                owed += 1;
                continue;
            }
            if !session.is_owed(id, target.low) {
                continue;
            }
            // Messages are written without the state: their places are taken all the same.
            let next_seq = &mut session.state.next_seq;
            *next_seq = (*next_seq).max(target.seq.saturating_add(1));
            let lane = if target.low {
                &mut session.low
            } else {
                &mut session.queue
            };
            // Ids come in rising order; a session named twice is owed the message once.
            if lane.push_back(id.0) {
                session.bytes += scanned.size as u64;
                owed += 1;
            }
        }
        self.refs.add(id.0, owed);
        if owed == 0 {
            match self.orphans.last_mut() {
                Some(last) if last.end == id.0 => last.end += 1,
                _ => self.orphans.push(id.0..id.0 + 1),
            }
        }
    }

    fn see_state(&mut self, id: SessionId, mut state: StateRecord) {
        let sent = state.sent.iter().copied().max().unwrap_or_default();
        let kept = state
            .releasing
            .iter()
            .map(|(_, message)| *message)
            .max()
            .unwrap_or_default();
        self.see_message(sent.max(kept).max(state.cursor).max(state.low_cursor));
        state.sent.sort_unstable();
        // A state without an identity is what a damaged identity row leaves.
        if let Some(session) = self.sessions.last_mut().filter(|session| session.id == id) {
            session.state = state;
        }
    }

    fn see_session(&mut self, id: SessionId) {
        self.next_session.0 = self.next_session.0.max(id.0.saturating_add(1));
    }

    fn see_message(&mut self, id: MessageId) {
        self.next_message.0 = self.next_message.0.max(id.0.saturating_add(1));
    }

    fn count_damage(&mut self, read: Result<(), Corrupt>) {
        if read.is_err() {
            self.damaged += 1;
        }
    }
}
