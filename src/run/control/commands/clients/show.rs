//! `client`: one session, with all that it is subscribed to.

use std::time::Duration;

use super::words::{client, item, unknown};
use crate::broker::{ClientView, DropReason, TopicRights};
use crate::json::Value;
use crate::mqtt::TopicName;
use crate::run::control::commands::command::{Command, Outcome};
use crate::run::control::protocol::{Refusal, Request};
use crate::run::reload::Reloadable;

/// So many filters are told for a part.
const PART: usize = 64;

pub(super) const COMMAND: Command = Command {
    name: "client",
    members: &["client", "topic"],
    help: "Tells of the session of a client, then each filter that it is subscribed to; with `topic` \
           whether it may publish to that and read it.",
    changes: false,
    run: show,
};

fn show(running: &mut Reloadable, request: &Request) -> Result<Outcome, Refusal> {
    let id = client(request)?.to_owned();
    let mut hub = running.hub.borrow_mut();
    let now = hub.now();
    let view = hub.broker.client(&id, now).ok_or_else(unknown)?;
    let mut session = item(&view);
    session.extend(more(&view));
    if request.has("topic") {
        let topic = request.text("topic")?;
        TopicName::new(topic).map_err(|e| Refusal::new(format!("{topic}: {e}")))?;
        let rights = hub.broker.rights_of(&id, topic);
        session.extend(rights.map(may).into_iter().flatten());
    }
    let mut first = Some(Value::Object(session));
    let mut after: Option<String> = None;
    Ok(Outcome::Listed(Box::new(move |running| {
        if let Some(first) = first.take() {
            return Some(vec![first]);
        }
        let hub = running.hub.borrow();
        let filters = hub.broker.filters_of(&id, after.as_deref(), PART);
        let (last, _) = filters.last()?;
        after = Some((*last).to_owned());
        let filter = |(filter, qos): &(&str, _)| {
            Value::object([
                ("filter", (*filter).into()),
                ("qos", u64::from(*qos as u8).into()),
            ])
        };
        Some(filters.iter().map(filter).collect())
    })))
}

/// What is told of one client only.
fn more(view: &ClientView<'_>) -> impl Iterator<Item = (String, Value)> {
    let dropped = view.dropped.as_ref();
    let expiry = view.expiry.as_ref().map(Duration::as_secs);
    let members: [(&str, Value); 6] = [
        ("keep_alive", u64::from(view.keep_alive).into()),
        ("expiry_seconds", expiry.into()),
        ("window", u64::from(view.window).into()),
        ("dropped_reason", dropped.map(DropReason::name_of).into()),
        (
            "dropped_last",
            dropped.map(|dropped| dropped.last.as_secs()).into(),
        ),
        ("will", view.will.into()),
    ];
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
}

fn may(rights: TopicRights) -> [(String, Value); 2] {
    [
        ("may_publish".to_owned(), rights.publish.into()),
        ("may_read".to_owned(), rights.read.into()),
    ]
}
