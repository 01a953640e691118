//! Numbers of sessions.

use super::*;

/// The number of a session that was never on disk is used again after a crash; its own will is not that of the
/// other.
#[test]
fn a_number_is_used_again() {
    let mut bench = Bench::new();
    let mut model = Model::new(Rules::default());
    model.connect(SUBSCRIBER, 8, &hello(None), START);
    model
        .crash(&BTreeMap::new(), &BTreeMap::new(), START)
        .unwrap();
    model.connect(SUBSCRIBER, 8, &hello(Some(will(3))), START);
    bench.model = model;
    let waits = |f: &mut BTreeMap<usize, Facts>| {
        f.get_mut(&SUBSCRIBER).unwrap().will = Some(b"will".to_vec());
    };
    assert_eq!(bench.crash(waits), Ok(()));
}
