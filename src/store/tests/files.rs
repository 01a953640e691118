//! The file: how it comes into being, who may have it, and what becomes of a damaged one.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, TableDefinition};
use tempfile::TempDir;

use super::{message, messages, rows, session, stored, target};
use crate::message::{MessageId, SessionId};
use crate::store::rows::codec::{put_varint, seal};
use crate::store::{
    Batch, Db, Error, Loaded, Location, Need, Quarantined, StateRecord, decode_message,
};
use crate::time::Time;

pub(super) fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.db");
    (folder, path)
}

pub(super) fn open(path: &Path) -> Result<(Db, Loaded), Error> {
    Db::open(Location::File(path.into()))
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What a store alone in its folder consists of.
const STORE: [&str; 2] = ["broker.db", "broker.db.journal"];

/// A closed store with ten messages for session 1, its journal empty.
fn filled(path: &Path) {
    let (mut db, _) = open(path).unwrap();
    let mut batch = messages(1, 1..11);
    batch.put_session(SessionId(1), &session("c"));
    db.commit(&mut batch).unwrap();
    db.rewrite().unwrap();
}

#[test]
fn a_new_store_is_a_file_and_its_journal() {
    let (folder, path) = folder();
    fs::write(path.with_file_name("broker.db.new"), "left by a power cut").unwrap();
    let (mut db, loaded) = open(&path).unwrap();
    assert!(loaded.sessions.is_empty() && loaded.quarantined.is_none());
    assert_eq!(names(&folder), STORE);
    assert!(db.file_bytes() > 0);
    assert!(stored(&mut db).is_empty());
}

#[test]
fn an_empty_file_is_made_a_store() {
    let (folder, path) = folder();
    fs::write(&path, "").unwrap();
    let (_, loaded) = open(&path).unwrap();
    assert!(loaded.quarantined.is_none());
    assert_eq!(names(&folder), STORE);
}

#[test]
fn two_processes_cannot_share_a_store() {
    let (_folder, path) = folder();
    let _first = open(&path).unwrap();
    assert!(matches!(open(&path), Err(Error::Locked(at)) if at == path));
}

#[test]
fn what_the_operator_must_cure_is_named() {
    let (folder, path) = folder();
    let missing = folder.path().join("missing").join("broker.db");
    let error = open(&missing).err().unwrap();
    assert!(matches!(&error, Error::NoFolder(at) if at.ends_with("missing")));
    assert!(
        error.to_string().contains("persistence_location"),
        "{error}"
    );
    fs::create_dir(&path).unwrap();
    assert!(matches!(open(&path), Err(Error::Denied(at, _)) if at == path));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (folder, path) = folder();
    filled(&path);
    let database = Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    let mut row = Vec::new();
    put_varint(6, &mut row);
    seal(b"format", 0, &mut row);
    let meta = TableDefinition::<&str, &[u8]>::new("meta");
    txn.open_table(meta)
        .unwrap()
        .insert("format", row.as_slice())
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    assert!(matches!(open(&path), Err(Error::Newer { path: at, found: 6 }) if at == path));
    assert_eq!(names(&folder), STORE);
}

#[test]
fn a_newer_redb_is_refused_and_left_alone() {
    let (folder, path) = folder();
    filled(&path);
    let mut bytes = fs::read(&path).unwrap();
    (bytes[64], bytes[192]) = (4, 4);
    fs::write(&path, bytes).unwrap();
    assert!(matches!(open(&path), Err(Error::Newer { found: 4, .. })));
    assert_eq!(names(&folder), STORE);
}

#[test]
fn the_files_of_others_are_refused_and_left_alone() {
    let (folder, path) = folder();
    fs::write(
        &path,
        b"\x00\xB5\x00mosquitto db\x00\x00\x00\x00\x00\x00\x06",
    )
    .unwrap();
    assert!(matches!(open(&path), Err(Error::Mosquittos(at)) if at == path));
    fs::remove_file(&path).unwrap();
    drop(Database::create(&path).unwrap());
    assert!(matches!(open(&path), Err(Error::Foreign(at)) if at == path));
    assert_eq!(names(&folder), ["broker.db"], "no journal was made");
}

#[test]
fn a_damaged_file_is_set_aside_and_the_broker_starts() {
    type Damage = fn(&mut Vec<u8>);
    let damage: [Damage; 3] = [
        |bytes| bytes[..9].fill(0),
        |bytes| bytes.truncate(100),
        |bytes| *bytes = b"no database at all".repeat(500),
    ];
    let (folder, path) = folder();
    for (round, damage) in damage.into_iter().enumerate() {
        filled(&path);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let (mut db, loaded) = open(&path).unwrap();
        let Quarantined { aside, why, .. } = loaded.quarantined.unwrap();
        assert!(aside.to_string_lossy().contains("broker.db.corrupt-"));
        assert!(!why.is_empty());
        // Opening may have repaired a little before it gave up, but it's the same file.
        assert!(fs::metadata(aside).unwrap().len() > 0);
        // Where nothing of the file is left, there is still the journal's last run.
        assert_eq!((stored(&mut db).len(), loaded.sessions.len()), (10, 1));
        drop(db);
        fs::remove_file(&path).unwrap();
        let kept = (round + 1).min(2);
        assert_eq!(
            names(&folder).len(),
            kept + 1,
            "each has a name of its own, and the journal"
        );
    }
}

#[test]
fn a_flipped_bit_never_changes_a_message() {
    let (_folder, path) = folder();
    filled(&path);
    let sound = fs::read(&path).unwrap();
    let mut coin = fastrand::Rng::with_seed(7);
    let mut found = 0;
    for _ in 0..60 {
        let mut bytes = sound.clone();
        let at = coin.usize(..bytes.len());
        bytes[at] ^= 1 << coin.u8(..8);
        fs::write(&path, bytes).unwrap();
        let (mut db, loaded) = open(&path).unwrap();
        found += usize::from(loaded.quarantined.is_some());
        for (id, row) in rows(&mut db).iter() {
            let (message, _) = decode_message(id, row).unwrap();
            assert_eq!(message.payload(), format!("payload {}", id.0).as_bytes());
        }
    }
    assert!(found < 60, "most of the file is unused");
}

#[test]
fn a_damaged_row_is_skipped_and_counted() {
    let (_folder, path) = folder();
    filled(&path);
    let database = Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    let table = TableDefinition::<u64, &[u8]>::new("msg");
    txn.open_table(table)
        .unwrap()
        .insert(4, b"rot".as_slice())
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    let (_, loaded) = open(&path).unwrap();
    assert_eq!(loaded.damaged, 1);
    let queue = &loaded.sessions[0].queue;
    assert!(queue.iter().eq((1..11).filter(|&id| id != 4)));
    assert_eq!(loaded.next_message, MessageId(11));
}

#[test]
fn numbers_and_time_never_go_back() {
    let (_folder, path) = folder();
    let (mut db, loaded) = open(&path).unwrap();
    assert_eq!(loaded.floor, Time::ZERO);
    let mut batch = Batch::new(1);
    // Message 3 is owed to a session that was deleted, and stays until the next start only.
    batch.put_message(MessageId(3), &message("t", b""), &[target(9, 0)]);
    batch.put_session(SessionId(2), &session("c"));
    let state = StateRecord {
        cursor: MessageId(70),
        ..StateRecord::default()
    };
    batch.put_state(SessionId(2), &state);
    batch.floor = Time::from_secs(5_000);
    db.commit(&mut batch).unwrap();
    drop(db);
    let (mut db, loaded) = open(&path).unwrap();
    assert_eq!(loaded.next_message, MessageId(71));
    assert_eq!(loaded.next_session, SessionId(10));
    assert_eq!(loaded.floor, Time::from_secs(5_000));
    assert_eq!(loaded.orphans.len(), 1);
    assert_eq!(loaded.orphans[0], 3..4);
    batch.floor = Time::from_secs(5_001);
    db.commit(&mut batch).unwrap();
    drop(db);
    assert_eq!(open(&path).unwrap().1.floor, Time::from_secs(5_001));
}

#[test]
fn a_drained_file_shrinks() {
    let (_folder, path) = folder();
    let (mut db, _) = open(&path).unwrap();
    let mut batch = Batch::new(1);
    for id in 1..20_000 {
        batch.put_message(MessageId(id), &message("t", &[7; 300]), &[target(1, id)]);
    }
    db.commit(&mut batch).unwrap();
    assert!(db.file_bytes() > 6 << 20);
    assert!(!db.is_worth_compacting(Need::Idle), "it is full");
    let mut batch = Batch::new(2);
    batch.delete(1..19_990);
    db.commit(&mut batch).unwrap();
    assert!(db.is_worth_compacting(Need::Idle));
    db.rewrite().unwrap();
    assert!(db.file_bytes() < 1 << 20);
    assert!(!db.is_worth_compacting(Need::Idle));
    assert_eq!(stored(&mut db).len(), 10);
}

/// A store in memory tells what it takes, with what was deleted, until a rewrite gives that back; the
/// rows stay.
#[test]
fn a_drained_store_in_memory_shrinks() {
    let (mut db, _) = Db::open(Location::Memory).unwrap();
    assert_eq!(db.file_bytes(), 0);
    let mut batch = messages(1, 1..20_000);
    batch.put_session(SessionId(1), &session("c"));
    db.commit(&mut batch).unwrap();
    let full = db.file_bytes();
    assert!(full > 512 << 10 && full > db.live_bytes(), "{full}");
    assert!(!db.is_worth_compacting(Need::Busy), "it is full");
    let mut batch = Batch::new(2);
    batch.delete(1..17_000);
    db.commit(&mut batch).unwrap();
    assert!(db.file_bytes() >= full);
    assert!(db.is_worth_compacting(Need::Busy));
    let before = rows(&mut db);
    for _ in 0..2 {
        db.rewrite().unwrap();
        assert!(rows(&mut db).iter().eq(before.iter()));
        assert_eq!(db.reload().unwrap().sessions.len(), 1);
        assert!(db.file_bytes() < full / 2, "{}", db.file_bytes());
        assert!(!db.is_worth_compacting(Need::Busy));
    }
}
