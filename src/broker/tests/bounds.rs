//! The queue of a bridge against a naive model of the policies: random lines, bounds, messages,
//! acknowledgements, outages and crashes.
//!
//! `FOOTBRIDGE_SIM_SEED` runs one seed, `FOOTBRIDGE_SIM_ROUNDS` so many from there on.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::overflow::{add, line, up};
use super::*;
use crate::broker::BridgeId;
use crate::config::{Bounds, BridgeTopic, Overflow};
use crate::slow_tests::cases;
use crate::store::Amount;

const STEPS: usize = 400;
const SEEDS: std::ops::Range<u64> = 0..40;

/// A message that the queue should hold.
#[derive(Clone, Debug, PartialEq)]
struct Waiting {
    number: u32,
    mapping: u16,
    topic: String,
    size: u64,
    /// Told apart by topic: it was never sent.
    tracked: bool,
}

/// What should become of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Taken,
    Refused,
    Dropped,
}

/// The policies, said plainly.
struct Model {
    lines: Vec<BridgeTopic>,
    general: Bounds,
    overflow: Overflow,
    queue: Vec<Waiting>,
    dropped: u64,
}

impl Model {
    fn policy(&self, mapping: u16) -> Overflow {
        let line = &self.lines[usize::from(mapping) - 1];
        line.overflow.unwrap_or(self.overflow)
    }

    fn drops(&self, mapping: u16) -> bool {
        matches!(
            self.policy(mapping),
            Overflow::Oldest | Overflow::LatestPerTopic
        )
    }

    fn bounds(&self, line: Option<u16>) -> Bounds {
        line.map_or(self.general, |n| self.lines[usize::from(n) - 1].bounds)
    }

    fn amount(&self, counts: impl Fn(&Waiting) -> bool) -> Amount {
        let mut amount = Amount::default();
        for waiting in self.queue.iter().filter(|w| counts(w)) {
            amount.add(1, waiting.size);
        }
        amount
    }

    fn admits(&self, line: Option<u16>, mut owed: Amount, size: u64) -> bool {
        owed.add(1, size);
        let bounds = self.bounds(line);
        (bounds.messages == 0 || owed.messages <= bounds.messages)
            && (bounds.bytes == 0 || owed.weight() <= bounds.bytes)
    }

    fn has_room(&self, line: Option<u16>, size: u64) -> bool {
        let owed = self.amount(|w| line.is_none_or(|n| n == w.mapping));
        self.admits(line, owed, size)
    }

    /// `sent`: the numbers of those that must stay.
    fn publish(&mut self, new: Waiting, sent: &BTreeSet<u32>) -> Verdict {
        let scopes = [Some(new.mapping), None];
        if !scopes.iter().all(|line| self.has_room(*line, new.size)) {
            let stays = |w: &Waiting, line: Option<u16>| {
                line.is_none_or(|n| n == w.mapping)
                    && (sent.contains(&w.number) || !self.drops(w.mapping))
            };
            let never =
                |line: Option<u16>| !self.admits(line, self.amount(|w| stays(w, line)), new.size);
            match self.policy(new.mapping) {
                Overflow::Refuse => return Verdict::Refused,
                Overflow::Newest => return self.drop_new(),
                _ if scopes.iter().any(|line| never(*line)) => return self.drop_new(),
                _ => {}
            }
            for line in scopes {
                self.make_room(line, &new, sent);
            }
        }
        self.queue.push(new);
        Verdict::Taken
    }

    fn drop_new(&mut self) -> Verdict {
        self.dropped += 1;
        Verdict::Dropped
    }

