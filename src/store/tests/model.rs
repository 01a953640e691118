//! Random commits against plain maps, with reopening in between; the maps also serve the crash
//! tests.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::disk::Disk;
use super::{message, rows, session, subscription, target};
use crate::message::{MessageId, SessionId};
use crate::mqtt::QoS;
use crate::store::{Batch, Db, IdPage, Loaded, StateRecord, decode_message, ids_on};

/// One change of a batch.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(u64, Vec<u64>, Vec<u8>),
    Delete(Range<u64>),
    Session(u64, String),
    State(u64, Box<StateRecord>),
    EndSession(u64),
    /// A subscription of a session, by its filter, with its QoS; without one it ends.
    Filter(u64, String, Option<QoS>),
    /// A page of packet ids, by its number; without ids the page goes.
    Ids(u64, u8, IdPage),
    Retain(String, Vec<u8>),
    Unretain(String),
}

/// What the store should hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Model {
    messages: BTreeMap<u64, (Vec<u64>, Vec<u8>)>,
    sessions: BTreeMap<u64, String>,
    states: BTreeMap<u64, StateRecord>,
    filters: BTreeMap<(u64, String), QoS>,
    ids: BTreeMap<(u64, u8), IdPage>,
    retained: BTreeMap<String, Vec<u8>>,
}

impl Model {
    /// Applies a batch as the store does: puts of messages before deletes, ends of sessions before
    /// what is said of their parts.
    pub(super) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::EndSession(ended) = change {
                self.filters.retain(|(id, _), _| id != ended);
                self.ids.retain(|(id, _), _| id != ended);
            }
        }
        for change in changes.iter().cloned() {
            match change {
                Change::Put(id, receivers, payload) => {
                    self.messages.insert(id, (receivers, payload));
                }
                Change::Delete(_) => {}
                Change::Session(id, name) => drop(self.sessions.insert(id, name)),
                Change::State(id, state) => drop(self.states.insert(id, *state)),
                Change::EndSession(id) => {
                    self.sessions.remove(&id);
                    self.states.remove(&id);
                }
                Change::Filter(id, filter, Some(qos)) => {
                    self.filters.insert((id, filter), qos);
                }
                Change::Filter(id, filter, None) => drop(self.filters.remove(&(id, filter))),
                Change::Ids(id, page, ids) if ids == IdPage::default() => {
                    self.ids.remove(&(id, page));
                }
                Change::Ids(id, page, ids) => drop(self.ids.insert((id, page), ids)),
                Change::Retain(topic, payload) => drop(self.retained.insert(topic, payload)),
                Change::Unretain(topic) => drop(self.retained.remove(&topic)),
            }
        }
        for change in changes {
            if let Change::Delete(ids) = change {
                self.messages.retain(|id, _| !ids.contains(id));
            }
        }
    }

    /// Checks that the store holds this and nothing else.
    pub(super) fn matches(&self, db: &mut Db, loaded: &Loaded) -> bool {
        let rows = rows(db);
        let messages = rows.iter().map(|(id, row)| {
            let (message, targets) = decode_message(id, row).unwrap();
            let receivers = targets.iter().map(|target| target.session.0).collect();
            (id.0, (receivers, message.payload().to_vec()))
        });
        let retained = loaded.retained.iter();
        let retained = retained.map(|m| (m.topic().to_owned(), m.payload().to_vec()));
        let sessions = loaded.sessions.iter();
        let names = sessions.map(|s| (s.id.0, s.record.client_id.to_string()));
        self.messages == messages.collect()
            && self.retained == retained.collect()
            && self.sessions == names.collect()
            && self.queues_match(loaded)
            && self.parts_match(loaded)
            && loaded.damaged == 0
    }

    /// Parts are those of sessions that there are.
    fn parts_match(&self, loaded: &Loaded) -> bool {
        loaded.sessions.iter().all(|session| {
            let number = session.id.0;
            let filters = self.filters.iter().filter(|((id, _), _)| *id == number);
            let found = session.record.subscriptions.iter();
            let ids = self.ids.iter().filter(|((id, _), _)| *id == number);
            let ids = ids.flat_map(|((_, page), ids)| ids_on(*page, ids));
            let pages = self.ids.keys().filter(|(id, _)| *id == number);
            filters
                .map(|((_, filter), qos)| (&**filter, *qos))
                .eq(found.map(|s| (&*s.filter, s.qos)))
                && ids.eq(session.state.received.iter().copied())
                && session.id_pages.iter().eq(pages.map(|(_, page)| page))
                && session.filters_apart != session.record.subscriptions.is_empty()
        })
    }

    /// A queue is what names the session and is beyond its cursor, or sent and still owed.
    fn queues_match(&self, loaded: &Loaded) -> bool {
        let owed = |id: u64, session: u64| {
            let state = self.states.get(&session).cloned().unwrap_or_default();
            self.sessions.contains_key(&session)
                && (id > state.cursor.0 || state.sent.contains(&MessageId(id)))
        };
        let queues = loaded.sessions.iter().all(|session| {
            let number = session.id.0;
            let ids: Vec<u64> = self
                .messages
                .iter()
                .filter(|(id, (receivers, _))| receivers.contains(&number) && owed(**id, number))
                .map(|(id, _)| *id)
                .collect();
            let mut state = self.states.get(&number).cloned().unwrap_or_default();
            // The places of stored messages are taken, whatever the state row says.
            let taken = ids.iter().map(|id| target(number, *id).seq + 1).max();
            state.next_seq = state.next_seq.max(taken.unwrap_or(0));
            // Those that were sent go first.
            let mut queue: Vec<u64> = session.queue.iter().collect();
            queue.sort_unstable();
            // What was received stands in rows of its own.
            let received = session.state.received.clone();
            queue == ids && session.state == StateRecord { received, ..state }
        });
        let refs = self.messages.iter().all(|(&id, (receivers, _))| {
            let count = receivers
                .iter()
                .filter(|&&session| owed(id, session))
                .count();
            let orphan = loaded.orphans.iter().any(|ids| ids.contains(&id));
            loaded.refs.get(id) == count as u32 && orphan == (count == 0)
        });
        queues && refs
    }
}

