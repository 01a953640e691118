//! A login that another program is asked about, and the line that asks.

use core::net::IpAddr;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::reply::Said;
use super::{AuthSocket, Login};
use crate::auth::denied::Denied;
use crate::auth::rights::Lines;
use crate::json::{write_string, written_len};

/// Stands for all that a program was told about a login, password and all; nobody gets those back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::auth) struct Key([u8; 32]);

impl Key {
    pub(in crate::auth) fn of(socket: &AuthSocket, listener: &str, login: &Login<'_>) -> Key {
        let mut hash = Sha256::new();
        let mut add = |field: Option<&[u8]>| {
            // So that no two logins make the same bytes.
            hash.update([u8::from(field.is_some())]);
            let field = field.unwrap_or_default();
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        };
        add(Some(socket.path.as_os_str().as_encoded_bytes()));
        add(Some(listener.as_bytes()));
        add(Some(login.client_id.as_bytes()));
        add(login.username.map(str::as_bytes));
        add(login.password);
        add(login.certificate.map(str::as_bytes));
        let address = login.address.map(|ip| ip.to_canonical().to_string());
        add(address.as_deref().map(str::as_bytes));
        Key(hash.finalize().into())
    }
}

/// What a login is granted, as a program has said it.
#[derive(Clone, Debug)]
pub struct Allowed {
    pub(super) key: Key,
    pub(super) lines: Option<Lines>,
    pub(super) username: Option<Box<str>>,
    /// For how long that counts for the same login.
    pub(super) cache: Duration,
}

impl Allowed {
    /// It counts for this login only.
    pub fn do_not_keep(&mut self) {
        self.cache = Duration::ZERO;
    }
}

/// A login that another program is to be asked about.
pub struct SocketCheck {
    socket: AuthSocket,
    key: Key,
    /// What holds if the program has nothing to say about it.
    otherwise: Result<(), Denied>,
    listener: Box<str>,
    client_id: Box<str>,
    username: Option<Box<str>>,
    password: Option<Zeroizing<Box<[u8]>>>,
    address: Option<IpAddr>,
    certificate: Option<Box<str>>,
}

impl SocketCheck {
    pub(in crate::auth) fn new(
        (socket, key): (&AuthSocket, Key),
        listener: &str,
        login: &Login<'_>,
        otherwise: Result<(), Denied>,
    ) -> SocketCheck {
        SocketCheck {
            socket: socket.clone(),
            key,
            otherwise,
            listener: listener.into(),
            client_id: login.client_id.into(),
            username: login.username.map(Into::into),
            password: login
                .password
                .map(|password| Zeroizing::new(password.into())),
            address: login.address,
            certificate: login.certificate.map(Into::into),
        }
    }

    /// Whom to ask.
    pub fn socket(&self) -> &AuthSocket {
        &self.socket
    }

    /// What it takes of memory with its line, in bytes, about.
    pub(in crate::auth) fn held(&self) -> usize {
        let password = self.password.as_ref().map_or(0, |password| password.len());
        let names = [&self.username, &self.certificate].into_iter().flatten();
        let names = self.client_id.len() + names.map(|name| name.len()).sum::<usize>();
        2 * (names + password)
    }

    /// The line that asks, under a number of its own, with the byte that ends it.
    pub fn line(&self, id: u64) -> Zeroizing<String> {
        let password = self.password.as_deref().map(|password| &**password);
        let text = password.and_then(|password| std::str::from_utf8(password).ok());
        let bytes = password.filter(|_| text.is_none());
        let bytes = bytes.map(|bytes| Zeroizing::new(STANDARD.encode(bytes)));
        let address = self
            .address
            .map(|address| address.to_canonical().to_string());
        let fields = [
            ("client_id", Some(&*self.client_id)),
            ("username", self.username.as_deref()),
            ("password", text),
            (
                "password_base64",
                bytes.as_ref().map(|bytes| bytes.as_str()),
            ),
            ("address", address.as_deref()),
            ("listener", Some(&*self.listener)),
            ("certificate", self.certificate.as_deref()),
        ];
        let fields = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let head = format!("{{\"v\":1,\"id\":{id},\"ask\":\"login\"");
        // All that it takes, so that no copy of the password stays where it was before, and no more: many
        // may wait for a program that is slow.
        let lengths = fields.clone();
        let lengths = lengths.map(|(name, value)| name.len() + 4 + written_len(value));
        let room = head.len() + lengths.sum::<usize>() + 2;
        let mut out = Zeroizing::new(String::with_capacity(room));
        out.push_str(&head);
        for (name, value) in fields {
            out.push_str(",\"");
            out.push_str(name);
            out.push_str("\":");
            write_string(value, &mut out);
        }
        out.push_str("}\n");
        out
    }

