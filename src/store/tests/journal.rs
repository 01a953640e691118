//! The journal: what goes there, what reaches redb, and what damage to it costs.

use proptest::prelude::*;

use super::disk::{Disk, Op, addresses};
use super::model::{Change, Model, batch, change};
use super::{message, messages, rows, session, stored, target};
use crate::message::{MessageId, SessionId};
use crate::store::rows::codec::Reader;
use crate::store::{Batch, Db, Error};
use crate::time::Time;

/// Whether the store or what it was before holds `needle`.
fn is_in_store(disk: &Disk, needle: &[u8]) -> bool {
    let journal = disk.image().journal;
    disk.ops().iter().any(|op| match op {
        Op::Write(inode, _, data) if Some(*inode) != journal => {
            data.windows(needle.len()).any(|window| window == needle)
        }
        _ => false,
    })
}

/// Flips a bit of the journal.
fn rot(disk: &Disk, at: usize) -> Disk {
    let mut image = disk.image();
    let journal = image.journal.unwrap();
    image.file(journal)[at] ^= 0x10;
    Disk::holding(image)
}

#[test]
fn a_small_commit_is_one_write_and_one_sync() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    for id in 1..10 {
        let before = disk.ops().len();
        db.commit(&mut messages(id, id..id + 1)).unwrap();
        let ops = disk.ops().split_off(before);
        let journal = disk.image().journal.unwrap();
        assert!(
            matches!(&ops[..], [Op::Write(to, _, data), Op::Sync(of)]
                if (*to, *of) == (journal, journal) && data.len() == 512),
            "{ops:?}"
        );
    }
    assert_eq!(stored(&mut db), (1..10).collect::<Vec<_>>());
}

/// The bytes that the file is handed are those that the batch was built of: between the message and
/// the file its payload is copied once.
#[test]
fn a_payload_goes_to_the_journal_from_where_it_was_first_put() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    let mut batch = messages(1, 1..20);
    batch.put_session(SessionId(1), &session("c"));
    batch.put_retained(&message("t", b"retained"));
    db.commit(&mut batch).unwrap();
    let written = disk.last_written_from();
    for (_, row) in batch.messages() {
        let row = addresses(row);
        assert!(written.start < row.start && row.end < written.end);
    }
}

#[test]
fn a_message_delivered_soon_never_reaches_the_tables() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    for id in 1..200 {
        let mut batch = Batch::new(id);
        let message = message("t", format!("fleeting {id}").as_bytes());
        batch.put_message(MessageId(id), &message, &[target(1, id)]);
        db.commit(&mut batch).unwrap();
        let mut batch = Batch::new(id);
        batch.delete(id..id + 1);
        db.commit(&mut batch).unwrap();
    }
    db.commit(&mut messages(1, 200..1_000)).unwrap();
    assert!(is_in_store(&disk, b"payload 999"), "went to the tables");
    assert!(!is_in_store(&disk, b"fleeting"));
    assert_eq!(stored(&mut db).len(), 800);
}

#[test]
fn of_a_retained_message_only_the_last_reaches_the_tables() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    for second in 0..20 {
        let mut batch = Batch::new(second);
        batch.put_retained(&message("t", format!("value {second};").as_bytes()));
        db.commit(&mut batch).unwrap();
    }
    db.commit(&mut messages(1, 1..1_000)).unwrap();
    assert!(is_in_store(&disk, b"value 19;"));
    assert!((0..19).all(|second| !is_in_store(&disk, format!("value {second};").as_bytes())));
}

#[test]
fn a_large_commit_takes_the_journal_along() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    db.commit(&mut messages(1, 1..5)).unwrap();
    let mut large = messages(2, 5..2_000);
    large.delete(2..4);
    db.commit(&mut large).unwrap();
    assert!(is_in_store(&disk, b"payload 4") && !is_in_store(&disk, b"payload 3\0"));
    db.commit(&mut messages(3, 2_000..2_001)).unwrap();
    drop(db);
    let (mut db, loaded) = disk.open().unwrap();
    assert_eq!(loaded.damaged, 0);
    let left: Vec<u64> = [1].into_iter().chain(4..2_001).collect();
    assert_eq!(stored(&mut db), left);
}

/// A record is written only once the one before is on disk: a gap is damage, and hides nothing.
#[test]
fn a_damaged_record_hides_none_after_it() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    for id in 1..6 {
        db.commit(&mut messages(id, id..id + 1)).unwrap();
    }
    drop(db);
    // The header, and then each in a sector of its own.
    let disk = rot(&disk, 3 * 512 + 40);
    let (mut db, loaded) = disk.open().unwrap();
    assert_eq!(loaded.damaged, 1);
    assert_eq!(stored(&mut db), [1, 2, 4, 5]);
    db.commit(&mut messages(6, 6..7)).unwrap();
    db.commit(&mut messages(7, 7..2_000)).unwrap();
    drop(db);
    let (mut db, loaded) = disk.open().unwrap();
    assert_eq!(loaded.damaged, 0, "what is left is in the tables");
    assert_eq!(stored(&mut db).len(), 1_998);
}

