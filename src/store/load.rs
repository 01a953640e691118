//! The scan at start-up: everything but the payloads of the backlog.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use super::error::{Corrupt, Error};
use super::queue::{Queue, Queued};
use super::refs::Refs;
use super::rescue::report::{Quarantined, Rescued};
use super::rows::message::{Scanned, decode_retained, scan};
use super::rows::part::{self, Part, ids_on};
use super::rows::session::{IDENTITY, SessionRecord};
use super::rows::state::StateRecord;
use super::tables::meta::{Meta, Written};
use super::tables::view::{CONTINUE, View};
use crate::lane::Lane;
use crate::message::{Message, MessageId, Origin, SessionId};
use crate::owed::Owed;
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
    /// Milliseconds since 1970 by the wall clock when the store last saw it; 0 if unknown.
    pub wall: u64,
    /// The latest time that was known, in milliseconds since 1970; 0 if unknown.
    pub known: u64,
    /// Bytes written to the disk up to then.
    pub written: Written,
    /// Rows that were skipped because their checksum or contents are wrong, and commits that the
    /// journal lost.
    pub damaged: u64,
    /// What became of a damaged file.
    pub quarantined: Option<Quarantined>,
    /// Bytes of all rows of the tables.
    pub(super) live: u64,
}

/// A session with its queue.
#[derive(Debug)]
pub struct LoadedSession {
    /// Its number.
    pub id: SessionId,
    /// Who it is, with all its subscriptions.
    pub record: SessionRecord,
    /// Where its delivery stands, with all packet ids that were received.
    pub state: StateRecord,
    /// Whether subscriptions of it have rows of their own.
    pub filters_apart: bool,
    /// The pages of packet ids that have rows of their own.
    pub id_pages: Vec<u8>,
    /// The messages it is owed.
    pub queue: Queue,
    /// Those of [`StateRecord::releasing`] that are stored.
    pub releasing: Vec<Queued>,
}

impl LoadedSession {
    /// Whether a stored message is kept until its PUBCOMP, though the receiver has it.
    fn is_releasing(&self, id: MessageId) -> bool {
        self.state
            .releasing
            .iter()
            .any(|(_, message)| *message == id)
    }

    /// Queues a stored message that names the session as a receiver, if it is still owed to it.
    fn owe(&mut self, queued: Queued, topic: &str) -> bool {
        let Queued { id, lane, size, .. } = queued;
        if !self.record.keeps(lane) {
            return false;
        }
        // Ids come in rising order; a session named twice is owed the message once.
        let (owed, topic) = if self.state.sent.binary_search(&id).is_ok() {
            (self.queue.push_sent(queued), None)
        } else if lane == Lane::Dead {
            // Never sent, and nobody else's: as long as there is a row, it lies here.
            (self.queue.push_back(queued), None)
        } else if id > self.state.cursor_of(lane) {
            let topic = Some(topic).filter(|_| self.state.by_topic);
            (self.queue.push_back(queued), topic)
        } else {
            (false, None)
        };
        if owed {
            self.queue.owe(lane, Some(id), size, topic);
        }
        owed
    }
}

/// Reads the store. `Loaded::quarantined` is the caller's to fill in.
///
/// # Errors
/// What the database says.
pub(super) fn load(view: &View<'_>, meta: &Meta) -> Result<Loaded, Error> {
    let mut loaded = Loaded {
        sessions: Vec::new(),
        retained: Vec::new(),
        refs: Refs::new(),
        orphans: Vec::new(),
        next_message: MessageId(1),
        next_session: SessionId(1),
        floor: meta.stamp.floor,
        wall: meta.stamp.wall,
        known: meta.known,
        written: meta.stamp.written,
        damaged: 0,
        quarantined: None,
        live: 0,
    };
    load_sessions(view, &mut loaded)?;
    load_parts(view, &mut loaded)?;
    load_messages(view, &mut loaded)?;
    load_retained(view, &mut loaded)?;
    view.pass_deleted()?;
    loaded.live = view.stored_bytes();
    Ok(loaded)
}

fn load_sessions(view: &View<'_>, loaded: &mut Loaded) -> Result<(), Error> {
    // The identity comes before the state: keys sort by number, then kind.
    let _ = view.sessions(|(number, kind), row| {
        let id = SessionId(number);
        loaded.see_session(id);
        let read = if kind == IDENTITY {
            SessionRecord::decode(id, row).map(|record| {
                loaded.sessions.push(LoadedSession {
                    id,
                    record,
                    state: StateRecord::default(),
                    filters_apart: false,
                    id_pages: Vec::new(),
                    queue: Queue::default(),
                    releasing: Vec::new(),
                });
            })
        } else {
            StateRecord::decode(id, row).map(|state| loaded.see_state(id, state))
        };
        loaded.count_damage(read);
        CONTINUE
    })?;
    Ok(())
}

