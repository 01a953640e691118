//! `status`: how the broker and its bridges are.

use super::command::{Command, Outcome};
use crate::json::Value;
use crate::run::reload::Reloadable;

/// So many bridges are told of at a time.
const PART: usize = 8;

pub(super) const COMMAND: Command = Command {
    name: "status",
    members: &[],
    help: "Tells how the broker is, and then each bridge.",
    changes: false,
    run: |_, _| {
        let mut next = None;
        Ok(Outcome::Listed(Box::new(move |running| {
            let Some(from) = next else {
                next = Some(0);
                return Some(vec![broker(running)]);
            };
            next = Some(from + PART);
            let bridges = (from..from + PART).map_while(|at| running.bridges.overview(at));
            let bridges = bridges.map(|bridge| Value::object([("bridge", bridge)]));
            let part: Vec<Value> = bridges.collect();
            (!part.is_empty()).then_some(part)
        })))
    },
};

fn broker(running: &Reloadable) -> Value {
    let overview = running.hub.borrow_mut().overview();
    Value::object([("broker", overview)])
}
