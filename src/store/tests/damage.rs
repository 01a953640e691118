//! A damaged file: what can still be read of it comes back, and nothing else.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::io;

use fastrand::Rng;

use super::mix::{Key, Ledger, Mix, Rows, empty, fill, folder, place, raw};
use super::rows;
use crate::slow_tests::cases;
use crate::store::rescue::{Source, copy};
use crate::store::rows::session::IDENTITY;
use crate::store::{Db, Location, Quarantined, decode_message};

const SEED: u64 = 20_261_122;

const SMALL: Mix = Mix {
    messages: 250,
    sessions: 24,
    wide: false,
    large: &[9_000],
};

/// What a start with a damaged file came to.
struct Outcome {
    rows: Rows,
    quarantined: Option<Quarantined>,
}

impl Outcome {
    fn lost(&self) -> Option<u64> {
        match &self.quarantined {
            Some(quarantined) => quarantined.lost,
            None => Some(0),
        }
    }
}

/// Starts with `bytes` for a file, and checks what was promised of it.
fn start(bytes: &[u8], ledger: &Ledger, case: &str) -> Outcome {
    let (_folder, path) = folder();
    place(&path, bytes, ledger.id);
    let (mut db, loaded) = Db::open(Location::File(path.clone())).expect(case);
    assert_eq!(loaded.damaged, 0, "{case}");
    let delivered = rows(&mut db);
    for (id, row) in delivered.iter() {
        decode_message(id, row).expect(case);
    }
    drop(db);
    let outcome = Outcome {
        rows: raw(&path),
        quarantined: loaded.quarantined,
    };
    let verdict = ledger.verdict(&outcome.rows, outcome.lost());
    assert_eq!(verdict, Ok(()), "{case}, {:?}", outcome.quarantined);
    if let Some(Quarantined { rescued, .. }) = outcome.quarantined {
        let count = |is: fn(&Key) -> bool| outcome.rows.keys().filter(|key| is(key)).count() as u64;
        assert_eq!(
            rescued.messages,
            count(|key| matches!(key, Key::Message(_))),
            "{case}"
        );
        assert_eq!(
            rescued.sessions,
            count(|key| matches!(key, Key::Session(_, IDENTITY))),
            "{case}"
        );
        assert_eq!(
            rescued.retained,
            count(|key| matches!(key, Key::Retained(_))),
            "{case}"
        );
    }
    outcome
}

/// A closed store, its ledger and the randomness of the rest.
fn closed(mix: &Mix, seed: u64) -> (Vec<u8>, Ledger, Rng) {
    let mut rng = Rng::with_seed(seed);
    let (_folder, path) = folder();
    let ledger = fill(&path, mix, &mut rng);
    (fs::read(&path).unwrap(), ledger, rng)
}

/// Starts `cases` times, each with a fresh copy damaged by `damage`; gives what was known to be
/// lost in each, and how often that was not known.
fn damaged(
    cases: u32,
    seed: u64,
    mut damage: impl FnMut(&mut Vec<u8>, &mut Rng),
) -> (Vec<u64>, u32) {
    // With every second seed there is a second table of sessions.
    let mix = Mix {
        wide: seed.is_multiple_of(2),
        ..SMALL
    };
    let (sound, ledger, mut rng) = closed(&mix, seed);
    let (mut lost, mut unknown) = (Vec::new(), 0);
    for case in 0..cases {
        let mut bytes = sound.clone();
        damage(&mut bytes, &mut rng);
        let outcome = start(&bytes, &ledger, &format!("seed {seed}, case {case}"));
        match outcome.lost() {
            Some(n) => lost.push(n),
            None => unknown += 1,
        }
    }
    (lost, unknown)
}

fn garbage(bytes: &mut [u8], rng: &mut Rng) {
    bytes.iter_mut().for_each(|byte| *byte = rng.u8(..));
}

