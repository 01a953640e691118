//! The rows about memory: idle subscribers, what is left after a load, retained values.

use std::io::{Error, Result};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::load::{Load, PATIENCE};
use crate::report::Metric;
use crate::rows::Setup;
use crate::server::Server;
use crate::wire;

/// Payload bytes, of a message and of a retained value.
const PAYLOAD: [u8; 100] = [b'x'; 100];

/// How long a broker has to give memory back.
const REST: Duration = Duration::from_secs(6);

/// Where a device gets its commands.
fn topic(device: u64) -> String {
    format!("site/gw{:02}/dev{device:05}/cmd", device % 100)
}

/// Connects so many devices, each subscribed to its own topic. They are the first clients of the load.
fn devices(server: &Server, count: u64) -> Result<Load> {
    enough_files(count)?;
    let mut load = Load::new()?;
    for device in 0..count {
        let client = load.connect(server.port, &format!("sensor{device:05}"), true)?;
        load.subscribe(client, &topic(device), 1)?;
    }
    Ok(load)
}

/// Fails where the limit on open files is too low for so many connections.
pub(crate) fn enough_files(connections: u64) -> Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if limit.is_some_and(|limit| limit < connections + 64) {
        let needed = connections + 64;
        return Err(Error::other(format!(
            "{connections} connections need ulimit -n {needed}"
        )));
    }
    Ok(())
}

/// Sends all that waits of one client; nobody reads meanwhile.
fn send(load: &mut Load, client: usize) -> Result<()> {
    let begun = Instant::now();
    load.flush(client)?;
    while load.clients[client].waiting() > 0 {
        sleep(Duration::from_millis(1));
        load.flush(client)?;
        if begun.elapsed() > PATIENCE {
            return Err(Error::other("the broker does not read"));
        }
    }
    Ok(())
}

/// Megabytes that are resident.
fn resident(server: &Server) -> Result<f64> {
    Ok(server.rss()? as f64 / 1e6)
}

/// What each of 8,000 idle connections takes that has one subscription, to a topic of its own.
pub(crate) fn subscribed(s: Setup) -> Result<Vec<Metric>> {
    let count = 8_000 / s.divisor;
    let server = Server::start(s.kind, "persistence true\n")?;
    sleep(Duration::from_secs(1));
    let mut first = Load::new()?;
    first.connect(server.port, "first", true)?;
    let before = server.rss()?;
    let _devices = devices(&server, count)?;
    sleep(REST);
    let grown = server.rss()?.saturating_sub(before);
    let each = grown as f64 / count as f64;
    Ok(vec![Metric::lower("RSS", "bytes/connection", each)])
}

/// 8,000 idle subscribers get a message each, while none of them acknowledges; then all do.
pub(crate) fn after_load(s: Setup) -> Result<Vec<Metric>> {
    let count = 8_000 / s.divisor;
    let server = Server::start(s.kind, "persistence true\n")?;
    let mut load = devices(&server, count)?;
    let publisher = load.connect(server.port, "publisher", true)?;
    sleep(REST);
    let before = resident(&server)?;
    for device in 0..count {
        load.clients[publisher].publish(&topic(device), 1, &PAYLOAD);
    }
    // The devices read only in a turn of the load.
    send(&mut load, publisher)?;
    sleep(Duration::from_secs(1));
    let most = resident(&server)?;
    load.turn_until("the deliveries", |load| {
        let received = load.clients.iter().map(|client| client.received);
        received.sum::<u64>() == count && load.clients[publisher].acked == count
    })?;
    sleep(REST);
    let after = resident(&server)?;
    Ok(vec![
        Metric::neutral("RSS before", "MB", before),
        Metric::neutral("RSS, none acked", "MB", most),
        Metric::lower("RSS after", "MB", after),
        Metric::lower("after / before", "times", after / before),
    ])
}

/// 100,000 retained values of 100 bytes on topics as meters have them.
pub(crate) fn retained(s: Setup) -> Result<Vec<Metric>> {
    let count = 100_000 / s.divisor;
    let server = Server::start(s.kind, "persistence true\n")?;
    let mut load = Load::new()?;
    let client = load.connect(server.port, "meters", true)?;
    let before = server.rss()?;
    for meter in 0..count {
        let topic = format!("site/gw{:02}/meter{meter:05}/value", meter % 100);
        load.clients[client].publish_with(wire::RETAIN, &topic, &PAYLOAD);
        if meter % 100 == 99 {
            send(&mut load, client)?;
        }
    }
    // Behind all of them.
    load.clients[client].publish("end", 1, &PAYLOAD);
    send(&mut load, client)?;
    load.turn_until("the end", |load| load.clients[client].acked == 1)?;
    sleep(REST);
    let rss = server.rss()?;
    let each = rss.saturating_sub(before) as f64 / count as f64;
    Ok(vec![
        Metric::lower("RSS", "MB", rss as f64 / 1e6),
        Metric::lower("RSS, each", "bytes/value", each),
    ])
}
