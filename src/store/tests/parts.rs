//! Sessions whose subscriptions and packet ids have rows of their own.

use redb::ReadableDatabase;

use super::disk::{Disk, Op};
use super::{session, subscription};
use crate::message::SessionId;
use crate::mqtt::{PacketId, QoS};
use crate::store::rows::codec::Reader;
use crate::store::rows::format::Format;
use crate::store::rows::{part, state as rows};
use crate::store::tables::meta::Meta;
use crate::store::{
    Batch, Db, IdPage, Loaded, StateRecord, SubscriptionRecord, VolumeRecord, ids_on, place_of,
};

/// With numbers on both sides of 32 bits.
const SESSIONS: [u64; 3] = [7, 8, 1 << 32];

/// A batch that gives each of the sessions three filters and two pages of ids.
fn filled() -> Batch {
    let mut batch = Batch::new(1);
    for id in SESSIONS.map(SessionId) {
        batch.put_session(id, &session(&format!("client {}", id.0)));
        for n in 0..3 {
            batch.put_subscription(id, &subscription(&format!("a/{n}"), QoS::AtLeastOnce));
        }
        batch.put_ids(id, 0, &[2, 0, 0, 0]);
        batch.put_ids(id, 255, &[0, 0, 0, 1 << 63]);
    }
    batch
}

/// The filters and ids of each session.
fn found(loaded: &Loaded) -> Vec<(u64, Vec<&str>, Vec<u16>)> {
    let sessions = loaded.sessions.iter().map(|session| {
        let filters = session.record.subscriptions.iter();
        let ids = session.state.received.iter();
        (
            session.id.0,
            filters.map(|s| &*s.filter).collect(),
            ids.map(|id| id.get()).collect(),
        )
    });
    sessions.collect()
}

/// In the journal, in the tables, in a new file.
fn everywhere(disk: &Disk, check: impl Fn(&Loaded, &str)) {
    type Make = fn(&mut Db);
    let steps: [(&str, Make); 3] = [
        ("the last in the journal", |_| {}),
        ("all in the tables", |db| db.fold().unwrap()),
        ("in a new file", |db| db.rewrite().unwrap()),
    ];
    for (step, make) in steps {
        let (mut db, _) = disk.open().unwrap();
        make(&mut db);
        let live = db.live_bytes();
        check(&db.reload().unwrap(), step);
        drop(db);
        let (db, loaded) = disk.open().unwrap();
        assert_eq!(db.live_bytes(), live, "{step}");
        assert_eq!(loaded.damaged, 0, "{step}");
        check(&loaded, step);
    }
}

#[test]
fn parts_survive_restarts_and_go_with_their_session() {
    for folds in [false, true] {
        let disk = Disk::with_store();
        let (mut db, _) = disk.open().unwrap();
        db.commit(&mut filled()).unwrap();
        drop(db);
        everywhere(&disk, |loaded, step| {
            let all = SESSIONS.map(|id| (id, vec!["a/0", "a/1", "a/2"], vec![1, u16::MAX]));
            assert_eq!(found(loaded), all, "{step}");
        });
        let (mut db, _) = disk.open().unwrap();
        let mut batch = Batch::new(2);
        batch.delete_subscription(SessionId(7), "a/1");
        batch.delete_ids(SessionId(7), 0);
        batch.put_ids(SessionId(1 << 32), 0, &[4, 0, 0, 0]);
        db.commit(&mut batch).unwrap();
        if folds {
            db.fold().unwrap();
        }
        let mut batch = Batch::new(3);
        batch.delete_session(SessionId(8));
        db.commit(&mut batch).unwrap();
        drop(db);
        everywhere(&disk, |loaded, step| {
            let left = [
                (7, vec!["a/0", "a/2"], vec![u16::MAX]),
                (1 << 32, vec!["a/0", "a/1", "a/2"], vec![2, u16::MAX]),
            ];
            assert_eq!(found(loaded), left, "{step}");
        });
        let (mut db, _) = disk.open().unwrap();
        let mut batch = Batch::new(4);
        batch.delete_session(SessionId(7));
        batch.delete_session(SessionId(1 << 32));
        db.commit(&mut batch).unwrap();
        db.fold().unwrap();
        assert_eq!(db.live_bytes(), 0, "nothing is left of them");
    }
}

/// A program that knows no parts must refuse the store from the first on, and only then.
#[test]
fn the_tables_tell_of_parts_before_the_journal_has_one() {
    let disk = Disk::with_store();
    let format = || {
        let database = disk.opener().open_store().unwrap();
        Meta::read(&database.begin_read().unwrap()).unwrap().format
    };
    let (mut db, _) = disk.open().unwrap();
    let mut batch = Batch::new(1);
    batch.put_session(SessionId(1), &session("c"));
    db.commit(&mut batch).unwrap();
    let mut batch = Batch::new(2);
    batch.delete_session(SessionId(1));
    db.commit(&mut batch).unwrap();
    db.fold().unwrap();
    drop(db);
    assert_eq!(format(), Format::First);
    let (mut db, _) = disk.open().unwrap();
    let before = disk.ops().len();
    let mut batch = Batch::new(3);
    batch.put_ids(SessionId(1), 0, &IdPage::default());
    db.commit(&mut batch).unwrap();
    let journal = disk.image().journal;
    let ops = disk.ops().split_off(before);
    let is_to_journal = |op: &Op| matches!(op, Op::Write(to, ..) if Some(*to) == journal);
    assert!(!ops.iter().any(is_to_journal));
    db.commit(&mut batch).unwrap();
    assert!(is_to_journal(&disk.ops()[disk.ops().len() - 2]));
    drop(db);
    assert_eq!(format(), Format::Parts);
}

