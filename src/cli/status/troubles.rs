//! What needs a person, the worst first.

use super::overview::{Overview, number, optional, text};
use crate::cli::amounts::span;
use crate::config::printable::printable;
use crate::json::Value;

/// A queue that is full within so many seconds needs somebody.
const SOON_FULL: u64 = 6 * 3600;

/// A line for each thing that needs a person, the worst first; none where everything works.
pub(super) fn all(overview: &Overview) -> Vec<String> {
    let mut found = of_broker(&overview.broker);
    found.extend(overview.bridges.iter().flat_map(of_bridge));
    // A stable sort: equals stay in the order of the configuration.
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, line)| line).collect()
}

/// How bad a trouble is, and what is told of it.
type Trouble = (u8, String);

fn of_broker(broker: &Value) -> Vec<Trouble> {
    let mut found = Vec::new();
    let state = text(broker, ["store", "state"]);
    if !matches!(state, "" | "ok") {
        found.push((0, format!("The store is {}.", printable(state))));
    }
    let (limit, counted) = (
        number(broker, ["memory", "limit"]),
        number(broker, ["memory", "counted"]),
    );
    if limit > 0 && counted >= limit / 4 * 3 {
        let percent = u128::from(counted) * 100 / u128::from(limit);
        found.push((1, format!("{percent} % of memory_limit are taken.")));
    }
    found
}

fn of_bridge(bridge: &Value) -> Vec<Trouble> {
    let name = bridge.get("name").and_then(Value::as_text);
    let name = printable(name.unwrap_or_default());
    let mut found = Vec::new();
    let mut say = |rank, what: String| found.push((rank, format!("Bridge {name}: {what}.")));
    if let Some(down) = optional(bridge, ["link", "down_seconds"]) {
        let why = match text(bridge, ["link", "error"]) {
            "" => String::new(),
            why => format!(": {}", printable(why)),
        };
        say(2, format!("not connected for {}{why}", span(down)));
    }
    if let Some(room) = optional(bridge, ["queue", "room_seconds"]).filter(|room| *room < SOON_FULL)
    {
        say(1, format!("its queue is full in {}", span(room)));
    }
    let dropped = number(bridge, ["queue", "dropped"]);
    if dropped > 0 {
        let why = printable(text(bridge, ["queue", "dropped_reason"])).into_owned();
        say(3, format!("{dropped} messages dropped, the last as {why}"));
    }
    for (member, what) in [
        ("refused", "messages were refused, for its queue was full"),
        (
            "paused",
            "of its lanes wait, for the upstream refuses what they have",
        ),
        (
            "dead_letters",
            "dead letters, which the upstream never takes",
        ),
    ] {
        let count = number(bridge, ["queue", member]);
        if count > 0 {
            say(4, format!("{count} {what}"));
        }
    }
    found
}
