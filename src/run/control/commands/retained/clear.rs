//! `retained clear`: what is retained on the topics of a filter is cleared.

use super::words::filter;
use crate::json::Value;
use crate::run::control::commands::command::{Command, Outcome};
use crate::run::control::protocol::Refusal;

/// So many topics are cleared for a part: each goes to all who are subscribed.
const PART: usize = 8;
/// So many are looked at for those.
const LOOKED_AT: usize = 32;

pub(super) const COMMAND: Command = Command {
    name: "retained clear",
    members: &["filter"],
    help: "Clears what is retained on the topics of a filter, as empty retained messages would; lists them.",
    changes: true,
    run: |_, request| {
        let filter = filter(request)?.to_owned();
        if filter.starts_with('$') {
            return Err(Refusal::new("what begins with $ is the broker's own"));
        }
        let (mut after, mut is_over) = (None, false);
        let mut found: Vec<String> = Vec::new();
        Ok(Outcome::Listed(Box::new(move |running| {
            let mut hub = running.hub.borrow_mut();
            let now = hub.now();
            if found.is_empty() {
                if is_over {
                    return None;
                }
                let from = (after.as_deref(), LOOKED_AT);
                let take =
                    |view: crate::broker::RetainedView<'_>| found.push(view.topic.to_owned());
                let reached = hub.broker.retained(&filter, from, now, take);
                (is_over, after) = (reached.is_none(), reached);
            }
            let part = found.drain(..found.len().min(PART));
            let cleared = part.map(|topic| {
                hub.broker.clear_retained(&topic, now);
                Value::object([("topic", topic.into())])
            });
            Some(cleared.collect())
        })))
    },
};
