use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::bridge::{LinkKind, LoopGuard, Round};
use crate::mqtt::{Property, PropsBuf};
use crate::time::Time;

const START: Time = Time::from_millis(1_000_000);

/// A guard that knows two links and a device.
fn guard() -> LoopGuard {
    let mut guard = LoopGuard::default();
    guard.add_link(LinkKind::Sure, "a");
    guard.add_link(LinkKind::Likely, "b");
    guard
}

fn props(marks: &str) -> Vec<u8> {
    let mut props = PropsBuf::new();
    props.push(Property::User("unit", "C"));
    props.push(Property::User(LoopGuard::PROPERTY, marks));
    let mut forwarded = Vec::new();
    props.as_props().read_publish(&mut forwarded);
    forwarded
}

const CONTENT: (&[u8], &[u8]) = (b"t", b"on");

fn arrives(guard: &mut LoopGuard, props: &[u8], now: Time) -> Round {
    guard.arrives(LinkKind::Sure, ("t", b"on"), props, now)
}

#[test]
fn what_comes_again_after_it_went_on_wakes_the_guard() {
    let mut guard = guard();
    for is_awake in [false, false, true, true] {
        assert_eq!(arrives(&mut guard, &[], START), Round::New);
        guard.passes("a", CONTENT, &[], START);
        assert_eq!(guard.is_awake(START), is_awake);
    }
    assert!(guard.may_tell(START));
    assert!(!guard.may_tell(START), "once in a while");
    assert!(!guard.is_awake(START + LoopGuard::AWAKE));
}

#[test]
fn marks_are_known_again_by_who_made_them() {
    let (mut here, mut there) = (guard(), guard());
    let mark = here.mark(CONTENT, &[]);
    let both = there.mark(CONTENT, &props(&mark));
    assert_eq!(both.split(' ').next(), Some(&*mark));
    for marks in [&mark, &both] {
        assert_eq!(arrives(&mut here, &props(marks), START), Round::Marked);
    }
    assert_eq!(arrives(&mut there, &props(&mark), START), Round::New);
    assert!(there.is_awake(START), "another one is");
    // An application that passes the property on, to another topic or with another payload.
    let mut other = |topic, payload: &[u8]| {
        here.arrives(LinkKind::None, (topic, payload), &props(&mark), START)
    };
    assert_eq!(other("u", b"on"), Round::New);
    assert_eq!(other("t", b"off"), Round::New);
    assert_eq!(other("t", b"on"), Round::Marked);
    // Nor is it counted, however often it comes.
    for _ in 0..10 * LoopGuard::SUSPICIOUS {
        assert_eq!(arrives(&mut there, &props(&mark), START), Round::New);
        there.passes("a", CONTENT, &props(&mark), START);
    }
    for odd in ["", " ", "zzzzzzzzzzzzzzzzzzzzz", "-", "ä"] {
        assert_eq!(arrives(&mut here, &props(odd), START), Round::New, "{odd}");
    }
}

#[test]
fn marks_are_bounded() {
    let mut last = guard().mark(CONTENT, &[]);
    for _ in 1..LoopGuard::MOST_MARKS {
        assert_eq!(arrives(&mut guard(), &props(&last), START), Round::New);
        last = guard().mark(CONTENT, &props(&last));
    }
    assert!(last.len() < LoopGuard::MOST_MARKS * 14 + 1, "{last}");
    assert_eq!(arrives(&mut guard(), &props(&last), START), Round::Marked);
}

/// What a device says again and again is taken, however often, and what comes by one link alone.
#[test]
fn honest_repeats_are_taken() {
    let mut guard = guard();
    for _ in 0..5000 {
        let round = guard.arrives(LinkKind::None, ("t", b"on"), &[], START);
        assert_eq!(round, Round::New);
        guard.passes("device", CONTENT, &[], START);
        assert_eq!(arrives(&mut guard, &[], START), Round::New);
    }
    assert!(!guard.is_awake(START));
}

/// A broker with links of MQTT 3.1.1 between which the same goes from link to link.
struct World {
    guard: LoopGuard,
    now: Time,
    /// What is on its way to this broker, soonest first.
    coming: BinaryHeap<Reverse<Time>>,
    /// What waits for the links: when it came.
    queue: VecDeque<Time>,
    /// How many links it goes out by.
    outs: u32,
    /// How long each that is sent takes to come back, if it does.
    round: Option<Duration>,
    came: u32,
    cut: u32,
    sent: u32,
    /// The longest that something waited.
    longest: Duration,
}

impl World {
    fn new(round: Option<Duration>, seed: u64) -> World {
        fastrand::seed(seed);
        World {
            guard: guard(),
            now: START,
            coming: BinaryHeap::new(),
            queue: VecDeque::new(),
            outs: 1,
            round,
            came: 0,
            cut: 0,
            sent: 0,
            longest: Duration::ZERO,
        }
    }