#[test]
fn a_flipped_bit_costs_a_leaf_at_most() {
    let cases = cases(1_000, 100);
    let (lost, unknown) = damaged(cases, SEED, |bytes, rng| {
        let at = rng.usize(..bytes.len());
        bytes[at] ^= 1 << rng.u8(..8);
    });
    assert!(lost.iter().all(|&n| n < 30), "{lost:?}");
    assert!(
        lost.iter().filter(|&&n| n > 0).count() > cases as usize / 50,
        "{lost:?}"
    );
    // A leaf of sessions or their parts is searched for, and then it isn't known what is old.
    assert!(
        unknown < cases.div_ceil(6),
        "{unknown} flips took away a root, or a leaf of sessions"
    );
}

#[test]
fn garbage_costs_the_leaves_it_hits() {
    let cases = cases(500, 50);
    let (lost, unknown) = damaged(cases, SEED + 1, |bytes, rng| {
        let at = rng.usize(..bytes.len() - 4096);
        garbage(&mut bytes[at..at + 4096], rng);
    });
    assert!(lost.iter().all(|&n| n < 60), "{lost:?}");
    assert!(
        lost.iter().filter(|&&n| n > 0).count() > cases as usize * 2 / 25,
        "{lost:?}"
    );
    assert!(unknown < cases / 10, "{unknown} took away a root");
}

#[test]
fn no_damage_is_too_much() {
    let cases = cases(60, 6);
    damaged(cases, SEED + 2, |bytes, rng| {
        let page = rng.usize(..bytes.len() / 4096);
        let end = bytes.len().min((page + rng.usize(1..9)) * 4096);
        bytes[page * 4096..end].fill(0);
    });
    damaged(cases, SEED + 3, |bytes, rng| {
        bytes.truncate(rng.usize(1..bytes.len()));
    });
    damaged(cases, SEED + 4, |bytes, rng| {
        for _ in 0..rng.usize(2..20) {
            let at = rng.usize(..bytes.len() - 4096);
            garbage(&mut bytes[at..at + 4096], rng);
        }
    });
    // Some other page in its place, as by a write that went astray.
    damaged(cases, SEED + 5, |bytes, rng| {
        let pages = bytes.len() / 4096;
        let (from, to) = (rng.usize(..pages) * 4096, rng.usize(1..pages) * 4096);
        bytes.copy_within(from..from + 4096, to);
    });
}

#[test]
fn no_header_is_too_bad() {
    let (_, unknown) = damaged(cases(100, 15), SEED + 6, |bytes, rng| {
        let at = rng.usize(9..320);
        let end = rng.usize(at..320) + 1;
        match rng.u8(..4) {
            0 => bytes[at..end].fill(0),
            1 => bytes[at..end].fill(0xFF),
            _ => garbage(&mut bytes[at..end], rng),
        }
    });
    assert!(unknown > 0, "both slots were hit in some");
    damaged(cases(20, 3), SEED + 7, |bytes, rng| {
        garbage(&mut bytes[9..4096], rng);
    });
}

/// Whatever stands behind a sound header, reading it ends.
#[test]
fn nothing_leads_astray_for_ever() {
    damaged(cases(30, 3), SEED + 8, |bytes, rng| {
        garbage(&mut bytes[4096..], rng);
    });
    damaged(cases(30, 3), SEED + 9, |bytes, rng| {
        let pages = bytes.len() as u64 / 4096;
        for page in bytes[4096..].chunks_exact_mut(4096) {
            garbage(page, rng);
            page[..4].copy_from_slice(&[rng.u8(1..3), 0, rng.u8(..128), rng.u8(..2)]);
            for number in page[8..].chunks_exact_mut(8) {
                number.copy_from_slice(&rng.u64(..pages).to_le_bytes());
            }
        }
    });
    // Each page is all others, too: rings in every tree.
    damaged(cases(20, 3), SEED + 10, |bytes, rng| {
        let page = rng.usize(1..bytes.len() / 4096) * 4096;
        let page = bytes[page..page + 4096].to_vec();
        bytes[4096..]
            .chunks_exact_mut(4096)
            .for_each(|other| other.copy_from_slice(&page));
    });
}

/// A file on a disk some of whose sectors cannot be read.
struct Worn {
    bytes: Vec<u8>,
    bad: HashSet<u64>,
    reads: Cell<u32>,
}

impl Source for Worn {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        const EIO: i32 = 5;
        self.reads.set(self.reads.get() + 1);
        let end = at + out.len() as u64;
        if (at / 4096..end.div_ceil(4096)).any(|page| self.bad.contains(&page)) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        out.copy_from_slice(&self.bytes[at as usize..end as usize]);
        Ok(())
    }
}

