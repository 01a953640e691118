//! What waits stays with its `topic` line when lines are put in another order, added or taken out.

use super::changed::{Site, at};
use super::overflow::line;
use super::refused::{QUOTA, limits, numbers};
use super::*;
use crate::bridge::Limits;
use crate::broker::DropReason;
use crate::config::{Bounds, BridgeTopic, Overflow};

const AT_LEAST: QoS = QoS::AtLeastOnce;

impl Site {
    /// What each line owes, in the order of the configuration.
    fn owed(&self) -> Vec<u64> {
        let queue = self.world.queue();
        let lines = queue.lines.iter().zip(1..);
        lines
            .map(|(line, place)| {
                assert_eq!(line.number, place);
                line.owed.messages
            })
            .collect()
    }

    fn dropped(&self) -> Vec<u64> {
        let queue = self.world.queue();
        let dropped = queue.lines.iter().map(|line| line.dropped);
        dropped.map(|d| d.map_or(0, |d| d.messages)).collect()
    }

    fn send(&mut self, topic: &str, numbers: std::ops::Range<u16>) {
        self.world.send_all(self.device, topic, AT_LEAST, numbers);
    }

    fn serve(&mut self, upstream: Peer) -> Vec<String> {
        self.world.serve(upstream, secs(5), |_| OK)
    }
}

/// It is counted by its line, goes when that is too old, comes in order, and a line that is new begins
/// with nothing.
#[test]
fn what_waits_is_counted_by_its_line() {
    for crashes in [false, true] {
        let [a, b, c] = ["a/#", "b/#", "c/#"].map(line);
        let mut site = Site::new(&[a.clone(), b.clone()]);
        site.send("a/x", 1..4);
        site.send("b/x", 4..6);
        assert_eq!(site.owed(), [3, 2]);
        site.configure(crashes, &[c.clone(), b.clone(), a.clone()]);
        assert_eq!(site.owed(), [0, 2, 3]);
        site.send("c/x", 6..7);
        site.send("a/x", 7..9);
        assert_eq!(site.owed(), [1, 2, 5]);
        // A line that is changed in what has nothing to do with its topics is the same.
        let short = BridgeTopic {
            ttl: Some(secs(300)),
            qos: AT_LEAST,
            ..b
        };
        site.configure(crashes, &[a.clone(), short.clone(), c.clone()]);
        assert_eq!(site.owed(), [5, 2, 1]);
        site.world.pass(secs(600));
        assert_eq!(
            (site.owed(), site.dropped()),
            (vec![5, 0, 1], vec![0, 2, 0])
        );
        site.configure(crashes, &[short, c, a]);
        assert_eq!(
            (site.owed(), site.dropped()),
            (vec![0, 1, 5], vec![2, 0, 0])
        );
        let upstream = site.up(&limits(3, false));
        assert_eq!(site.serve(upstream), ["1", "2", "3", "6", "7", "8"]);
        site.world.is_drained(site.bridge);
    }
}

/// What waits by a line that was taken out is nobody else's; it is still there when the line comes
/// back, and goes by another one that takes it.
#[test]
fn what_waits_by_a_line_that_is_gone_is_no_other_lines() {
    for crashes in [false, true] {
        let [a, b, c] = ["a/#", "b/#", "c/#"].map(line);
        let mut site = Site::new(&[a.clone(), b.clone()]);
        site.send("a/x", 1..4);
        site.send("b/x", 4..6);
        // One after the other would take the place of `a`.
        site.configure(crashes, &[c.clone(), b.clone()]);
        assert_eq!(site.owed(), [0, 2]);
        site.configure(crashes, &[b.clone(), c.clone()]);
        assert_eq!(site.owed(), [2, 0]);
        site.configure(crashes, &[c.clone(), a.clone(), b.clone()]);
        assert_eq!(site.owed(), [0, 3, 2]);
        let upper = BridgeTopic {
            remote: "up/".to_owned(),
            qos: AT_LEAST,
            ..line("+/x")
        };
        site.configure(crashes, &[upper, b.clone(), c.clone()]);
        assert_eq!(site.owed(), [0, 2, 0]);
        let upstream = site.up(&limits(20, false));
        let messages = site.world.messages(upstream);
        let topics: Vec<&str> = messages.iter().map(|m| &*m.topic).collect();
        assert_eq!(topics, ["up/a/x", "up/a/x", "up/a/x", "b/x", "b/x"]);
        for message in &messages {
            site.world.answer_with(upstream, message, OK);
        }
        site.serve(upstream);
        site.world.is_drained(site.bridge);
    }
}

