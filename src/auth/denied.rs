//! Why a client may not connect.

use std::fmt;

/// Why a client may not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No user name, and `allow_anonymous` is false.
    Anonymous,
    /// No such user, no password, or a wrong one. The wire says the same as for
    /// [`Denied::Anonymous`]: 3.1.1 return code 5, 5.0 reason code 0x87.
    Credentials,
    /// `auth_socket` says no. The wire says the same as for [`Denied::Credentials`].
    BySocket,
    /// Its user name or password is so long that `auth_socket` is not asked. The wire says the same as for
    /// [`Denied::Credentials`].
    TooLong,
    /// The listener takes the user name from the client's certificate, and that has none.
    Certificate,
    /// Nobody could look. The wire says so: return code 3, reason code 0x88.
    Unavailable,
    /// As [`Denied::Unavailable`]: the program behind `auth_socket` has not answered.
    NoAnswer,
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
            Denied::BySocket => "auth_socket denies it",
            Denied::TooLong => {
                "its user name or password is above 4096 bytes: auth_socket is not asked"
            }
            Denied::Unavailable => "its password could not be checked",
            Denied::NoAnswer => "auth_socket has not answered",
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl std::error::Error for Denied {}
