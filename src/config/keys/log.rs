//! The log.

use super::key::Section::General as S;
use super::key::Unset::{Is, Means};
use super::key::{Key, accepted, implemented, set};
use crate::config::draft::Draft;
use crate::config::value::Value;
use crate::config::{Kind, LogType, LogTypes};
use crate::time::calendar::DateTime;

const DESTINATIONS: &str = "stdout, stderr, none, syslog, topic or file PATH";
const TYPES: &str = "error, warning, notice, information, subscribe, unsubscribe, debug, \
                     websockets, all or none";
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
        "syslog writes to /dev/log. topic publishes each line but those of type debug under \
         $SYS/broker/log: E, W, N and I for errors, warnings, notices and information, \
         M/subscribe and M/unsubscribe. none takes back what stood before it. A file is \
         opened again on SIGHUP. The log never holds the broker up: lines that a destination \
         does not take in time are dropped, and their number is logged. Read again on SIGHUP, \
         like everything about the log.",
        destination,
    ),
    implemented(
        S,
        "log_facility",
        "NUMBER",
        Means("the daemon facility"),
        "The facility of the lines for syslog: 0 to 7 for local0 to local7.",
        "",
        |draft, v| {
            draft.general.log.facility = Some(v.number(0..=7)?);
            Ok(())
        },
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
        "log_timestamp_format",
        "FORMAT",
        Means("the seconds since 1970"),
        "How the time at the beginning of log lines is written, for strftime(3).",
        "In UTC and the C locale, with the conversions %a %A %b %B %c %C %d %D %e %F %h %H %I %j \
         %k %l %m %M %n %N %p %r %R %s %S %t %T %u %w %x %X %y %Y %z %Z and %%; %N are the \
         nanoseconds. %Y-%m-%dT%H:%M:%S is ISO 8601.",
        timestamp_format,
    ),
    implemented(
        S,
        "log_type",
        "TYPE",
        Means("error, warning, notice and information"),
        "What is logged; may be given more than once.",
        "error, warning, notice (clients and bridges come and go), information, subscribe and \
         unsubscribe (one line a filter), debug, all or none. Each is a type of its own: whoever \
         wants warnings and errors names both. none takes back what stood before it. websockets is \
         accepted, has no effect, and the log says so: WebSocket clients are logged like others.",
        log_type,
    ),
    accepted(
        S,
        "ffdc_location",
        "DIRECTORY",
        "footbridge writes no failure dumps",
    ),
    accepted(S, "log_level", "LEVEL", BY_TYPE),
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
    let (word, path) = match value.0.split_once([' ', '\t']) {
        Some((word, path)) => (word, path.trim()),
        None => (value.0, ""),
    };
    let mut log = draft.general.log.clone();
    if !draft.log_dest_given {
        log.stderr = false;
    }
    match word {
        "stderr" => log.stderr = true,
        "stdout" => log.stdout = true,
        "syslog" => log.syslog = true,
        "topic" => log.topic = true,
        "file" if path.is_empty() => return Err(Kind::NoValue("file PATH".to_owned())),
        "file" => log.file = Some(path.into()),
        "none" => {
            (log.stderr, log.stdout, log.file) = (false, false, None);
            (log.syslog, log.topic) = (false, false);
        }
        "dlt" => {
            log.syslog = true;
            draft.note("log_dest", "dlt: this version logs to syslog instead");
        }
        "" => return Err(Kind::NoValue(DESTINATIONS.to_owned())),
        other => return Err(Kind::bad(other, DESTINATIONS)),
    }
    draft.general.log = log;
    draft.log_dest_given = true;
    Ok(())
}

/// `log_timestamp_format`: all the rest of the line.
fn timestamp_format(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    // It is worked out anew for each line.
    const MAX_LEN: usize = 256;
    let format = value.text()?;
    if format.len() > MAX_LEN {
        return Err(Kind::bad(format, "at most 256 bytes"));
    }
    if let Some(unknown) = DateTime::unknown(format) {
        return Err(Kind::bad(
            &unknown,
            "a format of the conversions in footbridge.conf(5)",
        ));
    }
    draft.general.log.timestamp_format = Some(format.to_owned());
    Ok(())
}

/// `log_type`: the first line replaces the default, later ones add.
fn log_type(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    let given = std::mem::replace(&mut draft.log_type_given, true);
    let known = if given {
        draft.general.log.types
    } else {
        LogTypes::NONE
    };
    draft.general.log.types = match value.word(TYPES)? {
        "none" => LogTypes::NONE,
        "all" => LogTypes::ALL,
        "internal" => known.with(LogType::Debug),
        word => {
            let kind = LogType::named(word).ok_or_else(|| Kind::bad(word, TYPES))?;
            if kind == LogType::Websockets {
                draft.note("log_type", "websockets has no effect: what comes by WebSocket is logged by the other types");
            }
            known.with(kind)
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Env, Log, LogType, LogTypes};

    fn log(text: &str) -> Option<Log> {
        let env = Env {
            hostname: "gw".to_owned(),
            mac: None,
            vars: Default::default(),
        };
        let loaded = Config::parse(text, "x.conf", &env).ok()?;
        Some(loaded.config.general.log)
    }

    #[test]
    fn types_add_up_and_none_takes_them_back() {
        let types = |text| log(text).unwrap().types;
        let error = LogTypes::NONE.with(LogType::Error);
        assert_eq!(types("log_type error"), error);
        let both = error.with(LogType::Subscribe);
        assert_eq!(types("log_type error\nlog_type subscribe"), both);
        assert_eq!(types("log_type all\nlog_type none\nlog_type error"), error);
        assert_eq!(types("log_type error\nlog_type all"), LogTypes::ALL);
        assert_eq!(types(""), LogTypes::default());
        assert_eq!(log("log_type frobnicate"), None);
    }

    #[test]
    fn destinations() {
        let some = log("log_dest syslog\nlog_dest topic\nlog_facility 5").unwrap();
        assert!(some.syslog && some.topic && !some.stderr && some.facility == Some(5));
        let none = log("log_dest syslog\nlog_dest topic\nlog_dest none").unwrap();
        assert!(!none.syslog && !none.topic && !none.stderr);
        assert_eq!(log("log_facility 8"), None);
    }

    #[test]
    fn formats_are_checked() {
        let format = |text: &str| log(&format!("log_timestamp_format {text}"));
        let iso = format("%Y-%m-%dT%H:%M:%S").unwrap();
        assert_eq!(iso.timestamp_format.as_deref(), Some("%Y-%m-%dT%H:%M:%S"));
        assert_eq!(
            format("%d %H:%M").unwrap().timestamp_format.as_deref(),
            Some("%d %H:%M")
        );
        assert_eq!(format("%Q"), None);
        assert_eq!(format("%Y %"), None);
    }
}