    fn make_room(&mut self, line: Option<u16>, new: &Waiting, sent: &BTreeSet<u32>) {
        if self.has_room(line, new.size) {
            return;
        }
        let before = self.queue.len();
        let ours = |w: &Waiting| line.is_none_or(|n| n == w.mapping);
        let latest = self.policy(new.mapping) == Overflow::LatestPerTopic;
        let queue = self.queue.clone();
        let superseded = |at: usize, w: &Waiting| {
            let same = |o: &Waiting| (o.mapping, &o.topic) == (w.mapping, &w.topic);
            w.tracked && (queue[at + 1..].iter().any(same) || (latest && same(new)))
        };
        let mut at = 0;
        let by_topic: Vec<bool> = queue
            .iter()
            .map(|w| ours(w) && self.policy(w.mapping) == Overflow::LatestPerTopic)
            .collect();
        self.queue.retain(|w| {
            at += 1;
            !(by_topic[at - 1] && superseded(at - 1, w))
        });
        while !self.has_room(line, new.size) {
            let mut queue = self.queue.iter();
            let may = |w: &Waiting| ours(w) && self.drops(w.mapping) && !sent.contains(&w.number);
            let oldest = queue.position(may).unwrap();
            self.queue.remove(oldest);
        }
        self.dropped += (before - self.queue.len()) as u64;
    }
}

struct Bench {
    rng: Rng,
    world: World,
    bridge: BridgeId,
    device: Peer,
    uplink: Option<Peer>,
    model: Model,
    /// By message id.
    numbers: BTreeMap<u64, u32>,
    next: u32,
    /// Came at least once, by number.
    came: BTreeSet<u32>,
    /// Messages that were not refused.
    taken: u64,
    /// All that were queued.
    all: BTreeMap<u32, Waiting>,
    crashed: bool,
    /// Packet ids to answer, with the message.
    unanswered: Vec<(Delivery, u32)>,
    dropped_before: u64,
}

fn random_bounds(rng: &mut Rng) -> Bounds {
    Bounds {
        messages: [0, 0, 1, 4, 10][rng.usize(..5)],
        bytes: [0, 0, 60, 200][rng.usize(..4)],
    }
}

