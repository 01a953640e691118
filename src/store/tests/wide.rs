//! Numbers of sessions beyond 32 bits, and the stores of versions that knew none.

use std::fs;
use std::path::Path;

use redb::{Database, ReadableDatabase, TableDefinition};

use super::disk::{Disk, Op};
use super::files::{folder, open};
use super::{message, session, stored, target};
use crate::message::{MessageId, SessionId};
use crate::store::rows::codec::{put_varint, seal};
use crate::store::rows::format::Format;
use crate::store::tables::meta::Meta;
use crate::store::{Batch, Loaded, StateRecord};

const LARGEST_NARROW: u64 = u32::MAX as u64;
/// The first that takes more than 32 bits.
const FIRST_WIDE: u64 = LARGEST_NARROW + 1;

fn ids(loaded: &Loaded) -> Vec<u64> {
    loaded.sessions.iter().map(|session| session.id.0).collect()
}

/// A batch with session `id`, which is owed message `owed`.
fn of_session(seq: u64, id: u64, owed: u64) -> Batch {
    let mut batch = Batch::new(seq);
    batch.put_session(SessionId(id), &session(&format!("client {id}")));
    let state = StateRecord {
        next_seq: 1,
        ..StateRecord::default()
    };
    batch.put_state(SessionId(id), &state);
    let targets = [target(id, 1)];
    batch.put_message(MessageId(owed), &message("t", b"payload"), &targets);
    batch
}

/// Whether the tables say that wide numbers occur; a program that knows none then refuses them.
fn is_marked(disk: &Disk) -> bool {
    let database = disk.opener().open_store().unwrap();
    Meta::read(&database.begin_read().unwrap()).unwrap().format == Format::Wide
}

#[test]
fn numbers_beyond_32_bits_survive_restarts() {
    let disk = Disk::with_store();
    let numbers = [7, LARGEST_NARROW, FIRST_WIDE, u64::MAX - 1];
    let check = |step: &str| {
        let (_, loaded) = disk.open().unwrap();
        assert_eq!(ids(&loaded), numbers, "{step}");
        for (session, owed) in loaded.sessions.iter().zip(1..) {
            let name = format!("client {}", session.id.0);
            assert_eq!(*session.record.client_id, *name, "{step}");
            assert_eq!(session.state.next_seq, 2, "{step}");
            assert!(session.queue.iter().eq([owed]), "{step}");
        }
        assert_eq!(loaded.next_session, SessionId(u64::MAX), "{step}");
        assert_eq!((loaded.damaged, loaded.orphans.len()), (0, 0), "{step}");
    };
    let (mut db, _) = disk.open().unwrap();
    for (id, owed) in numbers.into_iter().zip(1..) {
        db.commit(&mut of_session(owed, id, owed)).unwrap();
    }
    let live = db.live_bytes();
    drop(db);
    check("the last in the journal");
    let (mut db, _) = disk.open().unwrap();
    assert_eq!(db.live_bytes(), live);
    db.fold().unwrap();
    drop(db);
    check("all in the tables");
    let (mut db, _) = disk.open().unwrap();
    db.rewrite().unwrap();
    drop(db);
    check("in a new file");
    let (mut db, _) = disk.open().unwrap();
    let mut batch = Batch::new(9);
    batch.delete_session(SessionId(FIRST_WIDE));
    db.commit(&mut batch).unwrap();
    db.fold().unwrap();
    drop(db);
    let (_, loaded) = disk.open().unwrap();
    assert_eq!(ids(&loaded), [7, LARGEST_NARROW, u64::MAX - 1]);
}

/// What the records of the journal hold has no format of its own.
#[test]
fn the_tables_tell_of_wide_numbers_before_the_journal_has_one() {
    for owed_only in [false, true] {
        let disk = Disk::with_store();
        let (mut db, _) = disk.open().unwrap();
        db.commit(&mut of_session(1, LARGEST_NARROW, 1)).unwrap();
        drop(db);
        assert!(!is_marked(&disk));
        let (mut db, _) = disk.open().unwrap();
        let before = disk.ops().len();
        let mut batch = Batch::new(2);
        if owed_only {
            let targets = [target(FIRST_WIDE, 1)];
            batch.put_message(MessageId(2), &message("t", b"owed"), &targets);
        } else {
            batch.put_session(SessionId(FIRST_WIDE), &session("c"));
        }
        db.commit(&mut batch).unwrap();
        let journal = disk.image().journal;
        let ops = disk.ops().split_off(before);
        let is_to_journal = |op: &Op| matches!(op, Op::Write(to, ..) if Some(*to) == journal);
        assert!(!ops.iter().any(is_to_journal));
        db.commit(&mut of_session(3, FIRST_WIDE + 1, 3)).unwrap();
        assert!(is_to_journal(&disk.ops()[disk.ops().len() - 2]));
        drop(db);
        assert!(is_marked(&disk));
    }
}

