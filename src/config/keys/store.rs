//! What is kept, how soon it is on flash, and how much that may wear it.

use std::time::Duration;

use super::key::Section::General as S;
use super::key::Unset::{Is, Means};
use super::key::{Key, accepted, implemented, set};
use crate::config::draft::Draft;
use crate::config::value::Value;
use crate::config::{Durability, FlashBudget, Kind};

/// Many clients wait no longer for an answer to their CONNECT.
const PATIENCE: Duration = Duration::from_secs(10);

const SAVED: &str = "every commit is saved; see commit_interval";

pub(super) const KEYS: &[Key] = &[
    implemented(
        S,
        "commit_interval",
        "DURATION",
        Is("20ms"),
        "How long messages gather before they are written to flash together.",
        "An acknowledgement waits for the commit that holds its message, so this bounds what it \
         adds to a QoS 1 round trip; a longer interval wears flash less. CONNECT, SUBSCRIBE and QoS 2 of clients whose session is kept \
         wait for it too: above 10 s the log says so. footbridge's own.",
        |draft, v| {
            draft.general.commit_interval = v.duration()?;
            tell_of_wait(draft, "commit_interval", draft.general.commit_interval);
            Ok(())
        },
    ),
    implemented(
        S,
        "durability",
        "power|lazy SECONDS",
        Is("power"),
        "What an acknowledgement promises: power, that the message survives a power cut; lazy, \
         that it does after some seconds.",
        "With power, an acknowledgement waits for the commit (commit_interval) that holds its \
         message. With lazy, it leaves at once and commits are at least SECONDS apart, or a \
         quarter of a megabyte of messages: a crash or a power cut loses at most what came in \
         since the last one. footbridge's own.",
        set!(durability, v => durability(v)?),
    ),
    implemented(
        S,
        "flash_budget",
        "BYTES/day [LONGEST]",
        Means("no budget"),
        "How much may be written to flash a day, before commits become rarer.",
        "As the budget is used up faster than the day goes by, the commit interval widens, up to \
         LONGEST (5 s unless given): acknowledgements take so long, also those of CONNECT, SUBSCRIBE \
         and QoS 2 to clients whose session is kept; nothing is dropped. A client that sends \
         thousands more, or changes many subscriptions, without waiting for them is not \
         read meanwhile. With durability lazy it changes nothing: commits are rare already. What was \
         written is in $SYS/broker/store/written. Example: `flash_budget 200M/day`. footbridge's own.",
        |draft, v| {
            let budget = flash_budget(v)?;
            draft.general.flash_budget = Some(budget);
            tell_of_wait(draft, "flash_budget", budget.longest);
            Ok(())
        },
    ),
    implemented(
        S,
        "persistence",
        "true|false",
        Is("false"),
        "Whether sessions, queues and retained messages outlive the process.",
        "",
        set!(persistence, v => v.flag()?),
    ),
    implemented(
        S,
        "retained_persistence",
        "true|false",
        Is("false"),
        "The old name of persistence.",
        "",
        set!(persistence, v => v.flag()?),
    ),
    implemented(
        S,
        "persistence_file",
        "NAME",
        Is("footbridge.db"),
        "The name of the store's file.",
        "The format is footbridge's own; `footbridge import-mosquitto` takes over what is in a mosquitto.db.",
        |draft, v| {
            draft.store_file = Some(v.path()?);
            Ok(())
        },
    ),
    implemented(
        S,
        "persistence_location",
        "DIRECTORY",
        Means("the current directory"),
        "Where the store's file lies.",
        "",
        |draft, v| {
            draft.store_dir = Some(v.path()?);
            Ok(())
        },
    ),
    accepted(S, "autosave_interval", "SECONDS", SAVED),
    accepted(S, "autosave_on_changes", "true|false", SAVED),
    accepted(
        S,
        "store_clean_interval",
        "SECONDS",
        "messages that nobody is owed any longer are removed as they go",
    ),
];

/// Notes that acknowledgements may take so long that clients give up.
fn tell_of_wait(draft: &mut Draft<'_>, directive: &str, longest: Duration) {
    if longest > PATIENCE {
        draft.note(
            directive,
            "clients may wait so long for acknowledgements, and those with a session for the answer to \
             their CONNECT, which many do for 10 seconds at most; `durability lazy` makes nobody wait",
        );
    }
}

/// `durability`.
fn durability(value: Value<'_>) -> Result<Durability, Kind> {
    const WANTS: &str = "power, or lazy and a number of seconds, such as `lazy 5`";
    let mut words = Value(value.text()?).words();
    let parsed = match (words.next(), words.next()) {
        (Some("power"), None) => Some(Durability::Power),
        (Some("lazy"), Some(window)) => {
            let window = Value(window).duration()?;
            (!window.is_zero()).then_some(Durability::Lazy(window))
        }
        _ => None,
    };
    let parsed = parsed.filter(|_| words.next().is_none());
    parsed.ok_or_else(|| Kind::bad(value.0, WANTS))
}

/// `flash_budget`.
fn flash_budget(value: Value<'_>) -> Result<FlashBudget, Kind> {
    const WANTS: &str = "a number of bytes a day, such as `200M/day`";
    let mut words = Value(value.text()?).words();
    let bad = || Kind::bad(value.0, WANTS);
    let bytes = words.next().ok_or_else(bad)?;
    let bytes = bytes.strip_suffix("/day").ok_or_else(bad)?;
    let bytes_a_day = Value(bytes).size(u64::MAX)?;
    let longest = match words.next() {
        Some(longest) => Value(longest).duration()?,
        None => FlashBudget::DEFAULT_LONGEST,
    };
    if bytes_a_day == 0 || longest.is_zero() || words.next().is_some() {
        return Err(bad());
    }
    Ok(FlashBudget {
        bytes_a_day,
        longest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durabilities() {
        assert_eq!(durability(Value("power")), Ok(Durability::Power));
        let lazy = |ms| Ok(Durability::Lazy(Duration::from_millis(ms)));
        assert_eq!(durability(Value("lazy 5")), lazy(5000));
        assert_eq!(durability(Value("lazy 250ms # why not")), lazy(250));
        for bad in ["", "lazy", "lazy 0", "lazy 5 6", "power 5", "strong"] {
            assert!(durability(Value(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn budgets() {
        let budget = |bytes_a_day, secs| {
            Ok(FlashBudget {
                bytes_a_day,
                longest: Duration::from_secs(secs),
            })
        };
        assert_eq!(flash_budget(Value("200M/day")), budget(200 << 20, 5));
        assert_eq!(flash_budget(Value("1G/day 1m")), budget(1 << 30, 60));
        for bad in ["", "200M", "0/day", "200M/week", "200M/day 0", "1/day 2 3"] {
            assert!(flash_budget(Value(bad)).is_err(), "{bad}");
        }
    }
}
