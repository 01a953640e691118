//! A seeded simulation: clients of all versions publish, subscribe, come and go over connections
//! that break, to a broker that is killed, on a disk that is slow, full or fails, all on virtual
//! time. What the broker sends is held against a reference model of the specification as it
//! leaves the broker, and everything that must come by the end must have come.
//!
//! An ordinary run takes a few seeds; `FOOTBRIDGE_SLOW=1` runs 420 of them, a million steps.
//! `FOOTBRIDGE_SIM_SEED` runs one seed, `FOOTBRIDGE_SIM_ROUNDS` so many (from there on, if both
//! are set). A failure prints its seed. To find out what happened: run that seed with
//! `FOOTBRIDGE_SIM_TRACE=1`, which prints every packet and job of the store with its time and the
//! number of its connection, and look up backwards from the end what the message says. To make
//! it shorter: lower `FOOTBRIDGE_SIM_STEPS` as long as it still fails (a prefix of a seed is the
//! same up to there), then take actions out of [`Sim::step`] and [`Sim::client_step`].

mod asking;
mod client;
mod drain;
mod facts;
mod link;
mod model;
mod parked;
mod plan;
mod waiting;
mod wire;

use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::world::{World, settings};
use crate::config::{General, Overflow};
use crate::mqtt::{QoS, RetainHandling, Version};
use crate::slow_tests::cases;
use crate::store::{Error, Event};
use client::Client;
use model::{Model, Options, Rules, Violation};
use parked::find_placed;
use plan::Wish;

/// What happens in one seed before it calms down.
const STEPS: u64 = 2500;
/// Seeds of a full run, with `FOOTBRIDGE_SLOW=1`.
const SEEDS: Range<u64> = 0..420;
/// Seeds of an ordinary run.
const SAMPLE: Range<u64> = 0..24;

/// What clients act on.
pub struct Env {
    world: World,
    model: Model,
    rng: Rng,
    /// Decides when packets that are done in pieces go on.
    pieces: Rng,
    /// Messages so far.
    messages: u32,
    rules: Rules,
    /// Full and failing disks happen.
    disk_trouble: bool,
}

impl Env {
    /// The number of a new message.
    fn number(&mut self) -> u32 {
        self.messages += 1;
        self.messages
    }

    /// A message may be refused or dropped.
    fn lossy(&self) -> bool {
        self.rules.lossy
    }

    /// The session expiry interval that a client gets of the one it asks for.
    fn capped(&self, asked: u32) -> u32 {
        let most = self.world.settings.persistent_client_expiration;
        most.map_or(asked, |most| asked.min(most.as_secs() as u32))
    }

    /// How many messages a client that is not told may have unacknowledged.
    fn window(&self) -> usize {
        match self.world.settings.max_inflight_messages.unwrap_or(20) {
            0 => usize::from(u16::MAX),
            limit => usize::from(limit),
        }
    }
}

struct Sim {
    env: Env,
    clients: Vec<Client>,
}

