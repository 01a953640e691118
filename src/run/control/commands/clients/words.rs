//! What the commands about clients have to say in common.

use crate::broker::ClientView;
use crate::json::Value;
use crate::mqtt::Version;
use crate::run::control::protocol::{Refusal, Request};

/// Whom a request is about.
pub(super) fn client(request: &Request) -> Result<&str, Refusal> {
    request.text("client")
}

/// There is no such client.
pub(super) fn unknown() -> Refusal {
    Refusal::new(
        "there is no such client, and no session of one: `clients` lists those that there are",
    )
}

/// What a list says of a client.
pub(super) fn item(view: &ClientView<'_>) -> Vec<(String, Value)> {
    let version = match view.version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5",
    };
    let dropped = view.dropped.map_or(0, |dropped| dropped.messages);
    let members: [(&str, Value); 14] = [
        ("client", view.client_id.into()),
        (
            "kind",
            if view.is_bridge { "bridge" } else { "client" }.into(),
        ),
        ("connected", view.address.is_some().into()),
        ("address", view.address.map(ToString::to_string).into()),
        ("username", view.username.into()),
        ("protocol", version.into()),
        (
            "since_seconds",
            view.since.map(|since| since.as_secs()).into(),
        ),
        ("seen_seconds", view.seen.map(|seen| seen.as_secs()).into()),
        ("subscriptions", (view.subscriptions as u64).into()),
        ("messages", view.queued.into()),
        ("bytes", view.queued_bytes.into()),
        ("in_flight", view.in_flight.into()),
        ("dropped", dropped.into()),
        ("refused", view.refused.into()),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
