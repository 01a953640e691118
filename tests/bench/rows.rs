//! The rows: what is measured, and how.

use std::io::{Error, Result};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::load::{Load, Stillness};
use crate::memory;
use crate::report::Metric;
use crate::server::{Kind, Server, cpu};
use crate::tls::Certificate;

/// Payload bytes.
const PAYLOAD: [u8; 200] = [b'x'; 200];

/// How a row runs this time.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// The broker under measurement.
    pub(crate) kind: Kind,
    /// Divides all message and connection counts.
    pub(crate) divisor: u64,
    /// Replaces the window of the QoS 0 rows: 1 has each message come alone.
    pub(crate) window: Option<u64>,
}

/// A row of the comparison.
pub(crate) struct Row {
    /// What selects it on the command line.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) about: &'static str,
    /// Runs it once, on a broker of its own.
    pub(crate) run: fn(Setup) -> Result<Vec<Metric>>,
}

/// All rows, in the order in which they run.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "qos0-10-1",
        about: "QoS 0, 10 publishers to 1 subscriber",
        run: |s| fan(s, 10, 1, 500_000, 2_000),
    },
    Row {
        name: "qos0-1-50",
        about: "QoS 0, 1 publisher to 50 subscribers; a message is one delivered",
        run: |s| fan(s, 1, 50, 20_000, 200),
    },
    Row {
        name: "qos0-10-1-one",
        about: "as qos0-10-1, one message under way at a time: nothing to batch",
        run: |s| fan(s, 10, 1, 50_000, 1),
    },
    Row {
        name: "qos0-1-50-one",
        about: "as qos0-1-50, one message under way at a time: nothing to batch",
        run: |s| fan(s, 1, 50, 4_000, 1),
    },
    Row {
        name: "qos1-50-50",
        about: "QoS 1, 50 publishers to a subscriber each, 20 in flight",
        run: pairs,
    },
    Row {
        name: "qos1-offline",
        about: "QoS 1, 100 publishers with 20 in flight, into an offline durable session \
                (footbridge acknowledges after the commit, mosquitto from memory)",
        run: offline,
    },
    Row {
        name: "latency-qos0",
        about: "publisher to subscriber, 1,000 messages a second, QoS 0",
        run: |s| latency(s, 0),
    },
    Row {
        name: "latency-qos1",
        about: "publisher to subscriber, 1,000 messages a second, QoS 1",
        run: |s| latency(s, 1),
    },
    Row {
        name: "idle",
        about: "memory after start, persistence on",
        run: idle,
    },
    Row {
        name: "connections",
        about: "memory for each of 5,000 idle connections",
        run: connections,
    },
    Row {
        name: "subscribed",
        about: "memory for each of 8,000 idle connections with a subscription, persistence on",
        run: memory::subscribed,
    },
    Row {
        name: "after-load",
        about: "memory after 8,000 subscribers got a message each, before and after, persistence on",
        run: memory::after_load,
    },
    Row {
        name: "retained",
        about: "memory with 100,000 retained values of 100 bytes, persistence on",
        run: memory::retained,
    },
];

/// CPU and wall time since its start, of the broker and of the load.
pub(crate) struct Meter {
    start: Instant,
    broker: Duration,
    load: Duration,
}

impl Meter {
    pub(crate) fn start(server: &Server) -> Result<Self> {
        sleep(Duration::from_millis(30)); // see `stop`
        let broker = server.cpu()?;
        Ok(Meter {
            broker,
            load: cpu("self")?,
            start: Instant::now(),
        })
    }

    /// The broker's CPU time since the start.
    pub(crate) fn broker(self, server: &Server) -> Result<Duration> {
        sleep(Duration::from_millis(30)); // see `stop`
        Ok(server.cpu()?.saturating_sub(self.broker))
    }

    pub(crate) fn stop(self, server: &Server, messages: u64) -> Result<[Metric; 3]> {
        let seconds = self.start.elapsed().as_secs_f64();
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / messages as f64;
        // The kernel brings a thread's time up to date when it stops running (or at a tick):
        // yield for our own, and let the broker fall asleep before reading its.
        std::thread::yield_now();
        let load = cpu("self")?.saturating_sub(self.load);
        sleep(Duration::from_millis(30));
        let broker = server.cpu()?.saturating_sub(self.broker);
        Ok([
            Metric::lower("CPU", "µs/message", each(broker)),
            Metric::higher("rate", "messages/s", messages as f64 / seconds),
            Metric::neutral("load CPU", "µs/message", each(load)),
        ])
    }
}

/// Fails when a payload came in that we did not send.
pub(crate) fn all_ours(load: &Load) -> Result<()> {
    match load.clients.iter().map(|c| c.strange).sum::<u64>() {
        0 => Ok(()),
        n => Err(Error::other(format!(
            "{n} payloads differ from what was sent"
        ))),
    }
}

/// QoS 0 from all publishers to all subscribers. At most `window` messages are under way, so that
/// no broker has a reason to drop any; the window is refilled once half of it is free, so that
/// both brokers are offered the same bursts. A burst favours a broker that gathers its writes: read
/// these rows beside their `-one` twins, which offer no burst at all.
fn fan(
    s: Setup,
    publishers: usize,
    subscribers: usize,
    total: u64,
    window: u64,
) -> Result<Vec<Metric>> {
    fan_by(s, None, (publishers, subscribers), total, window)
}

