//! Clients for people: a line each, or all about one.

use std::fmt::Write as _;

use crate::cli::amounts::{bytes, span};
use crate::cli::control::Answered;
use crate::config::printable::printable;
use crate::json::Value;

/// Longer client ids stand out of their column, in characters.
const WIDEST: usize = 32;

fn text(item: &Value, name: &str) -> String {
    let text = item.get(name).and_then(Value::as_text).unwrap_or_default();
    printable(text).into_owned()
}

fn count(item: &Value, name: &str) -> u64 {
    item.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// Adds to a client how much it has published lately: what the list of `topics` has of it.
pub(super) fn add_rate(item: &mut Value, rates: &Answered) {
    let Some(Value::List(talkers)) = rates.said.get("clients") else {
        return;
    };
    let id = item
        .get("client")
        .and_then(Value::as_text)
        .map(str::to_owned);
    let name = |talker: &&Value| {
        talker
            .get("name")
            .and_then(Value::as_text)
            .map(str::to_owned)
            == id
    };
    let published = talkers
        .iter()
        .find(name)
        .map_or(0, |t| count(t, "messages"));
    if let Value::Object(members) = item {
        let seconds = count(&rates.said, "seconds");
        members.push(("published".to_owned(), published.into()));
        members.push(("published_in_seconds".to_owned(), seconds.into()));
    }
}

/// All of them.
pub(super) fn list(clients: &[Value]) -> String {
    if clients.is_empty() {
        return "There are no clients, and no sessions of any.\n".to_owned();
    }
    let widths = clients.iter().map(|c| text(c, "client").chars().count());
    let widest = widths.max().unwrap_or(0).clamp("client".len(), WIDEST);
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "{:<widest$}  {:<14}  {:<22}  {:>9}  {:>20}  {:>8}",
        "client", "state", "address", "published", "waits", "dropped"
    );
    for client in clients {
        let waits = match count(client, "messages") {
            0 => "-".to_owned(),
            n => format!("{n}, {}", bytes(count(client, "bytes"))),
        };
        let address = match &*text(client, "kind") {
            "bridge" => "bridge".to_owned(),
            _ => text(client, "address"),
        };
        let _ = writeln!(
            out,
            "{:<widest$}  {:<14}  {address:<22}  {:>9}  {waits:>20}  {:>8}",
            text(client, "client"),
            state(client),
            count(client, "published"),
            count(client, "dropped"),
        );
    }
    if let Some(seconds) = clients.first().map(|c| count(c, "published_in_seconds")) {
        let _ = writeln!(
            out,
            "published: messages in the last {seconds} s, of those with the most"
        );
    }
    out
}

fn state(client: &Value) -> String {
    let word = match client.get("connected") {
        Some(Value::Bool(true)) => "up",
        _ => "away",
    };
    let since = client.get("since_seconds").and_then(Value::as_u64);
    since.map_or("never up".to_owned(), |since| {
        format!("{word} {}", span(since))
    })
}

/// One of them: the first item is its session, the others are its filters.
pub(super) fn session(items: &[Value]) -> String {
    let Some((client, filters)) = items.split_first() else {
        return String::new();
    };
    let mut out = String::new();
    let mut line = |name: &str, what: String| {
        let _ = writeln!(out, "{name:<10} {what}");
    };
    line("client", text(client, "client"));
    let (address, username) = (text(client, "address"), text(client, "username"));
    let mut what = state(client);
    if !address.is_empty() {
        what += &format!(", from {address}");
    }
    what += &format!(", MQTT {}", text(client, "protocol"));
    line("state", what);
    if !username.is_empty() {
        line("user", username);
    }
    if client.get("seen_seconds").and_then(Value::as_u64).is_some() {
        let seen = span(count(client, "seen_seconds"));
        let keep_alive = match count(client, "keep_alive") {
            0 => "none".to_owned(),
            secs => format!("{secs} s"),
        };
        line("seen", format!("{seen} ago, keep-alive {keep_alive}"));
    }
    line("session", lasts(client));
    line(
        "queue",
        format!(
            "{} messages, {}; {} of {} under way",
            count(client, "messages"),
            bytes(count(client, "bytes")),
            count(client, "in_flight"),
            count(client, "window")
        ),
    );
    let (dropped, reason) = (count(client, "dropped"), text(client, "dropped_reason"));
    if dropped > 0 {
        line(
            "dropped",
            format!("{dropped} messages, the last because: {reason}"),
        );
    }
    if count(client, "refused") > 0 {
        line(
            "refused",
            format!("{} messages to it", count(client, "refused")),
        );
    }
    if !text(client, "will").is_empty() {
        line("will", format!("on {}", text(client, "will")));
    }
    for (member, name) in [("may_publish", "publish"), ("may_read", "read")] {
        match client.get(member) {
            Some(Value::Bool(true)) => line(name, "may".to_owned()),
            Some(Value::Bool(false)) => line(name, "may not".to_owned()),
            _ => {}
        }
    }
    for (n, filter) in filters.iter().enumerate() {
        let name = if n == 0 { "subscribed" } else { "" };
        line(
            name,
            format!("{} (QoS {})", text(filter, "filter"), count(filter, "qos")),
        );
    }
    out
}