    /// Until nothing more is on its way, or that time has passed.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let coming = self.coming.peek().map(|next| next.0);
            let Some(next) = coming.into_iter().chain(self.guard.due()).min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if coming.is_some_and(|at| at <= self.now) {
                self.coming.pop();
                self.comes();
            }
            self.guard.turn(self.now);
            self.send();
        }
    }

    fn comes(&mut self) {
        self.came += 1;
        if arrives(&mut self.guard, &[], self.now).is_cut() {
            self.cut += 1;
        } else {
            self.queue.push_back(self.now);
        }
    }

    fn send(&mut self) {
        while let Some(arrival) = self.queue.front().copied() {
            if self.guard.keeps("a", CONTENT, arrival) {
                break;
            }
            self.queue.pop_front();
            self.longest = self.longest.max(self.now.since(arrival));
            self.sent += 1;
            for _ in 0..self.outs {
                self.guard.passes("a", CONTENT, &[], self.now);
            }
            self.coming
                .extend(self.round.map(|round| Reverse(self.now + round)));
        }
    }

    /// A device says it so often, every now and then.
    fn device(&mut self, count: u32, mut every: impl FnMut() -> Duration) {
        let mut at = self.now;
        for _ in 0..count {
            self.coming.push(Reverse(at));
            at += every();
        }
    }
}

/// In whatever number, whether it takes a millisecond or seconds, and if a device joins in.
#[test]
fn what_goes_round_without_marks_ends() {
    let millis = Duration::from_millis;
    let rounds = [
        (1, 1),
        (1, 200),
        (2, 10),
        (20, 200),
        (400, 20),
        (1, 2000),
        (5, 3000),
    ];
    for (copies, round) in rounds {
        for seed in 0..20 {
            let mut world = World::new(Some(millis(round)), seed);
            world.device(copies, || millis(round) / copies);
            world.run(Duration::from_secs(900));
            assert!(
                world.coming.is_empty(),
                "{copies} {round} {seed}: it goes on: {} came, {} cut, {:?}",
                world.came,
                world.cut,
                world.guard
            );
            assert_eq!((world.cut, world.queue.len()), (copies, 0), "each once");
        }
    }
}

/// Brokers in a ring, each with a guard of its own; what one sends comes to the next after a while.
fn ring_of(brokers: usize, copies: u32, hop: Duration, seed: u64) -> (Duration, u32) {
    fastrand::seed(seed);
    let mut guards: Vec<_> = (0..brokers).map(|_| guard()).collect();
    let mut queues = vec![VecDeque::<(Time, usize)>::new(); brokers];
    // When, where, and how far on it goes: copies go round in both directions.
    let mut coming: BinaryHeap<Reverse<(Time, usize, usize)>> = (0..copies)
        .map(|n| Reverse((START, 0, if n % 2 == 0 { 1 } else { brokers - 1 })))
        .collect();
    let (mut now, mut came) = (START, 0);
    while !coming.is_empty() || queues.iter().any(|queue| !queue.is_empty()) {
        let due = guards.iter().filter_map(LoopGuard::due);
        let next = coming.peek().map(|next| next.0.0);
        now = now.max(due.chain(next).min().expect("something to come"));
        assert!(now < START + Duration::from_secs(900), "it goes on");
        while let Some(Reverse((at, broker, step))) = coming.peek().copied()
            && at <= now
        {
            coming.pop();
            came += 1;
            if !arrives(&mut guards[broker], &[], now).is_cut() {
                queues[broker].push_back((now, step));
            }
        }
        for (broker, (guard, queue)) in guards.iter_mut().zip(&mut queues).enumerate() {
            guard.turn(now);
            while let Some((arrival, step)) = queue.front().copied()
                && !guard.keeps("a", CONTENT, arrival)
            {
                queue.pop_front();
                guard.passes("a", CONTENT, &[], now);
                coming.push(Reverse((now + hop, (broker + step) % brokers, step)));
            }
        }
    }
    (now.since(START), came)
}

/// All notice it at once, and do not keep it from each other.
#[test]
fn what_goes_round_over_several_of_us_ends() {
    for (brokers, copies, hop) in [
        (2, 2, 1),
        (3, 2, 1),
        (3, 2, 10),
        (3, 2, 100),
        (3, 2, 1000),
        (4, 20, 5),
    ] {
        for seed in 0..20 {
            let (took, came) = ring_of(brokers, copies, Duration::from_millis(hop), seed);
            assert!(
                took < Duration::from_secs(900),
                "{brokers} {copies} {hop}: {took:?}, {came} came"
            );
        }
    }
}

#[test]
fn a_device_that_joins_what_goes_round_keeps_it_from_nothing() {
    for seed in 0..20 {
        let mut world = World::new(Some(Duration::from_millis(10)), seed);
        world.device(100, || Duration::from_secs(1));
        world.run(Duration::from_secs(600));
        assert!(world.coming.is_empty(), "it goes on");
        assert_eq!((world.cut, world.queue.len()), (100, 0));
    }
}

