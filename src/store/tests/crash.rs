//! Power cuts: at every sync of a run and between, with any part of the unsynced writes lost,
//! kept or torn, in both files; and again during the recovery.

use std::collections::BTreeMap;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::disk::{Disk, Image, Inode, Op};
use super::model::{Change, Model, Step, batch, script};
use crate::slow_tests;
use crate::store::Db;

/// What a sector-wise disk writes whole or not at all.
const SECTOR: usize = 512;
/// How many scripts are run, in full and for a sample.
const SEEDS: [u64; 2] = [24, 4];

/// What a run did on one disk.
struct Run {
    start: Image,
    ops: Vec<Op>,
    commits: Vec<Vec<Change>>,
    /// How many operations each commit had behind it when it was reported done.
    done: Vec<usize>,
}

/// What becomes of a write that wasn't synced.
enum Fate {
    Lost,
    Kept,
    /// Only what is before the sector is written, or only the rest.
    Torn(usize, bool),
}

/// Which syncs do nothing.
#[derive(Clone, Copy, PartialEq)]
enum Liar {
    Nobody,
    Store,
    Journal,
}

fn run(start: Image, script: &[Step]) -> Run {
    failing_run(start, script, None)
}

/// A run whose disk fails after `n` writes and syncs, until that was noticed.
fn failing_run(start: Image, script: &[Step], n: Option<u64>) -> Run {
    let disk = Disk::holding(start.clone());
    let (mut db, _) = disk.open().unwrap();
    let (mut commits, mut done) = (Vec::new(), Vec::new());
    if let Some(n) = n {
        disk.fail_after(n);
    }
    for step in script {
        match step {
            Step::Commit(changes) => {
                let mut batch = batch(commits.len() as u64, changes);
                if db.commit(&mut batch).is_err() {
                    disk.heal();
                    db.commit(&mut batch).unwrap();
                }
                commits.push(changes.clone());
                done.push(disk.ops().len());
            }
            Step::Rewrite => {
                if db.rewrite().is_err() {
                    disk.heal();
                }
            }
            Step::Reopen => {
                drop(db);
                db = disk.open().unwrap().0;
            }
        }
    }
    // The power goes: what the handle would write on its way out doesn't count.
    let ops = disk.ops();
    Run {
        start,
        ops,
        commits,
        done,
    }
}

impl Run {
    /// The disk after a power cut at operation `cut`: what was synced before it, and of the rest
    /// what `fate` says.
    fn cut(&self, cut: usize, liar: Liar, mut fate: impl FnMut(&Op) -> Fate) -> Image {
        let mut image = self.start.clone();
        let mut journals: Vec<Inode> = image.journal.into_iter().collect();
        let mut synced: BTreeMap<Inode, usize> = BTreeMap::new();
        let mut names = 0;
        for (at, op) in self.ops[..cut].iter().enumerate() {
            match op {
                Op::Journal(inode, _) => journals.push(*inode),
                Op::SyncNames => names = at,
                Op::Sync(inode) => {
                    let of = if journals.contains(inode) {
                        Liar::Journal
                    } else {
                        Liar::Store
                    };
                    if of != liar {
                        synced.insert(*inode, at);
                    }
                }
                _ => {}
            }
        }
        for (at, op) in self.ops[..cut].iter().enumerate() {
            let is_durable = match op {
                Op::Write(inode, ..) | Op::SetLen(inode, _) => {
                    synced.get(inode).is_some_and(|sync| at < *sync)
                }
                Op::Install(_) => at < names,
                _ => true,
            };
            match if is_durable { Fate::Kept } else { fate(op) } {
                Fate::Lost => {}
                Fate::Kept => image.apply(op),
                Fate::Torn(sector, head) => image.apply(&torn(op, sector * SECTOR, head)),
            }
        }
        image
    }

    /// Just before each sync and after the last, and some between.
    fn cuts(&self, coin: &mut fastrand::Rng, between: usize) -> Vec<usize> {
        let mut cuts: Vec<usize> = (0..self.ops.len())
            .filter(|&at| self.ops[at].is_sync())
            .chain([self.ops.len()])
            .collect();
        cuts.extend((0..between).map(|_| coin.usize(..=self.ops.len())));
        cuts
    }

    /// Whether each committed batch is there whole, the one under way whole or absent, and later
    /// ones absent.
    fn holds(&self, cut: usize, image: Image) -> bool {
        let (mut db, loaded) = Disk::holding(image).open().unwrap();
        self.matches(cut, &mut db, &loaded)
    }

    fn matches(&self, cut: usize, db: &mut Db, loaded: &crate::store::Loaded) -> bool {
        let done = self.done(cut);
        let mut model = Model::default();
        for changes in &self.commits[..done] {
            model.apply(changes);
        }
        model.matches(db, loaded)
            || self.commits.get(done).is_some_and(|under_way| {
                model.apply(under_way);
                model.matches(db, loaded)
            })
    }

    fn done(&self, cut: usize) -> usize {
        self.done.iter().filter(|&&ops| ops <= cut).count()
    }