/// Bytes written in hexadecimal.
fn hex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// The row of session 300, client id `c`, as the first version wrote it.
const SESSION_300: &str = "0100050163ffffffff0f00f2b615d1";
/// The row of the message retained on `r`.
const RETAINED: &str = "0111c0843d000000006b657074ad61c4db";

/// A message owed to session 300, without its length.
fn message_row(id: u64) -> Vec<u8> {
    let mut row = hex("0101c0843d0101ac02");
    put_varint(id, &mut row);
    row.extend(hex("03612f6200"));
    row.extend(format!("payload {id}").bytes());
    seal(&id.to_le_bytes(), 0, &mut row);
    row
}

/// A journal with one record: message 2 for session 300, and session 4, which is deleted.
fn journal(id: u64) -> Vec<u8> {
    let row = message_row(2);
    let mut contents = hex("d83600000000");
    contents.extend([1, 2, row.len() as u8]);
    contents.extend(row);
    contents.extend(hex("0002040000040100"));
    contents.push(0);
    let mut checked = (contents.len() as u32).to_le_bytes().to_vec();
    checked.extend(id.to_le_bytes());
    checked.extend(1u64.to_le_bytes());
    checked.extend(contents);
    let mut file = b"fbjrnl1\n".to_vec();
    file.extend(id.to_le_bytes());
    seal(b"", 0, &mut file);
    file.resize(512, 0);
    file.extend(b"rec1");
    file.extend(crc32fast::hash(&checked).to_le_bytes());
    file.extend(checked);
    file.resize(256 << 10, 0);
    file
}

/// A store as versions without wide numbers made it, by nothing but redb.
fn make_older(path: &Path, id: u64) {
    let database = Database::create(path).unwrap();
    let txn = database.begin_write().unwrap();
    let meta = TableDefinition::<&str, &[u8]>::new("meta");
    for (key, numbers) in [
        ("format", &[1][..]),
        ("journal", &[id, 0]),
        ("stamp", &[5_000, 0, 0, 0, 0]),
    ] {
        let mut row = Vec::new();
        numbers.iter().for_each(|n| put_varint(*n, &mut row));
        seal(key.as_bytes(), 0, &mut row);
        let mut table = txn.open_table(meta).unwrap();
        table.insert(key, row.as_slice()).unwrap();
    }
    let table = TableDefinition::<(u32, u8), &[u8]>::new("session");
    let mut table = txn.open_table(table).unwrap();
    table.insert((300, 0), hex(SESSION_300).as_slice()).unwrap();
    drop(table);
    let table = TableDefinition::<u64, &[u8]>::new("msg");
    let mut table = txn.open_table(table).unwrap();
    table.insert(1, message_row(1).as_slice()).unwrap();
    drop(table);
    let table = TableDefinition::<&str, &[u8]>::new("retained");
    let mut table = txn.open_table(table).unwrap();
    table.insert("r", hex(RETAINED).as_slice()).unwrap();
    drop(table);
    txn.commit().unwrap();
    fs::write(path.with_file_name("broker.db.journal"), journal(id)).unwrap();
}

/// What the closed store at `path` gives for its format.
fn format(path: &Path) -> u8 {
    let database = Database::open(path).unwrap();
    let txn = database.begin_read().unwrap();
    let meta = TableDefinition::<&str, &[u8]>::new("meta");
    let row = txn.open_table(meta).unwrap().get("format").unwrap();
    row.unwrap().value()[0]
}

#[test]
fn a_store_of_an_older_version_opens_with_everything_in_it() {
    let (_folder, path) = folder();
    make_older(&path, 77);
    for round in 0..2 {
        let (mut db, loaded) = open(&path).unwrap();
        assert_eq!((loaded.damaged, ids(&loaded)), (0, vec![300]));
        let of_300 = &loaded.sessions[0];
        assert_eq!(*of_300.record.client_id, *"c");
        assert!(of_300.queue.iter().eq([1, 2]));
        assert_eq!(loaded.retained[0].payload(), b"kept");
        assert_eq!(loaded.next_session, SessionId(301));
        assert_eq!(stored(&mut db), [1, 2]);
        db.fold().unwrap();
        drop(db);
        assert_eq!(
            format(&path),
            1,
            "round {round}: the older version reads it"
        );
    }
    let (mut db, _) = open(&path).unwrap();
    db.commit(&mut of_session(3, FIRST_WIDE, 3)).unwrap();
    drop(db);
    assert_eq!(format(&path), 2);
    let (mut db, loaded) = open(&path).unwrap();
    assert_eq!(ids(&loaded), [300, FIRST_WIDE]);
    assert!(loaded.sessions[0].queue.iter().eq([1, 2]));
    assert_eq!(stored(&mut db), [1, 2, 3]);
}
