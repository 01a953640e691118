//! `$SYS`: the broker's figures as retained messages, with Mosquitto's names and meanings.

use std::collections::HashMap;
use std::time::Duration;

use super::load::Loads;
use super::turns::Turns;
use super::{Links, Traffic, links, memory, metrics, queues};
use crate::broker::{Broker, Counters, Disk, Gauges};
use crate::held;
use crate::time::Time;

/// Publishes the figures every `sys_interval`; one that has not changed is not repeated.
#[derive(Debug)]
pub struct Sys {
    interval: Duration,
    started: Time,
    next: Option<Time>,
    /// When the loads were last brought up to date.
    looked: Time,
    loads: Loads,
    turns: Turns,
    maxima: Maxima,
    last: HashMap<&'static str, String>,
    queues: HashMap<String, String>,
    /// What of that is told as soon as it changes.
    links: links::Told,
}

/// The largest values seen.
#[derive(Debug, Default)]
struct Maxima {
    clients: u64,
    heap: u64,
}

impl Sys {
    /// A publisher that starts at `now`. `interval` is `sys_interval`; zero turns it off.
    pub fn new(interval: Duration, now: Time) -> Sys {
        let next = (!interval.is_zero()).then_some(now);
        Sys {
            interval,
            started: now,
            next,
            looked: now,
            loads: Loads::default(),
            turns: Turns::default(),
            maxima: Maxima::default(),
            last: HashMap::new(),
            queues: HashMap::new(),
            links: links::Told::default(),
        }
    }

    /// `sys_interval` is another one from now on.
    pub fn set_interval(&mut self, interval: Duration, now: Time) {
        if interval != self.interval {
            self.interval = interval;
            self.next = (!interval.is_zero()).then_some(now);
        }
    }

    /// When the broker has started.
    pub(super) fn started(&self) -> Time {
        self.started
    }

    /// What a topic says.
    pub(super) fn told(&self, topic: &str) -> Option<&str> {
        self.last.get(topic).map(String::as_str)
    }

    /// A turn that is over at `now` took so long, mostly for the reason that `cause` gives.
    pub fn turn(&mut self, took: Duration, cause: impl FnOnce() -> String, now: Time) {
        self.turns.add(took, cause, now);
    }

    /// When [`Sys::tick`] has something to do next.
    pub fn next_timeout(&self) -> Option<Time> {
        self.next
    }

    /// The same figures for Prometheus.
    pub fn metrics(
        &self,
        broker: &Broker,
        traffic: &Traffic,
        links: Links<'_, '_>,
        now: Time,
    ) -> String {
        metrics::metrics(broker, traffic, links, (self.started, now))
    }

    /// Publishes what has changed, if it is time. That a bridge has come up or gone down is told at once.
    pub fn tick(
        &mut self,
        broker: &mut Broker,
        traffic: &Traffic,
        links: Links<'_, '_>,
        now: Time,
    ) {
        let Some(next) = self.next else {
            return;
        };
        self.tell_links(broker, links, now);
        if next > now {
            return;
        }
        self.next = Some(now + self.interval);
        let (counters, gauges) = (broker.counters(), broker.gauges());
        let heap = memory::heap();
        self.maxima.clients = self.maxima.clients.max(gauges.clients);
        self.maxima.heap = self.maxima.heap.max(heap.unwrap_or(0));
        let heap = heap.map(|heap| {
            [
                ("$SYS/broker/heap/current", heap),
                ("$SYS/broker/heap/maximum", self.maxima.heap),
            ]
        });
        let numbers = [("$SYS/broker/clients/maximum", self.maxima.clients)]
            .into_iter()
            .chain(heap.into_iter().flatten())
            .chain(clients(&counters, &gauges))
            .chain(doors(&counters, &gauges))
            .chain(transfers(&counters, traffic))
            .chain(holdings(&counters, &gauges, broker.disk()))
            .chain(limited(broker))
            .map(|(topic, number)| (topic, number.to_string()));
        let elapsed = now.since(self.looked);
        self.looked = now;
        let figures: Vec<(&str, String)> = numbers
            .chain(self.loads.update(&counters, traffic, elapsed))
            .chain(self.turns.figures(now))
            .chain(texts(broker.disk(), now.since(self.started)))
            .collect();
        for (topic, value) in figures {
            if self.last.get(topic) != Some(&value) {
                broker.publish_own(topic, value.as_bytes(), true, now);
                self.last.insert(topic, value);
            }
        }
        self.tell_queues(broker, links, now);
    }

    fn tell_links(&mut self, broker: &mut Broker, links: Links<'_, '_>, now: Time) {
        for (base, topics) in self.links.news(broker, links, now) {
            let is_gone = |topic: &String| topic.starts_with(&base) && !topics.contains_key(topic);
            let gone = self.queues.extract_if(|topic, _| is_gone(topic));
            for (topic, _) in gone {
                broker.publish_own(&topic, b"", true, now);
            }
            for (topic, value) in topics {
                if self.queues.get(&topic) != Some(&value) {
                    broker.publish_own(&topic, value.as_bytes(), true, now);
                    self.queues.insert(topic, value);
                }
            }
        }
    }

