//! A plugin, as lines of a configuration name it.

use std::path::PathBuf;

use super::position::Position;
use crate::config::Security;

/// What a plugin checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::config) enum Purpose {
    /// User names and passwords.
    Passwords,
    /// Who may publish to and read which topics.
    Rules,
}

impl Purpose {
    /// The directive that a plugin for this stands for.
    pub(super) fn directive(self) -> &'static str {
        match self {
            Purpose::Passwords => "password_file",
            Purpose::Rules => "acl_file",
        }
    }

    /// The option that names its file.
    pub(in crate::config) const fn option(self) -> &'static str {
        match self {
            Purpose::Passwords => "plugin_opt_password_file",
            Purpose::Rules => "plugin_opt_acl_file",
        }
    }

    pub(super) fn file(self, security: &mut Security) -> &mut Option<PathBuf> {
        match self {
            Purpose::Passwords => &mut security.password_file,
            Purpose::Rules => &mut security.acl_file,
        }
    }
}

/// A plugin that a line names.
pub(in crate::config) struct Plugin {
    pub(super) place: Position,
    pub(super) directive: &'static str,
    /// Its name in `plugin_use`.
    pub(super) name: Option<String>,
    /// `None` for one that is not supported, which was said where it stands.
    pub(super) purpose: Option<Purpose>,
    pub(super) file: Option<PathBuf>,
    /// One of its options is wrong: its file may be there.
    pub(super) is_mistaken: bool,
    pub(super) uses: Vec<Use>,
}

/// A line by which a plugin is for some clients.
pub(super) struct Use {
    pub(super) place: Position,
    pub(super) directive: &'static str,
    pub(super) whom: Whom,
}

/// The clients that a plugin is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::config) enum Whom {
    All,
    /// Those of the default listener.
    Default,
    /// Those of a listener, by its index.
    Listener(usize),
}
