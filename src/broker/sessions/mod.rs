//! The sessions: by key and by client id, and which of their rows are to be written.

mod drops;
mod marks;
mod session;
mod subscriptions;

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::panic::Location;
use std::rc::Rc;

pub use drops::DropReason;
pub(crate) use drops::Drops;
use marks::Mark;
pub(crate) use session::{NEVER, PendingWill, Role, Session, Share, who};
pub(crate) use subscriptions::{Changed, Subscribed, Subscriptions, filter_bytes, levels};

use crate::held::{Charge, SESSIONS};
use crate::impossible;
use crate::keys::{Numbers, SessionKey, Table};
use crate::message::{Origin, SessionId};
use crate::mqtt::Version;
use crate::store::Batch;

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    table: Table<SessionKey, Session>,
    names: Names,
    next: SessionId,
    /// Those whose rows must be written.
    unsaved: Vec<SessionKey>,
    /// The filters whose rows must be written or deleted, of those whose subscriptions have rows of
    /// their own.
    unsaved_filters: HashMap<SessionKey, Filters>,
    /// Those whose rows must be deleted.
    gone: Vec<SessionId>,
    /// Those that wait for the next commit before they can send more.
    stalled: Vec<SessionKey>,
    /// Those that have ended and may have nothing left for others.
    spent: Vec<SessionKey>,
    /// What they take, their subscriptions left out.
    held: Charge<SESSIONS>,
}

/// What finds a session by its client id, and its generation, in bytes.
const NAME: usize = 10 + size_of::<u64>();

/// What a session takes, in bytes, about: itself, its names, and what finds it by its client id.
pub(crate) fn held(origin: &Origin) -> usize {
    size_of::<Session>() + origin.held() + NAME
}

/// Filters of one session.
#[derive(Debug, Default)]
struct Filters {
    set: BTreeSet<Box<str>>,
    bytes: usize,
}

/// Finds sessions by their client ids, which clients choose: the hash has a key.
#[derive(Debug, Default)]
struct Names {
    /// The places of those that are known by their client id.
    slots: Numbers,
    hasher: RandomState,
}

impl Names {
    fn hash(&self, client_id: &str) -> u64 {
        self.hasher.hash_one(client_id)
    }

    fn find(&self, table: &Table<SessionKey, Session>, client_id: &str) -> Option<SessionKey> {
        let has_it = |slot| {
            table
                .at_slot(slot)
                .is_some_and(|(_, s)| s.client_id() == client_id)
        };
        let slot = self.slots.find(self.hash(client_id), has_it)?;
        Some(table.at_slot(slot)?.0)
    }

    /// The session `key` is known by its client id from now on.
    fn add(&mut self, table: &Table<SessionKey, Session>, key: SessionKey) {
        let hash_of = |slot| {
            let session = table.at_slot(slot);
            session.map_or(0, |(_, s)| self.hasher.hash_one(s.client_id()))
        };
        let slot = slot(key);
        self.slots.insert(hash_of(slot), slot, hash_of);
    }

    /// The session `key` is not known by its client id any more.
    fn remove(&mut self, table: &Table<SessionKey, Session>, key: SessionKey) {
        let hash_of = |slot| {
            let session = table.at_slot(slot);
            session.map_or(0, |(_, s)| self.hasher.hash_one(s.client_id()))
        };
        let slot = slot(key);
        self.slots.remove(hash_of(slot), slot, hash_of);
    }
}

/// The place of a session, as it is numbered among the names.
fn slot(key: SessionKey) -> u32 {
    u32::try_from(key.slot()).unwrap_or_else(|_| {
        impossible!("a session has the place {}", key.slot());
        0
    })
}

impl Sessions {
    /// No sessions; the next new one gets the number `next`.
    pub(crate) fn new(next: SessionId) -> Sessions {
        Sessions {
            table: Table::default(),
            names: Names::default(),
            next,
            unsaved: Vec::new(),
            unsaved_filters: HashMap::new(),
            gone: Vec::new(),
            stalled: Vec::new(),
            spent: Vec::new(),
            held: Charge::default(),
        }
    }

    /// Opens a new session for `origin`, whose client id must be free.
    pub(crate) fn open(&mut self, origin: Rc<Origin>, expiry: u32, version: Version) -> SessionKey {
        let id = self.next;
        self.next = SessionId(id.0 + 1);
        self.add(Session::new(id, origin, expiry, version))
    }

    /// Adds a session; one that has not ended is known by its client id from now on.
    pub(crate) fn add(&mut self, session: Session) -> SessionKey {
        let is_known = !session.is_ended();
        self.held.shift(held(&session.origin), 0);
        let key = self.table.insert(session);
        if is_known {
            self.names.add(&self.table, key);
        }
        key
    }

