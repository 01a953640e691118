//! What is not for this program: refused before anything is written, and left as it is to the byte.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use redb::{Database, TableDefinition};

use super::files::{folder, open};
use super::{messages, session};
use crate::message::SessionId;
use crate::store::Error;
use crate::store::rescue::Source;
use crate::store::rescue::peek::check_pages;
use crate::store::rows::codec::{put_varint, seal};
use crate::store::tables::schema::META;

/// A format that no version has.
const NEWER: u64 = 99;
/// The byte of redb's header with a bit that is set while the file is open.
const STATE_AT: usize = 9;
const IS_OPEN: u8 = 2;

/// All files beside `path`, with what they hold.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A store with messages in its tables and in its journal.
fn filled(path: &Path) {
    let (mut db, _) = open(path).unwrap();
    let mut batch = messages(1, 1..500);
    batch.put_session(SessionId(1), &session("c"));
    db.commit(&mut batch).unwrap();
    db.fold().unwrap();
    db.commit(&mut messages(2, 500..510)).unwrap();
}

/// Says in the store at `path` that it has format `number`, and gives the open database.
fn say_format(path: &Path, number: u64) -> Database {
    let database = Database::open(path).unwrap();
    let txn = database.begin_write().unwrap();
    let mut row = Vec::new();
    put_varint(number, &mut row);
    seal(b"format", 0, &mut row);
    txn.open_table(META)
        .unwrap()
        .insert("format", row.as_slice())
        .unwrap();
    txn.commit().unwrap();
    database
}

/// Puts what the file of an open database holds in its place once that is closed, as a kill would.
fn kill(path: &Path, database: Database) {
    let killed = fs::read(path).unwrap();
    assert!(killed[STATE_AT] & IS_OPEN != 0, "it is open");
    drop(database);
    fs::write(path, killed).unwrap();
}

/// Checks that the store is refused as one of `format`, and that this changes no byte of any file.
fn is_left_alone(path: &Path, format: u64) {
    let before = files(path);
    for _ in 0..2 {
        let refused = open(path).err();
        assert!(
            matches!(&refused, Some(Error::Newer { path: at, found }) if at == path && *found == format),
            "{refused:?}"
        );
        assert!(files(path) == before, "{:?}", files(path).keys());
    }
}

#[test]
fn a_newer_store_that_was_closed() {
    let (_folder, path) = folder();
    filled(&path);
    drop(say_format(&path, NEWER));
    is_left_alone(&path, NEWER);
}

#[test]
fn a_newer_store_that_was_killed() {
    let (_folder, path) = folder();
    filled(&path);
    let database = say_format(&path, NEWER);
    kill(&path, database);
    is_left_alone(&path, NEWER);
    let before = files(&path);
    drop(Database::open(&path).unwrap());
    assert!(files(&path) != before, "redb would have written to it");
}

/// The last commit did not get through, but the one before says it.
#[test]
fn a_newer_store_whose_last_commit_is_torn() {
    let (_folder, path) = folder();
    filled(&path);
    let database = say_format(&path, NEWER);
    let txn = database.begin_write().unwrap();
    let table = TableDefinition::<&str, u64>::new("of a later version");
    txn.open_table(table).unwrap().insert("x", 1).unwrap();
    txn.commit().unwrap();
    kill(&path, database);
    let mut bytes = fs::read(&path).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at + 104..at + 112].try_into().unwrap());
    let last = if number(64) > number(192) { 64 } else { 192 };
    bytes[last + 8..last + 40].fill(0x55);
    fs::write(&path, bytes).unwrap();
    is_left_alone(&path, NEWER);
}

/// A page that rot is no reason to write to it either.
#[test]
fn a_newer_store_that_is_damaged() {
    let (_folder, path) = folder();
    filled(&path);
    let database = say_format(&path, NEWER);
    kill(&path, database);
    let mut bytes = fs::read(&path).unwrap();
    let row = b"payload 250";
    let at = bytes.windows(row.len()).position(|bytes| bytes == row);
    bytes[at.unwrap()] ^= 1;
    fs::write(&path, bytes).unwrap();
    is_left_alone(&path, NEWER);
}

