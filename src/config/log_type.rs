//! `log_type`: the kinds of log lines, each of which may be logged or not.
//!
//! A line's kind comes from its level, or from its target where levels do not tell kinds apart:
//! `log::info!(target: log_type::NOTICE, …)`.

use log::{Level, LevelFilter};

/// The target of lines at [`Level::Info`] that are [`LogType::Notice`].
pub const NOTICE: &str = "notice";
/// The target of lines at [`Level::Info`] that are [`LogType::Subscribe`].
pub const SUBSCRIBE: &str = "subscribe";
/// The target of lines at [`Level::Info`] that are [`LogType::Unsubscribe`].
pub const UNSUBSCRIBE: &str = "unsubscribe";
/// The target of lines at [`Level::Debug`] that are [`LogType::Websockets`].
pub const WEBSOCKETS: &str = "websockets";

/// A kind of line, with Mosquitto's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogType {
    /// Something does not work.
    Error,
    /// Something may not be what the operator wants.
    Warning,
    /// Clients and bridges come and go.
    Notice,
    /// What the broker does by itself.
    Information,
    /// A client has subscribed: one line a filter.
    Subscribe,
    /// A client has unsubscribed: one line a filter.
    Unsubscribe,
    /// For those who look for a mistake.
    Debug,
    /// The same about WebSockets.
    Websockets,
}

impl LogType {
    /// Every kind.
    pub const ALL: [LogType; 8] = [
        LogType::Error,
        LogType::Warning,
        LogType::Notice,
        LogType::Information,
        LogType::Subscribe,
        LogType::Unsubscribe,
        LogType::Debug,
        LogType::Websockets,
    ];

    /// Its name in `log_type`.
    pub fn name(self) -> &'static str {
        match self {
            LogType::Error => "error",
            LogType::Warning => "warning",
            LogType::Notice => NOTICE,
            LogType::Information => "information",
            LogType::Subscribe => SUBSCRIBE,
            LogType::Unsubscribe => UNSUBSCRIBE,
            LogType::Debug => "debug",
            LogType::Websockets => WEBSOCKETS,
        }
    }

    /// The type named `name`.
    pub fn named(name: &str) -> Option<LogType> {
        LogType::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The type of a line with this level and target.
    pub fn of(level: Level, target: &str) -> LogType {
        match (level, target) {
            (Level::Error, _) => LogType::Error,
            (Level::Warn, _) => LogType::Warning,
            (Level::Info, NOTICE) => LogType::Notice,
            (Level::Info, SUBSCRIBE) => LogType::Subscribe,
            (Level::Info, UNSUBSCRIBE) => LogType::Unsubscribe,
            (Level::Info, _) => LogType::Information,
            (_, WEBSOCKETS) => LogType::Websockets,
            (Level::Debug | Level::Trace, _) => LogType::Debug,
        }
    }

    fn level(self) -> LevelFilter {
        match self {
            LogType::Error => LevelFilter::Error,
            LogType::Warning => LevelFilter::Warn,
            LogType::Notice | LogType::Information | LogType::Subscribe | LogType::Unsubscribe => {
                LevelFilter::Info
            }
            LogType::Debug | LogType::Websockets => LevelFilter::Debug,
        }
    }
}

/// The types that are logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogTypes(u8);

impl LogTypes {
    /// `log_type none`.
    pub const NONE: LogTypes = LogTypes(0);
    /// `log_type all`.
    pub const ALL: LogTypes = LogTypes(u8::MAX);

    /// These and `kind`.
    #[must_use]
    pub fn with(self, kind: LogType) -> LogTypes {
        LogTypes(self.0 | 1 << kind as u8)
    }

    /// True if `kind` is among them.
    pub fn has(self, kind: LogType) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// The most detailed level that any of them needs: what is beyond costs one comparison.
    pub fn level(self) -> LevelFilter {
        let kinds = LogType::ALL.into_iter().filter(|kind| self.has(*kind));
        kinds.map(LogType::level).max().unwrap_or(LevelFilter::Off)
    }

    /// As a number, for an atomic.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The types that [`LogTypes::bits`] gave the number of.
    pub fn from_bits(bits: u8) -> LogTypes {
        LogTypes(bits)
    }
}

impl Default for LogTypes {
    /// Mosquitto's: errors, warnings, notices and information.
    fn default() -> LogTypes {
        LogTypes::NONE
            .with(LogType::Error)
            .with(LogType::Warning)
            .with(LogType::Notice)
            .with(LogType::Information)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_its_own() {
        for kind in LogType::ALL {
            assert_eq!(LogType::named(kind.name()), Some(kind));
            let only = LogTypes::NONE.with(kind);
            assert_eq!(LogTypes::from_bits(only.bits()), only);
            for other in LogType::ALL {
                assert_eq!(only.has(other), other == kind);
                assert!(LogTypes::ALL.has(other));
            }
            let level = kind.level().to_level().unwrap();
            assert_eq!(LogType::of(level, kind.name()), kind);
        }
    }

    #[test]
    fn what_nobody_asked_for_costs_nothing() {
        assert_eq!(LogTypes::NONE.level(), LevelFilter::Off);
        assert_eq!(LogTypes::default().level(), LevelFilter::Info);
        let subscribe = LogTypes::NONE.with(LogType::Subscribe);
        assert_eq!(subscribe.level(), LevelFilter::Info);
        assert_eq!(LogTypes::ALL.level(), LevelFilter::Debug);
    }
}