#[test]
fn records_from_before_the_last_start_from_the_front_are_stale() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    db.commit(&mut messages(1, 1..2)).unwrap();
    let mut gone = Batch::new(2);
    gone.put_session(SessionId(1), &session("gone"));
    db.commit(&mut gone).unwrap();
    let mut large = messages(3, 2..2_000);
    large.delete_session(SessionId(1));
    large.delete(1..2);
    db.commit(&mut large).unwrap();
    // Over the first record only.
    db.commit(&mut messages(4, 2_000..2_001)).unwrap();
    drop(db);
    let (mut db, loaded) = disk.open().unwrap();
    assert!(loaded.sessions.is_empty() && loaded.damaged == 0);
    assert_eq!(stored(&mut db)[0], 2);
    // Nor when the new one is gone: its loss can't be told from a power cut.
    drop(db);
    let (mut db, loaded) = rot(&disk, 512 + 40).open().unwrap();
    assert!(loaded.sessions.is_empty());
    assert_eq!(stored(&mut db).len(), 1_998);
}

/// Whatever is wrong with the journal, what reached the tables is there, and the store works.
#[test]
fn a_damaged_journal_never_keeps_the_store_shut() {
    let sound = Disk::with_store();
    let (mut db, _) = sound.open().unwrap();
    db.commit(&mut messages(1, 1..2_000)).unwrap();
    for id in 2_000..2_010 {
        db.commit(&mut messages(id, id..id + 1)).unwrap();
    }
    drop(db);
    let damage: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes.clear(),
        |bytes| bytes.truncate(2_000),
        |bytes| bytes.fill(0),
        |bytes| bytes.fill(0xA5),
        |bytes| bytes[..512].fill(0xA5),
    ];
    for (round, damage) in damage.iter().enumerate() {
        let mut image = sound.image();
        let journal = image.journal.unwrap();
        damage(image.file(journal));
        check_damaged(&Disk::holding(image), round);
    }
    let mut image = sound.image();
    image.journal = None;
    check_damaged(&Disk::holding(image), damage.len());
}

fn check_damaged(disk: &Disk, round: usize) {
    let (mut db, loaded) = disk.open().unwrap();
    assert!(loaded.damaged > 0, "round {round}");
    let before = stored(&mut db);
    assert!(before.starts_with(&(1..2_000).collect::<Vec<_>>()));
    db.commit(&mut messages(1, 3_000..3_001)).unwrap();
    db.commit(&mut messages(2, 3_001..3_002)).unwrap();
    drop(db);
    let (mut db, loaded) = disk.open().unwrap();
    assert_eq!(
        loaded.damaged, 0,
        "round {round}: the journal is whole again"
    );
    assert_eq!(stored(&mut db).len(), before.len() + 2, "round {round}");
}

#[test]
fn rot_in_the_journal_never_changes_a_message() {
    let sound = Disk::with_store();
    let (mut db, _) = sound.open().unwrap();
    let mut model = Model::default();
    for id in 1..20 {
        let changes = [Change::Put(id, vec![1], vec![id as u8; 300])];
        db.commit(&mut batch(id, &changes)).unwrap();
        model.apply(&changes);
    }
    drop(db);
    let mut coin = fastrand::Rng::with_seed(3);
    for round in 0..300 {
        let mut image = sound.image();
        let journal = image.journal.unwrap();
        let bytes = image.file(journal);
        match round % 2 {
            0 => {
                let at = coin.usize(..bytes.len());
                bytes[at] ^= 1 << coin.u8(..8);
            }
            _ => {
                let at = coin.usize(..bytes.len() - 4_096);
                bytes[at..at + 4_096].fill_with(|| coin.u8(..));
            }
        }
        let (mut db, loaded) = Disk::holding(image).open().unwrap();
        let rows = rows(&mut db);
        for (id, row) in rows.iter() {
            let (message, _) = crate::store::decode_message(id, row).unwrap();
            assert_eq!(message.payload(), [id.0 as u8; 300]);
        }
        let last = rows.iter().last().map_or(0, |(id, _)| id.0);
        let lost = last - rows.iter().len() as u64;
        assert!(loaded.damaged >= lost, "round {round}: {lost} lost");
    }
}