/// The same by TLS, where there is a `tls`.
pub(crate) fn fan_by(
    s: Setup,
    tls: Option<&Certificate>,
    (publishers, subscribers): (usize, usize),
    total: u64,
    window: u64,
) -> Result<Vec<Metric>> {
    let total = total / s.divisor;
    let window = s.window.unwrap_or(window);
    let lines = tls.map(Certificate::lines).unwrap_or_default();
    let server = Server::start(s.kind, &format!("{lines}max_queued_messages 0\n"))?;
    let mut load = Load::by(tls.map(Certificate::client).transpose()?)?;
    for i in 0..subscribers {
        let client = load.connect(server.port, &format!("sub{i}"), true)?;
        load.subscribe(client, "bench/#", 0)?;
    }
    for i in 0..publishers {
        load.connect(server.port, &format!("pub{i}"), true)?;
    }
    let topics: Vec<String> = (0..publishers).map(|i| format!("bench/{i}")).collect();
    let meter = Meter::start(&server)?;
    let mut still = Stillness::new("QoS 0 delivery");
    let mut sent = 0;
    loop {
        let slowest = load.clients[..subscribers].iter().map(|c| c.received).min();
        let received = slowest.unwrap_or(0);
        if received == total {
            break;
        }
        if sent < total && sent - received <= window / 2 {
            let refill = (window - (sent - received)).min(total - sent);
            for (p, topic) in topics.iter().enumerate() {
                let n =
                    refill / publishers as u64 + u64::from((p as u64) < refill % publishers as u64);
                for _ in 0..n {
                    load.clients[subscribers + p].publish(topic, 0, &PAYLOAD);
                }
                load.flush(subscribers + p)?;
                sent += n;
            }
        }
        still.check(load.turn(Some(100), |_, _| {})? > 0)?;
    }
    all_ours(&load)?;
    Ok(meter.stop(&server, total * subscribers as u64)?.into())
}

/// Publisher i to subscriber i, 20 in flight, each ended both by the PUBACK and by the delivery.
fn pairs(s: Setup) -> Result<Vec<Metric>> {
    const PAIRS: usize = 50;
    let each = 4_000 / s.divisor;
    let server = Server::start(s.kind, "max_queued_messages 0\n")?;
    let mut load = Load::new()?;
    let topics: Vec<String> = (0..PAIRS).map(|i| format!("pair/{i}")).collect();
    for (i, topic) in topics.iter().enumerate() {
        let client = load.connect(server.port, &format!("sub{i}"), true)?;
        load.subscribe(client, topic, 1)?;
    }
    for i in 0..PAIRS {
        load.connect(server.port, &format!("pub{i}"), true)?;
    }
    let meter = Meter::start(&server)?;
    let mut still = Stillness::new("QoS 1 pairs");
    loop {
        let mut done = 0;
        for (i, topic) in topics.iter().enumerate() {
            let received = load.clients[i].received;
            let publisher = &mut load.clients[PAIRS + i];
            let ended = publisher.acked.min(received);
            done += u64::from(ended == each);
            if publisher.sent < each && publisher.sent - ended < 20 {
                while publisher.sent < each && publisher.sent - ended < 20 {
                    publisher.publish(topic, 1, &PAYLOAD);
                }
                load.flush(PAIRS + i)?;
            }
        }
        if done == PAIRS as u64 {
            break;
        }
        still.check(load.turn(Some(100), |_, _| {})? > 0)?;
    }
    all_ours(&load)?;
    Ok(meter.stop(&server, each * PAIRS as u64)?.into())
}

/// Publishes `each` messages from every client in `publishers`, 20 in flight, until all are
/// acknowledged and `done`. Client I has the topic `up/I`. Answers how many messages came to some
/// client in another place among those of their publisher than they were published in.
pub(crate) fn pour(
    load: &mut Load,
    publishers: std::ops::Range<usize>,
    qos: u8,
    each: u64,
    mut done: impl FnMut(&Load) -> bool,
) -> Result<u64> {
    let mut still = Stillness::new("acknowledgements");
    let topics: Vec<String> = publishers.clone().map(|i| format!("up/{i}")).collect();
    let (mut payload, mut misplaced) = (PAYLOAD, 0);
    let mut next = vec![0; publishers.end];
    loop {
        let mut acked = true;
        for (i, topic) in publishers.clone().zip(&topics) {
            let client = &mut load.clients[i];
            acked &= client.acked == each;
            if client.sent < each && client.sent - client.acked < 20 {
                while client.sent < each && client.sent - client.acked < 20 {
                    payload[..8].copy_from_slice(&client.sent.to_le_bytes());
                    payload[8] = i as u8;
                    client.publish(topic, qos, &payload);
                }
                load.flush(i)?;
            }
        }
        if acked && done(load) {
            return Ok(misplaced);
        }
        let events = load.turn(Some(100), |_, payload| {
            let number = payload.first_chunk().map(|b| u64::from_le_bytes(*b));
            if let (Some(number), Some(publisher)) = (number, payload.get(8)) {
                let next = &mut next[usize::from(*publisher)];
                misplaced += u64::from(number != *next);
                *next = number + 1;
            }
        })?;
        still.check(events > 0)?;
    }
}

