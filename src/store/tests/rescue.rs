//! How a rescue goes about it: what is saved of a sound file, what a crash or a full disk in the
//! midst of it leaves, and what becomes of the files set aside.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use redb::Database;

use super::disk::Disk;
use super::mix::{Key, Ledger, Mix, empty, fill, folder, raw, stored};
use super::{messages, session};
use crate::message::SessionId;
use crate::store::files::open;
use crate::store::rescue::{copy, make_ready};
use crate::store::rows::codec::{put_varint, seal};
use crate::store::tables::schema::META;
use crate::store::{Db, Error, Loaded, Location, Rescued};
use crate::time::Time;

const SEED: u64 = 1_795_384_629;

const SMALL: Mix = Mix {
    messages: 300,
    sessions: 10,
    wide: false,
    large: &[],
};

fn start(path: &Path) -> (Db, Loaded) {
    Db::open(Location::File(path.into())).unwrap()
}

/// A damaged store at `path`: the first page of the tree of system tables, which holds no rows,
/// is gone. All can be saved.
fn damaged(path: &Path) -> Ledger {
    let ledger = fill(path, &SMALL, &mut Rng::with_seed(SEED));
    damage(path);
    ledger
}

/// Takes away the page that the newer commit slot names as the root of redb's own tables.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let newer = if number(64 + 104) > number(192 + 104) {
        64
    } else {
        192
    };
    let page = 4096 * (1 + (number(newer + 40) as usize & 0xF_FFFF));
    bytes[page..page + 4096].fill(0x55);
    fs::write(path, bytes).unwrap();
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Fails the day redb changes its format: then `pages` and `node` must learn the new one.
#[test]
fn an_intact_file_is_saved_to_the_last_row() {
    let (_folder, path) = folder();
    let mix = Mix {
        messages: 1_000,
        sessions: 60,
        wide: true,
        large: &[5_000, 100_000, 1_000_000, 70_000, 20_000],
    };
    let ledger = fill(&path, &mix, &mut Rng::with_seed(SEED));
    let copied_to = path.with_extension("copy");
    let source = fs::File::open(&path).unwrap();
    let copied = copy(&source, empty(&copied_to), None).unwrap();
    assert_eq!(copied.lost, Some(0), "the walk needs no search");
    assert!(copied.cut_short.is_none());
    assert!(raw(&copied_to) == ledger.live);
    assert!(copied.rescued.messages > 500 && copied.rescued.sessions > 10);
    assert_eq!(start(&copied_to).1.floor, start(&path).1.floor);
}

#[test]
fn a_file_that_was_never_closed_is_saved_as_it_was_committed() {
    let (_folder, path) = folder();
    let disk = Disk::with_store();
    let (mut db, _) = Db::with_opener(disk.opener()).unwrap();
    for seq in 0..30 {
        let mut batch = messages(seq, seq * 10..seq * 10 + 10);
        batch.delete(seq * 5..seq * 5 + 4);
        batch.put_session(SessionId(1), &session("c"));
        db.commit(&mut batch).unwrap();
        let killed = path.with_extension("killed");
        fs::write(&killed, stored(&disk)).unwrap();
        let source = fs::File::open(&killed).unwrap();
        let copied_to = path.with_extension("copy");
        let copied = copy(&source, empty(&copied_to), None).unwrap();
        assert_eq!(copied.lost, Some(0));
        assert!(raw(&copied_to) == raw(&killed));
    }
}

#[test]
fn all_is_saved_and_told() {
    let (_folder, path) = folder();
    let ledger = damaged(&path);
    let (db, loaded) = start(&path);
    drop(db);
    assert!(raw(&path) == ledger.live);
    assert_eq!(
        loaded.floor,
        Time::from_secs(1_000 + 15 * 100),
        "the time goes on"
    );
    let quarantined = loaded.quarantined.unwrap();
    assert_eq!(quarantined.lost, Some(0));
    let said = quarantined.to_string();
    let messages = ledger
        .live
        .keys()
        .filter(|key| matches!(key, Key::Message(_)))
        .count();
    assert!(said.contains(&format!("{messages} messages, ")), "{said}");
    assert!(said.contains("0 rows are lost"), "{said}");
    assert_eq!(names(&path).len(), 3, "{:?}", names(&path));
    assert!(start(&path).1.quarantined.is_none(), "told once");
}

/// What each crash leaves, and a second start: all rows are there, no file is lost, and the
/// damaged one is told of.
#[test]
fn a_crash_in_the_midst_of_it_loses_nothing() {
    type Crash = fn(&Path);
    fn copied(path: &Path) {
        let source = fs::File::open(path).unwrap();
        copy(&source, empty(&open::with_suffix(path, ".new")), None).unwrap();
    }
    let crashes: [Crash; 5] = [
        |path| drop(empty(&open::with_suffix(path, ".new"))),
        |path| {
            copied(path);
            let new = open::with_suffix(path, ".new");
            let whole = fs::read(&new).unwrap();
            fs::write(&new, &whole[..whole.len() / 2]).unwrap();
        },
        copied,
        |path| {
            copied(path);
            make_ready(path).unwrap();
        },
        |path| {
            copied(path);
            make_ready(path).unwrap();
            open::set_aside(path).unwrap();
        },
    ];
    for (at, crash) in crashes.into_iter().enumerate() {
        let (_folder, path) = folder();
        let ledger = damaged(&path);
        let before = fs::metadata(&path).unwrap().len();
        crash(&path);
        let (db, loaded) = start(&path);
        drop(db);
        let quarantined = loaded.quarantined.unwrap();
        assert!(raw(&path) == ledger.live, "crash {at}");
        assert_eq!(
            fs::metadata(&quarantined.aside).unwrap().len(),
            before,
            "crash {at}"
        );
        let sessions = ledger
            .live
            .keys()
            .filter(|key| matches!(key, Key::Session(_, 0)));
        assert_eq!(
            quarantined.rescued.sessions,
            sessions.count() as u64,
            "crash {at}"
        );
        assert_eq!(names(&path).len(), 3, "crash {at}: {:?}", names(&path));
        assert!(start(&path).1.quarantined.is_none(), "crash {at}");
    }
}

