//! Who may connect, publish and read: `password_file`, `acl_file` and `allow_anonymous`.

mod acl;
pub mod passwd;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{Config, General};

pub use acl::Fault;

use acl::Acl;
use passwd::Users;

/// The rules in force. Made again on SIGHUP.
#[derive(Clone, Debug)]
pub struct Auth {
    allow_anonymous: bool,
    users: Option<Users>,
    acl: Option<Acl>,
}

/// A client, as the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// The user name.
    pub username: Option<&'a str>,
}

/// Why a client may not connect. The wire says the same for each: 3.1.1 return code 5, 5.0 reason
/// code 0x87.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No user name, and `allow_anonymous` is false.
    Anonymous,
    /// No such user, no password, or a wrong one.
    Credentials,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denied::Anonymous => "anonymous clients are not allowed",
            Denied::Credentials => "unknown user or wrong password",
        })
    }
}

impl std::error::Error for Denied {}

/// A file of rules that can't be used. Prints as one line: cause, then cure.
#[derive(Debug)]
pub enum Error {
    /// The file can't be read.
    Unreadable(PathBuf, std::io::Error),
    /// The file is not UTF-8.
    NotUtf8(PathBuf),
    /// A line of the `acl_file`: a rule that is not understood could be a `deny`, so the file is
    /// not used at all.
    Acl(PathBuf, usize, Fault),
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
            Error::Acl(path, line, fault) => write!(f, "{}:{line}: {fault}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

impl Auth {
    /// The rules that `config` asks for, as [`Auth::load`] reads them.
    ///
    /// # Errors
    /// As [`Auth::load`].
    pub fn for_config(config: &Config) -> Result<(Auth, Vec<String>), Error> {
        Auth::load(&config.general, !config.listeners.is_empty())
    }

    /// Reads the files that `general` names. `has_listeners` decides what `allow_anonymous` is
    /// where the file is silent: true only without a listener, as in Mosquitto 2.
    ///
    /// The strings are warnings for the log: lines of the password file that were skipped.
    ///
    /// # Errors
    /// A file that can't be read, or an `acl_file` with a line that is not understood.
    pub fn load(general: &General, has_listeners: bool) -> Result<(Auth, Vec<String>), Error> {
        let mut warnings = Vec::new();
        let mut auth = Auth {
            allow_anonymous: general.allow_anonymous.unwrap_or(!has_listeners),
            users: None,
            acl: None,
        };
        if let Some(path) = &general.password_file {
            let (users, skipped) = Users::parse(&read(path)?);
            let file = path.display();
            let lines = skipped.into_iter();
            warnings.extend(lines.map(|(line, why)| format!("{file}:{line}: {why}; line skipped")));
            auth.users = Some(users);
        }
        if let Some(path) = &general.acl_file {
            let acl = Acl::parse(&read(path)?);
            auth.acl = Some(acl.map_err(|(line, fault)| Error::Acl(path.clone(), line, fault))?);
        }
        Ok((auth, warnings))
    }

    /// Whether a client with this user name and password may connect.
    ///
    /// Without a `password_file` a user name is not checked, and counts like none. With one, a
    /// user name must be in it, with its password, even if `allow_anonymous` is true.
    ///
    /// # Errors
    /// Why it may not.
    pub fn login(&self, username: Option<&str>, password: Option<&[u8]>) -> Result<(), Denied> {
        match (username, &self.users) {
            (Some(name), Some(users)) => match users.verify(name, password.unwrap_or_default()) {
                true if password.is_some() => Ok(()),
                _ => Err(Denied::Credentials),
            },
            (Some(_), None) if self.allow_anonymous => Ok(()),
            (Some(_), None) => Err(Denied::Credentials),
            (None, _) if self.allow_anonymous => Ok(()),
            (None, _) => Err(Denied::Anonymous),
        }
    }

    /// Whether a client that is connected under this user name could still log in, as far as can
    /// be said without its password.
    pub fn still_admits(&self, username: Option<&str>) -> bool {
        match (username, &self.users) {
            (Some(name), Some(users)) => users.has(name),
            _ => self.allow_anonymous,
        }
    }

    /// Whether `who` may publish to `topic`.
    pub fn may_publish(&self, who: &Who<'_>, topic: &str) -> bool {
        let allowed = |acl: &Acl| acl.allows(who, topic, acl::Wish::Write);
        self.acl.as_ref().is_none_or(allowed)
    }

    /// Whether a message on `topic` may be delivered to `who`.
    pub fn may_read(&self, who: &Who<'_>, topic: &str) -> bool {
        let allowed = |acl: &Acl| acl.allows(who, topic, acl::Wish::Read);
        self.acl.as_ref().is_none_or(allowed)
    }

    /// Whether `who` may subscribe to `filter`: always, as in Mosquitto 2. What it may read is
    /// checked at delivery, since a filter can match topics with different rules.
    pub fn may_subscribe(&self, _who: &Who<'_>, _filter: &str) -> bool {
        true
    }

    /// True when every topic is open to everyone: without an `acl_file` the hot path need not
    /// ask.
    pub fn open(&self) -> bool {
        self.acl.is_none()
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::Unreadable(path.to_owned(), error))?;
    String::from_utf8(bytes).map_err(|_| Error::NotUtf8(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by mosquitto_passwd 2.0.11; the password is `sekrit`.
    const ROGER: &str = "roger:$7$101$yi/UEwlQEE0YIyfg$oEUW942RGwBb0BLmyIWz2wkC1oE8+itOj32W6S1xBQ\
                         wRnugnhtkdmJcqABUjQqof3feFSVIc5WUpL0LT4QgMWA==\nbroken\n";

    fn auth(allow: Option<bool>, passwords: bool, listeners: bool) -> (Auth, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        std::fs::write(&path, ROGER).unwrap();
        let general = General {
            allow_anonymous: allow,
            password_file: passwords.then_some(path),
            ..General::default()
        };
        Auth::load(&general, listeners).unwrap()
    }

    /// What Mosquitto 2.0.11 does, tried out case by case.
    #[test]
    fn login_without_a_password_file() {
        let (open, _) = auth(Some(true), false, true);
        assert_eq!(open.login(None, None), Ok(()));
        assert_eq!(open.login(Some("u"), None), Ok(()));
        assert_eq!(open.login(Some("u"), Some(b"p")), Ok(()));
        let (shut, _) = auth(Some(false), false, true);
        assert_eq!(shut.login(None, None), Err(Denied::Anonymous));
        assert_eq!(shut.login(Some("u"), Some(b"p")), Err(Denied::Credentials));
    }

    /// What Mosquitto 2.0.11 does, tried out case by case.
    #[test]
    fn login_with_a_password_file() {
        let (auth, warnings) = auth(Some(true), true, true);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("passwd:2: "), "{warnings:?}");
        assert_eq!(auth.login(None, None), Ok(()));
        assert_eq!(auth.login(Some("roger"), Some(b"sekrit")), Ok(()));
        for (name, password) in [
            ("roger", Some("no")),
            ("roger", None),
            ("nobody", Some("sekrit")),
            ("nobody", None),
        ] {
            let login = auth.login(Some(name), password.map(str::as_bytes));
            assert_eq!(login, Err(Denied::Credentials), "{name} {password:?}");
        }
    }

    #[test]
    fn silence_allows_anonymous_clients_only_without_a_listener() {
        assert_eq!(auth(None, false, false).0.login(None, None), Ok(()));
        let with = auth(None, false, true).0.login(None, None);
        assert_eq!(with, Err(Denied::Anonymous));
        let shut = auth(Some(false), false, false).0.login(None, None);
        assert_eq!(shut, Err(Denied::Anonymous));
    }

    #[test]
    fn files_that_cannot_be_used_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acl");
        let general = General {
            acl_file: Some(path.clone()),
            ..General::default()
        };
        let load = || Auth::load(&general, true).map(|_| ()).unwrap_err();
        assert!(matches!(load(), Error::Unreadable(..)));
        std::fs::write(&path, "topic read a\ntopik b\n").unwrap();
        assert!(matches!(load(), Error::Acl(_, 2, _)));
        std::fs::write(&path, b"topic \xff\n").unwrap();
        assert!(matches!(load(), Error::NotUtf8(_)));
    }

    #[test]
    fn without_an_acl_file_everything_is_open() {
        let (auth, _) = auth(None, false, true);
        let who = Who {
            client_id: "+",
            username: None,
        };
        assert!(auth.open());
        assert!(auth.may_publish(&who, "$SYS/x") && auth.may_read(&who, "a"));
        assert!(auth.may_subscribe(&who, "#"));
    }
}