    /// The recovery from a cut, in which the batch under way is tried again.
    fn recovery(&self, cut: usize, image: Image) -> Run {
        let retry = self.commits.get(self.done(cut)).cloned();
        let steps: Vec<Step> = retry.into_iter().map(Step::Commit).collect();
        run(image, &steps)
    }
}

/// The write as it is with only what is before byte `at`, or only what is after.
fn torn(op: &Op, at: usize, head: bool) -> Op {
    match op {
        Op::Write(inode, offset, data) if at < data.len() => {
            if head {
                Op::Write(*inode, *offset, data[..at].to_vec())
            } else {
                Op::Write(*inode, *offset + at as u64, data[at..].to_vec())
            }
        }
        other => other.clone(),
    }
}

/// Anything may become of a write.
fn chance(coin: &mut fastrand::Rng, op: &Op) -> Fate {
    match (coin.u8(..4), op) {
        (0, Op::Write(_, _, data)) if data.len() > SECTOR => {
            Fate::Torn(coin.usize(1..data.len().div_ceil(SECTOR)), coin.bool())
        }
        (0 | 1, _) => Fate::Lost,
        _ => Fate::Kept,
    }
}

fn scripted(seed: u64) -> Vec<Step> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    script().new_tree(&mut runner).unwrap().current()
}

#[test]
fn a_power_cut_leaves_each_commit_whole_or_absent() {
    let (mut cuts, mut second_cuts) = (0, 0);
    let start = Disk::with_store().image();
    let seeds = slow_tests::cases(SEEDS[0], SEEDS[1]);
    for seed in 0..seeds {
        let run = run(start.clone(), &scripted(seed));
        let mut coin = fastrand::Rng::with_seed(seed);
        for cut in run.cuts(&mut coin, 6) {
            let images = [
                run.cut(cut, Liar::Nobody, |_| Fate::Lost),
                run.cut(cut, Liar::Nobody, |_| Fate::Kept),
                run.cut(cut, Liar::Nobody, |op| chance(&mut coin, op)),
                run.cut(cut, Liar::Nobody, |op| chance(&mut coin, op)),
            ];
            for (kind, image) in images.into_iter().enumerate() {
                cuts += 1;
                let at = format!("seed {seed}, cut at {cut}, kind {kind}");
                assert!(run.holds(cut, image.clone()), "{at}");
                if kind == 3 && coin.bool() {
                    second_cuts += cut_again(&run, cut, image, &mut coin, &at);
                }
            }
        }
    }
    println!("{cuts} cuts, {second_cuts} second cuts");
    let enough = slow_tests::cases((2_000, 1_500), (250, 150));
    assert!(cuts >= enough.0, "{cuts}");
    assert!(second_cuts >= enough.1, "{second_cuts}");
}

/// Cuts the recovery from a cut; returns how often.
fn cut_again(run: &Run, cut: usize, image: Image, coin: &mut fastrand::Rng, at: &str) -> usize {
    let recovery = run.recovery(cut, image);
    let cuts = recovery.cuts(coin, 1);
    for &again in &cuts {
        let image = recovery.cut(again, Liar::Nobody, |op| chance(coin, op));
        assert!(run.holds(cut, image), "{at}, cut again at {again}");
    }
    cuts.len()
}

/// A disk that failed may hold anything of what it was asked then, and lose it yet.
#[test]
fn a_power_cut_after_a_failure_loses_nothing() {
    let put = |id, len| Step::Commit(vec![Change::Put(id, vec![1], vec![id as u8; len])]);
    let script = [
        put(1, 100),
        Step::Rewrite,
        put(2, 40_000),
        put(3, 100),
        put(4, 100),
        Step::Rewrite,
        put(5, 100),
    ];
    let start = Disk::with_store().image();
    let whole = run(start.clone(), &script).ops.len() as u64;
    let mut coin = fastrand::Rng::with_seed(5);
    for n in (0..whole).step_by(slow_tests::cases(1, 5)) {
        let run = failing_run(start.clone(), &script, Some(n));
        for cut in run.done.iter().copied().chain([run.ops.len()]) {
            let lost = run.cut(cut, Liar::Nobody, |_| Fate::Lost);
            assert!(run.holds(cut, lost), "failed after {n}, cut at {cut}");
            let any = run.cut(cut, Liar::Nobody, |op| chance(&mut coin, op));
            assert!(run.holds(cut, any), "failed after {n}, cut at {cut}");
        }
    }
}

/// The tests above must be able to fail: a disk that forgets a synced commit is found out.
#[test]
fn a_disk_that_lies_about_a_sync_is_noticed() {
    let commits = |payload: usize| -> Vec<Step> {
        (1..6u64)
            .map(|id| Step::Commit(vec![Change::Put(id, vec![1], vec![7; payload])]))
            .collect()
    };
    // Small ones go to the journal, large ones past it.
    for (payload, liar) in [(600, Liar::Journal), (40_000, Liar::Store)] {
        let run = run(Disk::with_store().image(), &commits(payload));
        for cut in &run.done {
            let honest = run.cut(*cut, Liar::Nobody, |_| Fate::Lost);
            assert!(run.holds(*cut, honest));
            let forgets = run.cut(*cut, liar, |_| Fate::Lost);
            assert!(!run.holds(*cut, forgets));
        }
    }
}