/// What a device repeats all goes on, over a chain as over a hub, however often it comes and whenever the
/// device stops; and it does not wait for long.
#[test]
fn what_a_device_repeats_all_goes_on() {
    for every in [1, 2, 5, 20, 50, 200, 1000, 3000, 3900] {
        for (outs, count) in (0..60).map(|n| (1 + n % 3, 20 + n * n)) {
            let mut world = World::new(None, n_seed(every, count));
            world.outs = outs;
            world.device(count, || Duration::from_millis(every));
            world.run(Duration::from_secs(100_000));
            let told = format!("{count} times, each {every} ms, over {outs}");
            assert_eq!((world.cut, world.sent), (0, count), "{told}");
            assert!(
                world.longest < Duration::from_secs(12),
                "{told}: {:?}",
                world.longest
            );
        }
    }
}

fn n_seed(every: u64, count: u32) -> u64 {
    every * 100_000 + u64::from(count)
}

/// Nor does it matter if it keeps no time, or comes in bursts.
#[test]
fn what_a_device_repeats_at_random_all_goes_on() {
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        for mean in [0.01, 0.1, 1.0] {
            let mut world = World::new(None, seed);
            world.device(3000, || {
                Duration::from_secs_f64(-mean * (1.0 - rng.f64()).ln())
            });
            world.run(Duration::from_secs(100_000));
            assert_eq!((world.cut, world.sent), (0, 3000), "{mean}");
        }
        let mut world = World::new(None, seed);
        world.device(3000, || {
            Duration::from_millis(if rng.u8(..) < 10 { rng.u64(..5000) } else { 1 })
        });
        world.run(Duration::from_secs(100_000));
        assert_eq!((world.cut, world.sent), (0, 3000), "bursts");
    }
}

/// It is kept back now and then only, and ever more seldom.
#[test]
fn a_device_that_repeats_is_known() {
    let mut world = World::new(None, 1);
    world.device(36_000, || Duration::from_millis(100));
    let (mut trials, mut was_trying) = (0, false);
    for _ in 0..36_000 {
        world.run(Duration::from_millis(100));
        let is_trying = world.guard.is_trying();
        trials += u32::from(is_trying && !was_trying);
        was_trying = is_trying;
    }
    assert!((2..9).contains(&trials), "{trials} in an hour");
}

/// One who repeats himself, ever other things, holds the links up for a fifth of the time at most.
#[test]
fn trials_take_little_of_the_time() {
    let mut guard = guard();
    let (mut trying, all) = (0, 20_000);
    for n in 0..all {
        let now = START + Duration::from_millis(500) * n;
        let payload = (n / 40).to_be_bytes();
        guard.turn(now);
        guard.arrives(LinkKind::Sure, ("t", &payload), &[], now);
        guard.passes("a", (b"t", &payload), &[], now);
        trying += u32::from(guard.is_trying());
    }
    assert!(trying > 0 && trying * 4 < all, "{trying} of {all}");
}

/// Before MQTT 5 a peer that may be a device is never cut off.
#[test]
fn what_comes_by_a_link_that_may_be_a_device_is_taken() {
    let mut guard = guard();
    for n in 0..1000 {
        let now = START + Duration::from_millis(n);
        let round = guard.arrives(LinkKind::Likely, ("t", b"on"), &[], now);
        assert_eq!(round, Round::New);
        guard.passes("b", CONTENT, &[], now);
        assert!(!guard.is_trying());
    }
}

#[test]
fn memory_is_bounded_by_count_and_time() {
    let mut guard = guard();
    for n in 0..10_000_u32 {
        guard.passes("a", (b"t", &n.to_be_bytes()), &[], START);
    }
    let mut again = |n: u32, now| {
        for _ in 0..2 {
            guard.arrives(LinkKind::Sure, ("t", &n.to_be_bytes()), &[], now);
            guard.passes("a", (b"t", &n.to_be_bytes()), &[], now);
        }
        guard.remembered()
    };
    assert!(again(9_999, START) <= 4097);
    assert!(again(1, START + LoopGuard::LIFETIME) <= 1);
}

/// Pages in browsers ask for No Local under ever other client ids: bridges stay known.
#[test]
fn links_are_bounded() {
    let mut guard = guard();
    for n in 0..5000 {
        guard.add_link(LinkKind::Likely, &n.to_string());
    }
    let mut wakes = |origin: &str, now| {
        for _ in 0..3 {
            guard.passes(origin, CONTENT, &[], now);
            arrives(&mut guard, &[], now);
        }
        guard.is_awake(now)
    };
    assert!(!wakes("17", START), "forgotten");
    assert!(wakes("a", START));
    assert!(wakes("4999", START + 2 * LoopGuard::AWAKE));
}

/// Mosquitto's bridges may have another client id at each start: those in use stay known.
#[test]
fn links_that_are_sure_are_bounded_by_use() {
    let mut guard = guard();
    for n in 0..5000_u32 {
        guard.add_link(LinkKind::Sure, &n.to_string());
        if n % 1000 == 0 {
            guard.passes("a", (b"t", &n.to_be_bytes()), &[], START);
        }
    }
    let mut is_known = |origin: &str| {
        let before = guard.remembered();
        guard.passes(origin, (origin.as_bytes(), b""), &[], START);
        guard.remembered() > before
    };
    assert!(is_known("4999"), "the latest");
    assert!(is_known("a"), "in use");
    assert!(!is_known("17"), "forgotten");
}
