//! The rules of a listener, read from their files.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::acl::Acl;
use super::error::Error;
use super::passwd::{MAX_MEMORY, Users};
use super::socket::AuthSocket;
use crate::config::{CertificateUsername, Listener, Security};
use crate::files;

/// A file beyond this is none with users or rules, in bytes: there is room for 200,000 users.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

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

/// Who gets in at a listener, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Whoever names no user, or any that nobody looks at.
    pub anonymous: bool,
    /// The users of a `password_file`.
    pub passwords: bool,
    /// Owners of a certificate, whose user name is in it.
    pub certificate: bool,
    /// Whom the program behind `auth_socket` lets in.
    pub socket: bool,
    /// Topics are held against an `acl_file`, or the rights that the program gives.
    pub has_rights: bool,
}

impl Rules {
    /// Who gets in by them.
    pub(super) fn entry(&self) -> Entry {
        let certificate = self.is_by_certificate();
        Entry {
            anonymous: self.allow_anonymous && !certificate,
            passwords: self.users.is_some() && !certificate,
            certificate,
            socket: self.socket.is_some(),
            has_rights: self.acl.is_some() || self.socket.is_some(),
        }
    }

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

    /// With the files that the listener has of its own, without `per_listener_settings`.
    pub(super) fn with_files_of(mut self, own: &Security, reader: &mut Reader) -> Rules {
        if let Some(path) = &own.password_file {
            self.users = Some(reader.users(path));
        }
        if let Some(path) = &own.acl_file {
            self.acl = Some(reader.acl(path));
        }
        self
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

/// Reads files of rules, each once, and gathers what is wrong with them.
pub(super) struct Reader {
    users: Vec<(PathBuf, Arc<Users>)>,
    acls: Vec<(PathBuf, Rc<Acl>)>,
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
            users: Vec::new(),
            acls: Vec::new(),
            most_memory: limit.unwrap_or(MAX_MEMORY).min(MAX_MEMORY),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn users(&mut self, path: &Path) -> Arc<Users> {
        if let Some((_, users)) = self.users.iter().find(|(known, _)| known == path) {
            return Arc::clone(users);
        }
        let (users, skipped) = Users::parse_within(&self.text(path), self.most_memory);
        let (fatal, skipped): (Vec<_>, Vec<_>) =
            skipped.into_iter().partition(|(_, why)| why.is_fatal());
        let fatal = fatal.into_iter();
        self.errors
            .extend(fatal.map(|(line, why)| Error::Password(path.to_owned(), line, why)));
        let (file, lines) = (path.display(), skipped.into_iter());
        self.warnings
            .extend(lines.map(|(line, why)| format!("{file}:{line}: {why}; line skipped")));
        let users = Arc::new(users);
        self.users.push((path.to_owned(), Arc::clone(&users)));
        users
    }

    fn acl(&mut self, path: &Path) -> Rc<Acl> {
        if let Some((_, acl)) = self.acls.iter().find(|(known, _)| known == path) {
            return Rc::clone(acl);
        }
        let acl = Acl::parse(&self.text(path)).unwrap_or_else(|wrong| {
            let wrong = wrong.into_iter();
            self.errors
                .extend(wrong.map(|(line, error)| Error::Acl(path.to_owned(), line, error)));
            Acl::default()
        });
        let acl = Rc::new(acl);
        self.acls.push((path.to_owned(), Rc::clone(&acl)));
        acl
    }

    /// The text of a file, without the byte-order mark that editors of Windows put before it; empty
    /// where it can't be read.
    fn text(&mut self, path: &Path) -> String {
        let read =
            files::read(path, MAX_BYTES).map_err(|error| Error::Unreadable(path.to_owned(), error));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Auth, Who};
    use crate::config::Config;

    /// `plugin_use`: the files of a listener come before those of all, without `per_listener_settings`, and
    /// the rest of its rules stays general.
    #[test]
    fn files_of_a_listener_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            Some(dir.path().join(name))
        };
        let mut config = Config {
            listeners: [1, 2].map(Listener::on).into(),
            ..Config::default()
        };
        config.general.security.allow_anonymous = Some(true);
        config.listeners[0].security.password_file = file("users", "broken\n");
        let (auth, told) = Auth::for_config(&config).unwrap();
        assert_eq!(told.len(), 1, "its file is read");
        assert!(auth.log_in("1", Some("u"), None).is_err());
        assert_eq!(auth.log_in("1", None, None), Ok(()));
        assert_eq!(auth.log_in("2", Some("u"), None), Ok(()));
        assert!(
            !auth.per_listener() && auth.open(),
            "no topic depends on it"
        );

        config.listeners[0].security.acl_file = file("acl", "topic a\n");
        let (auth, _) = Auth::for_config(&config).unwrap();
        assert!(auth.per_listener() && !auth.open());
        for (listener, may) in [(Some("1"), false), (Some("2"), true), (None, false)] {
            let who = Who {
                client_id: "c",
                username: None,
                listener,
                is_connected: true,
            };
            assert_eq!(auth.may_publish(&who, "x"), may, "{listener:?}");
            assert_eq!(auth.may_read(&who, "x"), may, "{listener:?}");
        }
    }

    /// What is wrong with a file is told once, however many listeners have it.
    #[test]
    fn a_file_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        std::fs::write(&path, "broken\n").unwrap();
        let mut reader = Reader::new(None);
        let users = reader.users(&path);
        assert!(Arc::ptr_eq(&users, &reader.users(&path)));
        assert_eq!(reader.warnings.len(), 1);
        let missing = dir.path().join("missing");
        let rules = reader.acl(&missing);
        assert!(Rc::ptr_eq(&rules, &reader.acl(&missing)));
        assert_eq!(reader.errors.len(), 1);
    }
}