fn offline(s: Setup) -> Result<Vec<Metric>> {
    const PUBLISHERS: usize = 100;
    let each = 2_000 / s.divisor;
    let total = each * PUBLISHERS as u64;
    let server = Server::start(s.kind, &durable(s.kind))?;
    let mut load = Load::new()?;
    let absent = load.connect(server.port, "absent", false)?;
    load.subscribe(absent, "up/#", 1)?;
    drop(load);
    let mut load = Load::new()?;
    for i in 0..PUBLISHERS {
        load.connect(server.port, &format!("pub{i}"), true)?;
    }
    let written = server.written()?;
    let meter = Meter::start(&server)?;
    pour(&mut load, 0..PUBLISHERS, 1, each, |_| true)?;
    let mut metrics = Vec::from(meter.stop(&server, total)?);
    let written = server.written()? - written;
    metrics.push(Metric::lower(
        "written",
        "bytes/message",
        written as f64 / total as f64,
    ));
    sleep(Duration::from_secs(1));
    metrics.push(Metric::lower(
        "RSS, all queued",
        "MB",
        server.rss()? as f64 / 1e6,
    ));

    let start = Instant::now();
    let back = load.connect(server.port, "absent", false)?;
    load.turn_until("the backlog", |load| load.clients[back].received >= total)?;
    all_ours(&load)?;
    let rate = total as f64 / start.elapsed().as_secs_f64();
    metrics.push(Metric::higher("drain", "messages/s", rate));
    Ok(metrics)
}

/// Persistence on for footbridge; Mosquitto keeps its queues in memory, which is its best case.
pub(crate) fn durable(kind: Kind) -> String {
    let persistence = kind == Kind::Footbridge;
    format!("persistence {persistence}\nmax_queued_messages 0\n")
}

fn latency(s: Setup, qos: u8) -> Result<Vec<Metric>> {
    const GAP: Duration = Duration::from_millis(1);
    let total = 5_000 / s.divisor;
    let server = Server::start(s.kind, "")?;
    let mut load = Load::new()?;
    let subscriber = load.connect(server.port, "sub", true)?;
    load.subscribe(subscriber, "bench/#", qos)?;
    let publisher = load.connect(server.port, "pub", true)?;
    let mut times = Vec::with_capacity(total as usize);
    let meter = Meter::start(&server)?;
    let start = Instant::now();
    let mut still = Stillness::new("latency");
    let mut payload = PAYLOAD;
    while (times.len() as u64) < total {
        let sent = load.clients[publisher].sent;
        // Spinning instead of sleeping: the load's own wake-up is not the broker's latency.
        if sent < total && start.elapsed() >= GAP * sent as u32 {
            let now = start.elapsed().as_nanos() as u64;
            payload[..8].copy_from_slice(&now.to_le_bytes());
            load.clients[publisher].publish("bench/latency", qos, &payload);
            load.flush(publisher)?;
        }
        let events = load.turn(None, |_, payload| {
            let now = start.elapsed().as_nanos() as u64;
            let stamp = payload
                .first_chunk()
                .map_or(now, |b| u64::from_le_bytes(*b));
            times.push(now.saturating_sub(stamp));
        })?;
        still.check(events > 0)?;
    }
    all_ours(&load)?;
    // Messages that come one by one: what one costs without others to share its syscalls with.
    let [cpu, ..] = meter.stop(&server, total)?;
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100] as f64 / 1e3;
    Ok(vec![
        Metric::lower("p50", "µs", at(50)),
        Metric::lower("p99", "µs", at(99)),
        cpu,
    ])
}

fn idle(s: Setup) -> Result<Vec<Metric>> {
    let server = Server::start(s.kind, "persistence true\n")?;
    sleep(Duration::from_secs(1));
    let cpu = server.cpu()?;
    sleep(Duration::from_secs(2));
    let spent = server.cpu()?.saturating_sub(cpu).as_secs_f64() * 1e6 / 2.0;
    Ok(vec![
        Metric::lower("RSS", "MB", server.rss()? as f64 / 1e6),
        Metric::lower("CPU", "µs/s", spent),
    ])
}

fn connections(s: Setup) -> Result<Vec<Metric>> {
    let n = 5_000 / s.divisor;
    memory::enough_files(n)?;
    let server = Server::start(s.kind, "")?;
    sleep(Duration::from_millis(500));
    let mut load = Load::new()?;
    load.connect(server.port, "first", true)?;
    let before = server.rss()?;
    for i in 0..n {
        load.connect(server.port, &format!("idle{i}"), true)?;
    }
    sleep(Duration::from_secs(1));
    let grown = server.rss()?.saturating_sub(before);
    Ok(vec![Metric::lower(
        "RSS",
        "bytes/connection",
        grown as f64 / n as f64,
    )])
}
