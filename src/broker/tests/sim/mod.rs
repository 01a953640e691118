//! A seeded simulation: clients of both versions, durable and not, publish and subscribe over
//! connections that break, to a broker that is killed, on a disk that is slow, full or fails.
//! What must hold whatever happens is checked as packets come, and again when everything has
//! calmed down.
//!
//! `FOOTBRIDGE_SIM_SEED` runs one seed, `FOOTBRIDGE_SIM_ROUNDS` so many from there on.

mod client;
mod ledger;

use std::io;
use std::time::Duration;

use fastrand::Rng;

use super::world::{World, settings};
use crate::config::General;
use crate::store::{Error, Event};
use client::Client;
use ledger::Ledger;

/// What happens in one seed before it calms down.
const STEPS: usize = 1500;
/// Seeds of an ordinary test run.
const SEEDS: std::ops::Range<u64> = 0..40;

struct Sim {
    rng: Rng,
    world: World,
    clients: Vec<Client>,
    ledger: Ledger,
}

/// Settings vary with the seed: a small queue, QoS 0 queued, no persistence.
fn settings_for(rng: &mut Rng) -> General {
    let mut settings = settings();
    settings.max_inflight_messages = [0, 1, 3, 20][rng.usize(..4)];
    settings.max_queued_messages = [0, 0, 0, 200][rng.usize(..4)];
    settings.queue_qos0_messages = rng.bool();
    let n = rng.u64(..8);
    settings.persistence = n != 0;
    settings.commit_interval = Duration::from_millis([0, 20, 200][n as usize % 3]);
    settings
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut rng = Rng::with_seed(seed);
        let settings = settings_for(&mut rng);
        let count = rng.usize(3..9);
        let clients = (0..count).map(|n| Client::random(n, &mut rng)).collect();
        let mut world = World::with(settings);
        world.held = true;
        Sim {
            rng,
            world,
            clients,
            ledger: Ledger::new(count),
        }
    }

    fn step(&mut self) {
        match self.rng.u32(..1000) {
            // Without a store a crash leaves nothing to check.
            0..3 if self.world.settings.persistence => self.crash(),
            3..150 => self.pass(),
            150..250 => drop(self.world.store()),
            250..255 => drop(self.world.store_full()),
            255..258 => self.change_disk(),
            _ => self.client_step(),
        }
    }

    fn pass(&mut self) {
        let time = match self.rng.u32(..20) {
            0 => 1500,
            _ => self.rng.u64(0..20),
        };
        self.world.now += Duration::from_millis(time);
        self.world.tick();
    }

    /// What the storage thread says of the disk comes in any order.
    fn change_disk(&mut self) {
        let error = || Error::Io(io::ErrorKind::Other.into());
        let event = match self.rng.u32(..4) {
            0 => Event::Full,
            1 => Event::Room,
            2 => Event::Stalled { error: error() },
            _ => Event::Resumed,
        };
        self.tell(event);
    }

    fn tell(&mut self, event: Event) {
        self.world.broker.store_event(event, self.world.now);
        self.world.turn();
    }

    fn crash(&mut self) {
        let down = Duration::from_millis(self.rng.u64(1..2000));
        self.world.crash(down);
        self.ledger.crashed();
        for client in &mut self.clients {
            client.read_some(&mut self.world, &mut self.ledger, &mut self.rng);
            client.crash();
        }
    }

    fn client_step(&mut self) {
        let n = self.rng.usize(..self.clients.len());
        let client = &mut self.clients[n];
        let (world, ledger, rng) = (&mut self.world, &mut self.ledger, &mut self.rng);
        match rng.u32(..100) {
            0..2 => client.cut(world, ledger, rng),
            2..3 => client.leave(world),
            3..4 => client.dial(world),
            4..10 => client.dial_if_offline(world),
            10..45 => client.publish(world, ledger, rng),
            _ => client.read_some(world, ledger, rng),
        }
    }

    /// Lets everybody come back and everything be delivered.
    fn calm(&mut self) {
        self.world.held = false;
        self.tell(Event::Room);
        self.tell(Event::Resumed);
        let end = self.world.now + Duration::from_secs(600);
        // Calm is when nothing has come for longer than anything may lag.
        let mut calm = 0;
        while calm < 20 {
            let waiting = || self.clients.iter().filter(|c| !c.is_idle());
            let late = self.world.now > end;
            assert!(!late, "never calm: {:?}", waiting().collect::<Vec<_>>());
            self.world.pass(Duration::from_millis(100));
            let mut busy = false;
            for client in &mut self.clients {
                client.dial_if_offline(&mut self.world);
                busy |= client.read_all(&mut self.world, &mut self.ledger);
                busy |= !client.is_idle();
            }
            calm = if busy { 0 } else { calm + 1 };
        }
        self.world.pass(Duration::from_secs(4));
    }

    /// What must hold at the end.
    fn check(&mut self) {
        for client in &self.clients {
            assert!(client.is_idle(), "{client:?} still waits");
            self.ledger.check_owed(client);
        }
        for (_, session) in &self.world.broker.sessions {
            let queue = &session.outbound;
            let left = (queue.len(), queue.bytes(), queue.ready_bytes());
            assert_eq!(left, (0, 0, 0), "queue of {}", session.client_id());
        }
        assert_eq!(self.world.rows(), [], "message rows are left");
        assert!(self.world.broker.store.is_idle(), "the ledger still waits");
        assert_eq!(self.world.broker.sessions.len(), self.clients.len());
        for client in &mut self.clients {
            client.leave(&mut self.world);
        }
        self.world.pass(Duration::from_secs(2));
        let durable = self.clients.iter().filter(|c| c.is_durable()).count();
        assert_eq!(self.world.broker.sessions.len(), durable, "sessions leak");
        assert_eq!(self.world.broker.by_client_id.len(), durable);
        assert_eq!(self.world.broker.conns.len(), 0, "connections leak");
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

fn run(seed: u64) -> u64 {
    let _seed = Seed(seed);
    let mut sim = Sim::new(seed);
    for _ in 0..STEPS {
        sim.step();
    }
    sim.calm();
    sim.check();
    sim.ledger.delivered()
}

#[test]
fn promises_hold_whatever_happens() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match number("FOOTBRIDGE_SIM_SEED") {
        Some(seed) => seed..seed + number("FOOTBRIDGE_SIM_ROUNDS").unwrap_or(1),
        None => SEEDS,
    };
    let many = seeds.end - seeds.start > 10;
    let delivered: u64 = seeds.map(run).sum();
    assert!(delivered > 0 || !many, "nothing was delivered at all");
}