    /// The client of a session is `origin` from now on: its user name or listener may be another,
    /// not its client id.
    pub(crate) fn set_origin(&mut self, key: SessionKey, origin: &Rc<Origin>) {
        let Some(session) = self.table.get_mut(key) else {
            return;
        };
        if Rc::ptr_eq(&session.origin, origin) {
            return;
        }
        self.held.shift(held(origin), held(&session.origin));
        session.origin = Rc::clone(origin);
    }

    /// A session is that of `origin` from now on, whose client id must be free.
    pub(crate) fn rename(&mut self, key: SessionKey, origin: &Rc<Origin>) {
        self.forget_client_id(key);
        self.set_origin(key, origin);
        self.names.add(&self.table, key);
    }

    /// Nobody knows a session by its client id any more.
    pub(crate) fn forget_client_id(&mut self, key: SessionKey) {
        if self.table.get(key).is_some() {
            self.names.remove(&self.table, key);
        }
    }

    /// Takes a session out; its rows are deleted with the next commit. True if it has any, or was
    /// to have some.
    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<(Session, bool)> {
        self.forget_client_id(key);
        let session = self.table.remove(key)?;
        self.held.shift(0, held(&session.origin));
        self.unsaved_filters.remove(&key);
        let rows = session.is_on_disk() || session.marks.is_unsaved();
        if rows {
            self.gone.push(session.id);
        }
        Some((session, rows))
    }

    pub(crate) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.table.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.table.get_mut(key)
    }

    /// A session that cannot have ended: the caller got its key in this turn from what still has it.
    #[track_caller]
    pub(crate) fn known(&self, key: SessionKey) -> Option<&Session> {
        let found = self.table.get(key);
        if found.is_none() {
            gone(Location::caller());
        }
        found
    }

    /// As [`known`](Sessions::known).
    #[track_caller]
    pub(crate) fn known_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        let found = self.table.get_mut(key);
        if found.is_none() {
            gone(Location::caller());
        }
        found
    }

    /// The session of a client.
    pub(crate) fn find(&self, client_id: &str) -> Option<SessionKey> {
        self.names.find(&self.table, client_id)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.table.iter()
    }

    /// Those at `most` places of the table from `from` on, and where to go on; `None` at the end.
    pub(crate) fn some(
        &self,
        from: u32,
        most: u32,
    ) -> (impl Iterator<Item = (SessionKey, &Session)>, Option<u32>) {
        let end = from.saturating_add(most.max(1)).min(self.table.slots());
        let found = (from..end).filter_map(|slot| self.table.at_slot(slot));
        (found, (end < self.table.slots()).then_some(end))
    }

    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        self.table.keys().collect()
    }

    /// How many client ids are known.
    #[cfg(test)]
    pub(crate) fn client_ids(&self) -> impl Iterator<Item = &str> {
        let sessions = self.names.slots.iter();
        let sessions = sessions.filter_map(|slot| self.table.at_slot(slot));
        sessions.map(|(_, s)| s.client_id())
    }

    /// The session's identity row must be written; the caller says how soon.
    pub(crate) fn unsave_identity(&mut self, key: SessionKey) {
        self.unsave(key, Mark::IdentityUnsaved);
    }

    /// The session's state row must be written; the caller says how soon.
    pub(crate) fn unsave_state(&mut self, key: SessionKey) {
        self.unsave(key, Mark::StateUnsaved);
    }

    /// The packet ids that the session received have changed; the caller says how soon they must be
    /// written.
    pub(crate) fn unsave_ids(&mut self, key: SessionKey) {
        self.unsave(key, Mark::IdsUnsaved);
    }

    /// The session's subscription to `filter` has changed, or ended; the caller says how soon that must
    /// be written.
    pub(crate) fn unsave_filter(&mut self, key: SessionKey, filter: &str) {
        let session = self.table.get(key);
        if session.is_some_and(Session::are_filters_apart) {
            let filters = self.unsaved_filters.entry(key).or_default();
            if !filters.set.contains(filter) {
                filters.bytes += filter.len();
                filters.set.insert(filter.into());
            }
            self.unsave(key, Mark::FiltersUnsaved);
        } else {
            self.unsave(key, Mark::IdentityUnsaved);
        }
    }

    /// Whether a session that lasts awaits what is retained for its subscription to `filter` is to be
    /// written; the caller says how soon. False if that is written already.
    pub(crate) fn await_retained(&mut self, key: SessionKey, filter: &str, awaits: bool) -> bool {
        let session = self.table.get_mut(key).filter(|s| s.is_durable());
        let changed = session.is_some_and(|s| s.subscriptions.await_retained(filter, awaits));
        if changed {
            self.unsave_filter(key, filter);
        }
        changed
    }

    /// Bytes of the session's filters that wait for the next commit.
    pub(crate) fn unsaved_filter_bytes(&self, key: SessionKey) -> usize {
        self.unsaved_filters
            .get(&key)
            .map_or(0, |filters| filters.bytes)
    }

    fn unsave(&mut self, key: SessionKey, row: Mark) {
        if let Some(session) = self.table.get_mut(key) {
            let known = session.marks.is_unsaved();
            session.marks.set(row, true);
            if !known {
                self.unsaved.push(key);
            }
        }
    }

    /// Writes the rows of the sessions that changed, and deletes those of the ones that are gone.
    pub(crate) fn save(&mut self, batch: &mut Batch) {
        for key in self.unsaved.drain(..) {
            let filters = self.unsaved_filters.remove(&key);
            if let Some(session) = self.table.get_mut(key) {
                save_session(session, filters.unwrap_or_default().set, batch);
            }
        }
        self.unsaved_filters.shrink_to(0);
        for id in self.gone.drain(..) {
            batch.delete_session(id);
        }
    }

    /// A session goes on after the next commit.
    pub(crate) fn stall(&mut self, key: SessionKey) {
        if let Some(session) = self.table.get_mut(key)
            && !session.marks.set(Mark::Stalled, true)
        {
            self.stalled.push(key);
        }
    }

    /// The sessions that waited for a commit.
    pub(crate) fn take_stalled(&mut self) -> Vec<SessionKey> {
        for key in &self.stalled {
            if let Some(session) = self.table.get_mut(*key) {
                session.marks.set(Mark::Stalled, false);
            }
        }
        std::mem::take(&mut self.stalled)
    }

    /// A session that has ended may have nothing left for others.
    pub(crate) fn mark_spent(&mut self, key: SessionKey) {
        if self.get(key).is_some_and(Session::is_ended) {
            self.spent.push(key);
        }
    }

    /// The next of the sessions that may have nothing left for others.
    pub(crate) fn take_spent(&mut self) -> Option<SessionKey> {
        self.spent.pop()
    }
}

