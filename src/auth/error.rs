//! What keeps rules from being used.

use std::fmt;
use std::path::PathBuf;

use super::passwd::Skipped;
use super::rule::LineError;

/// A file of rules that can't be used. Prints as one line: cause, then cure.
#[derive(Debug)]
pub enum Error {
    /// The file can't be read.
    Unreadable(PathBuf, std::io::Error),
    /// The file is not UTF-8.
    NotUtf8(PathBuf),
    /// A line of the `acl_file`: a rule that is not understood could be a `deny`, so the file is
    /// not used at all.
    Acl(PathBuf, usize, LineError),
    /// A line of a `password_file` that can't be done without.
    Password(PathBuf, usize, Skipped),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreadable(path, error) => {
                let path = path.display();
                write!(
                    f,
                    "{path}: cannot be read: {error}; check the path and its rights"
                )
            }
            Error::NotUtf8(path) => {
                write!(f, "{}: is not UTF-8 text; save it as UTF-8", path.display())
            }
            Error::Acl(path, line, error) => write!(f, "{}:{line}: {error}", path.display()),
            Error::Password(path, line, why) => write!(f, "{}:{line}: {why}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

/// Everything that keeps rules from being used; never empty. Prints one a line.
#[derive(Debug)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Error::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Errors {}
