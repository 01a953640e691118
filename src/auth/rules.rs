//! The rules of a listener, read from their files.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::acl::Acl;
use super::error::Error;
use super::passwd::{MAX_MEMORY, Users};
use super::socket::AuthSocket;
use crate::config::{CertificateUsername, Listener, Security};

/// The rules of a listener.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) allow_anonymous: bool,
    /// What of the client's certificate is its user name, which needs no password then.
    pub(super) by_certificate: CertificateUsername,
    /// What generated client ids begin with; `None`: there are none.
    pub(super) auto_id_prefix: Option<Box<str>>,
    pub(super) users: Option<Arc<Users>>,
    pub(super) acl: Option<Rc<Acl>>,
    /// Who is asked about those who are not in `users`.
    pub(super) socket: Option<AuthSocket>,
}

impl Rules {
    pub(super) fn load(security: &Security, anonymous: bool, reader: &mut Reader) -> Rules {
        let ids = Some(&security.auto_id_prefix).filter(|_| security.allow_zero_length_clientid);
        Rules {
            allow_anonymous: security.allow_anonymous.unwrap_or(anonymous),
            by_certificate: CertificateUsername::None,
            auto_id_prefix: ids.map(|prefix| prefix.as_str().into()),
            users: security
                .password_file
                .as_deref()
                .map(|path| reader.users(path)),
            acl: security.acl_file.as_deref().map(|path| reader.acl(path)),
            socket: security.auth_socket.as_deref().map(|path| AuthSocket {
                path: path.into(),
                timeout: security.auth_socket_timeout,
                cache: security.auth_socket_cache,
            }),
        }
    }

    /// Whether a client of this user name has a line in the `password_file`.
    pub(super) fn has_user(&self, username: Option<&str>) -> bool {
        let users = self.users.as_ref();
        users
            .zip(username)
            .is_some_and(|(users, name)| users.has(name))
    }

    /// Whether the client's certificate says who it is.
    pub(super) fn is_by_certificate(&self) -> bool {
        self.by_certificate != CertificateUsername::None
    }

    /// With what the listener says for itself alone.
    pub(super) fn overridden(mut self, listener: &Listener) -> Rules {
        if let Some(allow) = listener.allow_anonymous {
            self.allow_anonymous = allow;
        }
        self.by_certificate = listener.tls.username;
        if let (Some(prefix), true) = (&listener.auto_id_prefix, self.auto_id_prefix.is_some()) {
            self.auto_id_prefix = Some(prefix.as_str().into());
        }
        self
    }
}

/// Reads files of rules, and gathers what is wrong with them.
pub(super) struct Reader {
    /// What a password may take to be checked, in KiB.
    most_memory: u32,
    pub(super) errors: Vec<Error>,
    /// Lines that are skipped.
    pub(super) warnings: Vec<String>,
}

impl Reader {
    /// A reader; `limit` is `memory_limit`, in bytes.
    pub(super) fn new(limit: Option<u64>) -> Reader {
        let limit = limit.filter(|limit| *limit > 0).map(|limit| limit / 1024);
        let limit = limit.and_then(|kib| u32::try_from(kib).ok());
        Reader {
            most_memory: limit.unwrap_or(MAX_MEMORY).min(MAX_MEMORY),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn users(&mut self, path: &Path) -> Arc<Users> {
        let (users, skipped) = Users::parse_within(&self.text(path), self.most_memory);
        let (fatal, skipped): (Vec<_>, Vec<_>) =
            skipped.into_iter().partition(|(_, why)| why.is_fatal());
        let fatal = fatal.into_iter();
        self.errors
            .extend(fatal.map(|(line, why)| Error::Password(path.to_owned(), line, why)));
        let (file, lines) = (path.display(), skipped.into_iter());
        self.warnings
            .extend(lines.map(|(line, why)| format!("{file}:{line}: {why}; line skipped")));
        Arc::new(users)
    }

    fn acl(&mut self, path: &Path) -> Rc<Acl> {
        let acl = Acl::parse(&self.text(path)).unwrap_or_else(|wrong| {
            let wrong = wrong.into_iter();
            self.errors
                .extend(wrong.map(|(line, error)| Error::Acl(path.to_owned(), line, error)));
            Acl::default()
        });
        Rc::new(acl)
    }

    /// The text of a file, without the byte-order mark that editors of Windows put before it; empty
    /// where it can't be read.
    fn text(&mut self, path: &Path) -> String {
        let read = std::fs::read(path).map_err(|error| Error::Unreadable(path.to_owned(), error));
        let text = read.and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| Error::NotUtf8(path.to_owned()))
        });
        text.map_or_else(
            |error| {
                self.errors.push(error);
                String::new()
            },
            |text| without_bom(&text).to_owned(),
        )
    }
}

/// `text` without a byte-order mark.
pub fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