#[test]
fn a_full_disk_takes_small_commits_yet() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    db.commit(&mut messages(1, 1..2)).unwrap();
    disk.fill_up();
    db.commit(&mut messages(2, 2..3)).unwrap();
    let mut large = messages(3, 3..40_000);
    for _ in 0..3 {
        assert!(matches!(db.commit(&mut large), Err(Error::Full(_))));
        assert_eq!(stored(&mut db), [1, 2]);
    }
    drop(db);
    // It also starts, with what it has.
    let (mut db, loaded) = disk.open().unwrap();
    assert_eq!((stored(&mut db), loaded.damaged), (vec![1, 2], 0));
    disk.heal();
    db.commit(&mut large).unwrap();
    assert_eq!(stored(&mut db).len(), 39_999);
}

/// Every write and sync of both files fails once, and all after it until the disk heals.
#[test]
fn a_failure_anywhere_loses_nothing_and_repeats_nothing() {
    let batches: Vec<Vec<Change>> = vec![
        vec![
            Change::Put(1, vec![1], b"one".to_vec()),
            Change::Session(1, "c".into()),
        ],
        vec![Change::Put(2, vec![1], vec![2; 9_000])],
        vec![
            Change::Delete(1..2),
            Change::Retain("t".into(), vec![3; 8_000]),
        ],
        vec![
            Change::Put(3, vec![1], vec![4; 40_000]),
            Change::EndSession(1),
        ],
        vec![
            Change::Put(4, vec![2], b"four".to_vec()),
            Change::Delete(2..3),
        ],
    ];
    for n in 0.. {
        let disk = Disk::with_store();
        let (mut db, _) = disk.open().unwrap();
        let mut model = Model::default();
        disk.fail_after(n);
        let mut failures = 0;
        for (seq, changes) in batches.iter().enumerate() {
            let mut batch = batch(seq as u64, changes);
            if db.commit(&mut batch).is_err() {
                failures += 1;
                assert!(db.commit(&mut batch).is_err(), "the disk still fails");
                disk.heal();
                db.commit(&mut batch).unwrap();
            }
            model.apply(changes);
            if seq == 3 && db.rewrite().is_err() {
                failures += 1;
                disk.heal();
                db.rewrite().unwrap();
            }
            let loaded = db.reload().unwrap();
            assert!(model.matches(&mut db, &loaded), "after {n}, in {seq}");
        }
        drop(db);
        disk.heal();
        let (mut db, loaded) = disk.open().unwrap();
        assert!(model.matches(&mut db, &loaded), "after {n}");
        if failures == 0 {
            assert!(n > 20, "few failures were tried");
            return;
        }
    }
}

/// A commit that failed may have got through. What comes after it counts all the same.
#[test]
fn a_commit_after_one_that_was_given_up_is_kept() {
    for n in 0.. {
        let disk = Disk::with_store();
        let (mut db, _) = disk.open().unwrap();
        db.commit(&mut messages(1, 1..2)).unwrap();
        disk.fail_after(n);
        let failed = db.commit(&mut messages(2, 2..2_000)).is_err();
        disk.heal();
        db.commit(&mut messages(3, 2_000..2_001)).unwrap();
        drop(db);
        let (mut db, loaded) = disk.open().unwrap();
        let ids = stored(&mut db);
        assert_eq!(
            (ids.first(), ids.last()),
            (Some(&1), Some(&2_000)),
            "after {n}"
        );
        assert!(ids.len() == 2 || ids.len() == 2_000, "after {n}");
        assert_eq!(loaded.damaged, 0);
        if !failed {
            assert!(n > 3, "no failure was tried");
            return;
        }
    }
}

#[test]
fn a_journal_that_failed_comes_back() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    db.commit(&mut messages(1, 1..2)).unwrap();
    disk.fail_after(0);
    assert!(db.commit(&mut messages(2, 2..3)).is_err());
    disk.heal();
    let is_journaled = |db: &mut Db, id| {
        let before = disk.ops().len();
        db.commit(&mut messages(id, id..id + 1)).unwrap();
        disk.ops().len() - before == 2
    };
    assert!(!is_journaled(&mut db, 2));
    let back = (3..200).find(|&id| is_journaled(&mut db, id)).unwrap();
    assert!(back > 20, "a disk that fails is left alone for a while");
    drop(db);
    let (mut db, loaded) = disk.open().unwrap();
    assert_eq!(stored(&mut db), (1..=back).collect::<Vec<_>>());
    assert_eq!(loaded.damaged, 0);
}

