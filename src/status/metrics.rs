//! The figures in Prometheus' text format: names and units by its conventions, HELP and TYPE before each.
//!
//! Labels are bridges, the numbers of their `topic` lines, reasons and parts: as many as the configuration
//! makes, and never a client or a topic, so that neither clients nor messages make the answer grow, and who
//! reads it without a login learns neither.

use std::fmt::{self, Write as _};

use super::{Links, Traffic, memory};
use crate::bridge::{Phase, Status};
use crate::broker::{BridgeQueue, Broker, Counters, Disk, DropReason, Gauges, LineQueue};
use crate::held;
use crate::store::DropRecord;
use crate::time::Time;

/// The content type of the text.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How a figure behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It counts from the start of the process.
    Counter,
    /// It counts, and goes on after a restart.
    Kept,
    /// It goes up and down.
    Gauge,
}
use Kind::{Counter, Gauge, Kept};

/// A figure: its name, how it behaves, its help, and where it is; `None`: it is not known now.
type Row<Look> = (&'static str, Kind, &'static str, Look);
type OfBroker = Row<fn(&Seen<'_>) -> Option<u64>>;
type OfBridge = Row<fn(&Bridge<'_>) -> Option<u64>>;
type OfMapping = Row<fn(&LineQueue<'_>) -> Option<u64>>;

/// What the figures of the broker are taken from.
struct Seen<'a> {
    counters: Counters,
    gauges: Gauges,
    traffic: &'a Traffic,
    disk: &'a Disk,
    broker: &'a Broker,
    started: Time,
}

/// What the figures of a bridge are taken from.
struct Bridge<'a> {
    queue: BridgeQueue<'a>,
    link: Option<Status<'a>>,
}

#[rustfmt::skip]
const BROKER: &[OfBroker] = &[
    ("footbridge_start_time_seconds", Gauge, "When the broker started, on its clock, in seconds since 1970.", |s| Some(s.started.as_secs())),
    ("footbridge_clients_connected", Gauge, "Clients and bridges that are connected.", |s| Some(s.gauges.connected)),
    ("footbridge_sessions", Gauge, "Sessions, connected or not.", |s| Some(s.gauges.clients)),
    ("footbridge_sessions_expired_total", Counter, "Sessions that have expired.", |s| Some(s.counters.expired)),
    ("footbridge_sockets_accepted_total", Counter, "Connections that listeners have accepted.", |s| Some(s.traffic.sockets)),
    ("footbridge_connects_total", Counter, "CONNECT packets that were accepted.", |s| Some(s.counters.connects)),
    ("footbridge_connects_refused_total", Counter, "CONNECT packets that were refused.", |s| Some(s.counters.refused)),
    ("footbridge_connects_locked_out_total", Counter, "CONNECT packets that were refused after too many wrong passwords.", |s| Some(s.counters.locked_out)),
    ("footbridge_connections_turned_away_total", Counter, "Connections that were closed before CONNECT for a bound.", |s| Some(s.counters.turned_away)),
    ("footbridge_logins_under_way", Gauge, "Clients whose login is under way.", |s| Some(s.gauges.logging_in)),
    ("footbridge_network_received_bytes_total", Counter, "Bytes read from sockets.", |s| Some(s.traffic.bytes_received)),
    ("footbridge_network_sent_bytes_total", Counter, "Bytes written to sockets.", |s| Some(s.traffic.bytes_sent)),
    ("footbridge_packets_received_total", Counter, "MQTT packets received.", |s| Some(s.traffic.packets_received)),
    ("footbridge_packets_sent_total", Counter, "MQTT packets sent.", |s| Some(s.counters.packets_sent() + s.traffic.packets_sent)),
    ("footbridge_publish_received_total", Counter, "PUBLISH packets received.", |s| Some(s.counters.publish_received)),
    ("footbridge_publish_sent_total", Counter, "PUBLISH packets sent.", |s| Some(s.counters.publish_sent)),
    ("footbridge_publish_received_bytes_total", Counter, "Payload bytes of the PUBLISH packets received.", |s| Some(s.counters.publish_bytes_received)),
    ("footbridge_publish_sent_bytes_total", Counter, "Payload bytes of the PUBLISH packets sent.", |s| Some(s.counters.publish_bytes_sent)),
    ("footbridge_publish_denied_total", Counter, "PUBLISH packets that the access rules forbade.", |s| Some(s.counters.denied)),
    ("footbridge_publish_looped_total", Counter, "Messages that had gone round over several bridges and were cut.", |s| Some(s.counters.looped)),
    ("footbridge_publish_refused_total", Counter, "QoS 1 and 2 messages that were refused because a queue was full.", |s| Some(s.counters.refused_full)),
    ("footbridge_messages_inflight", Gauge, "QoS 1 and 2 messages that were sent and are not acknowledged.", |s| Some(s.gauges.inflight)),
    ("footbridge_queue_messages", Gauge, "Messages queued or in flight, once for each receiver.", |s| Some(s.gauges.queued_messages)),
    ("footbridge_queue_bytes", Gauge, "Their bytes.", |s| Some(s.gauges.queued_bytes)),
    ("footbridge_outbox_bytes", Gauge, "Bytes of packets that peers have not taken yet.", |s| Some(s.gauges.bytes_waiting)),
    ("footbridge_subscriptions", Gauge, "Subscriptions, shared ones included.", |s| Some(s.gauges.subscriptions)),
    ("footbridge_retained_messages", Gauge, "Retained messages.", |s| Some(s.gauges.retained)),
    ("footbridge_retained_refused_total", Counter, "Messages that were not retained because their client has as many as it may.", |s| Some(s.counters.refused_retained)),
    ("footbridge_store_working", Gauge, "1 while the store takes what must be stored, 0 while its disk is full or fails.", |s| Some(u64::from(s.disk.is_ok()))),
    ("footbridge_store_file_bytes", Gauge, "Size of the store's file.", |s| Some(s.disk.figures.bytes)),
    ("footbridge_store_commits_total", Counter, "Commits of the store.", |s| Some(s.counters.commits)),
    ("footbridge_store_syncs_total", Counter, "Times that the disk was asked to have everything written.", |s| Some(s.disk.figures.syncs)),
    ("footbridge_store_written_bytes_total", Kept, "Bytes written to the disk of the store.", |s| Some(s.disk.figures.written.total)),
    ("footbridge_store_written_today_bytes", Gauge, "Bytes written to the disk of the store today, on the broker's clock.", |s| Some(s.disk.figures.written.today)),
    ("footbridge_store_budget_bytes", Gauge, "flash_budget: what may be written a day before commits become rarer; 0 is none.", |s| Some(s.gauges.flash_budget)),
    ("footbridge_store_unwritten_messages_total", Counter, "Messages that reached all who were owed them before they had to be written.", |s| Some(s.gauges.never_written)),
    ("footbridge_memory_heap_bytes", Gauge, "Heap and stacks of the process in RAM (RssAnon).", |_| memory::heap()),
    ("footbridge_memory_limit_bytes", Gauge, "memory_limit; 0 is no limit.", |s| Some(s.broker.memory_limit())),
    ("footbridge_memory_counted_bytes", Gauge, "What memory_limit counts.", |s| Some(s.broker.memory())),
    ("footbridge_memory_refused_total", Counter, "Sessions, subscriptions and retained values that were refused for lack of memory.", |s| Some(s.counters.refused_for_memory)),
    ("footbridge_memory_closed_total", Counter, "Connections that were closed for lack of memory.", |s| Some(s.counters.closed_for_memory)),
];

#[rustfmt::skip]
const BRIDGES: &[OfBridge] = &[
    ("footbridge_bridge_up", Gauge, "1 while the bridge is connected to its upstream.", |b| Some(u64::from(b.link.as_ref()?.phase.protocol().is_some()))),
    ("footbridge_bridge_state_timestamp_seconds", Gauge, "Since when the bridge has been in its state, on the broker's clock.", |b| Some(b.link.as_ref()?.since.as_secs())),
    ("footbridge_bridge_progress_timestamp_seconds", Gauge, "When the upstream last answered or acknowledged something, on the broker's clock.", |b| Some(b.link.as_ref()?.progress?.as_secs())),
    ("footbridge_bridge_queue_messages", Gauge, "Messages that the upstream is owed.", |b| Some(b.queue.owed.messages)),
    ("footbridge_bridge_queue_bytes", Gauge, "Their bytes: topic, properties and payload.", |b| Some(b.queue.owed.bytes)),
    ("footbridge_bridge_queue_oldest_seconds", Gauge, "How long the oldest of them has waited.", |b| Some(b.queue.oldest.map_or(0, |age| age.as_secs()))),
    ("footbridge_bridge_queue_drain_seconds", Gauge, "How long until nothing waits, at the pace of the last minute; absent while the queue does not shrink.", |b| Some(b.queue.activity.drains_in?.as_secs())),
    ("footbridge_bridge_queue_room_seconds", Gauge, "How long the queue has room, as it grows now; absent while it does not.", |b| Some(b.queue.activity.fills_in?.as_secs())),
    ("footbridge_bridge_dropped_messages_total", Kept, "Messages that were dropped on the way to the upstream.", |b| Some(dropped(b.queue.dropped.as_ref()))),
    ("footbridge_bridge_refused_messages_total", Counter, "Messages that their publishers were refused because the queue is full.", |b| Some(b.queue.refused)),
    ("footbridge_bridge_put_back_messages_total", Counter, "Messages that the upstream has refused for now.", |b| Some(b.queue.put_back)),
    ("footbridge_bridge_paused_mappings", Gauge, "Topic lines that wait because the upstream refuses their messages.", |b| Some(b.queue.paused)),
    ("footbridge_bridge_dead_letters", Gauge, "Messages that were set aside because the upstream never takes them.", |b| Some(b.queue.dead.messages)),
    ("footbridge_bridge_dead_letter_bytes", Gauge, "Their bytes.", |b| Some(b.queue.dead.bytes)),
    ("footbridge_bridge_window_limited", Gauge, "1 while how much may be under way to the upstream limits the link.", |b| Some(u64::from(b.queue.window.as_ref()?.is_limit))),
    ("footbridge_bridge_sent_messages_total", Counter, "Messages that the upstream has acknowledged, or was sent at QoS 0.", |b| Some(b.queue.activity.sent.messages)),
    ("footbridge_bridge_sent_bytes_total", Counter, "Their payload bytes.", |b| Some(b.queue.activity.sent.bytes)),
    ("footbridge_bridge_received_messages_total", Counter, "Messages that have come from the upstream.", |b| Some(b.queue.activity.received.messages)),
    ("footbridge_bridge_received_bytes_total", Counter, "Their payload bytes.", |b| Some(b.queue.activity.received.bytes)),
    ("footbridge_bridge_wire_today_bytes", Gauge, "Bytes over the socket of the uplink today, both ways, TLS included. Survives restarts.", |b| Some(b.queue.activity.today)),
    ("footbridge_bridge_wire_month_bytes", Gauge, "Bytes over the socket of the uplink this month, both ways, TLS included. Survives restarts.", |b| Some(b.queue.activity.this_month)),
];

#[rustfmt::skip]
const MAPPINGS: &[OfMapping] = &[
    ("footbridge_bridge_mapping_queue_messages", Gauge, "Messages of a topic line that the upstream is owed; mapping is the place of the line.", |l| Some(l.owed.messages)),
    ("footbridge_bridge_mapping_queue_bytes", Gauge, "Their bytes: topic, properties and payload.", |l| Some(l.owed.bytes)),
    ("footbridge_bridge_mapping_dropped_messages_total", Kept, "Messages of a topic line that were dropped.", |l| Some(dropped(l.dropped.as_ref()))),
    ("footbridge_bridge_mapping_paused", Gauge, "1 while the messages of a topic line wait because the upstream refuses them.", |l| Some(u64::from(l.paused.is_some()))),
];

fn dropped(record: Option<&DropRecord>) -> u64 {
    record.map_or(0, |dropped| dropped.messages)
}

/// All figures at `now`, of a broker that runs since `started`.
pub(super) fn metrics(
    broker: &Broker,
    traffic: &Traffic,
    links: Links<'_, '_>,
    (started, now): (Time, Time),
) -> String {
    let seen = Seen {
        counters: broker.counters(),
        gauges: broker.gauges(),
        traffic,
        disk: broker.disk(),
        broker,
        started,
    };
    let bridges: Vec<Bridge<'_>> = broker
        .bridge_queues(now)
        .map(|queue| Bridge {
            link: links(queue.bridge),
            queue,
        })
        .collect();
    let mut text = Text::default();
    text.of_broker(&seen);
    text.of_bridges(&bridges);
    text.0
}

/// The text as it grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn of_broker(&mut self, seen: &Seen<'_>) {
        let version = "footbridge_build_info";
        self.head(version, Gauge, "The version of the broker; always 1.");
        self.sample(version, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        for (name, kind, help, value) in BROKER {
            if let Some(value) = value(seen) {
                self.head(name, *kind, help);
                self.sample(name, &[], value);
            }
        }
        let interval = "footbridge_store_commit_interval_seconds";
        self.head(
            interval,
            Gauge,
            "How long a message waits for its receivers before it is written.",
        );
        let seconds = seen.gauges.commit_interval as f64 / 1000.0;
        self.sample(interval, &[], seconds);
        let dropped = "footbridge_publish_dropped_total";
        self.head(dropped, Counter, "Messages that were dropped, by reason.");
        for reason in DropReason::ALL {
            let count = seen.counters.dropped_for(reason);
            self.sample(dropped, &[("reason", reason.name())], count);
        }
        let part = "footbridge_memory_part_bytes";
        self.head(part, Gauge, "What memory_limit counts, by part.");
        for (name, bytes) in held::parts() {
            self.sample(part, &[("part", name)], bytes);
        }
    }

    fn of_bridges(&mut self, bridges: &[Bridge<'_>]) {
        if bridges.is_empty() {
            return;
        }
        let state = "footbridge_bridge_state";
        self.head(state, Gauge, "1 for the state that the bridge is in.");
        for Bridge { queue, link } in bridges {
            let Some(link) = link else {
                continue;
            };
            let is_in = link.phase.word();
            for word in Phase::WORDS {
                let labels = [("bridge", queue.name), ("state", word)];
                self.sample(state, &labels, u64::from(word == is_in));
            }
        }
        for (name, kind, help, value) in BRIDGES {
            self.head(name, *kind, help);
            for bridge in bridges {
                if let Some(value) = value(bridge) {
                    self.sample(name, &[("bridge", bridge.queue.name)], value);
                }
            }
        }
        for (name, kind, help, value) in MAPPINGS {
            self.head(name, *kind, help);
            for Bridge { queue, .. } in bridges {
                for line in &queue.lines {
                    let place = line.number.to_string();
                    let labels = [("bridge", queue.name), ("mapping", place.as_str())];
                    if let Some(value) = value(line) {
                        self.sample(name, &labels, value);
                    }
                }
            }
        }
    }

    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let kept = if kind == Kept {
            " Survives restarts."
        } else {
            ""
        };
        let kind = if kind == Gauge { "gauge" } else { "counter" };
        // A String takes everything.
        let _ = writeln!(self.0, "# HELP {name} {help}{kept}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.0.push_str(name);
        let mut before = '{';
        for (label, text) in labels {
            let _ = write!(self.0, "{before}{label}=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
            before = ',';
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names() -> impl Iterator<Item = (&'static str, Kind, &'static str)> {
        let of_broker = BROKER
            .iter()
            .map(|(name, kind, help, _)| (*name, *kind, *help));
        let of_bridges = BRIDGES
            .iter()
            .map(|(name, kind, help, _)| (*name, *kind, *help));
        let of_mappings = MAPPINGS
            .iter()
            .map(|(name, kind, help, _)| (*name, *kind, *help));
        of_broker.chain(of_bridges).chain(of_mappings)
    }

    /// The conventions at prometheus.io/docs/practices/naming.
    #[test]
    fn names_are_as_prometheus_has_them() {
        let mut seen = HashSet::new();
        for (name, kind, help) in names() {
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("footbridge_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind != Gauge, "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}");
            for unit in ["_ms", "_us", "_minutes", "_kb"] {
                assert!(!name.contains(unit), "{name}");
            }
        }
    }

    #[test]
    fn labels_are_escaped_and_counters_that_stay_say_so() {
        let mut text = Text::default();
        text.head("a_total", Kept, "What.");
        text.sample("a_total", &[("b", "x\"y\\z\n"), ("c", "")], 5);
        text.sample("a_total", &[], 0.5);
        assert_eq!(
            text.0,
            "# HELP a_total What. Survives restarts.\n# TYPE a_total counter\n\
             a_total{b=\"x\\\"y\\\\z\\n\",c=\"\"} 5\na_total 0.5\n"
        );
    }
}
