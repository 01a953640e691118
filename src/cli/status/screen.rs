//! The figures for people: what needs one on top, then each bridge, then the broker.

use std::fmt::Write as _;

use super::overview::{Overview, number, optional, text};
use super::troubles;
use crate::cli::amounts::{bytes, span};
use crate::config::printable::printable;
use crate::json::Value;

/// The screen: with a bridge or two it has room on 80 columns and 24 lines.
pub(super) fn text_of(overview: &Overview) -> String {
    let mut out = String::new();
    let troubles = troubles::all(overview);
    if troubles.is_empty() {
        out.push_str("Everything works.\n");
    }
    for line in troubles {
        // Writing to a string does not fail, here and below.
        let _ = writeln!(out, "! {line}");
    }
    for one in &overview.bridges {
        out.push('\n');
        bridge(one, &mut out);
    }
    out.push('\n');
    broker(&overview.broker, &mut out);
    out
}

fn line(out: &mut String, name: &str, what: &str) {
    let _ = writeln!(out, "{name:<9} {what}");
}

fn bridge(bridge: &Value, out: &mut String) {
    let name = bridge.get("name").and_then(Value::as_text);
    let name = printable(name.unwrap_or_default());
    line(out, "bridge", &format!("{name}: {}", state(bridge)));
    let queue = |member| number(bridge, ["queue", member]);
    let waits = match queue("messages") {
        0 => "nothing".to_owned(),
        messages => format!(
            "{messages} messages, {}, the oldest {} old{}{}",
            bytes(queue("bytes")),
            span(queue("oldest_seconds")),
            ahead(bridge, "drain_seconds", "all sent in"),
            ahead(bridge, "room_seconds", "room for")
        ),
    };
    line(out, "  waiting", &waits);
    line(
        out,
        "  moved",
        &format!(
            "{}/s out, {}/s in; {} sent, {} received since start",
            decimal(bridge, ["moved", "rate_out"]),
            decimal(bridge, ["moved", "rate_in"]),
            number(bridge, ["moved", "sent"]),
            number(bridge, ["moved", "received"])
        ),
    );
    line(
        out,
        "  uplink",
        &format!(
            "{} today, {} this month; the upstream answered {} ago",
            bytes(number(bridge, ["moved", "wire_today"])),
            bytes(number(bridge, ["moved", "wire_month"])),
            optional(bridge, ["link", "progress_seconds"]).map_or("never".to_owned(), span)
        )
        .replace("answered never ago", "never answered"),
    );
}

fn state(bridge: &Value) -> String {
    let address = printable(text(bridge, ["link", "address"]));
    let since = span(number(bridge, ["link", "state_seconds"]));
    match text(bridge, ["link", "state"]) {
        "up" => format!(
            "up for {since}, MQTT {} at {address}",
            printable(text(bridge, ["link", "protocol"]))
        ),
        "waiting" => format!("not connected, tries {address} again soon"),
        "connecting" => format!("connecting to {address} for {since}"),
        "handshake" => format!("waiting for CONNACK of {address} for {since}"),
        "stopped" => format!("stopped by command for {since}"),
        "idle" => format!("idle for {since} (start_type lazy)"),
        "manual" => "not started (start_type manual)".to_owned(),
        "once" => "not connected again (start_type once)".to_owned(),
        // Of a later version.
        other => printable(other).into_owned(),
    }
}

fn ahead(bridge: &Value, member: &str, words: &str) -> String {
    let seconds = optional(bridge, ["queue", member]);
    seconds.map_or(String::new(), |seconds| {
        format!("; {words} {}", span(seconds))
    })
}

/// A number with a point, as the broker has written it; `?` where it is not known.
fn decimal<'a>(value: &'a Value, [object, member]: [&str; 2]) -> &'a str {
    match value.get(object).and_then(|object| object.get(member)) {
        Some(Value::Number(digits)) => digits,
        _ => "?",
    }
}

fn broker(broker: &Value, out: &mut String) {
    let plain = |name| broker.get(name).and_then(Value::as_u64).unwrap_or(0);
    let version = broker.get("version").and_then(Value::as_text);
    let version = printable(version.unwrap_or("?")).into_owned();
    let up = span(plain("uptime_seconds"));
    line(out, "broker", &format!("footbridge {version}, up {up}"));
    let of = |object, member| number(broker, [object, member]);
    let (connected, away) = (of("clients", "connected"), of("clients", "away"));
    line(
        out,
        "clients",
        &format!("{connected} connected, {away} away"),
    );
    let rates = format!(
        "{}/s in, {}/s out; {} retained",
        decimal(broker, ["messages", "rate_in"]),
        decimal(broker, ["messages", "rate_out"]),
        of("messages", "retained")
    );
    line(out, "messages", &rates);
    line(out, "dropped", &dropped(broker));
    let limit = match of("memory", "limit") {
        0 => "no limit".to_owned(),
        limit => bytes(limit),
    };
    let memory = format!(
        "{} in RAM; {} counted, memory_limit {limit}",
        optional(broker, ["memory", "resident"]).map_or("?".to_owned(), bytes),
        bytes(of("memory", "counted"))
    );
    line(out, "memory", &memory);
    let state = printable(text(broker, ["store", "state"])).into_owned();
    let store = format!(
        "{state}, file {}, {} messages wait ({})",
        bytes(of("store", "file_bytes")),
        of("store", "messages"),
        bytes(of("store", "bytes"))
    );
    line(out, "store", &store);
    let written = format!(
        "{} today, {} since install",
        bytes(of("store", "written_today")),
        bytes(of("store", "written_total"))
    );
    line(out, "flash", &written);
    if let Some(micros) = optional(broker, ["turn", "longest_us"]) {
        let cause = printable(text(broker, ["turn", "cause"]));
        let millis = micros as f64 / 1e3;
        line(
            out,
            "longest",
            &format!("turn in the last minute {millis:.1} ms ({cause})"),
        );
    }
}

