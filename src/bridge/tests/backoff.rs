use fastrand::Rng;

use super::secs;
use crate::bridge::{Backoff, Echo};
use crate::config::Restart;
use crate::time::Time;

#[test]
fn a_constant_wait_is_constant() {
    let mut backoff = Backoff::new(Restart::Constant(secs(20)));
    let mut rng = Rng::with_seed(1);
    assert_eq!(
        [(); 3].map(|()| backoff.next(None, &mut rng)),
        [secs(20); 3]
    );
}

#[test]
fn jitter_stays_between_base_and_cap_and_three_times_the_last() {
    let (base, cap) = (secs(5), secs(30));
    let mut longest = base;
    for seed in 0..100 {
        let mut backoff = Backoff::new(Restart::Jitter {
            base,
            cap,
            stable: secs(10),
        });
        let mut rng = Rng::with_seed(seed);
        let mut last = base;
        for _ in 0..20 {
            let wait = backoff.next(None, &mut rng);
            assert!(
                wait >= base && wait <= cap && wait <= last * 3,
                "{last:?} {wait:?}"
            );
            last = wait;
            longest = longest.max(wait);
        }
    }
    assert_eq!(longest, cap);
}

#[test]
fn jitter_starts_over_after_a_connection_that_held() {
    let restart = Restart::Jitter {
        base: secs(5),
        cap: secs(300),
        stable: secs(60),
    };
    let mut backoff = Backoff::new(restart);
    let mut rng = Rng::with_seed(3);
    while backoff.next(Some(secs(59)), &mut rng) < secs(100) {}
    assert_eq!(backoff.next(Some(secs(60)), &mut rng), secs(5));
    assert!(backoff.next(None, &mut rng) <= secs(15));
}

#[test]
fn a_base_of_zero_or_above_the_cap_is_no_trap() {
    let mut rng = Rng::with_seed(1);
    let zero = Restart::Jitter {
        base: secs(0),
        cap: secs(9),
        stable: secs(0),
    };
    assert_eq!(Backoff::new(zero).next(None, &mut rng), secs(0));
    let above = Restart::Jitter {
        base: secs(60),
        cap: secs(30),
        stable: secs(0),
    };
    assert_eq!(Backoff::new(above).next(None, &mut rng), secs(30));
}

#[test]
fn an_echo_is_recognised_once() {
    let now = Time::from_secs(100);
    let mut echo = Echo::new();
    echo.sent("a", b"1", now);
    echo.sent("a", b"1", now);
    echo.sent("b", b"1", now);
    assert!(!echo.is_ours("ab", b"1", now));
    assert!(echo.is_ours("a", b"1", now));
    assert!(echo.is_ours("a", b"1", now));
    assert!(!echo.is_ours("a", b"1", now));
    assert!(echo.is_ours("b", b"1", now));
}

#[test]
fn an_echo_is_forgotten_in_time_and_number() {
    let now = Time::from_secs(100);
    let mut echo = Echo::new();
    echo.sent("a", b"1", now);
    assert!(!echo.is_ours("a", b"1", now + Echo::LIFETIME));
    echo.sent("first", b"", now);
    for n in 0..Echo::CAPACITY - 1 {
        echo.sent("x", &n.to_le_bytes(), now);
    }
    assert!(echo.is_ours("first", b"", now));
    echo.sent("one", b"", now);
    echo.sent("two", b"", now);
    assert!(echo.is_ours("x", &1usize.to_le_bytes(), now));
    assert!(!echo.is_ours("x", &0usize.to_le_bytes(), now));
}
