//! What can be wrong with a configuration, and where.

use std::fmt;

use super::printable::printable;
use crate::lane::LineNo;

/// One thing wrong with a configuration. Prints as one line: `file:line: directive: cause; cure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; `None` where the file itself is at fault.
    pub line: Option<usize>,
    /// The directive; empty where the file itself is at fault.
    pub directive: String,
    /// What is wrong.
    pub kind: Kind,
}

/// What is wrong with one line, or with a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file or directory can't be read, in the system's words.
    Unreadable(String),
    /// The main file is to be read again, and is none.
    ReadOnce,
    /// The file is not UTF-8.
    NotUtf8,
    /// No such directive; the nearest known one, if any is near.
    Unknown(Option<&'static str>),
    /// A bridge's directive before any `connection`.
    NoConnection,
    /// A directive of the broker or a listener where only a bridge is asked for.
    NotOfBridge,
    /// No `connection` section, or several, where a bridge is to be added.
    OneSection,
    /// `plugin_use` before any `listener`.
    NoListener,
    /// An option of a plugin before any plugin.
    NoPlugin,
    /// An option that the plugin does not have; the one that it has.
    PluginOption(&'static str),
    /// A plugin without its file; the option that names it.
    NoPluginFile(&'static str),
    /// A second `plugin_load` of that name.
    DuplicatePlugin,
    /// A file where another one is: the directive that both are for, and the other.
    TwoFiles(&'static str, String),
    /// `per_listener_settings` below what it is about.
    TooLate,
    /// `include_dir` in an included file.
    NestedInclude,
    /// The value is missing; what is wanted.
    NoValue(String),
    /// The value, and what is wanted.
    BadValue(String, String),
    /// A `${…}` that stands for nothing.
    Expansion(String),
    /// A `topic` line, in words.
    Topic(String),
    /// Never to be supported: the reason and what to use.
    Refused(&'static str, &'static str),
    /// Known, and left to a later version: what to do now.
    Later(&'static str),
    /// A client id of the bridge that no packet can hold; the directive that sets it.
    ClientId(&'static str),
    /// The topic of the bridge's state would be none, for the client id that is in it.
    StateTopic,
    /// The bridge has no `address`.
    NoAddress,
    /// The bridge has no `topic`.
    NoTopic,
    /// The bridge has more lines of `topic` than can be told apart.
    TooManyTopics,
    /// `remote_password`, or another directive for it, without `remote_username`.
    NoUsername(&'static str),
    /// Two directives for the password of a bridge.
    TwoPasswords(&'static str, &'static str),
    /// A `listener` that another one is in the way of; where that stands.
    DuplicateListener(String),
    /// A second `connection` of that name.
    DuplicateConnection,
    /// Two bridges with one local client id; the id and the other bridge.
    DuplicateLocalId(String, String),
    /// Two bridges with one client id towards one address; the id and the other bridge.
    DuplicateRemoteId(String, String),
}

impl Kind {
    /// A [`Kind::BadValue`].
    pub(super) fn bad(value: &str, wants: impl Into<String>) -> Kind {
        Kind::BadValue(shortened(value), wants.into())
    }
}

/// As much of `text` as belongs in one line of an error, without what a terminal would obey.
pub(super) fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let start: String = text.chars().take(MAX_CHARS).collect();
    let dots = if start.len() < text.len() { "..." } else { "" };
    format!("{}{dots}", printable(&start))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Unreadable(why) => {
                write!(f, "cannot be read: {why}; check the path and its rights")
            }
            Kind::ReadOnce => write!(
                f,
                "is a pipe or a device, which can be read only once, at a start without -d; SIGHUP and \
                 -d need a file"
            ),
            Kind::NotUtf8 => write!(f, "is not UTF-8 text; save it as UTF-8"),
            Kind::Unknown(Some(near)) => write!(f, "unknown directive; did you mean `{near}`?"),
            Kind::Unknown(None) => write!(
                f,
                "unknown directive; `footbridge --help config` lists the known ones"
            ),
            Kind::NoConnection => write!(
                f,
                "belongs to a bridge; write it below the `connection` line it is meant for"
            ),
            Kind::NotOfBridge => write!(
                f,
                "belongs to no bridge, and only a bridge can be added; write it in the configuration file"
            ),
            Kind::OneSection => write!(f, "give exactly one `connection` section"),
            Kind::NoListener => write!(
                f,
                "belongs to a listener; write it below the `listener` line it is meant for"
            ),
            Kind::NoPlugin => write!(
                f,
                "belongs to a plugin; write it below the `plugin`, `global_plugin` or `plugin_load` line \
                 it is meant for"
            ),
            Kind::PluginOption(option) => {
                write!(f, "the plugin above has the option {option} only; use that")
            }
            Kind::NoPluginFile(option) => {
                write!(
                    f,
                    "the plugin has no file; add a line `{option} FILE` below it"
                )
            }
            Kind::DuplicatePlugin => write!(f, "a second plugin of this name; rename one"),
            Kind::TwoFiles(directive, other) => write!(
                f,
                "`{}` is the {directive} of the same clients; keep one of the two",
                shortened(other)
            ),
            Kind::TooLate => write!(
                f,
                "must stand above the first allow_anonymous, password_file, acl_file, plugin, \
                 auto_id_prefix and allow_zero_length_clientid; move it to the top"
            ),
            Kind::NestedInclude => {
                write!(f, "works only in the main file; name the directory there")
            }
            Kind::NoValue(wants) => write!(f, "no value; give {wants}"),
            Kind::BadValue(value, wants) => write!(f, "`{value}` is not valid; give {wants}"),
            Kind::Expansion(why) => write!(
                f,
                "{why}; use ${{hostname}}, ${{mac}} or ${{env:NAME}}, or $${{ for a plain ${{"
            ),
            Kind::Topic(why) => f.write_str(why),
            Kind::Refused(reason, cure) => write!(f, "not supported: {reason}; {cure}"),
            Kind::Later(cure) => write!(f, "not supported yet by this version; {cure}"),
            Kind::ClientId(directive) => write!(
                f,
                "the client id is longer than 65535 bytes or has a control character; set {directive}"
            ),
            Kind::StateTopic => write!(
                f,
                "$SYS/broker/connection/REMOTE-CLIENTID/state is no topic with this \
                 remote_clientid; set notification_topic, or notifications false"
            ),
            Kind::NoAddress => write!(f, "the bridge has no address; add `address HOST[:PORT]`"),
            Kind::TooManyTopics => write!(
                f,
                "a bridge has at most {} topics; take some together with + or #, or make a second \
                 bridge",
                LineNo::MAX
            ),
            Kind::NoTopic => write!(
                f,
                "the bridge has no topic; add a line such as `topic # out 1`"
            ),
            Kind::NoUsername(directive) => write!(
                f,
                "the bridge has a {directive} without a remote_username; add the user name"
            ),
            Kind::TwoPasswords(one, other) => {
                write!(f, "the bridge has a {one} and a {other}; keep one of them")
            }
            Kind::DuplicateListener(first) => write!(
                f,
                "the listener of {first} has the same port and address already; remove one"
            ),
            Kind::DuplicateConnection => write!(f, "a second bridge of this name; rename one"),
            Kind::DuplicateLocalId(id, other) => write!(
                f,
                "local client id `{id}` is also that of bridge `{other}`; set local_clientid in one"
            ),
            Kind::DuplicateRemoteId(id, other) => write!(
                f,
                "bridge `{other}` connects to the same address with client id `{id}`, and each \
                 would disconnect the other; set remote_clientid in one"
            ),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.directive.is_empty() {
            write!(f, ": {}", self.directive)?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for Error {}

/// Everything wrong with a configuration, in the order found; never empty. Prints one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_does_not_move_the_cursor() {
        let text = Kind::bad("a\nb\u{1b}[2J\u{202e}", "a number").to_string();
        assert_eq!(
            text,
            "`a\\nb\\u{1b}[2J\\u{202e}` is not valid; give a number"
        );
    }

    #[test]
    fn a_long_value_leaves_room_for_what_is_wrong_with_it() {
        let text = Kind::bad(&"ä".repeat(1 << 20), "a number").to_string();
        assert!(text.len() < 300, "{} bytes", text.len());
        assert!(text.ends_with("...` is not valid; give a number"), "{text}");
    }
}
