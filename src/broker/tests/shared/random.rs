//! Members that come and go at random: nothing acknowledged is lost, and QoS 2 comes once.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::*;
use crate::slow_tests::cases;

/// What may happen in a run, besides that members connect, lose their connections and are slow.
#[derive(Clone, Copy, Debug, Default)]
struct Chances {
    /// Of messages to be QoS 2.
    exact: bool,
    /// The broker is killed.
    crash: bool,
    /// Members begin anew with a clean start.
    end: bool,
    /// Members whose sessions end with their connections, and who unsubscribe.
    fickle: bool,
}

struct Member {
    dial: Dial,
    peer: Option<Peer>,
    /// QoS 2 ids between PUBLISH and PUBREL.
    known: BTreeSet<u16>,
    /// What is to be acknowledged, later.
    owed: Vec<Answer>,
}

#[derive(Clone, Copy)]
enum Answer {
    Ack(u16),
    Rec(u16),
    Comp(u16),
}

struct Run {
    world: World,
    rng: Rng,
    chances: Chances,
    members: Vec<Member>,
    publisher: Peer,
    next: u16,
    unanswered: BTreeMap<u16, String>,
    acked: BTreeSet<String>,
    seen: BTreeMap<String, u32>,
}

impl Run {
    fn new(seed: u64, chances: Chances) -> Run {
        let mut world = World::new();
        let member = |n: usize| {
            let version = VERSIONS[n % 2];
            let fickle = chances.fickle && n > 1;
            let id = format!("m{n}");
            Member {
                dial: if fickle {
                    clean(version, &id)
                } else {
                    durable(version, &id)
                },
                peer: None,
                known: BTreeSet::new(),
                owed: Vec::new(),
            }
        };
        let publisher = world.clean(Version::V5, "p");
        let mut run = Run {
            world,
            rng: Rng::with_seed(seed),
            chances,
            members: (0..4).map(member).collect(),
            publisher,
            next: 0,
            unanswered: BTreeMap::new(),
            acked: BTreeSet::new(),
            seen: BTreeMap::new(),
        };
        for n in 0..4 {
            run.connect(n, false);
        }
        run.world.pass(secs(1));
        run
    }

    fn connect(&mut self, n: usize, clean: bool) {
        let member = &mut self.members[n];
        let dial = Dial {
            clean: clean || member.dial.clean,
            ..member.dial.clone()
        };
        let peer = self.world.dial(&dial);
        member.owed.clear();
        if dial.clean {
            member.known.clear();
        }
        member.peer = Some(peer);
        // Once more where it is known does no harm.
        self.world
            .subscribe(peer, 65_000, &[sub(A, QoS::ExactlyOnce)]);
    }

    fn publish(&mut self) {
        if self.unanswered.len() >= 15 {
            return;
        }
        self.next += 1;
        let payload = self.next.to_string();
        let delivery = if self.chances.exact {
            qos2(self.next)
        } else {
            qos1(self.next)
        };
        self.world
            .publish(self.publisher, "a/b", &payload, delivery);
        self.unanswered.insert(self.next, payload);
    }

    fn crash(&mut self) {
        self.world.crash(secs(1));
        for member in &mut self.members {
            member.peer = None;
            member.owed.clear();
        }
        self.unanswered.clear();
        self.publisher = self.world.dial(&clean(Version::V5, "p"));
    }

    /// Takes in what came; answers some of it.
    fn listen(&mut self) {
        for got in self.world.got(self.publisher) {
            match got {
                Got::PubAck(id, OK) => self.acked.extend(self.unanswered.remove(&id)),
                Got::PubRec(id, OK) => {
                    self.acked.extend(self.unanswered.remove(&id));
                    self.world.pubrel(self.publisher, id);
                }
                _ => {}
            }
        }
        for n in 0..self.members.len() {
            let Some(peer) = self.members[n].peer else {
                continue;
            };
            for got in self.world.got(peer) {
                self.hear(n, got);
            }
            let count = self.rng.usize(..=self.members[n].owed.len());
            self.answer(n, count);
        }
    }

