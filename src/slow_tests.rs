//! Which of the slow tests run: a sample of their cases, or with `FOOTBRIDGE_SLOW=1` all.

/// True where the slow tests are to run in full.
pub(crate) fn in_full() -> bool {
    std::env::var_os("FOOTBRIDGE_SLOW").is_some_and(|value| value == "1")
}

/// How many cases of a slow test to run: `all`, or `sample` of them.
pub(crate) fn cases<N>(all: N, sample: N) -> N {
    if in_full() { all } else { sample }
}