fn dropped(broker: &Value) -> String {
    let Some(Value::Object(reasons)) = broker.get("dropped") else {
        return "?".to_owned();
    };
    if reasons.is_empty() {
        return "nothing since start".to_owned();
    }
    let each = reasons.iter().map(|(reason, count)| {
        let count = count.as_u64().unwrap_or(0);
        format!("{count} {}", printable(reason))
    });
    format!("since start: {}", each.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: &str = r#"{"version":"1","uptime_seconds":7200,"memory":{"limit":0,"counted":2048,
        "resident":4096},"store":{"state":"ok","file_bytes":0,"messages":3,"bytes":36,"written_today":0,
        "written_total":1048576},"clients":{"connected":2,"away":1},"messages":{"retained":5,
        "rate_in":1.5,"rate_out":null},"dropped":{"expired":7},
        "turn":{"longest_us":1500,"cause":"the store"}}"#;
    const UP: &str = r#"{"name":"cloud","link":{"state":"up","state_seconds":300,"down_seconds":null,
        "progress_seconds":1,"error":null,"address":"u:8883","protocol":"5"},"queue":{"messages":3,
        "bytes":36,"oldest_seconds":4,"drain_seconds":9,"room_seconds":null,"dropped":0,"refused":0,
        "paused":0,"dead_letters":0},"moved":{"sent":10,"received":1,"rate_out":12.0,"rate_in":0.1,
        "wire_today":2048,"wire_month":4096}}"#;

    fn screen(broker: &str, bridges: &[&str]) -> String {
        text_of(&Overview {
            broker: Value::parse(broker).unwrap(),
            bridges: bridges
                .iter()
                .map(|one| Value::parse(one).unwrap())
                .collect(),
        })
    }

    #[test]
    fn everything_works() {
        let text = screen(BROKER, &[UP, UP]);
        assert_eq!(
            screen(BROKER, &[UP]),
            "Everything works.\n\n\
             bridge    cloud: up for 5 min, MQTT 5 at u:8883\n\
             \u{20} waiting 3 messages, 36 bytes, the oldest 4 s old; all sent in 9 s\n\
             \u{20} moved   12.0/s out, 0.1/s in; 10 sent, 1 received since start\n\
             \u{20} uplink  2.0 KB today, 4.0 KB this month; the upstream answered 1 s ago\n\n\
             broker    footbridge 1, up 2 h\n\
             clients   2 connected, 1 away\n\
             messages  1.5/s in, ?/s out; 5 retained\n\
             dropped   since start: 7 expired\n\
             memory    4.0 KB in RAM; 2.0 KB counted, memory_limit no limit\n\
             store     ok, file 0 bytes, 3 messages wait (36 bytes)\n\
             flash     0 bytes today, 1.0 MB since install\n\
             longest   turn in the last minute 1.5 ms (the store)\n"
        );
        assert!(text.lines().count() <= 24 && text.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn the_worst_is_on_top() {
        let away = UP
            .replace("\"up\"", "\"waiting\"")
            .replace("\"down_seconds\":null", "\"down_seconds\":10800")
            .replace("\"error\":null", "\"error\":\"refused\\u001b\"")
            .replace("\"room_seconds\":null", "\"room_seconds\":600")
            .replace(
                "\"dropped\":0",
                "\"dropped\":3,\"dropped_reason\":\"expired\"",
            );
        let broker = BROKER.replace("\"ok\"", "\"full\"");
        let text = screen(&broker, &[UP, &away]);
        let lines: Vec<&str> = text.lines().take(5).collect();
        assert_eq!(
            lines,
            [
                "! The store is full.",
                "! Bridge cloud: its queue is full in 10 min.",
                "! Bridge cloud: not connected for 3 h: refused\\u{1b}.",
                "! Bridge cloud: 3 messages dropped, the last as expired.",
                "",
            ]
        );
    }

    /// A later or an older broker may leave things out.
    #[test]
    fn what_is_missing_does_no_harm() {
        assert!(screen("{}", &["{}"]).contains("broker    footbridge ?"));
        assert!(screen("null", &["[]"]).contains("Everything works."));
    }
}