/// Settings vary with the seed: a small queue, QoS 0 queued, no persistence.
fn settings_for(rng: &mut Rng) -> General {
    let mut settings = settings();
    // The plan has sessions that never end.
    settings.persistent_client_expiration = None;
    settings.max_inflight_messages = Some([0, 1, 3, 20][rng.usize(..4)]);
    settings.max_queued_messages = [0, 0, 0, 200][rng.usize(..4)];
    settings.queue_overflow = [Overflow::Refuse, Overflow::Oldest][rng.usize(..2)];
    settings.queue_qos0_messages = rng.bool();
    settings.upgrade_outgoing_qos = settings.max_queued_messages == 0 && rng.u32(..4) == 0;
    let n = rng.u64(..8);
    settings.persistence = n != 0;
    settings.commit_interval = Duration::from_millis([0, 20, 200][n as usize % 3]);
    settings
        .persistent_client_expiration
        .take_if(|_| rng.bool());
    settings
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut rng = Rng::with_seed(seed);
        let settings = settings_for(&mut rng);
        let disk_trouble = rng.bool() && !settings.upgrade_outgoing_qos;
        let rules = Rules {
            upgrade: settings.upgrade_outgoing_qos,
            queue_qos0: settings.queue_qos0_messages,
            lossy: disk_trouble || settings.max_queued_messages > 0,
            drops: settings.max_queued_messages > 0 && settings.queue_overflow == Overflow::Oldest,
        };
        let count = rng.usize(3..9);
        let clients = (0..count).map(|n| Client::random(n, &mut rng)).collect();
        let mut world = World::with(settings);
        (world.held, world.raw) = (true, true);
        let mut pieces = Rng::with_seed(!seed);
        let (filters, receivers) = waiting::portions(&mut pieces, rules);
        world.hold_pieces(filters, receivers);
        let env = Env {
            world,
            model: Model::new(rules),
            rng,
            pieces,
            messages: 0,
            rules,
            disk_trouble,
        };
        Sim { env, clients }
    }

    fn step(&mut self) {
        if self.env.pieces.u32(..12) == 0 {
            let most = self.env.pieces.usize(1..6);
            self.go_on(most);
        }
        let env = &mut self.env;
        match env.rng.u32(..1000) {
            // Without a store a crash leaves nothing to check.
            0..2 if env.world.settings.persistence => self.crash(),
            2..150 => {
                let time = match env.rng.u32(..60) {
                    0 => env.rng.u64(..20_000),
                    1..4 => 1500,
                    _ => env.rng.u64(..20),
                };
                return self.pass(Duration::from_millis(time));
            }
            150..250 => drop(env.world.store()),
            250..255 => drop(env.world.store_full()),
            255..258 if env.disk_trouble => self.change_disk(),
            _ => self.client_step(),
        }
        self.turned();
    }

    fn client_step(&mut self) {
        let env = &mut self.env;
        let n = env.rng.usize(..self.clients.len());
        let client = &mut self.clients[n];
        match env.rng.u32(..1000) {
            0..10 => client.cut(env),
            10..17 => client.leave(env),
            17..22 => client.dial(env),
            22..24 => client.misbehave(env),
            24..80 if client.link.is_none() => client.dial(env),
            80..92 => client.subscribe(env),
            92..100 => client.unsubscribe(env),
            100..110 => client.ping(env),
            110..450 => client.publish(env),
            _ => client.read_some(env),
        }
    }

    /// Time passes, and what falls due happens.
    fn pass(&mut self, time: Duration) {
        self.env.world.now += time;
        self.env.world.tick();
        let overdue = facts::overdue(&self.env.world);
        assert!(overdue.is_empty(), "{overdue:?} hold what has expired");
        self.find_closed();
        let now = self.env.world.now;
        let facts = facts::sessions(&self.env.world);
        if let Err(violation) = self.env.model.time(&facts, now) {
            panic!("{}: {violation:?}: {facts:#?}", now.as_millis());
        }
        self.turned();
    }

    /// Connections that the broker has closed were silent for too long [MQTT-3.1.2-22], and those
    /// that were are closed.
    fn find_closed(&mut self) {
        let (world, model) = (&mut self.env.world, &mut self.env.model);
        let mut closed = Vec::new();
        for client in &mut self.clients {
            let Some(link) = &mut client.link else {
                continue;
            };
            let deadline = link.deadline();
            let silent = deadline.is_some_and(|at| at <= world.now);
            if !world.is_open(link.peer) {
                assert!(silent, "a connection of {client:?} was closed");
                closed.push(client.number);
                model.blur(client.number);
                client.link = None;
                continue;
            }
            if !world.is_read(link.peer) {
                link.unread = world.now;
            }
            let late = deadline.map(|at| at.max(link.unread) + model::LAG);
            assert!(late.is_none_or(|at| at > world.now), "{client:?} is silent");
        }
        for client in closed {
            model.close(client, true, world.now);
        }
    }

    /// Packets that are done in pieces go on.
    fn go_on(&mut self, most: usize) {
        self.env.world.go_on(most);
        for client in &mut self.clients {
            client.find_taken(&mut self.env);
        }
        for client in &mut self.clients {
            client.find_begun(&mut self.env);
        }
        self.turned();
    }

    /// What the broker did in this turn is looked at.
    fn turned(&mut self) {
        for client in &mut self.clients {
            find_placed(client, &mut self.env);
        }
        for client in &mut self.clients {
            client.drain(&mut self.env);
        }
        self.env.model.turned();
        self.env.model.walks = facts::walks(&self.env.world);
    }

    /// What the storage thread says of the disk comes in any order.
    fn change_disk(&mut self) {
        let error = || Error::Io(io::ErrorKind::Other.into());
        let event = match self.env.rng.u32(..4) {
            0 => Event::Full,
            1 => Event::Room,
            2 => Event::Stalled { error: error() },
            _ => Event::Resumed,
        };
        self.tell(event);
    }

    fn tell(&mut self, event: Event) {
        let world = &mut self.env.world;
        world.broker.store_event(event, world.now);
        world.turn();
    }

    fn crash(&mut self) {
        self.pass(Duration::ZERO);
        let down = Duration::from_millis(self.env.rng.u64(1..5000));
        let world = &mut self.env.world;
        world.crash(down);
        for client in &mut self.clients {
            client.link = None;
            client.waiting.clear();
        }
        let (sessions, retained) = (facts::sessions(world), facts::retained(world));
        let result = self.env.model.crash(&sessions, &retained, world.now);
        if let Err(violation) = result {
            let now = world.now.as_millis();
            if let Violation::WrongRetainedRestored(topic) = &violation {
                let (kept, ours) = (retained.get(&**topic), self.env.model.retained(topic));
                panic!("{now}: after a crash {topic} has {kept:?}, not {ours:?}");
            }
            panic!("{now}: after a crash {violation:?}: {sessions:#?}");
        }
    }

    /// Lets everybody come back and everything be delivered.
    fn calm(&mut self) {
        self.tell(Event::Room);
        self.tell(Event::Resumed);
        self.turned();
        let end = self.env.world.now + Duration::from_secs(600);
        // Calm is when nothing has come for longer than anything may lag.
        let mut calm = 0;
        while calm < 20 {
            let waiting = || self.clients.iter().filter(|c| !c.is_idle());
            let late = self.env.world.now > end;
            assert!(!late, "never calm: {:#?}", waiting().collect::<Vec<_>>());
            let busy = self.calm_round();
            calm = if busy { 0 } else { calm + 1 };
        }
        let now = self.env.world.now;
        for client in &self.clients {
            assert!(client.is_idle(), "{client:?} still waits");
            let missing = self.env.model.missing(client.number, now);
            assert!(missing.is_none(), "{client:?} never got {missing:#?}");
        }
    }

    fn calm_round(&mut self) -> bool {
        self.go_on(1000);
        self.pass(Duration::from_millis(100));
        while self.env.world.store() {
            self.turned();
        }
        let mut busy = false;
        for client in &mut self.clients {
            client.come_back(&mut self.env);
            busy |= client.read(usize::MAX, &mut self.env) || !client.is_idle();
            let link = client.link.as_ref().filter(|link| link.keep_alive > 0);
            let silent = link.map(|link| self.env.world.now.since(link.sent));
            if silent.is_some_and(|time| time > Duration::from_millis(500)) {
                client.ping(&mut self.env);
            }
        }
        self.turned();
        busy
    }

    /// A subscriber that was never there gets what is retained, and nothing else.
    fn look_at_retained(&mut self) {
        let mut client = Client::new(self.clients.len(), Version::V5, 0);
        client.come_back(&mut self.env);
        self.clients.push(client);
        while !self.clients.iter().all(Client::is_idle) {
            self.calm_round();
        }
        let wish = |filter| Wish {
            filter,
            options: Options {
                qos: QoS::ExactlyOnce,
                no_local: false,
                retain_as_published: true,
                id: None,
            },
            handling: RetainHandling::Send,
        };
        let client = self.clients.last_mut();
        client
            .unwrap()
            .subscribe_to(&[wish("#"), wish("$x/#")], &mut self.env);
        self.calm();
    }

    /// Nothing is left that nobody waits for.
    fn check(&mut self) {
        let world = &mut self.env.world;
        for (_, session) in world.broker.core.sessions.iter() {
            let queue = &session.outbound;
            let left = (queue.len(), queue.bytes(), queue.ready_bytes());
            assert_eq!(left, (0, 0, 0), "queue of {}", session.client_id());
        }
        assert_eq!(world.rows(), [], "message rows are left");
        assert!(
            world.broker.core.ledger.store().is_idle(),
            "the ledger still waits"
        );
        for client in &mut self.clients {
            client.leave(&mut self.env);
        }
        // Longer than any session that ends.
        for _ in 0..6 {
            self.pass(Duration::from_secs(700));
            while self.env.world.store() {}
        }
        let Env { world, model, .. } = &self.env;
        assert_eq!(
            world.broker.core.sessions.len(),
            model.len(),
            "sessions leak"
        );
        assert_eq!(world.broker.core.sessions.client_ids().count(), model.len());
        assert_eq!(
            world.broker.core.connections.keys().len(),
            0,
            "connections leak"
        );
    }
}

