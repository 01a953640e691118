//! A disk that fails: commits are kept and tried again, reads too.

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::disk::Disk;
use super::{message, messages, session, stored, target};
use crate::message::{MessageId, SessionId};
use crate::store::{Db, Error, Event, Handle, Location, ReadRequest, decode_message};

/// A store on `disk` with its thread.
fn spawn(disk: &Disk) -> (Handle, Receiver<Event>) {
    let (db, _) = Db::with_opener(disk.opener()).unwrap();
    let (events, received) = mpsc::channel();
    let handle = Handle::spawn(db, move |event| drop(events.send(event))).unwrap();
    (handle, received)
}

/// The next event; figures come in between.
fn next(events: &Receiver<Event>) -> Event {
    loop {
        match events.recv_timeout(Duration::from_secs(20)).unwrap() {
            Event::Figures(_) => {}
            event => return event,
        }
    }
}

#[test]
fn a_commit_tried_again_after_any_failure_is_whole() {
    for n in 0.. {
        let disk = Disk::with_store();
        let (mut db, _) = Db::with_opener(disk.opener()).unwrap();
        db.commit(&mut messages(1, 1..50)).unwrap();
        disk.fail_after(n);
        let mut batch = messages(2, 50..90);
        batch.delete(10..20);
        batch.put_session(SessionId(1), &session("c"));
        let failed = db.commit(&mut batch).is_err();
        assert!(
            !failed || db.commit(&mut batch).is_err(),
            "the disk still fails"
        );
        disk.heal();
        db.commit(&mut batch).unwrap();
        let left: Vec<u64> = (1..10).chain(20..90).collect();
        assert_eq!(stored(&mut db), left, "failed after {n}");
        drop(db);
        let (mut db, loaded) = Db::with_opener(disk.opener()).unwrap();
        assert_eq!(stored(&mut db), left, "failed after {n}");
        assert_eq!(loaded.sessions[0].queue.len(), left.len() as u64);
        if !failed {
            assert!(n > 3, "no failure was tried");
            return;
        }
    }
}

#[test]
fn a_full_disk_stalls_and_resumes() {
    let disk = Disk::with_store();
    let (handle, events) = spawn(&disk);
    handle.commit(messages(1, 1..3));
    assert!(matches!(next(&events), Event::Committed { seq: 1, .. }));
    disk.fail_after(0);
    handle.commit(messages(2, 3..5));
    handle.commit(messages(3, 5..6));
    assert!(matches!(next(&events), Event::Full));
    match next(&events) {
        Event::Stalled { error } => assert!(error.is_full(), "{error}"),
        other => panic!("{other:?}"),
    }
    disk.heal();
    // Once is enough, however many attempts it took.
    assert!(matches!(next(&events), Event::Committed { seq: 2, .. }));
    assert!(matches!(next(&events), Event::Committed { seq: 3, .. }));
    assert!(matches!(next(&events), Event::Room));
    assert!(matches!(next(&events), Event::Resumed));
    handle.close().unwrap();
    let (mut db, _) = Db::with_opener(disk.opener()).unwrap();
    assert_eq!(stored(&mut db), [1, 2, 3, 4, 5]);
}

#[test]
fn reads_go_on_while_a_full_disk_takes_no_commit() {
    let disk = Disk::with_store();
    let (handle, events) = spawn(&disk);
    handle.commit(messages(1, 1..100));
    assert!(matches!(next(&events), Event::Committed { seq: 1, .. }));
    disk.fill_up();
    handle.commit(messages(2, 100..40_000));
    assert!(matches!(next(&events), Event::Full));
    assert!(matches!(next(&events), Event::Stalled { error } if error.is_full()));
    handle.read(ReadRequest {
        token: 5,
        ranges: vec![7..9, 99..200],
        max_bytes: 10_000,
    });
    let Event::Rows { token: 5, rows } = next(&events) else {
        panic!("no rows");
    };
    assert_eq!(
        rows.iter().len(),
        3,
        "and nothing of the commit that failed"
    );
    disk.heal();
    assert!(matches!(next(&events), Event::Committed { seq: 2, .. }));
    assert!(matches!(next(&events), Event::Room));
    assert!(matches!(next(&events), Event::Resumed));
}

#[test]
fn closing_gives_up_on_a_disk_that_stays_full() {
    let disk = Disk::with_store();
    let (handle, events) = spawn(&disk);
    disk.fail_after(0);
    handle.commit(messages(1, 1..3));
    handle.commit(messages(2, 3..4));
    assert!(matches!(handle.close(), Err(Error::Unsaved(2))));
    assert!(matches!(next(&events), Event::Full));
    assert!(matches!(next(&events), Event::Stalled { .. }));
    assert!(events.recv().is_err(), "nothing was committed");
}

#[test]
fn closing_finishes_what_was_handed_over() {
    let disk = Disk::with_store();
    let (handle, events) = spawn(&disk);
    for seq in 1..20 {
        handle.commit(messages(seq, seq..seq + 1));
    }
    drop(handle);
    let committed = events.iter().filter_map(|event| match event {
        Event::Committed { seq, .. } => Some(seq),
        Event::Figures(_) => None,
        other => panic!("{other:?}"),
    });
    assert!(committed.eq(1..20));
    let (mut db, _) = Db::with_opener(disk.opener()).unwrap();
    assert_eq!(stored(&mut db).len(), 19);
}

#[test]
fn the_thread_reads_what_it_committed() {
    let (db, loaded) = Db::open(Location::Memory).unwrap();
    assert_eq!(loaded.next_message, MessageId(1));
    let (events, received) = mpsc::channel();
    let handle = Handle::spawn(db, move |event| drop(events.send(event))).unwrap();
    let mut batch = messages(1, 0..0);
    // Large enough to need the depth of stack that a long backlog does.
    for id in 1..5_000 {
        batch.put_message(
            MessageId(id),
            &message("t", &[id as u8; 200]),
            &[target(1, id)],
        );
    }
    handle.commit(batch);
    assert!(matches!(next(&received), Event::Committed { seq: 1, .. }));
    handle.read(ReadRequest {
        token: 9,
        ranges: vec![10..12, 4_000..6_000],
        max_bytes: 1_000,
    });
    let Event::Rows { token: 9, rows } = next(&received) else {
        panic!("no rows");
    };
    let ids: Vec<u64> = rows.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [10, 11, 4_000, 4_001]);
    assert_eq!(rows.through, MessageId(4_002));
    assert!(rows.bytes() <= 1_000);
    let (id, row) = rows.iter().next().unwrap();
    assert_eq!(decode_message(id, row).unwrap().0.payload(), [10; 200]);
}

/// redb panics on some damaged pages: the thread says so and ends, and the store can be opened
/// again.
#[test]
fn a_panic_of_the_database_is_damage() {
    let disk = Disk::with_store();
    let (handle, events) = spawn(&disk);
    handle.commit(messages(1, 1..3));
    assert!(matches!(next(&events), Event::Committed { seq: 1, .. }));
    disk.curse();
    handle.commit(messages(2, 3..5));
    assert!(matches!(next(&events), Event::Damaged { .. }));
    handle.commit(messages(3, 5..6));
    assert!(events.recv().is_err(), "the thread has ended");
    handle.close().ok();
    let (mut db, _) = Db::with_opener(disk.opener()).unwrap();
    assert_eq!(stored(&mut db), [1, 2]);
}
