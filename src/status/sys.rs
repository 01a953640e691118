//! `$SYS`: the broker's figures as retained messages, with Mosquitto's names and meanings.

use std::collections::HashMap;
use std::time::Duration;

use super::queues;
use crate::broker::{Broker, Counters, Disk, Gauges};
use crate::time::Time;

/// Publishes the figures every `sys_interval`; one that has not changed is not repeated.
#[derive(Debug)]
pub struct Sys {
    interval: Duration,
    started: Time,
    next: Option<Time>,
    last: HashMap<&'static str, String>,
    queues: HashMap<String, String>,
}

impl Sys {
    /// A publisher that starts at `now`. `interval` is `sys_interval`; zero turns it off.
    pub fn new(interval: Duration, now: Time) -> Sys {
        let next = (!interval.is_zero()).then_some(now);
        Sys {
            interval,
            started: now,
            next,
            last: HashMap::new(),
            queues: HashMap::new(),
        }
    }

    /// When [`Sys::tick`] has something to do next.
    pub fn next_timeout(&self) -> Option<Time> {
        self.next
    }

    /// Publishes what has changed, if it is time.
    pub fn tick(&mut self, broker: &mut Broker, now: Time) {
        if self.next.is_none_or(|at| at > now) {
            return;
        }
        self.next = Some(now + self.interval);
        let uptime = now.since(self.started).as_secs();
        let disk = broker.disk().clone();
        for (topic, value) in figures(broker.counters(), &broker.gauges(), &disk, uptime) {
            if self.last.get(topic) != Some(&value) {
                broker.publish_own(topic, value.as_bytes(), true, now);
                self.last.insert(topic, value);
            }
        }
        self.tell_queues(broker, now);
    }

    /// The topics about queues come and go with bridges and clients.
    fn tell_queues(&mut self, broker: &mut Broker, now: Time) {
        let topics = queues::topics(broker, now);
        for (topic, value) in &topics {
            if self.queues.get(topic) != Some(value) {
                broker.publish_own(topic, value.as_bytes(), true, now);
            }
        }
        for topic in self
            .queues
            .keys()
            .filter(|topic| !topics.contains_key(*topic))
        {
            broker.publish_own(topic, b"", true, now);
        }
        self.queues = topics;
    }
}

fn figures(
    counters: &Counters,
    gauges: &Gauges,
    disk: &Disk,
    uptime: u64,
) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let numbers = [
        ("$SYS/broker/clients/total", gauges.clients),
        ("$SYS/broker/clients/connected", gauges.connected),
        ("$SYS/broker/clients/active", gauges.connected),
        (
            "$SYS/broker/clients/disconnected",
            gauges.clients.saturating_sub(gauges.connected),
        ),
        (
            "$SYS/broker/clients/inactive",
            gauges.clients.saturating_sub(gauges.connected),
        ),
        (
            "$SYS/broker/publish/messages/received",
            counters.publish_received,
        ),
        ("$SYS/broker/publish/messages/sent", counters.publish_sent),
        ("$SYS/broker/publish/messages/dropped", counters.dropped()),
        (
            "$SYS/broker/publish/bytes/received",
            counters.publish_bytes_received,
        ),
        (
            "$SYS/broker/publish/bytes/sent",
            counters.publish_bytes_sent,
        ),
        ("$SYS/broker/retained messages/count", gauges.retained),
        ("$SYS/broker/subscriptions/count", gauges.subscriptions),
        ("$SYS/broker/store/messages/count", gauges.queued_messages),
        ("$SYS/broker/store/messages/bytes", gauges.queued_bytes),
        ("$SYS/broker/store/messages/unwritten", gauges.never_written),
        ("$SYS/broker/store/file/bytes", disk.figures.bytes),
        ("$SYS/broker/store/commits", counters.commits),
        (
            "$SYS/broker/store/commit_interval_ms",
            gauges.commit_interval,
        ),
        (
            "$SYS/broker/store/written/today",
            disk.figures.written.today,
        ),
        (
            "$SYS/broker/store/written/total",
            disk.figures.written.total,
        ),
        ("$SYS/broker/store/syncs", disk.figures.syncs),
    ];
    let version = concat!("footbridge version ", env!("CARGO_PKG_VERSION"));
    let texts = [
        ("$SYS/broker/version", version.to_string()),
        ("$SYS/broker/uptime", format!("{uptime} seconds")),
        ("$SYS/broker/store/state", disk.state()),
    ];
    texts
        .into_iter()
        .chain(numbers.map(|(topic, n)| (topic, n.to_string())))
}