/// Writes the rows of one session that changed, among them those of `filters`.
fn save_session(session: &mut Session, filters: BTreeSet<Box<str>>, batch: &mut Batch) {
    let (id, marks) = (session.id, &mut session.marks);
    let is_unsaved = marks.is_unsaved();
    marks.set(Mark::FiltersUnsaved, false);
    let identity = marks.set(Mark::IdentityUnsaved, false);
    let ids = marks.set(Mark::IdsUnsaved, false);
    let state = marks.set(Mark::StateUnsaved, false);
    let state = (ids && session.inbound.settle()) || state;
    if identity && !session.are_filters_apart() && session.has_many_filters() {
        session.set_filters_apart();
        for subscribed in session.subscriptions.iter() {
            batch.put_subscription(id, &subscribed.record());
        }
    }
    for filter in filters {
        match session.subscriptions.get(&filter) {
            Some(subscribed) => batch.put_subscription(id, &subscribed.record()),
            None => batch.delete_subscription(id, &filter),
        }
    }
    if identity {
        batch.put_session(id, &session.record());
    }
    if state {
        batch.put_state(id, &session.state());
        session.outbound.note_written();
    }
    if ids {
        session.inbound.take_unsaved(|number, page| match page {
            Some(page) => batch.put_ids(id, number, page),
            None => batch.delete_ids(id, number),
        });
    }
    if is_unsaved {
        session.saved_in = batch.seq;
        session.marks.set(Mark::OnDisk, true);
    }
}

/// Reports that a session is gone that the code at `place` knows.
#[cold]
fn gone(place: &Location<'_>) {
    impossible!("a session that {place} knows is gone");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_comes_again_leaves_nothing_of_its_old_names() {
        let mut sessions = Sessions::new(SessionId(1));
        let old = Rc::new(Origin::new("c", Some("old"), None));
        let key = sessions.open(Rc::clone(&old), 0, Version::V5);
        let new = Rc::new(Origin::new("c", Some("new"), None));
        sessions.set_origin(key, &new);
        assert_eq!(Rc::strong_count(&old), 1);
        assert_eq!(sessions.find("c"), Some(key));
        let origin = sessions.get(key).unwrap().origin();
        assert_eq!(origin.username(), Some("new"));
        sessions.forget_client_id(key);
        assert_eq!(sessions.find("c"), None);
    }
}
