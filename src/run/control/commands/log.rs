//! `log`: which kinds of lines are logged, until SIGHUP has the configuration say so again.

use super::command::{Command, Members, Outcome};
use crate::config::{LogType, LogTypes};
use crate::json::Value;
use crate::run::control::protocol::Refusal;
use crate::run::reload::Reloadable;

pub(super) const COMMAND: Command = Command {
    name: "log",
    members: &["types"],
    help: "Tells which types of lines are logged, or has others logged until the next reload.",
    changes: false,
    run: |running, request| {
        let of_file = running.config.general.log.types;
        if request.has("types") {
            let types = chosen(running.logger.types(), of_file, &request.texts("types")?)?;
            log::info!("Control socket: log_type {}.", names(types).join(" "));
            running.logger.set_types(types);
        }
        Ok(Outcome::Said(told(running, of_file)))
    },
};

fn told(running: &Reloadable, of_file: LogTypes) -> Members {
    let list = |types: LogTypes| Value::List(names(types).into_iter().map(Value::from).collect());
    let types = running.logger.types();
    vec![
        ("types".to_owned(), list(types)),
        ("default".to_owned(), list(of_file)),
    ]
}

/// The types by their names; `none` where there are none.
fn names(types: LogTypes) -> Vec<&'static str> {
    let of = LogType::ALL.into_iter().filter(|kind| types.has(*kind));
    let names: Vec<&str> = of.map(LogType::name).collect();
    if names.is_empty() {
        vec!["none"]
    } else {
        names
    }
}

/// What `words` stand for: these types alone, or with `+` and `-` before them in addition to those that are
/// logged and without them.
fn chosen(now: LogTypes, of_file: LogTypes, words: &[&str]) -> Result<LogTypes, Refusal> {
    let mut types = None;
    for word in words {
        let (sign, name) = match (word.strip_prefix('+'), word.strip_prefix('-')) {
            (Some(name), _) => (Some(true), name),
            (None, Some(name)) => (Some(false), name),
            (None, None) => (None, *word),
        };
        let named = match name {
            "all" => LogTypes::ALL,
            "none" => LogTypes::NONE,
            "default" => of_file,
            name => LogType::named(name)
                .map(|kind| LogTypes::NONE.with(kind))
                .ok_or_else(|| unknown(name))?,
        };
        let before = types.unwrap_or(if sign.is_some() { now } else { LogTypes::NONE });
        types = Some(match sign {
            Some(false) => LogTypes::from_bits(before.bits() & !named.bits()),
            Some(true) | None => LogTypes::from_bits(before.bits() | named.bits()),
        });
    }
    types.ok_or_else(|| Refusal::new("`types` names none"))
}

fn unknown(name: &str) -> Refusal {
    let known: Vec<&str> = LogType::ALL.into_iter().map(LogType::name).collect();
    let name = crate::config::printable::printable(name);
    Refusal::new(format!(
        "there is no log_type {name}: it is {}, all, none or default",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(words: &[&str]) -> String {
        let now = LogTypes::NONE.with(LogType::Error).with(LogType::Debug);
        match chosen(now, LogTypes::default(), words) {
            Ok(types) => names(types).join(" "),
            Err(Refusal(why)) => why,
        }
    }

    #[test]
    fn words_say_what_is_logged() {
        for (words, types) in [
            (&["warning"][..], "warning"),
            (&["debug", "notice"], "notice debug"),
            (&["+notice"], "error notice debug"),
            (&["-debug", "+subscribe"], "error subscribe"),
            (&["none"], "none"),
            (&["default"], "error warning notice information"),
            (
                &["default", "-notice", "+websockets"],
                "error warning information websockets",
            ),
            (
                &["all"],
                "error warning notice information subscribe unsubscribe debug websockets",
            ),
        ] {
            assert_eq!(after(words), types, "{words:?}");
        }
        assert!(after(&["loud"]).contains("no log_type loud"));
        assert!(after(&[]).contains("names none"));
    }
}
