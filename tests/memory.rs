//! What `memory_limit` counts is what is there: the sum against an allocator that counts every byte.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use footbridge::auth::Auth;
use footbridge::broker::{Address, Broker, ConnId, Driver, Question, end_turn};
use footbridge::config::{Config, Env};
use footbridge::mqtt::{
    Connect, Delivery, Packet, PacketId, Props, Publish, QoS, Subscribe, Subscription, Version,
};
use footbridge::store::{Batch, Db, Event, Figures, Location, ReadRequest};
use footbridge::time::Time;

/// The system's, which counts what was asked of it.
struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises hold for the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What an idle connection with a subscription of its own takes at most, in bytes, its share of tables
/// that have just grown included, and without what the allocator keeps beside each block.
const IDLE: usize = 520;

/// What of that lies at its socket, which is none here.
const SOCKET: usize = 56;

/// A broker whose clients read nothing, but for what `reads` says.
struct Bench {
    reads: bool,
    broker: Broker,
    db: Db,
    now: Time,
    batches: Vec<Batch>,
    /// The disk, which is memory here, forgets what it is to write.
    forgets: bool,
}

impl Bench {
    fn new() -> Bench {
        let text = "persistence true\npersistence_location /nowhere/\nmemory_limit 1G\nlistener 1\n\
                    allow_anonymous true\n";
        let config = Config::parse(text, "x", &Env::default());
        let config = config.expect("a configuration").config;
        let (db, loaded) = Db::open(Location::Memory).expect("memory");
        let rules = Auth::for_config(&config).expect("no files").0;
        let now = Time::from_secs(1_000_000);
        Bench {
            reads: false,
            broker: Broker::new(&config, rules, loaded, now),
            db,
            now,
            batches: Vec::new(),
            forgets: false,
        }
    }

    fn send(&mut self, c: ConnId, packet: Packet<'_>) {
        self.broker.packet(c, packet, self.now);
        self.turn();
    }

    fn turn(&mut self) {
        end_turn(self, self.now);
        for mut batch in std::mem::take(&mut self.batches) {
            if !self.forgets {
                self.db.commit(&mut batch).expect("memory");
            }
            let event = Event::Committed {
                seq: batch.seq,
                figures: Figures::default(),
                batch,
            };
            self.broker.store_event(event, self.now);
        }
        self.now += Duration::from_millis(10);
    }

    fn connect(&mut self, name: &str) -> ConnId {
        let c = self
            .broker
            .accept(0, Address::Local, self.now)
            .expect("room");
        let connect = Connect {
            version: Version::V311,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id: name,
            will: None,
            username: None,
            password: None,
            props: Props::EMPTY,
        };
        self.send(c, Packet::Connect(Box::new(connect)));
        c
    }

    fn subscribe(&mut self, c: ConnId, filter: &str) {
        let subscribe = Subscribe {
            id: id(1),
            props: Props::EMPTY,
            filters: vec![Subscription::new(filter, QoS::AtLeastOnce)],
        };
        self.send(c, Packet::Subscribe(subscribe));
    }

    fn publish(&mut self, c: ConnId, topic: &str, payload: &[u8], retain: bool) {
        let publish = Publish {
            delivery: if retain {
                Delivery::AtMostOnce
            } else {
                Delivery::AtLeastOnce(id(1), false)
            },
            retain,
            topic,
            props: Props::EMPTY,
            payload,
        };
        self.send(c, Packet::Publish(publish));
    }

    /// What `act` adds to what is counted, and to what is there, in bytes.
    fn growth(&mut self, act: impl FnOnce(&mut Bench)) -> (usize, usize) {
        let before = (self.broker.memory(), TAKEN.load(Ordering::Relaxed));
        act(self);
        let counted = self.broker.memory() - before.0;
        let taken = TAKEN.load(Ordering::Relaxed).saturating_sub(before.1);
        (usize::try_from(counted).expect("few"), taken)
    }
}

impl Driver for Bench {
    fn ask(&mut self, _question: Question) {
        unreachable!("nobody has a password");
    }

    fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn commit(&mut self, batch: Batch) {
        self.batches.push(batch);
    }

    fn read(&mut self, _request: ReadRequest) {}

    fn write(&mut self, conn: ConnId, now: Time) {
        if !self.reads {
            return;
        }
        if let Some(outbox) = self.broker.outbox(conn) {
            outbox.advance(outbox.pending().len());
            self.broker.flushed(conn, now);
        }
    }

    fn resume(&mut self, _conn: ConnId) {}
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("not zero")
}

/// Within a quarter: the allocator's own cost a block is in the one and not in the other.
#[track_caller]
fn assert_alike(what: &str, (counted, taken): (usize, usize)) {
    let range = taken / 4 * 3..taken / 4 * 5;
    assert!(
        range.contains(&counted),
        "{what}: {counted} counted, {taken} taken"
    );
}

/// One test, for the allocator counts the bytes of all threads.
#[test]
fn what_is_counted_is_what_is_there() {
    let mut bench = Bench::new();
    let device = bench.connect("device");
    let mut readers = Vec::new();
    let growth = bench.growth(|bench| {
        readers.extend((0..1_000).map(|n| bench.connect(&format!("reader{n}"))));
    });
    assert_alike("connections and sessions", growth);
    bench.reads = true;
    let growth = bench.growth(|bench| {
        for n in 0..1_000 {
            let device = bench.connect(&format!("sensor{n:05}"));
            let topic = format!("site/gw{:02}/dev{n:05}/cmd", n % 100);
            bench.subscribe(device, &topic);
        }
    });
    let (counted, taken) = growth;
    let growth = (counted, taken + 1_000 * SOCKET);
    assert_alike("connections with a subscription", growth);
    assert!(growth.1 < 1_000 * IDLE, "{} bytes", growth.1);
    bench.reads = false;
    // Their filters are in the tree, too.
    let listening = readers.get(..20).expect("a thousand").to_vec();
    listening.iter().for_each(|c| bench.subscribe(*c, "t"));
    let growth = bench.growth(|bench| {
        for _ in 0..2_000 {
            bench.publish(device, "t", b"x", false);
        }
    });
    assert_alike("queues of small messages", growth);
    let growth = bench.growth(|bench| {
        for _ in 0..100 {
            bench.publish(device, "t", &[b'x'; 20_000], false);
        }
    });
    assert_alike("large messages", growth);
    bench.forgets = true;
    let growth = bench.growth(|bench| {
        for n in 0..5_000 {
            bench.publish(device, &format!("some/topic/{n}"), &[b'x'; 100], true);
        }
    });
    assert_alike("retained", growth);
}