#[test]
fn the_time_and_the_wear_come_back() {
    let (_folder, path) = super::files::folder();
    let open = || super::files::open(&path).unwrap();
    let (mut db, loaded) = open();
    assert_eq!((loaded.wall, loaded.written.total), (0, 0));
    let mut batch = messages(1, 1..2);
    batch.floor = Time::from_secs(86_400 * 7 + 100);
    batch.wall = 1_800_000_000_000;
    db.commit(&mut batch).unwrap();
    let first = db.written();
    assert_eq!(first.day, 7);
    assert!(first.total >= 256 << 10, "the journal itself counts");
    assert!(db.usage().bytes == first.total && db.usage().syncs > 0);
    drop(db);
    let (mut db, loaded) = open();
    assert_eq!((loaded.wall, loaded.floor), (batch.wall, batch.floor));
    // All but the write that says so.
    assert_eq!(loaded.written.total + 4_096, first.total);
    batch = messages(2, 2..3);
    batch.floor = Time::from_secs(86_400 * 8);
    db.commit(&mut batch).unwrap();
    let second = db.written();
    assert_eq!((second.day, second.today), (8, 4_096), "a new day");
    assert!(second.total > loaded.written.total);
    db.rewrite().unwrap();
    let third = db.written();
    assert!(third.total > second.total + 10_000);
    drop(db);
    let (db, loaded) = open();
    assert_eq!(loaded.wall, 1_800_000_000_000, "as last known");
    assert!(db.written().total >= second.total);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::slow_tests::cases(256, 64)))]

    #[test]
    fn batches_come_back(changes in prop::collection::vec(change(), 0..20)) {
        let mut batch = batch(1, &changes);
        let bytes = batch.with_record(&[], |record, start| record[start..].to_vec()).unwrap();
        let read = Batch::decode(Reader::new(&bytes)).unwrap();
        prop_assert!(read.messages().eq(batch.messages()));
        prop_assert_eq!(read.deletes(), batch.deletes());
        prop_assert!(read.sessions().eq(batch.sessions()));
        prop_assert!(read.retained().eq(batch.retained()));
        prop_assert!(read.parts().eq(batch.parts()));
        for len in 0..bytes.len() {
            // Without its parts, a batch is one of a format that knows none.
            if let Ok(cut) = Batch::decode(Reader::new(&bytes[..len])) {
                prop_assert!(cut.parts().len() == 0 && batch.parts().len() > 0, "cut to {}", len);
            }
        }
    }

    /// Refused or read, but never a panic or a huge allocation.
    #[test]
    fn nonsense_is_no_batch(
        bytes in prop::collection::vec(prop_oneof![0..4u8, any::<u8>()], 0..60),
    ) {
        if let Ok(mut batch) = Batch::decode(Reader::new(&bytes)) {
            prop_assert!(batch.bytes() <= bytes.len());
            let (mut db, _) = Db::open(crate::store::Location::Memory).unwrap();
            db.commit(&mut batch).unwrap();
        }
    }
}

/// What a record holds behind its head, as every version since the first has written it.
#[test]
fn a_record_is_laid_out_as_ever() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    let mut batch = Batch::new(1);
    batch.floor = Time::from_secs(7);
    batch.put_session(SessionId(300), &session("c"));
    for (id, len) in [(500, 3), (501, 140), (40, 0)] {
        let targets = [target(1, id), target(2, 9)];
        batch.put_message(MessageId(id), &message("a/b", &vec![b'x'; len]), &targets);
    }
    batch.delete(20..30);
    batch.delete_session(SessionId(4));
    batch.put_retained(&message("r", b"kept"));
    batch.delete_retained("gone");
    db.commit(&mut batch).unwrap();
    let ops = disk.ops();
    let [.., Op::Write(_, _, record), Op::Sync(_)] = &ops[..] else {
        panic!("{ops:?}")
    };
    let hex: String = record[28..].iter().map(|b| format!("{b:02x}")).collect();
    let expected = [
        // The time, and what of the disk's wear is known.
        "d83600000000",
        // Three messages, each the step from the number before and its row.
        "03",
        "f40319",
        "0101c0843d020101f40301020903612f6200787878a59af607",
        "01a201",
        "0101c0843d020101f50301020903612f6200",
        &"78".repeat(140),
        "2665c9c4",
        "b3fcffffffffffffff0115",
        "0101c0843d0201012801020903612f6200b3475625",
        // A run of deletes.
        "01140a",
        // Three rows of sessions, two of them deleted.
        "03",
        "ac020010",
        "0100050163ffffffff0f00f2b615d1",
        "040000",
        "040100",
        // Two retained topics, one of them deleted.
        "02",
        "017212",
        "0111c0843d000000006b657074ad61c4db",
        "04676f6e6500",
    ];
    let expected = expected.concat();
    assert_eq!(hex[..expected.len()], expected);
    assert!(hex[expected.len()..].bytes().all(|digit| digit == b'0'));
}
