//! Files that are none, or damaged: nothing is taken over of them, and nothing panics.

use std::fs;
use std::io::Cursor;

use proptest::prelude::*;

use super::builder::{Cl, KIND, Kind, Place, Writer, all_kinds, client, msg, waits};
use super::{Error, Import, MOMENT, bring, config, open};
use crate::message::{MessageId, SessionId};

fn whole(kind: Kind) -> Writer {
    let mut writer = Writer::new(kind);
    for n in 1..=3 {
        writer.message(msg(n, ["", "first/a", "b", "c"][n as usize]));
    }
    for id in ["reader", "local.gw.cloud"] {
        writer.client(Cl {
            port: 0,
            ..client(id)
        });
        writer.place(waits(id, 1, 1));
        writer.place(Place {
            mid: 4,
            state: 5,
            ..waits(id, 2, 2)
        });
        writer.place(Place {
            mid: 5,
            state: 7,
            incoming: true,
            ..waits(id, 3, 2)
        });
        writer.subscription(id, "#", 2, 0);
    }
    writer.retained(3);
    writer
}

fn read(bytes: Vec<u8>) -> Result<super::Report, Error> {
    let text = "connection cloud\naddress u\nremote_clientid gw.cloud\ntopic first/# out 1";
    Import::open(Cursor::new(bytes))?.into_report(&config(text), MOMENT)
}

#[test]
fn files_of_other_kinds_are_told_apart() {
    for (bytes, says) in [
        (&b""[..], "not a persistence file of Mosquitto's"),
        (
            b"\x00\xB5\x00mosquitto db\0\0",
            "not a persistence file of Mosquitto's",
        ),
        (
            b"redb\x1A\x0A\xA9\x0D\x0A and more than a head",
            "not a persistence file",
        ),
        (b"SQLite format 3\0 and more than a head", "persist-sqlite"),
        (
            b"\x00\xB5\x00mosquitto db\0\0\0\0\0\0\0\x07",
            "in format 7; known are 3 to 6",
        ),
        (
            b"\x00\xB5\x00mosquitto db\0\0\0\0\0\0\0\x02",
            "in format 2; known are 3 to 6",
        ),
    ] {
        let error = read(bytes.to_vec()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Wherever it is cut, but between two records.
#[test]
fn a_file_that_was_cut_short_is_not_taken_over() {
    for kind in all_kinds() {
        let bytes = whole(kind).bytes;
        assert!(read(bytes.clone()).is_ok());
        let head = if kind.format >= 5 { 8 } else { 6 };
        let mut ends = vec![23];
        while let Some(&end) = ends.last().filter(|end| **end < bytes.len()) {
            let len = bytes[end + head - 4..end + head].try_into().unwrap();
            ends.push(end + head + u32::from_be_bytes(len) as usize);
        }
        for len in 0..bytes.len() {
            let is_whole = read(bytes[..len].to_vec()).is_ok();
            assert_eq!(is_whole, ends.contains(&len), "{len} of {kind:?}");
        }
    }
}

/// A message shows that it is cut short only when the rest was written.
#[test]
fn a_store_is_as_it_was_where_the_file_turns_out_to_be_damaged() {
    let mut writer = whole(KIND);
    writer.record(
        2,
        &[&9u64.to_le_bytes()[..], &[0; 8], &[0, 0, 1, 0], &[0; 12]].concat(),
    );
    writer.retained(9);
    let error = bring(&writer, "").map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("footbridge.db");
    let before = {
        drop(open(folder.path()));
        fs::read(&path).unwrap()
    };
    let (mut db, _) = open(folder.path());
    let import = Import::open(Cursor::new(writer.bytes)).unwrap();
    let first = (MessageId(1), SessionId(1));
    let config = config("");
    import
        .into_store(&mut db, (&config, MOMENT), first)
        .unwrap_err();
    drop(db);
    let names = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["footbridge.db", "footbridge.db.journal"]);
    let (_, loaded) = open(folder.path());
    assert_eq!((loaded.sessions.len(), loaded.refs.len()), (0, 0));
    assert_eq!(fs::read(&path).unwrap().len(), before.len());
}

/// What is in the store already stays, whatever comes.
#[test]
fn a_store_that_holds_something_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut db, _) = open(folder.path());
    let config = config("");
    let mut bring = |first| {
        let import = Import::open(Cursor::new(whole(KIND).bytes)).unwrap();
        import.into_store(&mut db, (&config, MOMENT), first)
    };
    let first = (MessageId(1), SessionId(1));
    let report = bring(first).unwrap();
    assert_eq!(report.sessions, 1);
    let error = bring(first).unwrap_err();
    assert!(
        matches!(error, Error::Store(crate::store::Error::NotEmpty)),
        "{error}"
    );
    drop(db);
    let (_, loaded) = open(folder.path());
    assert_eq!(loaded.sessions.len(), 1);
}

/// A length is believed only as far as there is a file.
#[test]
fn a_length_of_four_gigabytes_takes_no_memory() {
    for kind in all_kinds() {
        for record in [1, 2, 3, 4, 5, 6, 9] {
            let mut writer = Writer::new(kind);
            writer.record(record, &[0; 40]);
            let at = writer.bytes.len() - 44;
            writer.bytes[at..at + 4].copy_from_slice(&[0xFF; 4]);
            let error = read(writer.bytes).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
        }
    }
}

proptest! {
    /// Whatever the bytes.
    #[test]
    fn nothing_panics(
        (small, big_endian, format) in (any::<bool>(), any::<bool>(), 3..7u32),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let kind = Kind { format, big_endian, small };
        let mut bytes = whole(kind).bytes;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read(bytes.clone());
        bytes.truncate(23 + cut.index(bytes.len() - 22));
        bytes.extend(noise);
        let _ = read(bytes);
    }
}
