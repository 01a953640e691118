//! `topics`: who publishes most, and on which topics.

use super::command::{Command, Outcome};
use crate::broker::Talker;
use crate::json::Value;

pub(super) const COMMAND: Command = Command {
    name: "topics",
    members: &[],
    help: "Lists the topics on which most was published in the last minute or two, and the clients that \
           did it.",
    changes: false,
    run: |running, _| {
        let mut hub = running.hub.borrow_mut();
        let now = hub.now();
        let talk = hub.broker.talk(now);
        let list = |talkers: &[Talker]| Value::List(talkers.iter().map(item).collect());
        Ok(Outcome::Said(vec![
            ("seconds".to_owned(), talk.span.as_secs().into()),
            ("topics".to_owned(), list(&talk.topics)),
            ("clients".to_owned(), list(&talk.clients)),
        ]))
    },
};

fn item(talker: &Talker) -> Value {
    Value::object([
        ("name", (&*talker.name).into()),
        ("messages", talker.messages.into()),
        ("bytes", talker.bytes.into()),
    ])
}