    /// What the login comes to by what the program has said.
    ///
    /// # Errors
    /// Why the client may not come in.
    pub fn decide(&self, said: Said) -> Result<Option<Allowed>, Denied> {
        let allowed = |lines, username, cache: Option<_>| Allowed {
            key: self.key,
            lines,
            username,
            cache: cache.unwrap_or(self.socket.cache),
        };
        match said {
            Said::Allow {
                lines,
                username,
                cache,
            } => Ok(Some(allowed(lines, username, cache))),
            Said::Deny => Err(Denied::BySocket),
            Said::Ignore { cache } => {
                self.otherwise?;
                Ok(Some(allowed(None, None, cache)))
            }
        }
    }
}

impl fmt::Debug for SocketCheck {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketCheck")
            .field("path", &self.socket.path)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn socket() -> AuthSocket {
        AuthSocket {
            path: Path::new("/run/auth.sock").into(),
            timeout: Duration::from_secs(5),
            cache: Duration::from_secs(300),
        }
    }

    fn check(login: &Login<'_>) -> SocketCheck {
        let socket = socket();
        let key = Key::of(&socket, "1883", login);
        SocketCheck::new((&socket, key), "1883", login, Err(Denied::Credentials))
    }

    const LOGIN: Login<'_> = Login {
        client_id: "c\"\n",
        username: Some("ann"),
        password: Some(b"p\x01w"),
        address: None,
        certificate: None,
        by: crate::config::CertificateUsername::None,
    };

    #[test]
    fn the_line_says_what_is_known() {
        assert_eq!(
            *check(&LOGIN).line(7),
            "{\"v\":1,\"id\":7,\"ask\":\"login\",\"client_id\":\"c\\\"\\n\",\"username\":\"ann\",\
             \"password\":\"p\\u0001w\",\"listener\":\"1883\"}\n"
        );
        let other = Login {
            client_id: "c",
            username: None,
            password: Some(b"\xff\x00"),
            address: Some("::ffff:192.0.2.1".parse().unwrap()),
            certificate: Some("CN=gw"),
            by: crate::config::CertificateUsername::None,
        };
        assert_eq!(
            *check(&other).line(u64::MAX),
            "{\"v\":1,\"id\":18446744073709551615,\"ask\":\"login\",\"client_id\":\"c\",\
             \"password_base64\":\"/wA=\",\"address\":\"192.0.2.1\",\"listener\":\"1883\",\
             \"certificate\":\"CN=gw\"}\n"
        );
    }

    /// A line that grows would leave a copy of the password behind; one with room to spare takes memory
    /// for nothing.
    #[test]
    fn the_line_has_the_room_that_it_needs() {
        let worst = "\u{1}".repeat(65_535);
        for password in [worst.as_bytes(), &[0xff; 65_535]] {
            let login = Login {
                client_id: &worst,
                username: Some(&worst),
                password: Some(password),
                address: Some([192, 0, 2, 1].into()),
                certificate: Some("CN=\"g\""),
                ..LOGIN
            };
            let line = check(&login).line(1);
            assert_eq!(line.capacity(), line.len());
        }
    }

    #[test]
    fn no_password_is_printed() {
        let printed = format!("{:?}", check(&LOGIN));
        assert!(
            printed.contains("ann") && !printed.contains("password"),
            "{printed}"
        );
    }

    #[test]
    fn another_login_has_another_key() {
        let key = |login: &Login<'_>| Key::of(&socket(), "1883", login);
        let other = |change: fn(&mut Login<'static>)| {
            let mut login = LOGIN;
            change(&mut login);
            key(&login)
        };
        assert_eq!(key(&LOGIN), other(|_| ()));
        let changes: [fn(&mut Login<'static>); 8] = [
            |login| login.client_id = "d",
            |login| login.username = Some("bob"),
            |login| login.username = None,
            |login| login.password = Some(b""),
            |login| login.password = None,
            |login| login.address = Some([192, 0, 2, 1].into()),
            |login| login.certificate = Some("CN=gw"),
            |login| (login.username, login.password) = (Some("an"), Some(&b"np\x01w"[..])),
        ];
        for change in changes {
            assert_ne!(key(&LOGIN), other(change));
        }
        assert_ne!(key(&LOGIN), Key::of(&socket(), "1884", &LOGIN));
    }
}
