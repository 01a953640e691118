//! `$SYS` about queues: the bridges', and of clients those on the way to which something was
//! dropped.

use std::collections::HashMap;

use super::level::level;
use super::links::{self, Links};
use crate::broker::{BridgeQueue, Broker, DropReason, LineQueue};
use crate::store::DropRecord;
use crate::time::Time;

/// At most so many clients have a topic of their own.
const MAX_CLIENTS: usize = 100;

/// All topics about queues with their values.
pub(super) fn topics(broker: &Broker, links: Links<'_, '_>, now: Time) -> HashMap<String, String> {
    let mut out = HashMap::new();
    for queue in broker.bridge_queues(now) {
        let base = links::base(queue.name);
        bridge(&base, &queue, &mut out);
        links::activity(&base, &queue.activity, &mut out);
        if let Some(status) = links(queue.bridge) {
            links::topics(&base, &status, now, &mut out);
        }
    }
    for client in broker.client_drops().take(MAX_CLIENTS) {
        let id = level(client.client_id);
        let topic = |name: &str| format!("$SYS/broker/client/{id}/{name}");
        if let Some(dropped) = &client.dropped {
            out.insert(topic("dropped"), json(dropped));
        }
        if client.refused > 0 {
            out.insert(topic("refused"), client.refused.to_string());
        }
    }
    out
}

fn bridge(base: &str, queue: &BridgeQueue<'_>, out: &mut HashMap<String, String>) {
    let dropped = queue.dropped.map_or(0, |dropped| dropped.messages);
    for (name, value) in [
        ("messages", queue.owed.messages),
        ("bytes", queue.owed.bytes),
        (
            "oldest_seconds",
            queue.oldest.map_or(0, |age| age.as_secs()),
        ),
        ("dropped", dropped),
        ("refused", queue.refused),
        ("put_back", queue.put_back),
        ("paused", queue.paused),
        ("dead_letters", queue.dead.messages),
        ("dead_letter_bytes", queue.dead.bytes),
    ] {
        out.insert(format!("{base}/queue/{name}"), value.to_string());
    }
    for (name, value) in [
        ("syncing", u64::from(queue.is_syncing)),
        ("synced", queue.synced),
    ] {
        out.insert(format!("{base}/retained/{name}"), value.to_string());
    }
    if let Some(window) = queue.window {
        for (name, value) in [
            ("messages", window.messages.into()),
            ("bytes", window.bytes),
            ("limits", u64::from(window.is_limit)),
        ] {
            out.insert(format!("{base}/window/{name}"), value.to_string());
        }
    }
    if !queue.given_up.is_empty() {
        let known = queue.given_up.iter();
        let known = known.map(|known| format!("{} ({})", known.feature, known.why));
        out.insert(
            format!("{base}/without"),
            known.collect::<Vec<_>>().join("; "),
        );
    }
    for line in &queue.lines {
        self::line(base, line, out);
    }
}

fn line(base: &str, line: &LineQueue<'_>, out: &mut HashMap<String, String>) {
    let mut put = |name: &str, value: String| {
        out.insert(format!("{base}/topic/{}/{name}", line.number), value);
    };
    put("filter", line.pattern.to_owned());
    put("messages", line.owed.messages.to_string());
    put("bytes", line.owed.bytes.to_string());
    let dropped = line.dropped.map_or(0, |dropped| dropped.messages);
    put("dropped", dropped.to_string());
    put("paused", u64::from(line.paused.is_some()).to_string());
    if let Some(paused) = &line.paused {
        put("paused_reason", paused.reason.to_string());
        put("paused_since", paused.since.as_secs().to_string());
        put("paused_until", paused.until.as_secs().to_string());
    }
    if let Some(dropped) = &line.dropped {
        put("dropped_first", dropped.first.as_secs().to_string());
        put("dropped_last", dropped.last.as_secs().to_string());
        put("dropped_reason", DropReason::name_of(dropped).to_owned());
    }
}

/// A record in one line.
fn json(dropped: &DropRecord) -> String {
    format!(
        "{{\"messages\":{},\"bytes\":{},\"reason\":\"{}\",\"first\":{},\"last\":{}}}",
        dropped.messages,
        dropped.bytes,
        DropReason::name_of(dropped),
        dropped.first.as_secs(),
        dropped.last.as_secs()
    )
}
