//! `$SYS` about the uplinks of bridges: what each is at, and what it has moved.

use std::collections::HashMap;

use super::level::level;
use crate::bridge::Status;
use crate::broker::{BridgeId, Broker, UplinkActivity};
use crate::time::Time;

/// Says what the link of a bridge is at; `None` for one that there is not.
pub type Links<'a, 'b> = &'a dyn Fn(BridgeId) -> Option<Status<'b>>;

/// The states that were told last, so that a new one is told at once.
#[derive(Debug, Default)]
pub(super) struct Told(Vec<(BridgeId, &'static str)>);

impl Told {
    /// The links whose state is another one than when this was asked for last: where the topics of each begin,
    /// and all that it has now.
    pub(super) fn news(
        &mut self,
        broker: &Broker,
        links: Links<'_, '_>,
        now: Time,
    ) -> Vec<(String, HashMap<String, String>)> {
        let mut out = Vec::new();
        for bridge in broker.bridges() {
            let Some(status) = links(bridge) else {
                continue;
            };
            let word = status.phase.word();
            match self.0.iter_mut().find(|(known, _)| *known == bridge) {
                Some((_, told)) if *told == word => continue,
                Some((_, told)) => *told = word,
                None => self.0.push((bridge, word)),
            }
            let (base, mut known) = (base(status.name), HashMap::new());
            topics(&base, &status, now, &mut known);
            out.push((base + "/link/", known));
        }
        out
    }
}

/// Where the topics of a bridge begin.
pub(super) fn base(name: &str) -> String {
    format!("$SYS/broker/connection/{}", level(name))
}

/// What a link is at.
pub(super) fn topics(
    base: &str,
    status: &Status<'_>,
    now: Time,
    out: &mut HashMap<String, String>,
) {
    let mut put = |name: &str, value: String| {
        out.insert(format!("{base}/link/{name}"), value);
    };
    let is_up = status.phase.protocol().is_some();
    let error = status.last_error.filter(|_| !is_up).unwrap_or_default();
    put("state", status.phase.word().to_owned());
    put("since", status.since.as_secs().to_string());
    put("error", error.to_owned());
    put(
        "address",
        status.address.map_or(String::new(), ToString::to_string),
    );
    put(
        "protocol",
        status.phase.protocol().unwrap_or_default().to_owned(),
    );
    if let Some(since) = status.down_since {
        put("down_since", since.as_secs().to_string());
    }
    if let Some(at) = status.progress {
        put("progress_seconds", now.since(at).as_secs().to_string());
    }
}

/// What an uplink has moved, and how its queue goes.
pub(super) fn activity(base: &str, activity: &UplinkActivity, out: &mut HashMap<String, String>) {
    let mut put = |name: &str, value: String| {
        out.insert(format!("{base}/{name}"), value);
    };
    for (name, value) in [
        ("sent/messages", activity.sent.messages),
        ("sent/bytes", activity.sent.bytes),
        ("received/messages", activity.received.messages),
        ("received/bytes", activity.received.bytes),
        ("wire/today", activity.today),
        ("wire/month", activity.this_month),
    ] {
        put(name, value.to_string());
    }
    put("rate/out", format!("{:.1}", activity.rates.out));
    put("rate/in", format!("{:.1}", activity.rates.inward));
    for (name, span) in [
        ("queue/drain_seconds", activity.drains_in),
        ("queue/room_seconds", activity.fills_in),
    ] {
        if let Some(span) = span {
            put(name, span.as_secs().to_string());
        }
    }
}
