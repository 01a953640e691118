//! Logins: what can be said at once, and what takes the hash of a password, which is made off the
//! broker's thread.

use std::fmt;
use std::sync::Arc;

use super::Auth;
use super::passwd::Users;
use super::rules::Rules;
use crate::config::CertificateUsername;

/// Why a client may not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No user name, and `allow_anonymous` is false.
    Anonymous,
    /// No such user, no password, or a wrong one. The wire says the same as for
    /// [`Denied::Anonymous`]: 3.1.1 return code 5, 5.0 reason code 0x87.
    Credentials,
    /// The listener takes the user name from the client's certificate, and that has none.
    Certificate,
    /// Nobody could look. The wire says so: return code 3, reason code 0x88.
    Unavailable,
}

impl Denied {
    /// The reason in words, for the log.
    pub fn words(self) -> &'static str {
        match self {
            Denied::Anonymous => "no user name, and allow_anonymous is false",
            Denied::Credentials => "unknown user or wrong password: check password_file",
            Denied::Certificate => {
                "its certificate has no name that can be its user name, or it showed none: see \
                 use_identity_as_username and require_certificate"
            }
            Denied::Unavailable => "its password could not be checked",
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl std::error::Error for Denied {}

/// A user name and a password that are to be looked at. That takes a hash, and so milliseconds: any
/// thread may do it.
pub struct Check {
    users: Arc<Users>,
    name: Box<str>,
    password: Box<[u8]>,
}

impl Check {
    /// Looks whether they are those of a user.
    ///
    /// # Errors
    /// [`Denied::Credentials`] if they are not.
    pub fn run(&self) -> Result<(), Denied> {
        if self.users.verify(&self.name, &self.password) {
            Ok(())
        } else {
            Err(Denied::Credentials)
        }
    }
}

impl fmt::Debug for Check {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish()
    }
}

impl Auth {
    /// Whether a client with this user name and password may connect to `listener`; `None` is yes, and
    /// else it depends on what the [`Check`] says.
    ///
    /// Without a `password_file` a user name is not checked, and counts like none. With one, a
    /// user name must be in it, with its password, even if `allow_anonymous` is true. Where the client's
    /// certificate says who it is ([`Auth::certificate_username`]), that is `username`, and nothing else
    /// is asked.
    ///
    /// # Errors
    /// Why it may not, where that takes no hash.
    pub fn login(
        &self,
        listener: &str,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<Option<Check>, Denied> {
        let rules = self.at(Some(listener)).ok_or(Denied::Credentials)?;
        if rules.by_certificate != CertificateUsername::None {
            return username.map(|_| None).ok_or(Denied::Certificate);
        }
        match (username, &rules.users) {
            (Some(name), Some(users)) => {
                // The same for every name, so it tells nothing about any.
                let password = password.filter(|password| !password.is_empty());
                let password = password.ok_or(Denied::Credentials)?;
                Ok(Some(Check {
                    users: Arc::clone(users),
                    name: name.into(),
                    password: password.into(),
                }))
            }
            (Some(_), None) if rules.allow_anonymous => Ok(None),
            (Some(_), None) => Err(Denied::Credentials),
            (None, _) if rules.allow_anonymous => Ok(None),
            (None, _) => Err(Denied::Anonymous),
        }
    }

    /// As [`Auth::login`], hash and all.
    #[cfg(test)]
    pub(super) fn log_in(
        &self,
        listener: &str,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<(), Denied> {
        let check = self.login(listener, username, password)?;
        check.map_or(Ok(()), |check| check.run())
    }

    /// Whether a client that is connected to `listener` under this user name may stay when these rules
    /// take the place of `before`: whether it could log in again. Its password is not kept, so that its
    /// line must be the one that the password was checked by.
    pub fn still_admits(&self, before: &Auth, listener: &str, username: Option<&str>) -> bool {
        let Some(rules) = self.at(Some(listener)) else {
            return false;
        };
        let before = before.at(Some(listener));
        let certificate = |rules: &Rules| rules.by_certificate;
        let by = before.map_or(CertificateUsername::None, certificate);
        if by != rules.by_certificate {
            return false;
        }
        if by != CertificateUsername::None {
            return true;
        }
        match (username, &rules.users) {
            (Some(name), Some(users)) => {
                let before = before.and_then(|rules| rules.users.as_ref());
                before.is_some_and(|before| users.has_same(before, name))
            }
            _ => rules.allow_anonymous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_printed() {
        let check = Check {
            users: Arc::new(Users::parse("").0),
            name: "ann".into(),
            password: (*b"sekrit").into(),
        };
        assert_eq!(format!("{check:?}"), r#"Check { name: "ann" }"#);
    }
}