/// Where no line takes it, it becomes a dead letter.
#[test]
fn what_no_line_takes_is_set_aside() {
    let [a, b] = ["a/#", "b/#"].map(line);
    let mut site = Site::new(&[a.clone(), b.clone()]);
    site.send("a/x", 1..4);
    site.send("b/x", 4..6);
    site.configure(true, std::slice::from_ref(&b));
    assert_eq!(site.owed(), [2]);
    let upstream = site.up(&limits(20, false));
    assert_eq!(site.serve(upstream), ["4", "5"]);
    assert_eq!(site.world.dead(), 3);
    site.world.cut(upstream);
    site.configure(true, &[b, a]);
    site.world.pass(secs(1));
    assert_eq!(site.owed(), [0, 3]);
    let upstream = site.up(&limits(20, true));
    assert_eq!(site.serve(upstream), numbers(1..4));
    site.world.is_drained(site.bridge);
}

/// A line that was refused and is behind the others has a cursor of its own, wherever it stands by now:
/// what the upstream has does not come again.
#[test]
fn a_lane_that_is_behind_stays_behind_with_its_line() {
    for crashes in [false, true] {
        let lines = ["a/#", "b/#"].map(|pattern| at(AT_LEAST, pattern));
        let mut site = Site::new(&lines);
        // The rows stay, for somebody who is away.
        let away = overflow::absent(&mut site.world);
        let upstream = site.up(&limits(5, false));
        site.send("a/x", 1..21);
        for message in site.world.messages(upstream) {
            site.world.answer_with(upstream, &message, QUOTA);
        }
        site.send("b/x", 21..41);
        let refuse = |message: &Arrived| if message.topic == "a/x" { QUOTA } else { OK };
        let came = site.world.serve(upstream, secs(3), refuse);
        assert_eq!(came, numbers(21..41));
        site.world.cut(upstream);
        let [a, b] = lines;
        site.configure(crashes, &[b, line("new/#"), a]);
        assert_eq!(site.owed(), [0, 0, 20]);
        let upstream = site.up(&limits(5, true));
        assert_eq!(site.serve(upstream), numbers(1..21));
        let (reader, _) = site.world.connect(&away);
        site.world.serve(reader, secs(5), |_| OK);
        site.world.is_drained(site.bridge);
    }
}

/// The process is killed before the numbers of another configuration are written, and starts with a
/// third one.
#[test]
fn numbers_that_were_not_written_are_found_again() {
    let [a, b, c] = ["a/#", "b/#", "c/#"].map(line);
    let mut site = Site::new(&[a.clone(), b.clone()]);
    site.send("a/x", 1..4);
    site.send("b/x", 4..6);
    site.world.pass(secs(3));
    site.world.held = true;
    site.configure(false, &[c.clone(), b.clone(), a.clone()]);
    assert_eq!(site.owed(), [0, 2, 3]);
    site.world.crash(secs(1));
    site.world.held = false;
    site.device = site.world.clean(Version::V311, "d");
    site.configure(false, &[b.clone(), c.clone(), a.clone()]);
    assert_eq!(site.owed(), [2, 0, 3]);
    site.send("c/x", 6..7);
    site.configure(true, &[a, b, c]);
    assert_eq!(site.owed(), [3, 2, 1]);
}

