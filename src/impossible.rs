//! What is to happen where the code meets a state that cannot be.
//!
//! A broker that nobody visits must not stop for a mistake of ours in one corner, and a mistake
//! must not pass in silence either: release builds log it once a place and go on, debug builds,
//! and so all tests, panic.

use std::fmt::Arguments;
use std::sync::atomic::{AtomicBool, Ordering};

/// Reports a state that cannot be, as `format!` writes it. The caller then goes on as best it can.
macro_rules! impossible {
    ($($what:tt)+) => {{
        static REPORTED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        $crate::impossible::report(&REPORTED, format_args!($($what)+));
    }};
}

pub(crate) use impossible;

/// Logs `what` unless the place it comes from has logged already, which `reported` tells.
///
/// # Panics
/// In debug builds.
#[cold]
#[inline(never)]
pub(crate) fn report(reported: &AtomicBool, what: Arguments<'_>) {
    debug_assert!(false, "this cannot be: {what}");
    if !reported.swap(true, Ordering::Relaxed) {
        log::error!("Please report this, it cannot be: {what}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "this cannot be: 3 of 2")]
    fn tests_end_with_it() {
        impossible!("{} of 2", 3);
    }
}