fn load_parts(view: &View<'_>, loaded: &mut Loaded) -> Result<(), Error> {
    let _ = view.parts(|key, row| {
        let read = part::decode(key, row).map(|(id, part)| loaded.see_part(id, part));
        loaded.count_damage(read);
        CONTINUE
    })?;
    Ok(())
}

fn load_messages(view: &View<'_>, loaded: &mut Loaded) -> Result<(), Error> {
    let index: HashMap<SessionId, usize> = loaded
        .sessions
        .iter()
        .enumerate()
        .map(|(at, session)| (session.id, at))
        .collect();
    let mut receivers = Vec::new();
    let _ = view.messages(0..u64::MAX, |id, row| {
        let id = MessageId(id);
        loaded.see_message(id);
        receivers.clear();
        let scanned = scan(id, row, |target| receivers.push(target));
        let read = scanned.map(|scanned| loaded.place(id, &scanned, &receivers, &index));
        loaded.count_damage(read);
        CONTINUE
    })?;
    Ok(())
}

fn load_retained(view: &View<'_>, loaded: &mut Loaded) -> Result<(), Error> {
    // Few publish very many.
    let mut origins: HashSet<Rc<Origin>> = HashSet::new();
    let _ = view.retained(|topic, row| {
        let read = decode_retained(topic, row).map(|mut message| {
            match origins.get(&message.origin) {
                Some(known) => message.origin = Rc::clone(known),
                None => {
                    origins.insert(Rc::clone(&message.origin));
                }
            }
            loaded.floor = loaded.floor.max(message.arrival);
            loaded.retained.push(message);
        });
        loaded.count_damage(read);
        CONTINUE
    })?;
    Ok(())
}

impl Loaded {
    /// How much there is, as a rescue counts it.
    pub(super) fn counts(&self) -> Rescued {
        Rescued {
            messages: self.refs.len(),
            sessions: self.sessions.len() as u64,
            retained: self.retained.len() as u64,
        }
    }

    /// Queues a message for those of its receivers that are still owed it.
    fn place(
        &mut self,
        id: MessageId,
        scanned: &Scanned<'_>,
        receivers: &[Owed],
        index: &HashMap<SessionId, usize>,
    ) {
        self.floor = self.floor.max(scanned.arrival);
        // Whatever had expired before the store was closed goes at one time.
        let expires = Queued::expires(scanned.arrival, scanned.expiry);
        let expires = expires.map(|at| at.max(self.floor));
        let mut owed = 0;
        for target in receivers {
            self.see_session(target.session);
            let session = index
                .get(&target.session)
                .and_then(|&at| self.sessions.get_mut(at));
            let Some(session) = session else { continue };
            let queued = Queued {
                id,
                lane: target.lane,
                size: scanned.size,
                arrival: scanned.arrival,
                expires,
            };
            if session.is_releasing(id) {
                session.releasing.push(queued);
                owed += 1;
            } else if session.owe(queued, scanned.topic) {
                // Messages are written without the state: their places are taken all the same.
                let next_seq = &mut session.state.next_seq;
                *next_seq = (*next_seq).max(target.seq.saturating_add(1));
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
        let of_lanes = state.lanes.iter().map(|(_, cursor)| *cursor).max();
        let cursors = state
            .cursor
            .max(state.low_cursor)
            .max(of_lanes.unwrap_or_default());
        self.see_message(sent.max(kept).max(cursors));
        state.sent.sort_unstable();
        // A state without an identity is what a damaged identity row leaves.
        if let Some(session) = self.sessions.last_mut().filter(|session| session.id == id) {
            session.state = state;
        }
    }

    fn see_part(&mut self, id: SessionId, part: Part) {
        self.see_session(id);
        // They rise by number. A part without an identity is what a damaged identity row leaves.
        let at = self
            .sessions
            .binary_search_by_key(&id, |session| session.id);
        let Some(session) = at.ok().and_then(|at| self.sessions.get_mut(at)) else {
            return;
        };
        match part {
            Part::Subscription(record) => {
                session.filters_apart = true;
                session.record.subscriptions.push(record);
            }
            Part::Ids(number, page) => {
                session.id_pages.push(number);
                session.state.received.extend(ids_on(number, &page));
            }
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