fn random_overflow(rng: &mut Rng) -> Overflow {
    [
        Overflow::Refuse,
        Overflow::Oldest,
        Overflow::Newest,
        Overflow::LatestPerTopic,
    ][rng.usize(..4)]
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let mut rng = Rng::with_seed(seed);
        let general = Bounds {
            messages: [0, 8, 20][rng.usize(..3)],
            bytes: [0, 150, 600][rng.usize(..3)],
        };
        let overflow = random_overflow(&mut rng);
        let lines: Vec<BridgeTopic> = (1..4)
            .map(|n| BridgeTopic {
                bounds: random_bounds(&mut rng),
                overflow: rng.bool().then(|| random_overflow(&mut rng)),
                ..line(&format!("{n}/#"))
            })
            .collect();
        let mut settings = settings();
        settings.max_queued_messages = general.messages;
        settings.max_queued_bytes = general.bytes;
        settings.queue_overflow = overflow;
        let mut world = World::with(settings);
        let bridge = add(&mut world, &lines);
        let device = world.clean(Version::V5, "d");
        world.held = true;
        Bench {
            rng,
            world,
            bridge,
            device,
            uplink: None,
            model: Model {
                lines,
                general,
                overflow,
                queue: Vec::new(),
                dropped: 0,
            },
            numbers: BTreeMap::new(),
            next: 1,
            came: BTreeSet::new(),
            taken: 0,
            all: BTreeMap::new(),
            crashed: false,
            unanswered: Vec::new(),
            dropped_before: 0,
        }
    }

    fn step(&mut self) {
        match self.rng.u32(..100) {
            0..55 => self.publish(),
            55..75 => self.answer(),
            75..80 => self.connect(),
            80..85 => self.cut(),
            85..95 => drop(self.world.store()),
            95..96 => self.crash(),
            _ => {
                self.world.now += ms(self.rng.u64(1..1500));
                self.world.tick();
            }
        }
        self.look();
        self.check();
    }

    fn session(&self) -> &crate::broker::sessions::Session {
        let core = &self.world.broker.core;
        core.sessions
            .get(core.bridges.get(self.bridge).unwrap())
            .unwrap()
    }

    /// The numbers of the messages that are in flight.
    fn sent(&self) -> BTreeSet<u32> {
        let sent = self.session().outbound.record().sent;
        sent.iter().map(|id| self.numbers[&id.0]).collect()
    }

    fn publish(&mut self) {
        let mapping = self.rng.u16(1..4);
        let topic = format!("{mapping}/{}", self.rng.u32(..4));
        let number = self.next;
        self.next += 1;
        let pad = [0, 0, 5, 40, 300][self.rng.usize(..5)];
        let payload = format!("{number} {}", "x".repeat(pad));
        let waiting = Waiting {
            number,
            mapping,
            size: (topic.len() + payload.len()) as u64,
            topic: topic.clone(),
            tracked: true,
        };
        let sent = self.sent();
        self.all.insert(number, waiting.clone());
        let verdict = self.model.publish(waiting, &sent);
        self.taken += u64::from(verdict != Verdict::Refused);
        let delivery = if self.rng.bool() { qos1(1) } else { qos2(1) };
        self.world.publish(self.device, &topic, &payload, delivery);
        let newest = self.session().outbound.all().last().map(|held| held.id.0);
        if verdict == Verdict::Taken {
            self.numbers.insert(newest.unwrap(), number);
        } else {
            let known = newest.is_none_or(|id| self.numbers.contains_key(&id));
            assert!(known, "{number} was taken, not {verdict:?}");
        }
        self.acknowledged(number, delivery, verdict);
    }

    /// Lets the publisher have its answer; a refusal comes at once.
    fn acknowledged(&mut self, number: u32, delivery: Delivery, verdict: Verdict) {
        let mut got = self.world.got(self.device);
        while got.is_empty() {
            if !self.world.store() {
                self.world.now += ms(5);
                self.world.tick();
            }
            got = self.world.got(self.device);
        }
        let reason = match verdict {
            Verdict::Refused => Reason::QUOTA_EXCEEDED,
            Verdict::Taken | Verdict::Dropped => OK,
        };
        match delivery {
            Delivery::ExactlyOnce(..) => {
                assert_eq!(got, [Got::PubRec(1, reason)], "{number}");
                if reason == OK {
                    self.world.pubrel(self.device, 1);
                    assert_eq!(self.world.got(self.device), [Got::PubComp(1, OK)]);
                }
            }
            _ => assert_eq!(got, [Got::PubAck(1, reason)], "{number}"),
        }
    }

    fn connect(&mut self) {
        if self.uplink.is_none() {
            let window = [1, 2, 5, 20][self.rng.usize(..4)];
            self.uplink = Some(up(&mut self.world, self.bridge, window, true));
        }
    }

    fn cut(&mut self) {
        if let Some(uplink) = self.uplink.take() {
            self.world.cut(uplink);
            self.world.got(uplink);
            self.unanswered.clear();
        }
    }

    /// Takes in what came over the uplink.
    fn look(&mut self) {
        for got in self
            .uplink
            .map(|uplink| self.world.got(uplink))
            .unwrap_or_default()
        {
            match got {
                Got::Publish(message) => {
                    let number = message.payload.split(' ').next().unwrap();
                    let number: u32 = number.parse().unwrap();
                    let dup = matches!(
                        message.delivery,
                        Delivery::AtLeastOnce(_, true) | Delivery::ExactlyOnce(_, true)
                    );
                    let newer = self.came.last().is_some_and(|last| *last > number);
                    assert!(dup || self.crashed || !newer, "{number} came late");
                    self.came.insert(number);
                    self.unanswered.push((message.delivery, number));
                }
                Got::PubRel(id, _) => self.world.pubcomp(self.uplink.unwrap(), id),
                other => panic!("{other:?}"),
            }
        }
        let sent = self.sent();
        for waiting in &mut self.model.queue {
            waiting.tracked &= !sent.contains(&waiting.number);
        }
    }

    fn answer(&mut self) {
        let (Some(uplink), false) = (self.uplink, self.unanswered.is_empty()) else {
            return;
        };
        let (delivery, number) = self.unanswered.remove(0);
        let id = delivery.id().unwrap().get();
        match delivery {
            Delivery::ExactlyOnce(..) => self.world.pubrec(uplink, id),
            _ => self.world.puback(uplink, id),
        }
        self.model.queue.retain(|w| w.number != number);
    }

    /// kill -9: nothing that was acknowledged and not dropped is lost; what was dropped or
    /// delivered may come back where that had not reached the disk.
    fn crash(&mut self) {
        self.dropped_before += self.world.broker.counters().dropped();
        self.uplink = None;
        self.unanswered.clear();
        self.world.crash(ms(10));
        self.world.held = false;
        self.bridge = add(&mut self.world, &self.model.lines);
        self.device = self.world.clean(Version::V5, "d");
        self.world.held = true;
        self.crashed = true;
        let actual: Vec<u32> = self
            .session()
            .outbound
            .all()
            .iter()
            .map(|held| self.numbers[&held.id.0])
            .collect();
        let back = actual.len() > self.model.queue.len();
        for waiting in &self.model.queue {
            let there = actual.contains(&waiting.number);
            let may_go = back && self.model.drops(waiting.mapping);
            assert!(there || may_go, "lost {waiting:?}");
        }
        let sent = self.sent();
        self.model.queue = actual
            .iter()
            .map(|number| Waiting {
                tracked: !sent.contains(number),
                ..self.all[number].clone()
            })
            .collect();
        self.model.dropped = self.dropped_before + self.world.broker.counters().dropped();
    }

    fn check(&self) {
        let queue = &self.session().outbound;
        queue.check();
        let actual = queue.all();
        let numbers: Vec<u32> = actual.iter().map(|h| self.numbers[&h.id.0]).collect();
        let expected: Vec<u32> = self.model.queue.iter().map(|w| w.number).collect();
        assert_eq!(numbers, expected);
        let dropped = self.dropped_before + self.world.broker.counters().dropped();
        assert_eq!(dropped, self.model.dropped);
        for line in [None, Some(1), Some(2), Some(3)] {
            let owed = self.model.amount(|w| line.is_none_or(|n| n == w.mapping));
            let bounds = self.model.bounds(line);
            let within = (bounds.messages == 0 || owed.messages <= bounds.messages)
                && (bounds.bytes == 0 || owed.weight() <= bounds.bytes);
            assert!(within || self.crashed, "{line:?}: {owed:?} in {bounds:?}");
        }
    }

    /// Everything that waits comes, and then all that was taken is accounted for.
    fn finish(mut self) -> u64 {
        self.world.held = false;
        self.cut();
        self.connect();
        let end = self.world.now + secs(60);
        while !self.model.queue.is_empty() {
            assert!(self.world.now < end, "{:?} never came", self.model.queue);
            self.world.pass(ms(100));
            self.look();
            while !self.unanswered.is_empty() {
                self.answer();
                self.look();
            }
            self.check();
        }
        let arrived = self.came.len() as u64;
        let sum = arrived + self.model.dropped;
        assert!(sum >= self.taken);
        assert!(sum == self.taken || self.crashed, "{sum} of {}", self.taken);
        // The last handshakes end, and the disk is empty.
        for _ in 0..3 {
            self.world.pass(secs(3));
            self.look();
        }
        assert_eq!(self.world.rows(), []);
        self.model.dropped
    }
}

/// Names the seed when a check fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("FOOTBRIDGE_SIM_SEED={}", self.0);
        }
    }
}

#[test]
fn bounds_hold_and_drops_are_counted() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match number("FOOTBRIDGE_SIM_SEED") {
        Some(seed) => seed..seed + number("FOOTBRIDGE_SIM_ROUNDS").unwrap_or(1),
        None => cases(SEEDS, 0..SEEDS.end / 5),
    };
    let mut dropped = 0;
    for seed in seeds.clone() {
        let _seed = Seed(seed);
        let mut bench = Bench::new(seed);
        for _ in 0..STEPS {
            bench.step();
        }
        dropped += bench.finish();
    }
    assert!(
        dropped > cases(100, 20) || seeds.end - seeds.start < 10,
        "only {dropped} dropped"
    );
}
