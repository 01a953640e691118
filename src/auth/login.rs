//! Logins: what can be said at once, and what takes the hash of a password or the answer of another
//! program, which both is not for the broker's thread.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::denied::Denied;
use super::passwd::Users;
use super::rules::Rules;
use super::socket::{
    Allowed, AuthSocket, Grant, Key, Login, Revocation, Said, SocketCheck, Standing,
};
use super::{Auth, Who};
use crate::config::CertificateUsername;
use crate::time::Time;

/// A program is not asked about a user name or a password of more bytes: anybody may send them, and many
/// questions may be out.
const MOST_ASKED: usize = 4096;

/// What can be said of a login at once.
#[derive(Debug)]
pub enum Verdict {
    /// The client may come in; with what `auth_socket` has granted it, if that was asked lately.
    Admitted(Option<Grant>),
    /// It depends on this.
    Asks(Check),
}

/// What is to be looked at, or asked, off the broker's thread.
#[derive(Debug)]
pub enum Check {
    /// A password.
    Password(PasswordCheck),
    /// Whatever the program behind `auth_socket` says.
    Socket(SocketCheck),
}

impl Check {
    /// Makes the hash of a password, which takes milliseconds.
    ///
    /// # Errors
    /// [`Denied::Credentials`] if it is not that of a user; [`Denied::NoAnswer`] where a program is to
    /// be asked.
    pub fn run(&self) -> Result<Option<Allowed>, Denied> {
        match self {
            Check::Password(check) => check.run().map(|()| None),
            Check::Socket(_) => Err(Denied::NoAnswer),
        }
    }

    /// What it takes of memory until it is answered, in bytes, about.
    pub fn held(&self) -> usize {
        match self {
            Check::Password(check) => check.name.len() + check.password.len(),
            Check::Socket(check) => check.held(),
        }
    }

    /// What the login comes to by what the program has said.
    ///
    /// # Errors
    /// Why the client may not come in.
    pub fn decide(&self, said: Said) -> Result<Option<Allowed>, Denied> {
        match self {
            Check::Password(_) => Err(Denied::Unavailable),
            Check::Socket(check) => check.decide(said),
        }
    }

    /// Why a client may not come in that nobody can look at.
    pub fn unanswered(&self) -> Denied {
        match self {
            Check::Password(_) => Denied::Unavailable,
            Check::Socket(_) => Denied::NoAnswer,
        }
    }
}

/// A user name and a password that are to be looked at. That takes a hash, and so milliseconds: any
/// thread may do it.
pub struct PasswordCheck {
    users: Arc<Users>,
    name: Box<str>,
    password: Zeroizing<Box<[u8]>>,
}

impl PasswordCheck {
    fn run(&self) -> Result<(), Denied> {
        if self.users.verify(&self.name, &self.password) {
            Ok(())
        } else {
            Err(Denied::Credentials)
        }
    }
}

impl fmt::Debug for PasswordCheck {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish()
    }
}

impl Auth {
    /// Whether a client may connect to `listener`.
    ///
    /// Without a `password_file` a user name is not checked, and counts like none. With one, a
    /// user name must be in it, with its password, even if `allow_anonymous` is true. With an
    /// `auth_socket`, all whose user name is not in the file are asked about, and what it does not know
    /// is decided as without it. Where the client's certificate says who it is
    /// ([`Auth::asks_for_certificate`]), that is its user name, and no password is asked for.
    ///
    /// # Errors
    /// Why it may not, where that takes no hash and no answer.
    pub fn login(&self, listener: &str, login: &Login<'_>, now: Time) -> Result<Verdict, Denied> {
        let rules = self.at(Some(listener)).ok_or(Denied::Credentials)?;
        let by_certificate = rules.is_by_certificate();
        // A CONNECT that has waited may have come under other rules: its name is not proven then.
        if login.by != rules.by_certificate || by_certificate && login.username.is_none() {
            return Err(Denied::Certificate);
        }
        if let Some(socket) = &rules.socket
            && (by_certificate || !rules.has_user(login.username))
        {
            return self.look_up((rules, socket), listener, login, now);
        }
        match (login.username, &rules.users) {
            _ if by_certificate => Ok(Verdict::Admitted(None)),
            (Some(name), Some(users)) => {
                // The same for every name, so it tells nothing about any.
                let password = login.password.filter(|password| !password.is_empty());
                let password = password.ok_or(Denied::Credentials)?;
                Ok(Verdict::Asks(Check::Password(PasswordCheck {
                    users: Arc::clone(users),
                    name: name.into(),
                    password: Zeroizing::new(password.into()),
                })))
            }
            (name, _) => unchecked(rules, name).map(|()| Verdict::Admitted(None)),
        }
    }

    /// What the program behind a socket has said lately of a login, or the question.
    fn look_up(
        &self,
        (rules, socket): (&Rules, &AuthSocket),
        listener: &str,
        login: &Login<'_>,
        now: Time,
    ) -> Result<Verdict, Denied> {
        // Many a directory takes an empty password for an anonymous login, which succeeds.
        if login.password.is_some_and(<[u8]>::is_empty) {
            return Err(Denied::Credentials);
        }
        let is_long = |field: Option<&[u8]>| field.is_some_and(|field| field.len() > MOST_ASKED);
        if is_long(login.username.map(str::as_bytes)) || is_long(login.password) {
            return Err(Denied::TooLong);
        }
        let key = Key::of(socket, listener, login);
        if let Some(grant) = self.answers.kept(key, now) {
            return Ok(Verdict::Admitted(Some(grant.clone())));
        }
        let otherwise = match (login.username, &rules.users) {
            _ if rules.is_by_certificate() => Ok(()),
            (Some(_), Some(_)) => Err(Denied::Credentials),
            (name, _) => unchecked(rules, name),
        };
        let check = SocketCheck::new((socket, key), listener, login, otherwise);
        Ok(Verdict::Asks(Check::Socket(check)))
    }

