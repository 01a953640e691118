//! The log.

use ::log::LevelFilter;

use super::Section::General as S;
use super::Unset::Is;
use super::{Key, accepted, implemented, set};
use crate::config::draft::Draft;
use crate::config::value::Value;
use crate::config::{Kind, Log};

const DESTINATIONS: &str = "stdout, stderr, none, syslog, topic or file PATH";
const TYPES: &str =
    "error, warning, notice, information, subscribe, unsubscribe, debug, all or none";
const BY_TYPE: &str = "log_type says what is logged";

pub(super) const KEYS: &[Key] = &[
    implemented(
        S,
        "connection_messages",
        "true|false",
        Is("true"),
        "Whether clients that connect and disconnect are logged.",
        "",
        set!(connection_messages, v => v.flag()?),
    ),
    implemented(
        S,
        "log_dest",
        "stderr|stdout|none|syslog|topic|file PATH",
        Is("stderr"),
        "Where the log goes; may be given more than once.",
        "syslog and topic go to stderr in this version, and say so: systemd and procd pass \
         stderr on to the system's log.",
        destination,
    ),
    implemented(
        S,
        "log_timestamp",
        "true|false",
        Is("true"),
        "Whether log lines begin with the time.",
        "",
        |draft, v| {
            draft.general.log.timestamp = v.flag()?;
            Ok(())
        },
    ),
    implemented(
        S,
        "log_type",
        "TYPE",
        Is("information"),
        "What is logged; may be given more than once.",
        "error, warning, notice or information, subscribe, unsubscribe or debug, all, none: each \
         with everything graver. notice is information; subscribe, unsubscribe and all are \
         debug.",
        level,
    ),
    accepted(
        S,
        "ffdc_location",
        "DIRECTORY",
        "footbridge writes no failure dumps",
    ),
    accepted(
        S,
        "log_facility",
        "NUMBER",
        "this version does not speak to syslog itself; the service manager sets the facility",
    ),
    accepted(S, "log_level", "LEVEL", BY_TYPE),
    accepted(
        S,
        "log_timestamp_format",
        "FORMAT",
        "this version has one format of time only",
    ),
    accepted(
        S,
        "max_log_entries",
        "COUNT",
        "log lines are written at once, none are kept",
    ),
    accepted(
        S,
        "max_trace_entries",
        "COUNT",
        "log lines are written at once, none are kept",
    ),
    accepted(S, "trace_level", "LEVEL", BY_TYPE),
    accepted(
        S,
        "websockets_log_level",
        "LEVEL",
        "websockets are logged like everything else",
    ),
];

/// `log_dest`: the first line replaces the default, later ones add.
fn destination(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    let (word, rest) = match value.0.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim()),
        None => (value.0, ""),
    };
    let mut log = draft.general.log.clone();
    if !draft.log_dest_given {
        log.stderr = false;
    }
    match word {
        "stderr" => log.stderr = true,
        "stdout" => log.stdout = true,
        "file" if rest.is_empty() => return Err(Kind::NoValue("file PATH".to_owned())),
        "file" => log.file = Some(rest.into()),
        "none" => (log.stderr, log.stdout, log.file) = (false, false, None),
        "syslog" | "topic" | "dlt" => {
            log.stderr = true;
            draft.note(
                "log_dest",
                &format!(
                    "{word}: this version logs to stderr instead, which the service manager keeps"
                ),
            );
        }
        "" => return Err(Kind::NoValue(DESTINATIONS.to_owned())),
        other => return Err(Kind::bad(other, DESTINATIONS)),
    }
    draft.general.log = log;
    draft.log_dest_given = true;
    Ok(())
}

/// `log_type`: the first line replaces the default, later ones add.
fn level(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    let level = match value.word(TYPES)? {
        "none" => LevelFilter::Off,
        "error" => LevelFilter::Error,
        "warning" => LevelFilter::Warn,
        "notice" | "information" | "websockets" => LevelFilter::Info,
        "subscribe" | "unsubscribe" | "debug" | "internal" | "all" => LevelFilter::Debug,
        other => return Err(Kind::bad(other, TYPES)),
    };
    let Log { level: known, .. } = &mut draft.general.log;
    // `none` takes back what stood before it, as in Mosquitto.
    let replaces = !draft.log_type_given || level == LevelFilter::Off;
    *known = if replaces { level } else { level.max(*known) };
    draft.log_type_given = true;
    Ok(())
}