/// A program that doesn't know that a subscription may await what is retained takes such a row for a
/// damaged one: it must refuse the store.
#[test]
fn the_tables_tell_of_subscriptions_that_await_retained_messages() {
    for has_own_row in [false, true] {
        let disk = Disk::with_store();
        let format = || {
            let database = disk.opener().open_store().unwrap();
            let meta = Meta::read(&database.begin_read().unwrap());
            meta.unwrap().format
        };
        let put = |awaits_retained, seq| {
            let subscription = SubscriptionRecord {
                awaits_retained,
                ..subscription("a/#", QoS::AtLeastOnce)
            };
            let mut record = session("c");
            let mut batch = Batch::new(seq);
            if has_own_row {
                batch.put_session(SessionId(1), &record);
                batch.put_subscription(SessionId(1), &subscription);
            } else {
                record.subscriptions.push(subscription);
                batch.put_session(SessionId(1), &record);
            }
            let (mut db, _) = disk.open().unwrap();
            db.commit(&mut batch).unwrap();
            // A record of the journal tells it to a store that was made anew.
            let found = batch.with_record(b"", |record, start| {
                Batch::decode(Reader::new(&record[start..]))
                    .unwrap()
                    .format()
            });
            assert_eq!(found, Some(batch.format()));
            // And so do the rows, to a rescue.
            let sessions = batch.sessions().filter_map(|(key, row)| Some((key, row?)));
            let of_sessions = sessions.map(|(key, row)| rows::format_of(key, row));
            let parts = batch.parts().filter_map(|(key, row)| Some((key, row?)));
            let of_parts = parts.map(|(key, row)| part::format_of(key, row));
            assert_eq!(of_sessions.chain(of_parts).max(), Some(batch.format()));
        };
        put(false, 1);
        assert_eq!(
            format(),
            if has_own_row {
                Format::Parts
            } else {
                Format::First
            }
        );
        put(true, 2);
        assert_eq!(format(), Format::Awaits);
        put(false, 3);
        assert_eq!(
            format(),
            Format::Awaits,
            "the journal may still hold such a row"
        );
    }
}

#[test]
fn every_packet_id_has_its_place() {
    for id in 1..=u16::MAX {
        let (number, word, bit) = place_of(PacketId::new(id).unwrap());
        let mut page = IdPage::default();
        page[word] = bit;
        assert!(ids_on(number, &page).map(|id| id.get()).eq([id]));
    }
}

/// What a thousand commits write of a session with 60,000 ids and 10,000 filters: a page of the journal
/// each, and from time to time the pages of the tables that have changed.
#[test]
fn commits_write_in_proportion_to_what_they_hold() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    let id = SessionId(1);
    let filter = |n: u64| format!("a/filter/of/about/forty/bytes/{n:06}/+");
    let mut batch = Batch::new(1);
    batch.put_session(id, &session("c"));
    for n in 0..10_000 {
        batch.put_subscription(id, &subscription(&filter(n), QoS::AtMostOnce));
    }
    for page in 0..235 {
        batch.put_ids(id, page, &[u64::MAX; 4]);
    }
    db.commit(&mut batch).unwrap();
    let mut wrote = |put: &dyn Fn(&mut Batch, u64)| {
        let before = db.usage().bytes;
        for n in 0..1_000 {
            let mut batch = Batch::new(2 + n);
            put(&mut batch, n);
            db.commit(&mut batch).unwrap();
        }
        db.fold().unwrap();
        db.usage().bytes - before
    };
    let ids = wrote(&|batch, n| batch.put_ids(id, 235, &[n, 0, 0, 0]));
    assert!(ids < 1_000 * 5_000, "{ids}");
    let filters = wrote(&|batch, n| {
        let filter = filter(n * 7_919 % 10_000);
        batch.put_subscription(id, &subscription(&filter, QoS::ExactlyOnce));
    });
    assert!(filters < 1_000 * 12_000, "{filters}");
}

/// A program that doesn't know of volumes takes the row of a bridge that has one for a damaged one: it must
/// refuse the store.
#[test]
fn the_tables_tell_of_volumes() {
    let disk = Disk::with_store();
    let format = || {
        let database = disk.opener().open_store().unwrap();
        let meta = Meta::read(&database.begin_read().unwrap());
        meta.unwrap().format
    };
    for (volume, told) in [
        (None, Format::First),
        (Some(VolumeRecord::default()), Format::Volume),
    ] {
        let mut batch = Batch::new(1);
        let state = StateRecord {
            volume,
            ..StateRecord::default()
        };
        batch.put_state(SessionId(1), &state);
        let (mut db, _) = disk.open().unwrap();
        db.commit(&mut batch).unwrap();
        let found = batch.with_record(b"", |record, start| {
            Batch::decode(Reader::new(&record[start..]))
                .unwrap()
                .format()
        });
        assert_eq!((found, format()), (Some(told), told));
    }
}
