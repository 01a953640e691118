//! Places in the files of a configuration.

use std::fmt;

/// Where a line stands.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct Position {
    pub file: String,
    pub line: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
