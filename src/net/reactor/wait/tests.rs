use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_rest_of_a_millisecond_is_a_whole_one() {
    let (nano, milli) = (Duration::from_nanos(1), Duration::from_millis(1));
    for (time, whole) in [
        (Duration::ZERO, Duration::ZERO),
        (nano, milli),
        (milli - nano, milli),
        (milli, milli),
        (milli + nano, 2 * milli),
        (LONG - nano, LONG),
        (MAX_WAIT, MAX_WAIT),
        (MAX_WAIT + nano, MAX_WAIT),
        (Duration::MAX, MAX_WAIT),
    ] {
        assert_eq!(whole_millis(time), whole, "{time:?}");
    }
}

#[test]
fn a_wait_is_as_long_as_was_asked_for() {
    let waiter = Waiter::new().unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    for micros in [1, 500, 20_001, 60_000] {
        let time = Duration::from_micros(micros);
        let mut wanted = [Wanted::readable(near.as_fd())];
        let begun = Instant::now();
        waiter.wait(&mut wanted, Some(time)).unwrap();
        assert!(begun.elapsed() >= time, "{:?}", begun.elapsed());
        assert!(!wanted[0].is_ready);
    }
    let begun = Instant::now();
    waiter.wait(&mut [], Some(Duration::ZERO)).unwrap();
    assert!(begun.elapsed() < LONG);
}

#[test]
fn what_is_there_is_told_of_whom_it_concerns() {
    let waiter = Waiter::new().unwrap();
    let (mut one, mut far_one) = UnixStream::pair().unwrap();
    let (two, far_two) = UnixStream::pair().unwrap();
    let ready = |waiter: &Waiter, one: &UnixStream, two: Option<&UnixStream>, writes: bool| {
        let mut wanted = vec![if writes {
            Wanted::readable_or_writable(one.as_fd())
        } else {
            Wanted::readable(one.as_fd())
        }];
        wanted.extend(two.map(|two| Wanted::readable(two.as_fd())));
        let time = Some(Duration::from_millis(1));
        waiter.wait(&mut wanted, time).unwrap();
        wanted.iter().map(|one| one.is_ready).collect::<Vec<_>>()
    };
    assert_eq!(ready(&waiter, &one, Some(&two), false), [false, false]);
    assert_eq!(ready(&waiter, &one, Some(&two), true), [true, false]);
    assert_eq!(ready(&waiter, &one, Some(&two), false), [false, false]);
    far_one.write_all(b"x").unwrap();
    // It is told each time, until it is read.
    assert_eq!(ready(&waiter, &one, Some(&two), false), [true, false]);
    assert_eq!(ready(&waiter, &one, Some(&two), false), [true, false]);
    assert_eq!(one.read(&mut [0; 8]).unwrap(), 1);
    drop(far_two);
    assert_eq!(ready(&waiter, &one, Some(&two), false), [false, true]);
    drop(two);
    assert_eq!(ready(&waiter, &one, None, false), [false]);
    // One that takes its place, with the same number of a descriptor, is new.
    let (two, _far_two) = UnixStream::pair().unwrap();
    assert_eq!(ready(&waiter, &one, Some(&two), false), [false, false]);
}

/// `footbridge pub -l < FILE`.
#[test]
fn a_file_can_be_read_at_once() {
    let waiter = Waiter::new().unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    let file = File::open("Cargo.toml").unwrap();
    let mut wanted = [
        Wanted::readable(near.as_fd()),
        Wanted::readable(file.as_fd()),
    ];
    let begun = Instant::now();
    waiter.wait(&mut wanted, Some(LONG)).unwrap();
    assert!(begun.elapsed() < LONG);
    assert!(!wanted[0].is_ready && wanted[1].is_ready);
}
