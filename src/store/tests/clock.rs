//! The time that a store has seen.

use super::messages;

/// The wall clock of a box without a battery is wrong after each start, and its commits say so.
#[test]
fn the_latest_time_that_was_known_outlives_runs_with_a_wrong_clock() {
    const KNOWN: u64 = 1_800_000_000_000;
    let (_folder, path) = super::files::folder();
    let mut seq = 0;
    let mut run = |wall, known, folds| {
        let (mut db, loaded) = super::files::open(&path).unwrap();
        seq += 1;
        let mut batch = messages(seq, seq..seq + 1);
        (batch.wall, batch.known) = (wall, known);
        db.commit(&mut batch).unwrap();
        if folds {
            db.rewrite().unwrap();
        }
        loaded.known
    };
    // Also where nothing but the journal has it.
    let is_right = [
        run(KNOWN, KNOWN, false),
        run(5_000, KNOWN, false),
        run(5_000, KNOWN, true),
        run(5_000, KNOWN, false),
        run(5_000, 7_000, true),
    ];
    assert_eq!(is_right, [0, KNOWN, KNOWN, KNOWN, KNOWN]);
    assert_eq!(run(5_000, 7_000, true), 7_000, "it was no time at all");
}
