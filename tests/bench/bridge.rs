//! The rows of a bridge: publisher, the broker under measurement, its bridge, an upstream.
//!
//! The upstream shares its core with the load. A real Mosquitto there takes longer for a message
//! than either broker below, so its rate bounds both; the rows with a light one, which only counts
//! and acknowledges, show what the brokers themselves can do.

use std::io::{Error, Result};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::load::{Load, Stillness};
use crate::report::Metric;
use crate::rows::{Meter, Row, Setup, all_ours, durable, pour};
use crate::server::Server;
use crate::upstream::Upstream;

/// Who publishes, 20 in flight each.
const PUBLISHERS: usize = 10;
/// The same where nothing is to wait for publishers: QoS 2 at both ends takes two commits.
const MANY_PUBLISHERS: usize = 50;
/// How long a bridge may take to connect, and a backlog to drain.
const PATIENCE: Duration = Duration::from_secs(60);

/// All rows, in the order in which they run.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "bridge-qos1",
        about: "QoS 1, 10 publishers through a bridge to a healthy Mosquitto, persistence on",
        run: |s| healthy(s, PUBLISHERS, 1, 10_000),
    },
    Row {
        name: "bridge-light",
        about: "the same to a light upstream, which only counts and acknowledges",
        run: |s| light(s, 1),
    },
    Row {
        name: "bridge-qos2",
        about: "QoS 2, 50 publishers through a bridge to a healthy Mosquitto, persistence on",
        run: |s| healthy(s, MANY_PUBLISHERS, 2, 1_000),
    },
    Row {
        name: "bridge-drain",
        about: "200,000 queued for a bridge, drained to a light upstream \
                (footbridge from disk, mosquitto from memory)",
        run: |s| drain(s, 1, 2_000),
    },
    Row {
        name: "bridge-drain2",
        about: "20,000 at QoS 2, drained to a light upstream",
        run: |s| drain(s, 2, 200),
    },
];

/// The section of a bridge to a broker on `port`.
fn section(port: u16, qos: u8) -> String {
    format!(
        "max_queued_messages 0\nconnection up\naddress 127.0.0.1:{port}\ntopic up/# out {qos}\n\
         cleansession false\nrestart_timeout 1\n"
    )
}

/// Adds what was written since `before` to the metrics.
fn add_written(metrics: &mut Vec<Metric>, server: &Server, before: u64, total: u64) -> Result<()> {
    let written = server.written()? - before;
    let each = written as f64 / total as f64;
    metrics.push(Metric::lower("written", "bytes/message", each));
    Ok(())
}

/// Through a bridge to a Mosquitto, where one client takes all of it. What comes out of order, or
/// twice, is counted: at QoS 2 it is a fault, though it may be the upstream's.
fn healthy(s: Setup, publishers: usize, qos: u8, each: u64) -> Result<Vec<Metric>> {
    let each = each / s.divisor;
    let total = each * publishers as u64;
    let upstream = Server::start_upstream()?;
    let mut load = Load::new()?;
    let collector = load.connect(upstream.port, "collector", true)?;
    load.subscribe(collector, "$SYS/broker/connection/#", 0)?;
    let config = format!("persistence true\n{}", section(upstream.port, qos));
    let server = Server::start(s.kind, &config)?;
    let mut up = false;
    let mut still = Stillness::new("the bridge's state");
    while !up {
        load.turn(Some(100), |_, payload| up |= payload == b"1")?;
        still.check(false)?;
    }
    load.subscribe(collector, "up/#", 1)?;
    for i in 0..publishers {
        load.connect(server.port, &format!("pub{i}"), true)?;
    }
    let before = load.clients[collector].received;
    let written = server.written()?;
    let meter = Meter::start(&server)?;
    let misplaced = pour(&mut load, 1..1 + publishers, qos, each, |load| {
        load.clients[collector].received - before >= total
    })?;
    let mut metrics = Vec::from(meter.stop(&server, total)?);
    add_written(&mut metrics, &server, written, total)?;
    metrics.push(Metric::lower("out of order", "messages", misplaced as f64));
    Ok(metrics)
}

/// Starts a light upstream and a broker whose bridge is connected to it.
fn connected(s: Setup, lines: &str, qos: u8) -> Result<(Upstream, Server)> {
    let upstream = Upstream::start(Duration::ZERO)?;
    let config = format!("{lines}{}", section(upstream.port, qos));
    let server = Server::start(s.kind, &config)?;
    wait("the bridge", || upstream.is_connected())?;
    sleep(Duration::from_millis(200));
    Ok((upstream, server))
}

fn wait(what: &str, mut is_there: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !is_there() {
        if start.elapsed() > PATIENCE {
            return Err(Error::other(format!("waited in vain for {what}")));
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn light(s: Setup, qos: u8) -> Result<Vec<Metric>> {
    let each = 20_000 / s.divisor;
    let total = each * PUBLISHERS as u64;
    let (upstream, server) = connected(s, "persistence true\n", qos)?;
    let mut load = Load::new()?;
    for i in 0..PUBLISHERS {
        load.connect(server.port, &format!("pub{i}"), true)?;
    }
    let written = server.written()?;
    let meter = Meter::start(&server)?;
    pour(&mut load, 0..PUBLISHERS, qos, each, |_| {
        upstream.messages() >= total
    })?;
    let mut metrics = Vec::from(meter.stop(&server, total)?);
    add_written(&mut metrics, &server, written, total)?;
    Ok(metrics)
}

/// `each` messages from each of a hundred publishers, while the upstream is away; then it comes back.
fn drain(s: Setup, qos: u8, each: u64) -> Result<Vec<Metric>> {
    const PUBLISHERS: usize = 100;
    let each = each / s.divisor;
    let total = each * PUBLISHERS as u64;
    let (mut upstream, server) = connected(s, &durable(s.kind), qos)?;
    upstream.cut()?;
    let mut load = Load::new()?;
    for i in 0..PUBLISHERS {
        load.connect(server.port, &format!("pub{i}"), true)?;
    }
    pour(&mut load, 0..PUBLISHERS, qos, each, |_| true)?;
    all_ours(&load)?;
    sleep(Duration::from_secs(1));
    upstream.mend()?;
    wait("the bridge again", || upstream.is_connected())?;
    let (written, before) = (server.written()?, upstream.messages());
    let meter = Meter::start(&server)?;
    upstream.release();
    wait("the backlog", || upstream.messages() - before >= total)?;
    let mut metrics = Vec::from(meter.stop(&server, total)?);
    add_written(&mut metrics, &server, written, total)?;
    Ok(metrics)
}