#[test]
fn sectors_that_cannot_be_read_cost_their_rows() {
    let seed = SEED + 11;
    let (bytes, ledger, mut rng) = closed(&SMALL, seed);
    let pages = bytes.len() as u64 / 4096;
    for case in 0..cases(60, 6) {
        let bad = (0..rng.u64(1..20)).map(|_| rng.u64(..pages)).collect();
        let reads = Cell::new(0);
        let worn = Worn {
            bytes: bytes.clone(),
            bad,
            reads,
        };
        let (_folder, path) = folder();
        let copied = copy(&worn, empty(&path), None).unwrap();
        let verdict = ledger.verdict(&raw(&path), copied.lost);
        assert_eq!(verdict, Ok(()), "seed {seed}, case {case}, {copied:?}");
    }
    // All of it, and more than anyone would wait for.
    let bytes = vec![0; 40 << 20];
    let bad = (0..40 << 8).collect();
    let worn = Worn {
        bytes,
        bad,
        reads: Cell::new(0),
    };
    let (_folder, path) = folder();
    copy(&worn, empty(&path), None).unwrap();
    assert!(
        worn.reads.get() < 2_000,
        "{} reads of a dead disk",
        worn.reads.get()
    );
}

#[test]
fn most_of_a_store_survives_a_lost_page() {
    const LARGE: Mix = Mix {
        messages: 3_000,
        sessions: 30,
        wide: false,
        large: &[],
    };
    let seed = SEED + 12;
    let (sound, ledger, mut rng) = closed(&LARGE, seed);
    let messages = ledger
        .live
        .keys()
        .filter(|key| matches!(key, Key::Message(_)))
        .count();
    assert!(messages > 1_900, "{messages}");
    let cases = cases(60, 6);
    let mut survived = 0;
    for case in 0..cases {
        let mut bytes = sound.clone();
        let page = rng.usize(..bytes.len() / 4096) * 4096;
        garbage(&mut bytes[page..page + 4096], &mut rng);
        let outcome = start(&bytes, &ledger, &format!("seed {seed}, case {case}"));
        let alive = |(key, row): (&Key, &Vec<u8>)| outcome.rows.get(key) == Some(row);
        let rows = ledger.live.iter().filter(|row| alive(*row)).count();
        let share = rows as f64 / ledger.live.len() as f64;
        assert!(share > 0.9, "seed {seed}, case {case}: {share}");
        survived += rows;
    }
    let share = survived as f64 / (ledger.live.len() * cases) as f64;
    assert!(share > 0.99, "{share}");
}

/// The tests above must be able to fail.
#[test]
fn wrong_and_resurrected_rows_are_noticed() {
    let (_, ledger, _) = closed(&SMALL, SEED);
    assert_eq!(ledger.verdict(&ledger.live, Some(0)), Ok(()));
    assert!(
        ledger.verdict(&ledger.live, Some(1)).is_err(),
        "the sum is wrong"
    );
    let mut wrong = ledger.live.clone();
    let row = wrong.values_mut().next().unwrap();
    *row.last_mut().unwrap() ^= 1;
    assert!(ledger.verdict(&wrong, None).is_err(), "a wrong bit");
    let mut risen = ledger.live.clone();
    let (key, row) = ledger.dead().next().unwrap();
    risen.insert(key.clone(), row.clone());
    let verdict = ledger.verdict(&risen, Some(0));
    assert!(verdict.is_err_and(|why| why.contains("from the dead")));
    assert_eq!(
        ledger.verdict(&risen, None),
        Ok(()),
        "where anything may be"
    );
}

/// Without the commit slots there are no trees: all pages are searched.
#[test]
fn without_slots_every_table_is_searched() {
    let (mut bytes, ledger, _) = closed(&SMALL, SEED);
    bytes[64..320].fill(0);
    let found = start(&bytes, &ledger, "without slots");
    assert_eq!(found.lost(), None);
    let live = |key| found.rows.get(key) == ledger.live.get(key);
    assert!(ledger.live.keys().all(live));
}
