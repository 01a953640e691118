//! A store with a bit of everything, made by many commits, and what must be in it.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use redb::{Database, ReadableDatabase, ReadableTable};
use tempfile::TempDir;

use super::disk::Disk;
use super::{message, session, target};
use crate::lane::Lane;
use crate::message::{MessageId, SessionId};
use crate::mqtt::{PacketId, QoS, RetainHandling};
use crate::store::files::disk::Meter;
use crate::store::files::journal;
use crate::store::files::open::{StoreFiles, builder};
use crate::store::rows::message::{encode_message, encode_retained};
use crate::store::rows::part::{
    encode_ids, encode_subscription, ids_key, keys_of, subscription_key,
};
use crate::store::rows::session::{IDENTITY, STATE};
use crate::store::tables::meta::{Meta, initialise};
use crate::store::tables::schema::{MSG, PART, RETAINED, SESSION, WIDE_SESSION};
use crate::store::{Batch, Db, SessionRecord, StateRecord, SubscriptionRecord};
use crate::time::Time;

/// Which row it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Key {
    Message(u64),
    Session(u64, u8),
    Retained(String),
    Part(Vec<u8>),
}

pub(super) type Rows = BTreeMap<Key, Vec<u8>>;

/// What a store should hold, and all that it ever held.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) live: Rows,
    /// The number of the store.
    pub(super) id: u64,
    ever: HashSet<(Key, Vec<u8>)>,
}

impl Ledger {
    fn put(&mut self, key: Key, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut row = Vec::new();
        encode(&mut row);
        self.ever.insert((key.clone(), row.clone()));
        self.live.insert(key, row);
    }

    /// What was there once, and is not any more.
    pub(super) fn dead(&self) -> impl Iterator<Item = &(Key, Vec<u8>)> {
        let is_dead = |(key, _): &&(Key, Vec<u8>)| !self.live.contains_key(key);
        self.ever.iter().filter(is_dead)
    }

    /// What is wrong with `rows`, of a store that said it had lost `lost` rows: nothing may be
    /// there that was never committed, and if the number is known, nothing that was not live.
    pub(super) fn verdict(&self, rows: &Rows, lost: Option<u64>) -> Result<(), String> {
        for (key, row) in rows {
            if !self.ever.contains(&(key.clone(), row.clone())) {
                return Err(format!("{key:?} was never so"));
            }
            if lost.is_some() && self.live.get(key) != Some(row) {
                return Err(format!("{key:?} is from the dead"));
            }
        }
        match lost {
            Some(lost) if rows.len() as u64 + lost != self.live.len() as u64 => Err(format!(
                "{} and {lost} lost are not {}",
                rows.len(),
                self.live.len()
            )),
            _ => Ok(()),
        }
    }
}

/// A folder in memory where there is one: syncs cost nothing there.
pub(super) fn folder() -> (TempDir, PathBuf) {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let path = folder.path().join("broker.db");
    (folder, path)
}

/// How large a store is made.
pub(super) struct Mix {
    pub(super) messages: u64,
    pub(super) sessions: u64,
    /// Whether half of the sessions have numbers of more than 32 bits, and most have parts in rows of
    /// their own.
    pub(super) wide: bool,
    /// Payloads among the messages that take pages of their own.
    pub(super) large: &'static [usize],
}