/// Names the seed when a check fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("FOOTBRIDGE_SIM_SEED={}", self.0);
        }
    }
}

/// What came of some seeds.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    steps: u64,
    delivered: u64,
    wills: u64,
    expired: u64,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64) -> Tally {
    let _seed = Seed(seed);
    let mut sim = Sim::new(seed);
    let steps = number("FOOTBRIDGE_SIM_STEPS").unwrap_or(STEPS);
    for _ in 0..steps {
        sim.step();
    }
    sim.calm();
    sim.look_at_retained();
    sim.check();
    let model = &sim.env.model;
    Tally {
        steps,
        delivered: model.delivered,
        wills: model.wills,
        expired: model.expired,
    }
}

impl Tally {
    fn and(self, other: Tally) -> Tally {
        Tally {
            steps: self.steps + other.steps,
            delivered: self.delivered + other.delivered,
            wills: self.wills + other.wills,
            expired: self.expired + other.expired,
        }
    }
}

/// Runs the seeds on all processors; a world belongs to its thread.
fn run_all(seeds: Range<u64>) -> Tally {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let left = Mutex::new(seeds);
    let next = || left.lock().unwrap().next();
    let work = || {
        let mut tally = Tally::default();
        while let Some(seed) = next() {
            tally = tally.and(run(seed));
        }
        tally
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let tallies = workers
            .into_iter()
            .map(|w| w.join().expect("a seed failed"));
        tallies.fold(Tally::default(), Tally::and)
    })
}

#[test]
fn the_broker_does_as_the_model_whatever_happens() {
    let rounds = number("FOOTBRIDGE_SIM_ROUNDS");
    let ordinary = cases(SEEDS, SAMPLE);
    let seeds = match number("FOOTBRIDGE_SIM_SEED") {
        Some(seed) => seed..seed + rounds.unwrap_or(1),
        None => 0..rounds.unwrap_or(ordinary.end),
    };
    let tally = run_all(seeds.clone());
    println!("{tally:?}");
    if number("FOOTBRIDGE_SIM_STEPS").is_some() {
        return;
    }
    let (steps, delivered, wills, expired) = match seeds {
        seeds if seeds == SEEDS => (1_050_000, 100_000, 2_000, 200),
        seeds if seeds == SAMPLE => (60_000, 5_000, 100, 10),
        _ => return,
    };
    let enough = tally.delivered > delivered && tally.wills > wills && tally.expired > expired;
    assert!(
        tally.steps >= steps && enough,
        "too little happened: {tally:?}"
    );
}