/// What was dropped is told of its line, and not of one that gets its number later; the sum stays.
#[test]
fn drops_are_told_of_their_line() {
    let [a, b, c] = ["a/#", "b/#", "c/#"].map(line);
    let few = BridgeTopic {
        bounds: Bounds {
            messages: 2,
            bytes: 0,
        },
        overflow: Some(Overflow::Oldest),
        ..a
    };
    let mut site = Site::new(&[few.clone(), b.clone()]);
    site.send("a/x", 1..6);
    assert_eq!(site.dropped(), [3, 0]);
    site.configure(true, &[b.clone(), few.clone()]);
    assert_eq!(site.dropped(), [0, 3]);
    // Something of it still waits.
    site.configure(true, &[b.clone(), c.clone()]);
    assert_eq!(site.dropped(), [0, 0]);
    site.configure(true, &[b.clone(), few]);
    assert_eq!(site.dropped(), [0, 3]);
    let upstream = site.up(&limits(20, false));
    assert_eq!(site.serve(upstream), ["4", "5"]);
    site.world.cut(upstream);
    site.configure(true, &[b, c]);
    assert_eq!(site.dropped(), [0, 0]);
    let dropped = site.world.queue().dropped.unwrap();
    let reason = DropReason::name_of(&dropped);
    assert_eq!((dropped.messages, reason), (3, "overflow-oldest"));
}

/// A publisher whose message waits for room waits for that of its line, though the line moves.
#[test]
fn a_publisher_waits_for_room_of_its_line() {
    let bounds = Bounds {
        messages: 2,
        bytes: 0,
    };
    let full = BridgeTopic {
        bounds,
        overflow: Some(Overflow::Refuse),
        ..line("a/#")
    };
    let [b, c] = ["b/#", "c/#"].map(line);
    let mut site = Site::new(&[full.clone(), b.clone()]);
    site.send("a/x", 1..3);
    site.world.publish(site.device, "a/x", "3", qos1(3));
    site.world.pass(secs(1));
    assert_eq!(site.world.got(site.device), []);
    site.configure(false, &[c.clone(), b.clone(), full.clone()]);
    site.world.pass(secs(1));
    assert_eq!(site.world.got(site.device), []);
    assert_eq!(site.owed(), [0, 0, 2]);
    let upstream = site.up(&limits(20, false));
    assert_eq!(site.serve(upstream), numbers(1..4));
    assert_eq!(site.world.got(site.device), [Got::PubAck(3, OK)]);
    site.world.is_drained(site.bridge);
}

/// Configurations that follow each other in any order, with crashes and uplinks between that take only
/// some of what waits, or no QoS 2: each line owes what was published on its topics and not
/// acknowledged, and all of it comes, in order.
#[test]
fn lanes_hold_whatever_the_configurations() {
    for seed in 0..60 {
        Shuffle::new(seed).run();
    }
}

struct Shuffle {
    rng: fastrand::Rng,
    site: Site,
    /// The lines that the configuration has, by their topics.
    order: Vec<usize>,
    /// Not acknowledged, by topic.
    owed: [Vec<u16>; 4],
    /// By packet id, what has its PUBREC and not its PUBCOMP.
    released: Vec<(u16, usize, u16)>,
    /// What has come by topic; again what came again.
    came: [Vec<u16>; 4],
    next: u16,
    is_known_upstream: bool,
}

impl Shuffle {
    fn new(seed: u64) -> Shuffle {
        Shuffle {
            rng: fastrand::Rng::with_seed(seed),
            site: Site::new(&[]),
            order: Vec::new(),
            owed: Default::default(),
            released: Vec::new(),
            came: Default::default(),
            next: 1,
            is_known_upstream: false,
        }
    }