/// Makes a store at `path` by many commits, a third of whose rows are replaced or deleted.
pub(super) fn fill(path: &Path, mix: &Mix, rng: &mut Rng) -> Ledger {
    let disk = Disk::with_store();
    let (mut db, _) = Db::with_opener(disk.opener()).unwrap();
    let mut ledger = Ledger::default();
    let commits = 16;
    for commit in 0..commits {
        let mut batch = Batch::new(commit);
        let all = mix.messages;
        put_messages(
            &mut batch,
            &mut ledger,
            all * commit / commits..all * (commit + 1) / commits,
            rng,
        );
        let large = mix
            .large
            .get(commit as usize / 3)
            .filter(|_| commit % 3 == 0);
        if let Some(&len) = large {
            put_message(&mut batch, &mut ledger, 1_000_000 + commit, len, rng);
        }
        let mut changed = HashSet::new();
        for _ in 0..mix.sessions / 4 {
            let mut id = rng.u64(1..=mix.sessions);
            if mix.wide && id.is_multiple_of(2) {
                id += 1 << 32;
            }
            // The end of a session is for the parts that it had before the commit.
            if !changed.insert(id) {
                continue;
            }
            put_session(&mut batch, &mut ledger, id, rng);
            if mix.wide && ledger.live.contains_key(&Key::Session(id, IDENTITY)) {
                put_parts(&mut batch, &mut ledger, id, rng);
            }
        }
        for _ in 0..3 {
            put_retained(&mut batch, &mut ledger, commit, rng);
        }
        batch.floor = Time::from_secs(1_000 + commit * 100);
        db.commit(&mut batch).unwrap();
        let mut batch = Batch::new(commit);
        let from = rng.u64(..all * (commit + 1) / commits);
        let ids = from..from + rng.u64(..all / 30);
        ledger
            .live
            .retain(|key, _| !matches!(key, Key::Message(id) if ids.contains(id)));
        batch.delete(ids);
        db.commit(&mut batch).unwrap();
        // Later, there is little to be damaged that isn't in use, but some.
        if commit == commits - 4 {
            db.rewrite().unwrap();
        }
    }
    drop(db);
    ledger.id = number(&disk);
    place(path, &stored(&disk), ledger.id);
    ledger
}

/// The bytes of the store on a disk.
pub(super) fn stored(disk: &Disk) -> Vec<u8> {
    let mut image = disk.image();
    let store = image.store;
    image.file(store).clone()
}

/// The number of the store on a disk.
pub(super) fn number(disk: &Disk) -> u64 {
    let database = disk.opener().open_store().unwrap();
    Meta::read(&database.begin_read().unwrap()).unwrap().id
}

/// Puts a store of these bytes and this number at `path`. Its journal is empty: whatever is
/// damaged is in the store.
pub(super) fn place(path: &Path, bytes: &[u8], id: u64) {
    fs::write(path, bytes).unwrap();
    let mut files = StoreFiles::new(path, Meter::default());
    journal::create(&mut files, id).unwrap();
}

/// An empty store at `path`, to copy to.
pub(super) fn empty(path: &Path) -> Database {
    let _ = fs::remove_file(path);
    let database = builder().create(path).unwrap();
    initialise(&database, &Meta::new_store()).unwrap();
    database
}

fn put_messages(batch: &mut Batch, ledger: &mut Ledger, ids: Range<u64>, rng: &mut Rng) {
    for id in ids {
        let len = rng.usize(..250);
        put_message(batch, ledger, id, len, rng);
    }
}

fn put_message(batch: &mut Batch, ledger: &mut Ledger, id: u64, len: usize, rng: &mut Rng) {
    let mut payload = format!("payload {id} ").into_bytes();
    payload.extend((0..len).map(|_| rng.u8(..)));
    let topic = "t/".repeat(rng.usize(1..30));
    let mut message = message(&topic, &payload);
    message.arrival = Time::from_secs(1_000 + id);
    let targets = [target(rng.u64(1..5), id), target(7, id)];
    ledger.put(Key::Message(id), |out| {
        let row = encode_message(MessageId(id), &message, &targets, out);
        out.drain(..row.start);
    });
    batch.put_message(MessageId(id), &message, &targets);
}

fn put_session(batch: &mut Batch, ledger: &mut Ledger, id: u64, rng: &mut Rng) {
    let number = SessionId(id);
    if rng.u8(..10) == 0 {
        ledger.live.remove(&Key::Session(id, IDENTITY));
        ledger.live.remove(&Key::Session(id, STATE));
        let (from, to) = keys_of(number);
        let parts = Key::Part(from)..Key::Part(to);
        ledger.live.retain(|key, _| !parts.contains(key));
        return batch.delete_session(number);
    }
    let filter = "filter/".repeat(rng.usize(1..20));
    let record = SessionRecord {
        subscriptions: vec![subscription(&filter, rng)],
        ..session(&format!("client {id}"))
    };
    let packets = |rng: &mut Rng| -> Vec<PacketId> {
        (0..rng.u16(..5))
            .filter_map(|n| PacketId::new(n + 1))
            .collect()
    };
    let state = StateRecord {
        next_seq: 1_000_000 + ledger.ever.len() as u64,
        cursor: MessageId(rng.u64(..300)),
        low_cursor: MessageId(0),
        sent: (0..rng.u64(..9)).map(MessageId).collect(),
        releasing: packets(rng)
            .into_iter()
            .map(|id| (id, MessageId(0)))
            .collect(),
        received: packets(rng),
        ..StateRecord::default()
    };
    ledger.put(Key::Session(id, IDENTITY), |out| record.encode(number, out));
    ledger.put(Key::Session(id, STATE), |out| state.encode(number, out));
    batch.put_session(number, &record);
    batch.put_state(number, &state);
}

