//! Files that are deleted, replaced or damaged while the store or its journal needs them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::files::{folder, open};
use super::{message, messages, session, stored, target};
use crate::message::{MessageId, SessionId};
use crate::store::{Batch, Db, Error, Need};
use crate::time::Time;

fn journal(path: &Path) -> PathBuf {
    path.with_file_name("broker.db.journal")
}

/// An open store with messages 1 to 1999 in the tables and the 2000th in the journal.
fn filled(path: &Path) -> Db {
    let (mut db, _) = open(path).unwrap();
    let mut batch = messages(1, 1..2_000);
    batch.floor = Time::from_secs(7_000);
    batch.put_session(SessionId(1), &session("c"));
    db.commit(&mut batch).unwrap();
    db.commit(&mut messages(2, 2_000..2_001)).unwrap();
    db
}

#[test]
fn a_store_deleted_while_open_comes_back() {
    let deleted: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::remove_file(journal(path)).unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            fs::remove_file(journal(path)).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "something else").unwrap();
        },
    ];
    for (round, delete) in deleted.into_iter().enumerate() {
        let (_folder, path) = folder();
        let mut db = filled(&path);
        assert!(!db.is_lost());
        delete(&path);
        assert!(db.is_lost(), "round {round}");
        // Goes on without a name meanwhile.
        db.commit(&mut messages(3, 2_001..2_002)).unwrap();
        db.rewrite().unwrap();
        assert!(!db.is_lost(), "round {round}");
        db.commit(&mut messages(4, 2_002..2_003)).unwrap();
        assert_eq!(stored(&mut db).len(), 2_002);
        drop(db);
        let (mut db, loaded) = open(&path).unwrap();
        assert_eq!(stored(&mut db).len(), 2_002, "round {round}");
        assert_eq!((loaded.damaged, loaded.sessions.len()), (0, 1));
        assert_eq!(loaded.floor, Time::from_secs(7_000));
    }
}

#[test]
fn deleting_the_store_of_a_stopped_broker_is_a_reset() {
    let (_folder, path) = folder();
    drop(filled(&path));
    fs::remove_file(&path).unwrap();
    let (mut db, loaded) = open(&path).unwrap();
    assert!(stored(&mut db).is_empty() && loaded.sessions.is_empty());
    assert_eq!(loaded.damaged, 0);
}

#[test]
fn the_journal_of_another_store_is_not_replayed() {
    let (_folder, path) = folder();
    drop(filled(&path));
    let (_other_folder, other) = folder();
    let (mut db, _) = open(&other).unwrap();
    db.commit(&mut messages(1, 9_000..9_001)).unwrap();
    drop(db);
    fs::copy(journal(&other), journal(&path)).unwrap();
    let (mut db, loaded) = open(&path).unwrap();
    assert_eq!(stored(&mut db).last(), Some(&1_999));
    assert_eq!(loaded.damaged, 1, "its own journal is gone");
    db.commit(&mut messages(3, 3_000..3_001)).unwrap();
    drop(db);
    let (mut db, loaded) = open(&path).unwrap();
    assert_eq!(stored(&mut db).last(), Some(&3_000));
    assert_eq!(loaded.damaged, 0);
}

#[test]
fn the_journal_of_a_damaged_store_goes_to_the_new_one() {
    let (_folder, path) = folder();
    let mut db = filled(&path);
    db.commit(&mut messages(3, 2_001..2_003)).unwrap();
    drop(db);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xA5; 300], 0).unwrap();
    // Besides what is saved of the file itself.
    let all: Vec<u64> = (1..2_003).collect();
    for _ in 0..2 {
        let (mut db, _) = open(&path).unwrap();
        assert_eq!(stored(&mut db), all);
    }
    let (mut db, loaded) = open(&path).unwrap();
    assert_eq!(loaded.damaged, 0);
    db.commit(&mut messages(4, 2_003..2_004)).unwrap();
    drop(db);
    assert_eq!(stored(&mut open(&path).unwrap().0).len(), 2_003);
}

/// The lock of the store goes with its name; that of the journal is left.
#[test]
fn a_second_process_finds_the_journal_locked() {
    let (_folder, path) = folder();
    let _first = filled(&path);
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(&path), Err(Error::Locked(at)) if at == journal(&path)));
}

#[test]
fn a_journal_that_may_not_be_opened_is_named() {
    let (_folder, path) = folder();
    drop(filled(&path));
    fs::remove_file(journal(&path)).unwrap();
    fs::create_dir(journal(&path)).unwrap();
    assert!(matches!(open(&path), Err(Error::Denied(at, _)) if at == journal(&path)));
}

#[test]
fn a_rewrite_keeps_permissions_and_links() {
    let (_folder, path) = folder();
    let link = path.with_file_name("link.db");
    drop(filled(&path));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    symlink(&path, &link).unwrap();
    let (mut db, loaded) = open(&link).unwrap();
    assert_eq!(loaded.damaged, 0);
    db.rewrite().unwrap();
    assert!(!db.is_lost());
    drop(db);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(stored(&mut open(&path).unwrap().0).len(), 2_000);
}

/// What the journal deletes counts: the last of a backlog may lie there for long.
#[test]
fn a_store_is_rewritten_while_its_deletes_are_in_the_journal() {
    let (_folder, path) = folder();
    let (mut db, _) = open(&path).unwrap();
    let mut batch = Batch::new(1);
    for id in 1..20_000 {
        batch.put_message(MessageId(id), &message("t", &[7; 300]), &[target(1, id)]);
    }
    db.commit(&mut batch).unwrap();
    assert!(!db.is_worth_compacting(Need::Idle));
    let mut batch = Batch::new(2);
    batch.delete(1..19_990);
    batch.put_message(
        MessageId(20_000),
        &message("t", b"new"),
        &[target(1, 20_000)],
    );
    db.commit(&mut batch).unwrap();
    assert!(db.is_worth_compacting(Need::Idle));
    let before = db.file_bytes();
    db.rewrite().unwrap();
    assert!(db.file_bytes() < before / 4);
    assert!(!db.is_worth_compacting(Need::Idle) && !db.is_lost());
    assert_eq!(stored(&mut db).len(), 11);
    drop(db);
    let (mut db, loaded) = open(&path).unwrap();
    assert_eq!((stored(&mut db).len(), loaded.damaged), (11, 0));
}
