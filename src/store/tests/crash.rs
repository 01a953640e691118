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
    /// The disk after a power cut at operation `cut`: all writes up to the sync before it, and of
    /// those since then what `keep` says.
    fn cut(&self, cut: usize, mut keep: impl FnMut() -> bool) -> Disk {
        let synced = self.ops[..cut].iter().rposition(Op::is_sync);
        let synced = synced.map_or(0, |at| at + 1);
        let mut bytes = self.start.clone();
        for (at, op) in self.ops[..cut].iter().enumerate() {
            if at < synced || keep() {
                apply(&mut bytes, op);
            }
        }
        Disk::holding(bytes)
    }

    /// Just before each sync, and after the last.
    fn cuts(&self) -> impl Iterator<Item = usize> {
        let before = (0..self.ops.len()).filter(|&at| self.ops[at].is_sync());
        before.chain([self.ops.len()])
    }
}

/// Whether each committed batch is there whole, the one under way whole or absent, and later ones
/// absent.
fn holds(run: &Run, script: &[Vec<Change>], cut: usize, disk: &Disk) -> bool {
    let done = run.done.iter().filter(|&&ops| ops <= cut).count();
    let (mut db, loaded) = Db::with_opener(disk.opener()).unwrap();
    let mut model = Model::default();
    script[..done]
        .iter()
        .for_each(|changes| model.apply(changes));
    model.matches(&mut db, &loaded)
        || script.get(done).is_some_and(|under_way| {
            model.apply(under_way);
            model.matches(&mut db, &loaded)
        })
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
            for cut in run.cuts() {
                prop_assert!(
                    holds(&run, &script, cut, &run.cut(cut, || false)),
                    "at {}",
                    cut
                );
                prop_assert!(
                    holds(&run, &script, cut, &run.cut(cut, || true)),
                    "at {}",
                    cut
                );
                for _ in 0..3 {
                    let disk = run.cut(cut, || coin.bool());
                    prop_assert!(holds(&run, &script, cut, &disk), "at {}", cut);
                }
            }
            Ok(())
        })
        .unwrap();
}

/// The test above must be able to fail: a disk that forgets a synced commit is found out.
#[test]
fn a_disk_that_lies_about_a_sync_is_noticed() {
    let script: Vec<_> = (1..6u64)
        .map(|id| vec![Change::Put(id, vec![1], vec![7; 600])])
        .collect();
    let run = run(&script);
    let forgets = run.cut(run.done[2], || false);
    assert!(holds(&run, &script, run.done[2], &forgets));
    assert!(holds(&run, &script, run.done[3] - 1, &forgets));
    assert!(!holds(&run, &script, run.done[3], &forgets));
}
