//! `retained`: what is retained on the topics of a filter.

use super::words::filter;
use crate::broker::RetainedView;
use crate::json::Value;
use crate::run::control::commands::command::{Command, Outcome};

/// So many topics are looked at for a part.
const PART: usize = 128;
/// So much of a payload is told, in bytes.
const SHOWN: usize = 128;

pub(super) const COMMAND: Command = Command {
    name: "retained",
    members: &["filter"],
    help: "Lists what is retained on the topics of a filter, with the first 128 bytes of each payload.",
    changes: false,
    run: |_, request| {
        let filter = filter(request)?.to_owned();
        let (mut after, mut is_over) = (None, false);
        Ok(Outcome::Listed(Box::new(move |running| {
            if is_over {
                return None;
            }
            let mut hub = running.hub.borrow_mut();
            let (now, mut items) = (hub.now(), Vec::new());
            let from = (after.as_deref(), PART);
            let reached = hub
                .broker
                .retained(&filter, from, now, |view| items.push(item(&view)));
            (is_over, after) = (reached.is_none(), reached);
            Some(items)
        })))
    },
};

fn item(view: &RetainedView<'_>) -> Value {
    let shown = view.payload.get(..SHOWN).unwrap_or(view.payload);
    Value::object([
        ("topic", view.topic.into()),
        ("qos", u64::from(view.qos as u8).into()),
        ("bytes", (view.payload.len() as u64).into()),
        ("age_seconds", view.age.as_secs().into()),
        (
            "expires_seconds",
            view.expires_in.map(|span| span.as_secs()).into(),
        ),
        // What is no UTF-8 has a replacement character in its place.
        (
            "payload",
            String::from_utf8_lossy(shown).into_owned().into(),
        ),
    ])
}
