//! `bridge list`: the bridges, and how they are.

use crate::bridge::Rest;
use crate::json::Value;
use crate::mqtt::Version;
use crate::run::bridges::Source;
use crate::run::bridges::control::{BridgeState, BridgeView};
use crate::run::control::commands::command::{Command, Outcome};

/// So many are told in one turn.
const PART: usize = 16;

pub(super) const COMMAND: Command = Command {
    name: "bridge list",
    members: &[],
    help: "Lists the bridges, and how they are.",
    changes: false,
    run: |running, _| {
        let mut views = running.bridges.list().into_iter();
        Ok(Outcome::Listed(Box::new(move |_| {
            let part: Vec<Value> = views.by_ref().take(PART).map(|view| item(&view)).collect();
            (!part.is_empty()).then_some(part)
        })))
    },
};

fn item(view: &BridgeView) -> Value {
    let (mut up, mut retry, mut version) = (None, None, None);
    let state = match view.state {
        BridgeState::Resting(Rest::Stopped) => "stopped",
        BridgeState::Resting(Rest::Manual) => "manual",
        BridgeState::Resting(Rest::Once) => "once",
        BridgeState::Resting(Rest::Idle) => "idle",
        BridgeState::Waiting(until) => {
            retry = Some(until.as_secs());
            "waiting"
        }
        BridgeState::Connecting => "connecting",
        BridgeState::Handshake => "handshake",
        BridgeState::Up(since, spoken) => {
            up = Some(since.as_secs());
            version = Some(match spoken {
                Version::V31 => "3.1",
                Version::V311 => "3.1.1",
                Version::V5 => "5",
            });
            "up"
        }
    };
    let source = match view.source {
        Source::File => "file",
        Source::Command => "command",
    };
    Value::object([
        ("name", (&*view.name).into()),
        ("state", state.into()),
        ("up_seconds", up.into()),
        ("retry_seconds", retry.into()),
        ("protocol", version.into()),
        ("address", view.address.as_deref().into()),
        ("last_error", view.last_error.as_deref().into()),
        ("messages", view.messages.into()),
        ("bytes", view.bytes.into()),
        (
            "window",
            view.window.map(|window| u64::from(window.messages)).into(),
        ),
        (
            "window_bytes",
            view.window.map(|window| window.bytes).into(),
        ),
        (
            "window_limits",
            view.window.map(|window| window.is_limit).into(),
        ),
        ("start_type", view.start_type.name().into()),
        ("source", source.into()),
    ])
}
