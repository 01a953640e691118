//! Lines with a rate and a delay on virtual time: how much of them is used, and how much is on its way.

use std::collections::VecDeque;
use std::time::Duration;

use crate::bridge::{Pace, Passage};
use crate::time::Time;

const STEP: u64 = 10;

fn at(millis: u64) -> Time {
    Time::from_secs(1_000_000) + Duration::from_millis(millis)
}

/// A line that has always something to carry.
struct Line {
    pace: Pace,
    /// Bytes a second, what a message takes of it beside its payload, and milliseconds there and back.
    rate: u64,
    head: u64,
    delay: u64,
    size: u64,
    /// Its place, and when it is acknowledged.
    under_way: VecDeque<(u64, u64)>,
    sent: u64,
    acknowledged: u64,
    /// When the line has carried all that was sent.
    free: u64,
    now: u64,
    /// Nothing is carried until then.
    stalled: u64,
    /// The longest that something was on its way lately, in milliseconds.
    longest: u64,
    most_under_way: usize,
}

impl Line {
    fn new(
        rate: u64,
        delay: u64,
        size: u64,
        keep_alive: u64,
        (usual, allowed): (u16, u16),
    ) -> Line {
        let keep_alive = Duration::from_secs(keep_alive);
        Line {
            pace: Pace::new(
                (usual, allowed),
                keep_alive,
                Some(Duration::from_millis(delay + 50)),
                at(0),
            ),
            rate,
            head: 0,
            delay,
            size,
            under_way: VecDeque::new(),
            sent: 0,
            acknowledged: 0,
            free: 0,
            now: 0,
            stalled: 0,
            longest: 0,
            most_under_way: 0,
        }
    }

    fn fill(&mut self) {
        let windows = self.pace.windows();
        loop {
            let count = self.under_way.len() as u64;
            let heavy = windows.bytes > 0 && count * self.size >= windows.bytes;
            if heavy || count >= u64::from(windows.messages) {
                return;
            }
            // In microseconds.
            let begins = self.free.max(self.now.max(self.stalled) * 1000);
            self.free = begins + (self.size + self.head) * 1_000_000 / self.rate;
            let answered = self.free / 1000 + self.delay;
            self.longest = self.longest.max(answered - self.now);
            self.under_way.push_back((self.sent, answered));
            self.sent += 1;
            self.most_under_way = self.most_under_way.max(self.under_way.len());
        }
    }

    /// Lets time pass, and says how much of the line was used, in percent.
    fn run(&mut self, seconds: u64) -> u64 {
        let (until, before) = (self.now + seconds * 1000, self.acknowledged);
        (self.longest, self.most_under_way) = (0, 0);
        while self.now < until {
            self.fill();
            self.now += STEP;
            let mut heard = false;
            while self.under_way.front().is_some_and(|m| m.1 <= self.now) {
                self.under_way.pop_front();
                self.acknowledged += 1;
                heard = true;
            }
            if heard {
                self.fill();
                let count = self.under_way.len() as u64;
                let first = self.under_way.front().map(|m| m.0);
                let passage = Passage {
                    sent: (self.sent, self.sent * self.size),
                    under_way: (count, count * self.size),
                    places: first.map(|first| (first, self.sent - 1)),
                    waits: true,
                };
                if self.pace.is_due(at(self.now)) {
                    self.pace.look(&passage, at(self.now));
                }
            }
        }
        (self.acknowledged - before) * (self.size + self.head) * 100 / (self.rate * seconds)
    }
}

/// 600 ms, 100-byte messages: a window of 20 leaves most of the line unused.
#[test]
fn a_link_with_a_long_delay_is_full() {
    for (rate, fixed) in [(8_000, 60), (125_000, 4)] {
        for delay in [600, 1_200] {
            let mut line = Line::new(rate, delay, 100, 60, (100, 1000));
            line.head = 30;
            line.run(60);
            let used = line.run(60);
            let most = 1000 * 130 * 100 * 1000 / delay / rate;
            assert!(used >= 90.min(most * 9 / 10), "{rate} {delay}: {used} %");
            let mut line = Line::new(rate, delay, 100, 60, (20, 20));
            line.head = 30;
            line.run(60);
            assert!(line.run(60) <= fixed, "20 at a time");
        }
    }
}

