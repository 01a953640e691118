//! What `footbridge status` asks for: the figures of the broker, and those of a bridge, as JSON.

use super::sys::Sys;
use super::{Traffic, memory};
use crate::bridge::Status;
use crate::broker::{BridgeQueue, Broker, DropReason};
use crate::held;
use crate::json::Value;
use crate::store::DropRecord;
use crate::time::Time;

impl Sys {
    /// The figures of the broker.
    pub fn overview(&self, broker: &Broker, traffic: &Traffic, now: Time) -> Value {
        let (counters, gauges) = (broker.counters(), broker.gauges());
        let figures = &broker.disk().figures;
        let memory = [
            ("limit", broker.memory_limit().into()),
            ("counted", broker.memory().into()),
            ("resident", memory::resident().into()),
            ("refused", counters.refused_for_memory.into()),
            ("closed", counters.closed_for_memory.into()),
            (
                "parts",
                Value::object(held::parts().map(|(name, n)| (name, n.into()))),
            ),
        ];
        let store = [
            ("state", broker.disk().state().into()),
            ("file_bytes", figures.bytes.into()),
            ("messages", gauges.queued_messages.into()),
            ("bytes", gauges.queued_bytes.into()),
            ("written_today", figures.written.today.into()),
            ("written_total", figures.written.total.into()),
        ];
        let clients = [
            ("connected", gauges.connected.into()),
            (
                "away",
                gauges.clients.saturating_sub(gauges.connected).into(),
            ),
            ("logging_in", gauges.logging_in.into()),
        ];
        let messages = [
            ("received", counters.publish_received.into()),
            ("sent", counters.publish_sent.into()),
            ("retained", gauges.retained.into()),
            (
                "rate_in",
                self.a_second("$SYS/broker/load/publish/received/1min"),
            ),
            (
                "rate_out",
                self.a_second("$SYS/broker/load/publish/sent/1min"),
            ),
        ];
        let bytes = [
            ("received", traffic.bytes_received.into()),
            ("sent", traffic.bytes_sent.into()),
        ];
        let longest = self.told("$SYS/broker/turn/1min/longest_us");
        let turn = [
            (
                "longest_us",
                longest.and_then(|n| n.parse::<u64>().ok()).into(),
            ),
            ("cause", self.told("$SYS/broker/turn/1min/cause").into()),
        ];
        let dropped = DropReason::ALL.into_iter().filter_map(|reason| {
            let count = counters.dropped_for(reason);
            (count > 0).then(|| (reason.name().to_owned(), Value::from(count)))
        });
        Value::object([
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("uptime_seconds", now.since(self.started()).as_secs().into()),
            ("since", self.started().as_secs().into()),
            ("memory", Value::object(memory)),
            ("store", Value::object(store)),
            ("clients", Value::object(clients)),
            ("messages", Value::object(messages)),
            ("bytes", Value::object(bytes)),
            ("turn", Value::object(turn)),
            ("dropped", Value::Object(dropped.collect())),
        ])
    }

    /// What `$SYS` tells a minute, a second; null where it is turned off.
    fn a_second(&self, topic: &str) -> Value {
        let a_minute = self.told(topic).and_then(|value| value.parse::<f64>().ok());
        a_minute.map_or(Value::Null, |a_minute| tenths(a_minute / 60.0))
    }
}

/// The figures of a bridge, whose link is at `status`.
pub fn bridge(queue: &BridgeQueue<'_>, status: Option<&Status<'_>>, now: Time) -> Value {
    let (activity, passed) = (&queue.activity, |at: Time| now.since(at).as_secs());
    let phase = status.map(|status| status.phase);
    let protocol = phase.and_then(|phase| phase.protocol());
    let error = status.and_then(|status| status.last_error);
    let error = error.filter(|_| protocol.is_none());
    let dropped = |record: Option<DropRecord>| record.map_or(0, |record| record.messages);
    let waits = [
        ("messages", queue.owed.messages.into()),
        ("bytes", queue.owed.bytes.into()),
        (
            "oldest_seconds",
            queue.oldest.map(|age| age.as_secs()).into(),
        ),
        (
            "drain_seconds",
            activity.drains_in.map(|span| span.as_secs()).into(),
        ),
        (
            "room_seconds",
            activity.fills_in.map(|span| span.as_secs()).into(),
        ),
        ("dropped", dropped(queue.dropped).into()),
        (
            "dropped_reason",
            queue.dropped.as_ref().map(DropReason::name_of).into(),
        ),
        ("refused", queue.refused.into()),
        ("paused", queue.paused.into()),
        ("dead_letters", queue.dead.messages.into()),
    ];
    let link = [
        ("state", phase.map(|phase| phase.word()).into()),
        (
            "state_seconds",
            status.map(|status| passed(status.since)).into(),
        ),
        (
            "down_seconds",
            status
                .and_then(|status| status.down_since)
                .map(passed)
                .into(),
        ),
        (
            "progress_seconds",
            status.and_then(|status| status.progress).map(passed).into(),
        ),
        ("error", error.into()),
        (
            "address",
            status
                .and_then(|status| Some(status.address?.to_string()))
                .into(),
        ),
        ("protocol", protocol.into()),
    ];
    let moved = [
        ("sent", activity.sent.messages.into()),
        ("received", activity.received.messages.into()),
        ("rate_out", tenths(activity.rates.out)),
        ("rate_in", tenths(activity.rates.inward)),
        ("wire_today", activity.today.into()),
        ("wire_month", activity.this_month.into()),
    ];
    Value::object([
        ("name", queue.name.into()),
        ("link", Value::object(link)),
        ("queue", Value::object(waits)),
        ("moved", Value::object(moved)),
    ])
}

/// A number with one place behind the point.
fn tenths(number: f64) -> Value {
    Value::Number(format!("{number:.1}"))
}