/// Encodes the changes for the store.
pub(super) fn batch(seq: u64, changes: &[Change]) -> Batch {
    let mut batch = Batch::new(seq);
    for change in changes {
        match change {
            Change::Put(id, receivers, payload) => {
                let targets: Vec<_> = receivers.iter().map(|&to| target(to, *id)).collect();
                batch.put_message(MessageId(*id), &message("t", payload), &targets);
            }
            Change::Delete(ids) => batch.delete(ids.clone()),
            Change::Session(id, name) => batch.put_session(SessionId(*id), &session(name)),
            Change::State(id, state) => batch.put_state(SessionId(*id), state),
            Change::EndSession(id) => batch.delete_session(SessionId(*id)),
            Change::Filter(id, filter, None) => batch.delete_subscription(SessionId(*id), filter),
            Change::Filter(id, filter, Some(qos)) => {
                batch.put_subscription(SessionId(*id), &subscription(filter, *qos));
            }
            Change::Ids(id, page, ids) if *ids == IdPage::default() => {
                batch.delete_ids(SessionId(*id), *page);
            }
            Change::Ids(id, page, ids) => batch.put_ids(SessionId(*id), *page, ids),
            Change::Retain(topic, payload) => batch.put_retained(&message(topic, payload)),
            Change::Unretain(topic) => batch.delete_retained(topic),
        }
    }
    batch
}

/// A few, of which one takes more than 32 bits.
fn session_number() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 1..4u64, 1 => Just(1 << 32)]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 5_000..9_000),
    ]
}

fn state() -> impl Strategy<Value = StateRecord> {
    // What was sent is at or below the cursor.
    let sent = |cursor: u64| (Just(cursor), prop::collection::btree_set(0..=cursor, 0..4));
    (0..40u64)
        .prop_flat_map(sent)
        .prop_map(|(cursor, sent)| StateRecord {
            next_seq: cursor + 7,
            cursor: MessageId(cursor),
            sent: sent.into_iter().map(MessageId).collect(),
            ..StateRecord::default()
        })
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::ExactlyOnce)]
}

/// Some without an id. There is no id 0.
fn ids() -> impl Strategy<Value = IdPage> {
    (any::<bool>(), any::<u64>()).prop_map(|(some, ids)| [u64::from(some) * (ids & !1), 0, 0, 0])
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    let receivers = prop::collection::btree_set(session_number(), 0..3);
    let receivers = receivers.prop_map(|set| set.into_iter().collect());
    prop_oneof![
        6 => (1..60u64, receivers, payload()).prop_map(|(id, to, p)| Change::Put(id, to, p)),
        2 => (0..60u64, 1..20u64).prop_map(|(from, n)| Change::Delete(from..from + n)),
        2 => (session_number(), "[a-z]{0,8}").prop_map(|(id, name)| Change::Session(id, name)),
        2 => (session_number(), state()).prop_map(|(id, state)| Change::State(id, Box::new(state))),
        1 => session_number().prop_map(Change::EndSession),
        2 => (session_number(), "[a-c/]{1,2}", prop::option::of(qos()))
            .prop_map(|(id, filter, qos)| Change::Filter(id, filter, qos)),
        2 => (session_number(), 0..3u8, ids()).prop_map(|(id, page, ids)| Change::Ids(id, page, ids)),
        2 => ("[a-c/]{1,3}", payload()).prop_map(|(topic, p)| Change::Retain(topic, p)),
        1 => "[a-c/]{1,3}".prop_map(Change::Unretain),
    ]
}

/// What is done to a store.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Commit(Vec<Change>),
    Rewrite,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(change(), 1..12).prop_map(Step::Commit),
        1 => Just(Step::Rewrite),
        1 => Just(Step::Reopen),
    ]
}

/// A few commits of a few changes, and what comes between.
pub(super) fn script() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_store_holds_what_was_committed(script in script(), journal: bool) {
        let disk = Disk::with_store();
        let files = || if journal { Box::new(disk.files()) } else { disk.opener() };
        let mut model = Model::default();
        let (mut db, _) = Db::with_files(files()).unwrap();
        for (seq, step) in script.iter().enumerate() {
            match step {
                Step::Commit(changes) => {
                    db.commit(&mut batch(seq as u64, changes)).unwrap();
                    model.apply(changes);
                }
                Step::Rewrite => db.rewrite().unwrap(),
                Step::Reopen => {
                    drop(db);
                    db = Db::with_files(files()).unwrap().0;
                }
            }
            let loaded = db.reload().unwrap();
            prop_assert!(model.matches(&mut db, &loaded), "{:?} {:?}", model, loaded);
        }
        let live = db.live_bytes();
        drop(db);
        let (mut db, loaded) = Db::with_files(files()).unwrap();
        prop_assert_eq!(db.live_bytes(), live);
        prop_assert!(model.matches(&mut db, &loaded), "{:?} {:?}", model, loaded);
    }
}