    fn run(mut self) {
        for _ in 0..25 {
            let least = if self.rng.bool() { 4 } else { 1 };
            self.configure(least);
            for _ in 0..self.rng.u16(..12) {
                self.publish();
            }
            self.check();
            if self.order.len() == 4 && self.rng.bool() {
                let answers = self.rng.usize(..12);
                self.connect(answers);
                self.check();
            }
        }
        self.configure(4);
        self.connect(usize::MAX);
        assert!(self.owed.iter().all(Vec::is_empty), "{:?}", self.owed);
        self.site.world.is_drained(self.site.bridge);
        assert_eq!(self.site.world.dead(), 0);
        for came in &mut self.came {
            let mut firsts = Vec::new();
            for n in came {
                if !firsts.contains(n) {
                    firsts.push(*n);
                }
            }
            assert!(firsts.is_sorted(), "{firsts:?}");
        }
    }

    fn configure(&mut self, least: usize) {
        self.order = (0..4).collect();
        self.rng.shuffle(&mut self.order);
        self.order.truncate(self.rng.usize(least..=4));
        let lines: Vec<BridgeTopic> = self
            .order
            .iter()
            .map(|topic| {
                let qos = [AT_LEAST, QoS::ExactlyOnce][self.rng.usize(..2)];
                at(qos, &format!("{topic}/#"))
            })
            .collect();
        self.site.configure(self.rng.bool(), &lines);
    }

    fn publish(&mut self) {
        let (n, topic) = (self.next, self.order[self.rng.usize(..self.order.len())]);
        let qos = [AT_LEAST, QoS::ExactlyOnce][self.rng.usize(..2)];
        let (device, topic_name) = (self.site.device, format!("{topic}/x"));
        self.site.world.send_all(device, &topic_name, qos, n..n + 1);
        self.owed[topic].push(n);
        self.next += 1;
    }

    /// What has its PUBREC is not counted as owed, though it is kept.
    fn check(&self) {
        let owed = self
            .order
            .iter()
            .map(|topic| self.owed[*topic].len() as u64);
        assert_eq!(
            self.site.owed(),
            owed.collect::<Vec<_>>(),
            "{:?}",
            self.order
        );
    }

    /// An uplink that answers so many packets.
    fn connect(&mut self, mut answers: usize) {
        let max_qos = [AT_LEAST, QoS::ExactlyOnce][self.rng.usize(..2)];
        let limits = Limits {
            max_qos,
            ..limits(self.rng.u16(1..6), self.is_known_upstream)
        };
        self.is_known_upstream = true;
        if max_qos == AT_LEAST {
            for (_, topic, n) in self.released.drain(..) {
                self.owed[topic].push(n);
            }
        }
        let upstream = self.site.up(&limits);
        loop {
            let got = self.site.world.got(upstream);
            if got.is_empty() {
                break;
            }
            for got in got {
                self.answer(upstream, got, max_qos, &mut answers);
            }
            self.site.world.pass(ms(300));
        }
        self.site.world.cut(upstream);
    }

    fn answer(&mut self, upstream: Peer, got: Got, max_qos: QoS, answers: &mut usize) {
        match got {
            Got::Publish(message) => {
                assert!(message.delivery.qos() <= max_qos);
                let topic: usize = message.topic[..1].parse().unwrap();
                let n = message.payload.parse().unwrap();
                self.came[topic].push(n);
                if *answers > 0 {
                    self.owed[topic].retain(|owed| *owed != n);
                    if message.delivery.qos() == QoS::ExactlyOnce {
                        let id = message.delivery.id().unwrap().get();
                        self.released.push((id, topic, n));
                    }
                    self.site.world.answer_with(upstream, &message, OK);
                }
            }
            Got::PubRel(id, _) => {
                assert_eq!(max_qos, QoS::ExactlyOnce);
                if *answers > 0 {
                    self.released.retain(|(known, ..)| *known != id);
                    self.site.world.pubcomp(upstream, id);
                }
            }
            other => panic!("{other:?}"),
        }
        *answers = answers.saturating_sub(1);
    }
}