    /// The program behind a socket has let in a client, by its client id and user name.
    pub fn keep(&mut self, allowed: Allowed, client: (&str, Option<&str>), now: Time) -> Grant {
        self.answers.keep(allowed, client, now)
    }

    /// A client is in, with what was granted to it, if anything was.
    pub fn enter(&mut self, client_id: &str, grant: Option<Grant>) {
        self.answers.enter(client_id, grant);
    }

    /// What was granted to a client is forgotten: its session has ended.
    pub fn leave(&mut self, client_id: &str) {
        self.answers.leave(client_id);
    }

    /// What was granted is void: nothing of it is kept for logins to come. Returns the client ids whom
    /// it may be about.
    pub fn revoke(&mut self, revocation: &Revocation) -> Vec<Box<str>> {
        self.answers.revoke(revocation)
    }

    /// The user name that a client has logged in with, if `auth_socket` has given it another.
    pub fn replaced(&self, client_id: &str) -> Option<&str> {
        self.answers.replaced(client_id)
    }

    /// A client may do nothing more: what was granted to it is void.
    pub fn void(&mut self, client_id: &str) {
        self.answers.void(client_id);
    }

    /// True if `who` may do nothing more: what was granted to it is void.
    pub fn is_void(&self, who: &Who<'_>) -> bool {
        let rules = self.at(who.listener);
        let standing = rules.and_then(|rules| self.standing(rules, who));
        matches!(standing, Some(Standing::Revoked))
    }

    /// Whether clients of `listener` are asked about at the socket of this path.
    pub fn asks(&self, listener: Option<&str>, path: &std::path::Path) -> bool {
        let socket = self.at(listener).and_then(|rules| rules.socket.as_ref());
        socket.is_some_and(|socket| *socket.path == *path)
    }

    /// All sockets at which clients are asked about.
    pub fn sockets(&self) -> impl Iterator<Item = &AuthSocket> {
        let listeners = self.listeners.iter().map(|(_, rules)| rules);
        let all = std::iter::once(&self.general).chain(listeners);
        all.filter_map(|rules| rules.socket.as_ref())
    }

    /// Those who were let in by the rules `before` keep what was granted to them.
    pub fn inherit(&mut self, before: &mut Auth) {
        self.answers.inherit(&mut before.answers);
    }

    /// As [`Auth::login`], hash and all.
    #[cfg(test)]
    pub(super) fn log_in(
        &self,
        listener: &str,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<(), Denied> {
        let login = Login {
            client_id: "c",
            username,
            password,
            address: None,
            certificate: None,
            by: CertificateUsername::None,
        };
        match self.login(listener, &login, Time::ZERO)? {
            Verdict::Admitted(_) => Ok(()),
            Verdict::Asks(check) => check.run().map(drop),
        }
    }

    /// Whether a client that is connected to `listener` may stay when these rules take the place of
    /// `before`: whether it could log in again. Its password is not kept, so that its line must be the
    /// one that the password was checked by, or the socket the one that was asked.
    pub fn still_admits(&self, before: &Auth, listener: &str, who: (&str, Option<&str>)) -> bool {
        let Some(rules) = self.at(Some(listener)) else {
            return false;
        };
        let (before, (client_id, username)) = (before.at(Some(listener)), who);
        let by = before.map_or(CertificateUsername::None, |rules| rules.by_certificate);
        if by != rules.by_certificate {
            return false;
        }
        let by_certificate = rules.is_by_certificate();
        let has_user = !by_certificate && rules.has_user(username);
        if let Some(socket) = &rules.socket
            && let Standing::Granted(_) = self.answers.standing(client_id)
        {
            return before.is_some_and(|before| {
                let asked = before.socket.as_ref().map(|before| &before.path);
                asked == Some(&socket.path) && (!has_user || before.has_user(username))
            });
        }
        match (username, &rules.users) {
            _ if rules.socket.is_some() && !has_user => false,
            _ if by_certificate => true,
            (Some(name), Some(users)) => {
                let before = before.and_then(|rules| rules.users.as_ref());
                before.is_some_and(|before| users.has_same(before, name))
            }
            _ => rules.allow_anonymous,
        }
    }
}

/// Whether a client may come in that nobody checks.
fn unchecked(rules: &Rules, username: Option<&str>) -> Result<(), Denied> {
    match username {
        _ if rules.allow_anonymous => Ok(()),
        Some(_) => Err(Denied::Credentials),
        None => Err(Denied::Anonymous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_printed() {
        let check = PasswordCheck {
            users: Arc::new(Users::parse("").0),
            name: "ann".into(),
            password: Zeroizing::new((*b"sekrit").into()),
        };
        assert_eq!(format!("{check:?}"), r#"Check { name: "ann" }"#);
    }
}
