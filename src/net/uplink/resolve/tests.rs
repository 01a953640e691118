use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

fn v4() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 0))
}

fn v6() -> SocketAddr {
    SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 0))
}

fn failure(doubt: Doubt) -> Found {
    let why = "none of them".into();
    Err(Failure { why, doubt })
}

fn none() -> Found {
    failure(Doubt::Some)
}

fn servfail() -> Found {
    Err(Failure::passing("try again"))
}

/// A name server that says nothing for a while.
fn silence() -> Found {
    std::thread::sleep(Duration::from_secs(4));
    servfail()
}

fn first(resolver: &mut Resolver, host: &str, deadline: Duration) -> Result<First, Error> {
    let mut question = resolver.ask(host, 1883)?;
    let reactor = Reactor::new().unwrap();
    reactor.block_on(question.first(&reactor, deadline))
}

fn addresses(resolver: &mut Resolver, host: &str) -> Vec<SocketAddr> {
    let found = first(resolver, host, LONG).unwrap();
    assert!(found.old.is_none(), "{found:?}");
    assert!(found.addresses.iter().all(|a| a.port() == 1883));
    found.addresses.into_iter().map(without_port).collect()
}

fn without_port(mut address: SocketAddr) -> SocketAddr {
    address.set_port(0);
    address
}

#[test]
fn literals_need_no_lookup() {
    let mut resolver = Resolver::new(|_, _| Err(Failure::passing("must not be asked")));
    for host in ["127.0.0.1", "::1", "[::1]"] {
        assert_eq!(addresses(&mut resolver, host).len(), 1);
    }
    let failure = first(&mut resolver, "fe80::1%nope0", SHORT).unwrap_err();
    assert_eq!(failure.to_string(), "there is no interface nope0");
}

#[test]
fn both_families_are_there() {
    let mut resolver = Resolver::new(|_, family| match family {
        Family::V6 => {
            std::thread::sleep(Duration::from_millis(5));
            Ok(vec![v6()])
        }
        Family::V4 => Ok(vec![v4()]),
    });
    let begun = Instant::now();
    let found = addresses(&mut resolver, "both.example");
    // On a machine that is slow IPv6 may be later than it should.
    if begun.elapsed() < GRACE {
        assert_eq!(found, [v6(), v4()]);
    }
}

#[test]
fn a_family_that_fails_or_is_silent_holds_up_nothing() {
    static OTHER: std::sync::Mutex<Option<fn() -> Found>> = std::sync::Mutex::new(None);
    let others: [fn() -> Found; 3] = [none, servfail, silence];
    for other in others {
        *OTHER.lock().unwrap() = Some(other);
        let lookup: [Lookup; 2] = [
            |_, family| match family {
                Family::V4 => Ok(vec![v4()]),
                Family::V6 => OTHER.lock().map(|other| *other).unwrap().unwrap()(),
            },
            |_, family| match family {
                Family::V6 => Ok(vec![v6()]),
                Family::V4 => OTHER.lock().map(|other| *other).unwrap().unwrap()(),
            },
        ];
        for (lookup, good) in lookup.into_iter().zip([v4(), v6()]) {
            let begun = Instant::now();
            assert_eq!(addresses(&mut Resolver::new(lookup), "one.example"), [good]);
            assert!(begun.elapsed() < Duration::from_secs(3));
        }
    }
}

#[test]
fn what_comes_late_comes_all_the_same() {
    let mut resolver = Resolver::new(|_, family| match family {
        Family::V4 => Ok(vec![v4()]),
        Family::V6 => {
            std::thread::sleep(Duration::from_millis(700));
            Ok(vec![v6()])
        }
    });
    let mut question = resolver.ask("late.example", 1883).unwrap();
    let reactor = Reactor::new().unwrap();
    reactor.block_on(async {
        let found = question.first(&reactor, LONG).await.unwrap();
        assert_eq!(found.addresses.len(), 1);
        let late = poll_fn(|cx| question.poll_more(cx)).await.unwrap();
        assert_eq!(late, [SocketAddr::new(v6().ip(), 1883)]);
        assert_eq!(poll_fn(|cx| question.poll_more(cx)).await, None);
    });
}

#[test]
fn a_stuck_lookup_meets_its_deadline_and_starts_no_second_thread() {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let mut resolver = Resolver::new(|_, family| {
        STARTED.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(3));
        if family == Family::V4 {
            Ok(vec![v4()])
        } else {
            none()
        }
    });
    let begun = Instant::now();
    for host in ["stuck.example", "other.example", "stuck.example"] {
        let answer = first(&mut resolver, host, SHORT);
        assert!(matches!(answer, Err(Error::TimedOut)), "{answer:?}");
    }
    let third = first(&mut resolver, "third.example", SHORT);
    assert!(matches!(third, Err(Error::Busy)));
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(addresses(&mut resolver, "stuck.example"), [v4()]);
    assert_eq!(
        STARTED.load(Ordering::Relaxed),
        4,
        "two families of two names"
    );
}

#[test]
fn a_bad_answer_is_not_remembered() {
    let mut resolver = Resolver::new(|host, _| Err(Failure::passing(host)));
    for host in ["a.example", "b.example"] {
        let answer = first(&mut resolver, host, LONG).unwrap_err();
        assert_eq!(answer.to_string(), host);
    }
}

#[test]
fn a_name_server_that_is_down_does_not_keep_the_bridge_down() {
    static IS_UP: AtomicBool = AtomicBool::new(true);
    static IS_SILENT: AtomicBool = AtomicBool::new(false);
    let mut resolver = Resolver::new(|_, family| match (IS_UP.load(Ordering::Relaxed), family) {
        (true, Family::V4) => Ok(vec![v4()]),
        (true, Family::V6) => none(),
        // So musl says of an answer that it cannot read.
        (false, Family::V6) if !IS_SILENT.load(Ordering::Relaxed) => none(),
        (false, _) if IS_SILENT.load(Ordering::Relaxed) => silence(),
        (false, _) => servfail(),
    });
    assert_eq!(addresses(&mut resolver, "a.example"), [v4()]);
    IS_UP.store(false, Ordering::Relaxed);
    for (is_silent, is_news) in [(false, true), (false, false), (true, false)] {
        IS_SILENT.store(is_silent, Ordering::Relaxed);
        let found = first(&mut resolver, "a.example", LONG).unwrap();
        let (why, old) = found.old.unwrap();
        assert_eq!(matches!(why, Error::TimedOut), is_silent, "{why}");
        assert_eq!(found.addresses, [SocketAddr::new(v4().ip(), 1883)]);
        assert_eq!(old.is_news, is_news);
    }
    let other = first(&mut resolver, "b.example", SHORT);
    assert!(other.is_err(), "nothing is known of it");
}

#[test]
fn a_name_that_is_gone_is_believed() {
    static IS_GONE: AtomicBool = AtomicBool::new(false);
    let mut resolver = Resolver::new(|_, family| match family {
        _ if IS_GONE.load(Ordering::Relaxed) => failure(Doubt::None),
        Family::V6 => none(),
        Family::V4 => Ok(vec![v4()]),
    });
    assert_eq!(addresses(&mut resolver, "a.example"), [v4()]);
    IS_GONE.store(true, Ordering::Relaxed);
    assert!(first(&mut resolver, "a.example", LONG).is_err());
}
