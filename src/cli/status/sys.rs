//! What a broker publishes of itself under `$SYS`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::cli::amounts::bytes;
use crate::cli::client::{Client, Event, Session};
use crate::cli::options::ClientOptions;
use crate::cli::{Error, json};
use crate::config::printable::printable;
use crate::mqtt::{Reason, Subscription};

const ROOT: &str = "$SYS/broker/";
/// Retained messages come at once; after so long without one there are no more.
const QUIET_FOR: Duration = Duration::from_millis(300);
/// How long the first may take.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// What came, by topic without the root.
type Figures = BTreeMap<String, String>;

/// What a broker publishes of itself under `$SYS`, for people or as JSON: all that is to be had of one that is
/// reached over MQTT. `ended` tells when the process is asked to end.
///
/// # Errors
/// There is no broker, or it says nothing.
pub(super) fn tell(
    options: &ClientOptions,
    json: bool,
    ended: &UnixStream,
) -> Result<String, Error> {
    let figures = fetch(options, ended)?;
    if figures.is_empty() {
        return Err(Error::NoFigures);
    }
    Ok(if json {
        format!("{}\n", as_json(&figures))
    } else {
        as_text(&figures)
    })
}

fn fetch(options: &ClientOptions, ended: &UnixStream) -> Result<Figures, Error> {
    let mut session = Session::default();
    let connect_packet = options.connect_packet();
    let mut client = Client::connect(&options.target, &connect_packet, &mut session)?;
    let filter = format!("{ROOT}#");
    client.subscribe(
        vec![Subscription::new(&filter, options.qos)],
        Default::default(),
    )?;
    let mut figures = Figures::new();
    let mut end = Instant::now() + GIVE_UP_AFTER;
    loop {
        while let Some(event) = client.next(Instant::now())? {
            match event {
                Event::Message(message) => {
                    let topic = message.topic.strip_prefix(ROOT).unwrap_or(&message.topic);
                    let value = String::from_utf8_lossy(&message.payload).into_owned();
                    figures.insert(topic.to_owned(), value);
                    end = Instant::now() + QUIET_FOR;
                }
                Event::Subscribed(_, reasons) if reasons.iter().all(|r| r.is_error()) => {
                    return Err(Error::Denied);
                }
                _ => {}
            }
        }
        let (_, signal) = client.wait(ended.as_fd(), end)?;
        if signal || Instant::now() >= end {
            break;
        }
    }
    client.disconnect(Reason::SUCCESS, options.disconnect_props())?;
    Ok(figures)
}

fn as_json(figures: &Figures) -> String {
    let mut out = String::from("{");
    for (n, (topic, value)) in figures.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        json::string(topic, &mut out);
        out.push(':');
        match value.parse::<u64>() {
            // A number with a leading zero or a plus is text in JSON.
            Ok(number) if number.to_string() == *value => out.push_str(value),
            _ => json::string(value, &mut out),
        }
    }
    out.push('}');
    out
}

/// The figures that an operator asks for first, a line each; then what is said of each bridge.
fn as_text(figures: &Figures) -> String {
    let text = |topic: &str| figures.get(topic).map_or("?", String::as_str);
    let number = |topic: &str| figures.get(topic).and_then(|v| v.parse::<u64>().ok());
    let count = |topic: &str| number(topic).map_or("?".to_owned(), |n| n.to_string());
    let size = |topic: &str| number(topic).map_or("?".to_owned(), bytes);
    let mut out = String::new();
    let mut line = |name: &str, what: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{name:<9} {}", printable(&what));
    };
    line(
        "broker",
        format!("{}, up {}", text("version"), text("uptime")),
    );
    line(
        "clients",
        format!(
            "{} connected, {} away",
            count("clients/connected"),
            count("clients/disconnected")
        ),
    );
    line(
        "waiting",
        format!(
            "{} messages, {}; {} retained",
            count("store/messages/count"),
            size("store/messages/bytes"),
            count("retained messages/count")
        ),
    );
    line(
        "dropped",
        format!("{} messages since start", count("publish/messages/dropped")),
    );
    line(
        "memory",
        format!(
            "{} of what memory_limit allows, {}",
            size("memory/counted"),
            match number("memory/limit") {
                Some(0) => "which is no limit".to_owned(),
                _ => size("memory/limit"),
            }
        ),
    );
    for (topic, value) in figures {
        let part = topic
            .strip_prefix("memory/part/")
            .map(|p| p.replace('_', " "));
        let held = value.parse::<u64>().ok().filter(|bytes| *bytes > 0);
        if let (Some(part), Some(held)) = (part, held) {
            line("", format!("{:>9} {part}", bytes(held)));
        }
    }
    line(
        "store",
        format!("{}, file {}", text("store/state"), size("store/file/bytes")),
    );
    line(
        "written",
        format!(
            "{} today, {} since install; {} commits, {} syncs since start, {} ms apart",
            size("store/written/today"),
            size("store/written/total"),
            count("store/commits"),
            count("store/syncs"),
            count("store/commit_interval_ms")
        ),
    );
    let millis =
        |topic: &str| number(topic).map_or("?".to_owned(), |us| format!("{:.1}", us as f64 / 1e3));
    line(
        "longest",
        format!(
            "turn {} ms in the last minute ({}), {} ms since start ({})",
            millis("turn/1min/longest_us"),
            text("turn/1min/cause"),
            millis("turn/start/longest_us"),
            text("turn/start/cause")
        ),
    );
    for (topic, value) in figures {
        if let Some(rest) = topic.strip_prefix("connection/") {
            line("bridge", format!("{rest}: {value}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let pairs = [
            ("version", "footbridge version 1"),
            ("uptime", "70 seconds"),
            ("clients/connected", "3"),
            ("store/state", "failing: \"disk\""),
            ("store/written/today", "3145728"),
            ("memory/counted", "2048"),
            ("memory/limit", "4096"),
            ("memory/part/half_packets", "1536"),
            ("memory/part/outboxes", "0"),
            ("turn/1min/longest_us", "2345"),
            ("turn/1min/cause", "packets of c (1.2.3.4:5)"),
            ("connection/box.cloud/state", "1"),
        ];
        pairs.map(|(t, v)| (t.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn the_screen_shows_what_is_known() {
        let text = as_text(&figures());
        for part in [
            "broker    footbridge version 1, up 70 seconds\n",
            "3 connected, ? away",
            "memory    2.0 KB of what memory_limit allows, 4.0 KB\n",
            "             1.5 KB half packets\n",
            "3.0 MB today",
            "longest   turn 2.3 ms in the last minute (packets of c (1.2.3.4:5)), ? ms since start (?)\n",
            "bridge    box.cloud/state: 1\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn json_has_numbers_and_text() {
        let json = as_json(&figures());
        assert!(json.contains(r#""clients/connected":3"#), "{json}");
        assert!(
            json.contains(r#""store/state":"failing: \"disk\"""#),
            "{json}"
        );
        assert!(json.starts_with('{') && json.ends_with('}'));
    }
}
