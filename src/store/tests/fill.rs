//! A store that is filled from elsewhere has all of it or nothing, whatever the disk does.

use std::collections::BTreeMap;

use super::disk::{Disk, Image, Inode, Op};
use super::{messages, session, stored};
use crate::message::SessionId;
use crate::store::{Batch, Db, Error};

/// Batches that are filled in.
const BATCHES: u64 = 3;

/// Fills a store with three batches of ten messages, and a session that is owed them.
fn fill(db: &mut Db) -> Result<(), Error> {
    let mut done = 0;
    db.fill(|batch: &mut Batch| {
        *batch = messages(0, done * 10 + 1..done * 10 + 11);
        batch.wall = 1_764_000_000_000;
        if done == 0 {
            batch.put_session(SessionId(1), &session("c"));
        }
        done += 1;
        Ok::<bool, Error>(done < BATCHES)
    })
}

/// Whether the store on a disk has all; else it must have nothing.
fn is_filled(disk: &Disk) -> bool {
    let (mut db, loaded) = disk.open().unwrap();
    assert_eq!(loaded.damaged, 0);
    let ids = stored(&mut db);
    if ids.is_empty() {
        assert!(loaded.sessions.is_empty());
        return false;
    }
    assert_eq!(ids, (1..=BATCHES * 10).collect::<Vec<u64>>());
    assert_eq!(loaded.sessions[0].queue.len(), BATCHES * 10);
    assert_eq!(loaded.wall, 1_764_000_000_000);
    true
}

#[test]
fn after_any_failure_there_is_all_or_nothing() {
    for n in 0.. {
        let disk = Disk::with_store();
        let (mut db, _) = disk.open().unwrap();
        disk.fail_after(n);
        let failed = fill(&mut db).is_err();
        disk.heal();
        drop(db);
        let filled = is_filled(&disk);
        assert!(filled || failed, "failed after {n}");
        if !failed {
            assert!(n > 10, "no failure was tried");
            return;
        }
    }
}

/// The disk after a power cut at operation `cut`: what was not synced before is lost.
fn after_cut(start: &Image, ops: &[Op], cut: usize) -> Image {
    let ops = &ops[..cut];
    let mut synced: BTreeMap<Inode, usize> = BTreeMap::new();
    let mut names = 0;
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Sync(inode) => drop(synced.insert(*inode, at)),
            Op::SyncNames => names = at,
            _ => {}
        }
    }
    let mut image = start.clone();
    for (at, op) in ops.iter().enumerate() {
        let is_durable = match op {
            Op::Write(inode, ..) | Op::SetLen(inode, _) => {
                synced.get(inode).is_some_and(|sync| at < *sync)
            }
            Op::Install(_) => at < names,
            _ => true,
        };
        if is_durable {
            image.apply(op);
        }
    }
    image
}

#[test]
fn after_a_power_cut_there_is_all_or_nothing() {
    let start = Disk::with_store().image();
    let disk = Disk::holding(start.clone());
    let (mut db, _) = disk.open().unwrap();
    fill(&mut db).unwrap();
    let ops = disk.ops();
    let filled: Vec<bool> = (0..=ops.len())
        .map(|cut| is_filled(&Disk::holding(after_cut(&start, &ops, cut))))
        .collect();
    assert!(filled.is_sorted());
    assert!(!filled[0] && filled[ops.len()], "once it is done it stays");
}

/// What was committed before and since is there, and the journal goes on.
#[test]
fn a_store_that_was_used_is_filled_only_while_it_is_empty() {
    let disk = Disk::with_store();
    let (mut db, _) = disk.open().unwrap();
    db.commit(&mut messages(1, 1..3)).unwrap();
    assert!(matches!(fill(&mut db), Err(Error::NotEmpty)));
    assert_eq!(stored(&mut db), [1, 2]);
    let mut batch = Batch::new(2);
    batch.delete(1..3);
    db.commit(&mut batch).unwrap();
    fill(&mut db).unwrap();
    db.commit(&mut messages(3, 31..33)).unwrap();
    assert_eq!(stored(&mut db), (1..33).collect::<Vec<u64>>());
    drop(db);
    let (mut db, loaded) = disk.open().unwrap();
    assert_eq!(stored(&mut db), (1..33).collect::<Vec<u64>>());
    assert_eq!(loaded.next_message.0, 33);
}
