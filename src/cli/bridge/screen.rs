//! `footbridge bridge list` for people: a line a bridge, and a second one for what is wrong.

use std::fmt::Write as _;

use crate::cli::amounts::{bytes, span};
use crate::config::printable::printable;
use crate::json::Value;

/// All bridges.
pub(super) fn list(bridges: &[Value]) -> String {
    if bridges.is_empty() {
        return "There are no bridges.\n".to_owned();
    }
    let name = |bridge: &Value| printable(&text(bridge, "name")).into_owned();
    let widest = bridges.iter().map(|b| name(b).chars().count()).max();
    let widest = widest.unwrap_or(0);
    let mut out = String::new();
    for bridge in bridges {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{:<widest$}  {}", name(bridge), sentence(bridge));
        let error = text(bridge, "last_error");
        if !error.is_empty() {
            let _ = writeln!(out, "{:<widest$}  {}", "", printable(&error));
        }
    }
    out
}

fn sentence(bridge: &Value) -> String {
    let count = |name: &str| bridge.get(name).and_then(Value::as_u64).unwrap_or(0);
    let address = printable(&text(bridge, "address")).into_owned();
    let mut out = match &*text(bridge, "state") {
        "up" => format!(
            "up for {}, MQTT {} at {address}",
            span(count("up_seconds")),
            printable(&text(bridge, "protocol"))
        ),
        "connecting" => format!("connecting to {address}"),
        "handshake" => format!("waiting for CONNACK of {address}"),
        "waiting" => format!(
            "not connected, tries {address} in {}",
            span(count("retry_seconds"))
        ),
        "stopped" => "stopped by command".to_owned(),
        "manual" => "not started (start_type manual)".to_owned(),
        "once" => "not connected again (start_type once)".to_owned(),
        "idle" => "idle until more waits (start_type lazy)".to_owned(),
        // Of a later version.
        other => printable(other).into_owned(),
    };
    match count("messages") {
        0 => out.push_str("; nothing waits"),
        n => {
            let _ = write!(out, "; {n} messages, {}, wait", bytes(count("bytes")));
        }
    }
    if bridge.get("window_limits") == Some(&Value::Bool(true)) {
        let _ = write!(out, "; limited by {} at a time", count("window"));
    }
    if text(bridge, "source") == "command" {
        out.push_str("; added by command");
    }
    out
}

fn text(bridge: &Value, name: &str) -> String {
    let text = bridge.get(name).and_then(Value::as_text);
    text.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bridge_has_its_line() {
        let bridges = Value::parse(
            r#"[{"name":"cloud","state":"up","up_seconds":7200,"protocol":"5","address":"u:1883",
            "messages":0,"bytes":0,"source":"file","last_error":null,"window_limits":false,"window":20},
            {"name":"full","state":"up","up_seconds":1,"protocol":"5","address":"u:1","messages":9,
            "bytes":10,"window_limits":true,"window":20},
            {"name":"b","state":"waiting","retry_seconds":7,"address":"v:1","messages":2,"bytes":2048,
            "source":"command","last_error":"refused\u001b"},
            {"name":"c","state":"stopped","messages":0},{"name":"d","state":"strange"}]"#,
        );
        let Ok(Value::List(bridges)) = bridges else {
            panic!("no list");
        };
        assert_eq!(
            list(&bridges),
            "cloud  up for 2 h, MQTT 5 at u:1883; nothing waits\n\
             full   up for 1 s, MQTT 5 at u:1; 9 messages, 10 bytes, wait; limited by 20 at a time\n\
             b      not connected, tries v:1 in 7 s; 2 messages, 2.0 KB, wait; added by command\n       \
             refused\\u{1b}\n\
             c      stopped by command; nothing waits\n\
             d      strange; nothing waits\n"
        );
        assert_eq!(list(&[]), "There are no bridges.\n");
    }
}