fn subscription(filter: &str, rng: &mut Rng) -> SubscriptionRecord {
    SubscriptionRecord {
        filter: filter.into(),
        qos: QoS::ExactlyOnce,
        no_local: rng.bool(),
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
        sub_id: None,
        lane: Lane::Client,
        awaits_retained: rng.bool(),
    }
}

/// Changes a few parts of a session, of which some are deleted and some take pages of their own.
fn put_parts(batch: &mut Batch, ledger: &mut Ledger, id: u64, rng: &mut Rng) {
    let number = SessionId(id);
    for _ in 0..6 {
        let long = usize::from(rng.u8(..16) == 0) * 900;
        let filter = format!("part {}/{}", rng.u8(..9), "x".repeat(long));
        let key = subscription_key(number, &filter);
        if rng.u8(..4) == 0 {
            ledger.live.remove(&Key::Part(key));
            batch.delete_subscription(number, &filter);
        } else {
            let record = subscription(&filter, rng);
            ledger.put(Key::Part(key.clone()), |out| {
                encode_subscription(&key, &record, out);
            });
            batch.put_subscription(number, &record);
        }
    }
    let page = rng.u8(..3);
    let key = ids_key(number, page);
    if rng.bool() {
        ledger.live.remove(&Key::Part(key));
        batch.delete_ids(number, page);
    } else {
        let ids = [rng.u64(..), 0, rng.u64(..), 2];
        ledger.put(Key::Part(key.clone()), |out| encode_ids(&key, &ids, out));
        batch.put_ids(number, page, &ids);
    }
}

fn put_retained(batch: &mut Batch, ledger: &mut Ledger, commit: u64, rng: &mut Rng) {
    let number = rng.usize(..16);
    // Some keys are long enough for pages of their own.
    let topic = format!("r/{number}/{}", "x".repeat(number / 6 * 700));
    if rng.u8(..5) == 0 {
        ledger.live.remove(&Key::Retained(topic.clone()));
        return batch.delete_retained(&topic);
    }
    let mut message = message(&topic, format!("{commit} {}", rng.u64(..)).as_bytes());
    message.retain = true;
    message.arrival = Time::from_secs(1_000 + commit);
    ledger.put(Key::Retained(topic), |out| encode_retained(&message, out));
    batch.put_retained(&message);
}

/// All rows of the closed store at `path`, without this program's help.
pub(super) fn raw(path: &Path) -> Rows {
    let database = Database::open(path).unwrap();
    let txn = database.begin_read().unwrap();
    let mut rows = Rows::new();
    for entry in txn.open_table(MSG).unwrap().iter().unwrap() {
        let (key, row) = entry.unwrap();
        rows.insert(Key::Message(key.value()), row.value().to_vec());
    }
    for entry in txn.open_table(SESSION).unwrap().iter().unwrap() {
        let (key, row) = entry.unwrap();
        let (id, kind) = key.value();
        rows.insert(Key::Session(id.into(), kind), row.value().to_vec());
    }
    let wide = txn.open_table(WIDE_SESSION).ok();
    for entry in wide.iter().flat_map(|table| table.iter().unwrap()) {
        let (key, row) = entry.unwrap();
        let (id, kind) = key.value();
        rows.insert(Key::Session(id, kind), row.value().to_vec());
    }
    let parts = txn.open_table(PART).ok();
    for entry in parts.iter().flat_map(|table| table.iter().unwrap()) {
        let (key, row) = entry.unwrap();
        rows.insert(Key::Part(key.value().to_vec()), row.value().to_vec());
    }
    for entry in txn.open_table(RETAINED).unwrap().iter().unwrap() {
        let (key, row) = entry.unwrap();
        rows.insert(Key::Retained(key.value().into()), row.value().to_vec());
    }
    rows
}