    fn hear(&mut self, n: usize, got: Got) {
        let member = &mut self.members[n];
        match got {
            Got::Publish(Arrived {
                payload, delivery, ..
            }) => {
                let id = delivery.id().unwrap().get();
                let new = match delivery.qos() {
                    QoS::ExactlyOnce => {
                        member.owed.push(Answer::Rec(id));
                        member.known.insert(id)
                    }
                    _ => {
                        member.owed.push(Answer::Ack(id));
                        true
                    }
                };
                *self.seen.entry(payload).or_default() += u32::from(new);
            }
            Got::PubRel(id, _) => {
                member.known.remove(&id);
                member.owed.push(Answer::Comp(id));
            }
            _ => {}
        }
    }

    fn answer(&mut self, n: usize, count: usize) {
        let Some(peer) = self.members[n].peer else {
            return;
        };
        let answers: Vec<Answer> = self.members[n].owed.drain(..count).collect();
        for answer in answers {
            match answer {
                Answer::Ack(id) => self.world.puback(peer, id),
                Answer::Rec(id) => self.world.pubrec(peer, id),
                Answer::Comp(id) => self.world.pubcomp(peer, id),
            }
        }
    }

    fn cut(&mut self, n: usize) {
        let member = &mut self.members[n];
        if let Some(peer) = member.peer.take() {
            self.world.cut(peer);
        }
    }

    fn step(&mut self) {
        let n = self.rng.usize(..4);
        match self.rng.u32(..100) {
            0..45 => self.publish(),
            45..60 => match self.members[n].peer {
                Some(_) => self.cut(n),
                None => self.connect(n, false),
            },
            60..64 if self.chances.end && n % 2 == 1 => self.connect(n, true),
            64..66 if self.chances.crash => self.crash(),
            66..70 if self.chances.fickle && n > 0 => {
                // What is under way to it is its own: it answers, and keeps its connection.
                self.listen();
                let all = self.members[n].owed.len();
                self.answer(n, all);
                if let Some(peer) = self.members[n].peer {
                    self.world.unsubscribe(peer, 65_001, A);
                    self.world.pass(ms(300));
                    self.listen();
                    let all = self.members[n].owed.len();
                    self.answer(n, all);
                    self.world
                        .subscribe(peer, 65_000, &[sub(A, QoS::ExactlyOnce)]);
                }
            }
            70..85 => {
                self.world.store();
            }
            85..97 => self.world.pass(ms(30)),
            _ => self.world.pass(secs(2)),
        }
        self.listen();
    }

    /// All come back and answer everything.
    fn finish(&mut self) {
        self.world.held = false;
        for n in 0..4 {
            if self.members[n].peer.is_none() {
                self.connect(n, false);
            }
        }
        for _ in 0..2000 {
            self.world.pass(ms(40));
            self.listen();
            for n in 0..4 {
                let all = self.members[n].owed.len();
                self.answer(n, all);
            }
            if self.world.broker.core.ledger.store().is_idle() {
                break;
            }
        }
        for payload in &self.acked {
            let times = self.seen.get(payload).copied().unwrap_or(0);
            let fine = times == 1 || (times > 1 && !self.chances.exact);
            assert!(fine, "{payload} came {times} times");
        }
        if self.chances.exact {
            assert!(
                self.seen.values().all(|times| *times == 1),
                "{:?}",
                self.seen
            );
        }
        assert!(self.acked.len() > 20, "the run did nothing");
        self.world.assert_idle();
    }
}

fn runs(seeds: std::ops::Range<u64>, chances: Chances) {
    let some = cases(seeds.end, seeds.end / 5);
    for seed in seeds.take(some as usize) {
        let failed = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed, chances);
            for step in 0..400 {
                // The store works on its own for a while, or when it is told.
                run.world.held = step / 50 % 2 == 1;
                run.step();
            }
            run.finish();
        });
        assert!(failed.is_ok(), "seed {seed} of {chances:?}");
    }
}

#[test]
fn nothing_is_lost_in_crashes_and_ends_of_sessions() {
    let chances = Chances {
        crash: true,
        end: true,
        ..Chances::default()
    };
    runs(0..50, chances);
}

#[test]
fn nothing_is_lost_by_those_who_unsubscribe_or_do_not_stay() {
    let chances = Chances {
        fickle: true,
        ..Chances::default()
    };
    runs(0..50, chances);
}

#[test]
fn qos_2_comes_once_through_crashes() {
    let chances = Chances {
        exact: true,
        crash: true,
        ..Chances::default()
    };
    runs(0..50, chances);
}