fn lasts(client: &Value) -> String {
    match client.get("expiry_seconds").and_then(Value::as_u64) {
        None => "kept for as long as persistent_client_expiration says".to_owned(),
        Some(0) => "ends with the connection".to_owned(),
        Some(seconds) => format!("kept for {} without a connection", span(seconds)),
    }
}

/// What would be lost with the session.
pub(super) fn lost(items: &[Value]) -> String {
    let Some(client) = items.first() else {
        return String::new();
    };
    format!(
        ": {} subscriptions and {} messages, {}, that wait for it",
        count(client, "subscriptions"),
        count(client, "messages"),
        bytes(count(client, "bytes"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_a_line_each() {
        let clients = Value::parse(
            r#"[{"client":"pump\u001b","connected":true,"address":"10.0.0.1:5","since_seconds":7200,
            "messages":0,"bytes":0,"dropped":0,"published":12,"published_in_seconds":70},
            {"client":"meter","connected":false,"since_seconds":3,"messages":2,"bytes":2048,"dropped":9}]"#,
        );
        let Ok(Value::List(clients)) = clients else {
            panic!("no list");
        };
        let text = list(&clients);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("pump\\u{1b}  up 2 h") && lines[1].contains("10.0.0.1:5"));
        assert!(lines[1].contains(" 12 "), "{text}");
        assert!(
            lines[2].contains("away 3 s")
                && lines[2].contains("2, 2.0 KB")
                && lines[2].ends_with('9')
        );
        assert!(lines[3].contains("last 70 s"), "{text}");
        let bridge = Value::parse(r#"{"client":"b","kind":"bridge","since_seconds":null}"#);
        assert!(list(&[bridge.unwrap()]).contains("never up"));
    }

    #[test]
    fn a_session_is_told_whole() {
        let items = Value::parse(
            r#"[{"client":"c","connected":true,"address":"a:1","protocol":"5","since_seconds":1,
            "seen_seconds":4,"keep_alive":60,"expiry_seconds":3600,"messages":3,"bytes":30,"in_flight":1,
            "window":20,"dropped":2,"dropped_reason":"queue full","refused":0,"will":"w",
            "may_publish":false,"may_read":true,"username":"u","subscriptions":2},
            {"filter":"a/#","qos":1},{"filter":"b","qos":0}]"#,
        );
        let Ok(Value::List(items)) = items else {
            panic!("no list");
        };
        let text = session(&items);
        for part in [
            "state      up 1 s, from a:1, MQTT 5\n",
            "user       u\n",
            "seen       4 s ago, keep-alive 60 s\n",
            "session    kept for 60 min without a connection\n",
            "queue      3 messages, 30 bytes; 1 of 20 under way\n",
            "dropped    2 messages, the last because: queue full\n",
            "will       on w\n",
            "publish    may not\nread       may\n",
            "subscribed a/# (QoS 1)\n           b (QoS 0)\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(
            lost(&items),
            ": 2 subscriptions and 3 messages, 30 bytes, that wait for it"
        );
    }
}