#[test]
fn a_copy_that_is_no_longer_wanted_goes() {
    let (_folder, path) = folder();
    let (mut db, _) = start(&path);
    db.commit(&mut messages(1, 1..5)).unwrap();
    drop(db);
    // The operator has put a backup in the place of the damaged file.
    fs::write(open::with_suffix(&path, ".rescued"), "a copy").unwrap();
    let (_, loaded) = start(&path);
    assert!(loaded.quarantined.is_none());
    assert_eq!(names(&path), ["broker.db", "broker.db.journal"]);
}

#[test]
fn a_full_disk_gets_what_fits() {
    let (_folder, path) = folder();
    let mix = Mix {
        messages: 4_000,
        sessions: 10,
        wide: false,
        large: &[300_000, 300_000],
    };
    let ledger = fill(&path, &mix, &mut Rng::with_seed(SEED));
    let source = fs::File::open(&path).unwrap();
    let mut sizes = Vec::new();
    for writes in (0..).step_by(60) {
        let disk = Disk::with_store();
        let database = disk.opener().open_store().unwrap();
        disk.fail_after(writes);
        let copied = copy(&source, database, None).unwrap();
        let is_cut = copied.cut_short.as_ref().map(Error::is_full);
        assert_ne!(is_cut, Some(false), "{:?}", copied.cut_short);
        disk.heal();
        let (mut db, loaded) = Db::with_opener(disk.opener()).unwrap();
        let there = super::stored(&mut db).len() as u64;
        assert_eq!(there, copied.rescued.messages, "what was committed");
        let Rescued {
            sessions, retained, ..
        } = copied.rescued;
        assert_eq!(loaded.sessions.len() as u64, sessions);
        assert_eq!(loaded.retained.len() as u64, retained);
        let rows = there + retained + 2 * sessions;
        assert_eq!(rows + copied.lost.unwrap(), ledger.live.len() as u64);
        sizes.push(there);
        if copied.cut_short.is_none() {
            break;
        }
    }
    assert!(sizes.len() > 3 && sizes[0] == 0, "{sizes:?}");
    assert!(
        sizes.iter().any(|&n| n > 0 && n < sizes[sizes.len() - 1]),
        "{sizes:?}"
    );
}

#[test]
fn a_newer_format_is_refused_though_the_file_is_damaged() {
    let (_folder, path) = folder();
    drop(start(&path));
    let database = Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    let mut row = Vec::new();
    put_varint(6, &mut row);
    seal(b"format", 0, &mut row);
    txn.open_table(META)
        .unwrap()
        .insert("format", row.as_slice())
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    damage(&path);
    let refused = Db::open(Location::File(path.clone())).err().unwrap();
    assert!(
        matches!(&refused, Error::Newer { path: at, found: 6 } if *at == path),
        "{refused}"
    );
    assert_eq!(names(&path), ["broker.db", "broker.db.journal"]);
}

/// A bit of a version must not make the file one of somebody else's, refused at every start.
#[test]
fn rot_in_one_version_is_damage() {
    for (slot, version) in [(64, 1), (64, 2), (192, 1), (192, 7), (192, 255)] {
        let (_folder, path) = folder();
        let ledger = fill(&path, &SMALL, &mut Rng::with_seed(SEED));
        let mut bytes = fs::read(&path).unwrap();
        bytes[slot] = version;
        fs::write(&path, bytes).unwrap();
        let (db, loaded) = start(&path);
        drop(db);
        assert!(loaded.quarantined.is_some());
        assert!(raw(&path) == ledger.live, "both commits name the same rows");
    }
}

#[test]
fn two_damaged_files_are_kept() {
    let (_folder, path) = folder();
    let mut deleted: Vec<PathBuf> = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..14 {
        damaged(&path);
        let (_, loaded) = start(&path);
        let quarantined = loaded.quarantined.unwrap();
        for old in &quarantined.deleted {
            assert!(quarantined.to_string().contains(old.to_str().unwrap()));
        }
        deleted.extend(quarantined.deleted);
        kept.push(quarantined.aside);
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(deleted, kept[..12], "the oldest first");
    assert_eq!(names(&path).len(), 3, "and the journal");
}

#[test]
fn two_processes_cannot_save_one_file() {
    let (_folder, path) = folder();
    damaged(&path);
    let other = fs::File::open(&path).unwrap();
    other.lock().unwrap();
    let refused = Db::open(Location::File(path.clone())).err().unwrap();
    assert!(
        matches!(&refused, Error::Locked(at) if *at == path),
        "{refused}"
    );
    assert_eq!(names(&path), ["broker.db", "broker.db.journal"]);
}