    /// The topics about queues come and go with bridges and clients.
    fn tell_queues(&mut self, broker: &mut Broker, links: Links<'_, '_>, now: Time) {
        let topics = queues::topics(broker, links, now);
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

fn clients(counters: &Counters, gauges: &Gauges) -> [(&'static str, u64); 7] {
    let away = gauges.clients.saturating_sub(gauges.connected);
    [
        ("$SYS/broker/clients/total", gauges.clients),
        ("$SYS/broker/clients/connected", gauges.connected),
        ("$SYS/broker/clients/active", gauges.connected),
        ("$SYS/broker/clients/disconnected", away),
        ("$SYS/broker/clients/inactive", away),
        ("$SYS/broker/clients/expired", counters.expired),
        ("$SYS/broker/messages/inflight", gauges.inflight),
    ]
}

/// Who is not let in yet, or was not.
fn doors(counters: &Counters, gauges: &Gauges) -> [(&'static str, u64); 4] {
    [
        ("$SYS/broker/connections/logging_in", gauges.logging_in),
        ("$SYS/broker/connections/turned_away", counters.turned_away),
        ("$SYS/broker/connections/refused", counters.refused),
        ("$SYS/broker/connections/locked_out", counters.locked_out),
    ]
}

/// What went in and out.
fn transfers(counters: &Counters, traffic: &Traffic) -> [(&'static str, u64); 10] {
    let sent = counters.packets_sent() + traffic.packets_sent;
    [
        ("$SYS/broker/bytes/received", traffic.bytes_received),
        ("$SYS/broker/bytes/sent", traffic.bytes_sent),
        ("$SYS/broker/messages/received", traffic.packets_received),
        ("$SYS/broker/messages/sent", sent),
        (
            "$SYS/broker/publish/messages/received",
            counters.publish_received,
        ),
        ("$SYS/broker/publish/messages/sent", counters.publish_sent),
        ("$SYS/broker/publish/messages/dropped", counters.dropped()),
        ("$SYS/broker/publish/messages/looped", counters.looped),
        (
            "$SYS/broker/publish/bytes/received",
            counters.publish_bytes_received,
        ),
        (
            "$SYS/broker/publish/bytes/sent",
            counters.publish_bytes_sent,
        ),
    ]
}

/// What the broker holds, and what it has written to keep it.
fn holdings(counters: &Counters, gauges: &Gauges, disk: &Disk) -> [(&'static str, u64); 16] {
    let figures = &disk.figures;
    [
        ("$SYS/broker/retained messages/count", gauges.retained),
        (
            "$SYS/broker/retained messages/refused",
            counters.refused_retained,
        ),
        ("$SYS/broker/subscriptions/count", gauges.subscriptions),
        (
            "$SYS/broker/shared_subscriptions/count",
            gauges.shared_subscriptions,
        ),
        ("$SYS/broker/packet/out/bytes", gauges.bytes_waiting),
        ("$SYS/broker/messages/stored", gauges.queued_messages),
        ("$SYS/broker/store/messages/count", gauges.queued_messages),
        ("$SYS/broker/store/messages/bytes", gauges.queued_bytes),
        ("$SYS/broker/store/messages/unwritten", gauges.never_written),
        ("$SYS/broker/store/file/bytes", figures.bytes),
        ("$SYS/broker/store/commits", counters.commits),
        (
            "$SYS/broker/store/commit_interval_ms",
            gauges.commit_interval,
        ),
        ("$SYS/broker/store/written/budget", gauges.flash_budget),
        ("$SYS/broker/store/written/today", figures.written.today),
        ("$SYS/broker/store/written/total", figures.written.total),
        ("$SYS/broker/store/syncs", figures.syncs),
    ]
}

/// What `memory_limit` counts, all and by part, and what it is; 0 is no limit.
fn limited(broker: &Broker) -> impl Iterator<Item = (&'static str, u64)> {
    let counters = broker.counters();
    let all = [
        ("$SYS/broker/memory/limit", broker.memory_limit()),
        ("$SYS/broker/memory/counted", broker.memory()),
        ("$SYS/broker/memory/refused", counters.refused_for_memory),
        ("$SYS/broker/memory/closed", counters.closed_for_memory),
    ];
    let parts = held::parts().map(|(_, bytes)| bytes);
    all.into_iter().chain(MEMORY_PARTS.into_iter().zip(parts))
}

/// The topics of the parts, in the order of [`held::NAMES`].
const MEMORY_PARTS: [&str; held::NAMES.len()] = [
    "$SYS/broker/memory/part/messages",
    "$SYS/broker/memory/part/retained",
    "$SYS/broker/memory/part/queues",
    "$SYS/broker/memory/part/connections",
    "$SYS/broker/memory/part/outboxes",
    "$SYS/broker/memory/part/half_packets",
    "$SYS/broker/memory/part/sessions",
    "$SYS/broker/memory/part/store",
    "$SYS/broker/memory/part/filters",
    "$SYS/broker/memory/part/tls",
];

fn texts(disk: &Disk, uptime: Duration) -> [(&'static str, String); 3] {
    let version = concat!("footbridge version ", env!("CARGO_PKG_VERSION"));
    [
        ("$SYS/broker/version", version.to_owned()),
        (
            "$SYS/broker/uptime",
            format!("{} seconds", uptime.as_secs()),
        ),
        ("$SYS/broker/store/state", disk.state()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_memory_has_its_topic() {
        for (topic, name) in MEMORY_PARTS.iter().zip(held::NAMES) {
            assert_eq!(*topic, format!("$SYS/broker/memory/part/{name}"));
        }
    }
}
