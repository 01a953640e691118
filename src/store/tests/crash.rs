//! Power cuts: at every sync of a run, with any part of the unsynced writes lost.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::disk::{Disk, Op, apply};
use super::model::{Change, Model, batch, script};
use crate::store::Db;

/// A run on one disk: the operations, and how many of them each commit had behind it when it was
/// reported done.
struct Run {
    start: Vec<u8>,
    ops: Vec<Op>,
    done: Vec<usize>,
}

fn run(script: &[Vec<Change>]) -> Run {
    let disk = Disk::with_store();
    let start = disk.bytes();
    let before = disk.ops().len();
    let (mut db, _) = Db::with_opener(disk.opener()).unwrap();
    let mut done = Vec::new();
    for (seq, changes) in script.iter().enumerate() {
        db.commit(&batch(seq as u64, changes)).unwrap();
        done.push(disk.ops().len() - before);
    }
    // The power goes: what the handle would write on its way out doesn't count.
    let ops = disk.ops().split_off(before);
    Run { start, ops, done }
}

impl Run {
    /// The disk after a power cut just before the sync at `cut`: all writes up to the sync before
    /// it, and of those since then what `keep` says.
    fn cut(&self, cut: usize, mut keep: impl FnMut() -> bool) -> Disk {
        let synced = self.ops[..cut]
            .iter()
            .rposition(|op| matches!(op, Op::Sync))
            .map_or(0, |at| at + 1);
        let mut bytes = self.start.clone();
        for (at, op) in self.ops[..cut].iter().enumerate() {
            if at < synced || keep() {
                apply(&mut bytes, op);
            }
        }
        Disk::holding(bytes)
    }

    fn syncs(&self) -> impl Iterator<Item = usize> {
        let syncs = self.ops.iter().enumerate();
        syncs
            .filter(|(_, op)| matches!(op, Op::Sync))
            .map(|(at, _)| at)
    }
}

/// Each committed batch is there whole, the one under way whole or absent, later ones absent.
fn check(run: &Run, script: &[Vec<Change>], cut: usize, disk: &Disk) {
    let done = run.done.iter().filter(|&&ops| ops <= cut).count();
    let (mut db, loaded) = Db::with_opener(disk.opener()).unwrap();
    let mut model = Model::default();
    script[..done]
        .iter()
        .for_each(|changes| model.apply(changes));
    if model.matches(&mut db, &loaded) {
        return;
    }
    assert!(done < script.len(), "cut at {cut}: the last commit is lost");
    model.apply(&script[done]);
    assert!(
        model.matches(&mut db, &loaded),
        "cut at {cut}: neither {done} commits nor one more"
    );
}

#[test]
fn a_power_cut_leaves_each_commit_whole_or_absent() {
    let mut runner = TestRunner::new_with_rng(
        Config::with_cases(24),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let scripts = (script(), any::<u64>());
    runner
        .run(&scripts, |(script, seed)| {
            let run = run(&script);
            let mut coin = fastrand::Rng::with_seed(seed);
            for cut in run.syncs() {
                check(&run, &script, cut, &run.cut(cut, || false));
                check(&run, &script, cut, &run.cut(cut, || true));
                for _ in 0..3 {
                    check(&run, &script, cut, &run.cut(cut, || coin.bool()));
                }
            }
            Ok(())
        })
        .unwrap();
}

/// The check above must be able to fail: a disk that loses a synced write is found out.
#[test]
fn a_disk_that_lies_about_a_sync_is_noticed() {
    let script: Vec<_> = (1..6u64)
        .map(|id| vec![Change::Put(id, vec![1], vec![7; 600])])
        .collect();
    let run = run(&script);
    let (mut db, loaded) = Db::with_opener(Disk::holding(run.start.clone()).opener()).unwrap();
    let mut model = Model::default();
    model.apply(&script[0]);
    assert!(!model.matches(&mut db, &loaded));
}