/// What an interrupted rescue by a later version has left is neither removed nor put in place.
#[test]
fn a_newer_store_that_is_being_rescued() {
    for has_store in [false, true] {
        let (_folder, path) = folder();
        filled(&path);
        drop(say_format(&path, NEWER));
        let ready = path.with_file_name("broker.db.rescued");
        fs::copy(&path, &ready).unwrap();
        if !has_store {
            fs::remove_file(&path).unwrap();
        }
        let before = files(&path);
        assert!(matches!(
            open(&path),
            Err(Error::Newer { found: NEWER, .. })
        ));
        assert!(files(&path) == before);
    }
}

#[test]
fn the_store_of_a_newer_redb() {
    for is_killed in [false, true] {
        let (_folder, path) = folder();
        filled(&path);
        let database = Database::open(&path).unwrap();
        if is_killed {
            kill(&path, database);
        } else {
            drop(database);
        }
        let mut bytes = fs::read(&path).unwrap();
        (bytes[64], bytes[192]) = (4, 4);
        fs::write(&path, bytes).unwrap();
        is_left_alone(&path, 4);
    }
}

#[test]
fn the_files_of_others() {
    let others: [&[u8]; 2] = [
        b"\x00\xB5\x00mosquitto db\x00\x00\x00\x00\x00\x00\x06",
        b"SQLite format 3\x00\x10\x00",
    ];
    for other in others {
        let (_folder, path) = folder();
        fs::write(&path, [other, &[7; 9000]].concat()).unwrap();
        let before = files(&path);
        match open(&path) {
            Err(Error::Mosquittos(at)) => assert!(other == others[0] && at == path),
            Err(Error::Foreign(at)) => assert!(other == others[1] && at == path),
            _ => panic!("it is taken for a store"),
        }
        assert!(files(&path) == before);
    }
    // Of redb, but not ours, and not closed.
    for is_empty in [false, true] {
        let (_folder, path) = folder();
        let database = Database::create(&path).unwrap();
        for n in 0..if is_empty { 0 } else { 3 } {
            let txn = database.begin_write().unwrap();
            let table = TableDefinition::<u64, &str>::new("theirs");
            txn.open_table(table).unwrap().insert(n, "x").unwrap();
            txn.commit().unwrap();
        }
        kill(&path, database);
        let before = files(&path);
        assert!(matches!(open(&path), Err(Error::Foreign(at)) if at == path));
        assert!(files(&path) == before, "empty: {is_empty}");
    }
}

/// A file that counts what is read of it.
struct Counting {
    file: fs::File,
    bytes: Cell<u64>,
}

impl Source for Counting {
    fn len(&self) -> io::Result<u64> {
        Source::len(&self.file)
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.bytes.set(self.bytes.get() + out.len() as u64);
        Source::read_at(&self.file, at, out)
    }
}

/// To find out costs a start next to nothing, however much waits.
#[test]
fn four_pages_tell() {
    let (_folder, path) = folder();
    let (mut db, _) = open(&path).unwrap();
    db.commit(&mut messages(1, 1..30_000)).unwrap();
    drop(db);
    let source = Counting {
        file: fs::File::open(&path).unwrap(),
        bytes: Cell::new(0),
    };
    check_pages(&source).unwrap();
    let read = source.bytes.get();
    assert!(
        read <= 4 * 4096,
        "{read} of {}",
        Source::len(&source).unwrap()
    );
}

/// The formats that there are, killed: what is refused above is refused for its format alone.
#[test]
fn a_killed_store_of_this_version_opens() {
    for format in 1..=4 {
        let (_folder, path) = folder();
        filled(&path);
        let database = say_format(&path, format);
        kill(&path, database);
        let (_, loaded) = open(&path).unwrap();
        assert_eq!(loaded.refs.len(), 509);
        assert!(loaded.quarantined.is_none() && loaded.damaged == 0);
    }
}