/// With packets lost the line stands still for a second or two now and then.
#[test]
fn a_link_that_pauses_is_full_in_between() {
    let mut line = Line::new(8_000, 600, 100, 60, (100, 1000));
    line.run(30);
    let mut used = 0;
    for _ in 0..10 {
        line.stalled = line.now + 1_000;
        line.free = line.free.max(line.stalled * 1000);
        used += line.run(10);
    }
    // A tenth of the time it stands still.
    assert!(used >= 10 * 81, "{used}");
}

/// What is on its way is acknowledged in time, and nothing waits for minutes in the kernel.
#[test]
fn no_more_is_under_way_than_the_link_takes_in_a_part_of_the_keep_alive() {
    for rate in [1_200, 8_000, 125_000] {
        for keep_alive in [10, 60] {
            let mut line = Line::new(rate, 600, 1_000, keep_alive, (1000, 1000));
            line.run(60);
            assert!(line.run(60) >= 90, "{rate} {keep_alive}");
            let most = (keep_alive * 1000 / 4).max(4_000) + 2_500;
            assert!(
                line.longest <= most,
                "{rate} {keep_alive}: {}",
                line.longest
            );
        }
    }
}

/// 100 KB over 64 kbit/s with a keep-alive of 10 seconds.
#[test]
fn a_message_that_takes_longer_goes_alone() {
    let mut line = Line::new(8_000, 600, 100_000, 10, (100, 1000));
    line.run(120);
    assert_eq!(line.most_under_way, 1);
    line.run(60);
    assert_eq!(line.most_under_way, 1);
}

/// A quick link has no bound of bytes, and no more messages under way than usual.
#[test]
fn a_quick_link_is_left_alone() {
    let mut line = Line::new(100_000_000, 0, 1_000, 60, (100, 1000));
    line.run(2);
    let windows = line.pace.windows();
    assert_eq!((windows.messages, windows.bytes), (100, 0));
}

/// A link that becomes slow, and quick again.
#[test]
fn the_window_follows_the_rate() {
    let mut line = Line::new(125_000, 300, 1_000, 60, (1000, 1000));
    line.run(30);
    let quick = line.pace.windows().bytes;
    line.rate = 8_000;
    line.run(300);
    let slow = line.pace.windows().bytes;
    assert!((60_000..=120_000).contains(&slow), "{slow}");
    line.rate = 125_000;
    line.run(60);
    assert!(line.pace.windows().bytes >= quick / 2);
}

/// A single message now and then says nothing about the link.
#[test]
fn few_messages_do_not_close_the_window() {
    let mut pace = Pace::new((100, 1000), Duration::from_secs(60), None, at(0));
    for n in 0..100 {
        let passage = |under_way| Passage {
            sent: (n + 1, 100 * (n + 1)),
            under_way: (under_way, 100 * under_way),
            places: (under_way > 0).then_some((n, n)),
            waits: false,
        };
        pace.look(&passage(1), at(5_000 * n));
        pace.look(&passage(0), at(5_000 * n + 600));
        assert!(pace.windows().bytes >= 1_500, "{:?}", pace.windows());
        assert_eq!(pace.windows().messages, 100);
    }
}

/// What limits the link is told once: the number of messages, not the line.
#[test]
fn what_limits_is_told_once() {
    for (rate, is_told) in [(125_000, true), (8_000, true), (600, false)] {
        let mut line = Line::new(rate, 1_200, 100, 60, (20, 20));
        let mut told = Vec::new();
        for _ in 0..60 {
            line.run(1);
            told.extend(line.pace.take_limited());
        }
        assert_eq!(line.pace.is_limited(), is_told);
        assert_eq!(told.len(), usize::from(is_told), "{told:?}");
        assert!(told.iter().all(|limited| limited.messages == 20));
    }
}

/// The memory of an empty queue is given back, and its counters begin anew: here with more messages than
/// before, and fewer bytes.
#[test]
fn counters_that_began_anew_are_no_measure() {
    let (small, large) = (10, 1_000);
    let mut pace = Pace::new((100, 1000), Duration::from_secs(60), None, at(0));
    let passage = |count, size, under_way| Passage {
        sent: (count, count * size),
        under_way: (under_way, under_way * size),
        places: (under_way > 0).then_some((2, 2)),
        waits: false,
    };
    pace.look(&passage(2, large, 1), at(20));
    let before = pace.windows();
    // The last PUBACK of the large ones came too soon after that to be looked at.
    pace.look(&passage(2, small, 0), at(30_000));
    assert_eq!(pace.windows(), before);
    pace.look(&passage(4, small, 1), at(31_000));
    pace.look(&passage(4, small, 0), at(31_100));
    assert!(pace.windows().bytes > 0, "a round is measured as ever");
}
