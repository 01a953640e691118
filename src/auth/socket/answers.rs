//! What is kept of the answers: for the next login that is the same, and for those who are in.

use std::collections::HashMap;
use std::rc::Rc;

use super::question::{Allowed, Key};
use super::reply::Revocation;
use crate::auth::rights::Rights;
use crate::held::{ALLOCATION, Charge, SESSIONS};
use crate::time::Time;

/// So many answers are kept at most for logins to come.
const MOST: usize = 1_000;
/// The rights in them take so many bytes at most.
const MOST_BYTES: usize = 1024 * 1024;
/// What an entry takes beside its names, in bytes, about.
const EMPTY: usize = 160 + 2 * ALLOCATION;

/// What a client that was let in may do.
#[derive(Clone, Debug)]
pub struct Grant {
    /// `None`: what the `acl_file` says.
    rights: Option<Rc<Rights>>,
    username: Option<Rc<str>>,
    /// The user name that it logged in with, where it has another.
    replaced: Option<Rc<str>>,
}

impl Grant {
    /// The user name that it has from now on, if that is another than in its CONNECT.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    pub(in crate::auth) fn rights(&self) -> Option<&Rights> {
        self.rights.as_deref()
    }

    fn held(&self) -> usize {
        let rights = self.rights().map_or(0, Rights::held);
        let names = [&self.username, &self.replaced].into_iter().flatten();
        rights + names.map(|name| name.len()).sum::<usize>()
    }
}

/// How a client stands that was to be let in by a program.
#[derive(Clone, Copy, Debug)]
pub(in crate::auth) enum Standing<'a> {
    /// It was let in with this.
    Granted(&'a Grant),
    /// It is to be disconnected.
    Revoked,
    /// It was let in before the broker was started, and is away; or by other rules, and is still connected.
    Unknown,
}

/// A client that is in, or has a session.
#[derive(Clone, Debug)]
struct In {
    /// `None`: it is void.
    grant: Option<Grant>,
    _held: Charge<SESSIONS>,
}

/// An answer for logins to come.
#[derive(Clone, Debug)]
struct Kept {
    until: Time,
    client_id: Box<str>,
    /// The one it logs in with.
    username: Option<Box<str>>,
    grant: Grant,
    _held: Charge<SESSIONS>,
}

/// What is kept.
#[derive(Clone, Debug, Default)]
pub(in crate::auth) struct Answers {
    clients: HashMap<Box<str>, In>,
    kept: HashMap<Key, Kept>,
    /// What the grants in `kept` take.
    bytes: usize,
}

impl Answers {
    /// A login was allowed; the next one that is the same need not be asked about.
    pub(in crate::auth) fn keep(
        &mut self,
        allowed: Allowed,
        (client_id, username): (&str, Option<&str>),
        now: Time,
    ) -> Grant {
        let replaced = username.filter(|_| allowed.username.is_some());
        let grant = Grant {
            rights: allowed.lines.map(|lines| Rc::new(Rights::new(lines))),
            username: allowed.username.map(Into::into),
            replaced: replaced.map(Into::into),
        };
        self.drop_kept(allowed.key);
        if allowed.cache.is_zero() || grant.held() > MOST_BYTES {
            return grant;
        }
        while self.kept.len() >= MOST || self.bytes + grant.held() > MOST_BYTES {
            let first = self.kept.iter().min_by_key(|(_, kept)| kept.until);
            let Some((key, _)) = first else { break };
            self.drop_kept(*key);
        }
        self.bytes += grant.held();
        let kept = Kept {
            until: now + allowed.cache,
            client_id: client_id.into(),
            username: username.map(Into::into),
            grant: grant.clone(),
            _held: Charge::new(EMPTY + client_id.len() + username.map_or(0, str::len)),
        };
        self.kept.insert(allowed.key, kept);
        grant
    }

    /// What was granted to the same login before, if that counts.
    pub(in crate::auth) fn kept(&self, key: Key, now: Time) -> Option<&Grant> {
        let kept = self.kept.get(&key)?;
        (now < kept.until).then_some(&kept.grant)
    }

    fn drop_kept(&mut self, key: Key) {
        if let Some(kept) = self.kept.remove(&key) {
            self.bytes = self.bytes.saturating_sub(kept.grant.held());
        }
    }

    /// A client is let in; `None`: not by a program.
    pub(in crate::auth) fn enter(&mut self, client_id: &str, grant: Option<Grant>) {
        match grant {
            Some(grant) => {
                let client = In {
                    grant: Some(grant),
                    _held: Charge::new(EMPTY + client_id.len()),
                };
                self.clients.insert(client_id.into(), client);
            }
            None => self.leave(client_id),
        }
    }

    /// A client has no session any more, or what it was granted is void and it is away.
    pub(in crate::auth) fn leave(&mut self, client_id: &str) {
        self.clients.remove(client_id);
        // Many that are gone leave no table behind.
        if self.clients.capacity() > 8 * self.clients.len() + 64 {
            self.clients.shrink_to(2 * self.clients.len());
        }
    }

    pub(in crate::auth) fn standing(&self, client_id: &str) -> Standing<'_> {
        match self.clients.get(client_id) {
            Some(In {
                grant: Some(grant), ..
            }) => Standing::Granted(grant),
            Some(_) => Standing::Revoked,
            None => Standing::Unknown,
        }
    }

    /// The user name that a client who is in has logged in with, where it has another.
    pub(in crate::auth) fn replaced(&self, client_id: &str) -> Option<&str> {
        let client = self.clients.get(client_id)?;
        client.grant.as_ref()?.replaced.as_deref()
    }

    /// A client that is in may do nothing more, and is to be disconnected.
    pub(in crate::auth) fn void(&mut self, client_id: &str) {
        if let Some(client) = self.clients.get_mut(client_id) {
            client.grant = None;
        }
    }

    /// What was granted is void: who logs in is asked about. The clients that it may be about: all
    /// who are in, or the one that is named.
    pub(in crate::auth) fn revoke(&mut self, revocation: &Revocation) -> Vec<Box<str>> {
        let about = |kept: &Kept| {
            let login = kept.username.as_deref();
            let names = [login, kept.grant.username()];
            names
                .iter()
                .any(|name| revocation.is_about(&kept.client_id, *name))
        };
        self.kept.retain(|_, kept| !about(kept));
        self.bytes = self.kept.values().map(|kept| kept.grant.held()).sum();
        match &revocation.client_id {
            Some(id) => {
                let is_in = self.clients.contains_key(id);
                is_in.then(|| id.clone()).into_iter().collect()
            }
            None => self.clients.keys().cloned().collect(),
        }
    }

    /// Those who were let in under the rules before stay.
    pub(in crate::auth) fn inherit(&mut self, before: &mut Answers) {
        self.clients = std::mem::take(&mut before.clients);
        before.kept = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AuthSocket, Login};
    use std::time::Duration;

    use super::*;
    use crate::auth::rights::Lines;
    use crate::held;

    fn key(n: usize) -> Key {
        let socket = AuthSocket {
            path: std::path::Path::new("/s").into(),
            timeout: Duration::from_secs(1),
            cache: Duration::from_secs(1),
        };
        let login = Login {
            client_id: &n.to_string(),
            username: None,
            password: None,
            address: None,
            certificate: None,
            by: crate::config::CertificateUsername::None,
        };
        Key::of(&socket, "1", &login)
    }

    fn allowed(n: usize, secs: u64, lines: usize) -> Allowed {
        let mut of = Lines::default();
        for line in 0..lines {
            of.add(&format!("topic {line}")).unwrap();
        }
        Allowed {
            key: key(n),
            lines: Some(of),
            username: None,
            cache: Duration::from_secs(secs),
        }
    }

    #[test]
    fn an_answer_counts_for_its_time() {
        let mut answers = Answers::default();
        let at = Time::from_secs;
        answers.keep(allowed(1, 10, 1), ("a", Some("u")), at(100));
        answers.keep(allowed(2, 0, 1), ("b", None), at(100));
        assert!(answers.kept(key(1), at(109)).is_some());
        assert!(answers.kept(key(1), at(110)).is_none());
        assert!(answers.kept(key(2), at(100)).is_none());
        // Another answer takes its place, also one that is not kept.
        answers.keep(allowed(1, 0, 1), ("a", Some("u")), at(101));
        assert!(answers.kept(key(1), at(102)).is_none());
        assert_eq!(answers.bytes, 0);
    }

    #[test]
    fn what_is_kept_is_bounded_and_counted() {
        let before = held::of(SESSIONS);
        let mut answers = Answers::default();
        for n in 0..MOST + 10 {
            let secs = 10 + n as u64;
            answers.keep(allowed(n, secs, 1), ("a", None), Time::from_secs(100));
        }
        assert_eq!(answers.kept.len(), MOST);
        let is_kept = |answers: &Answers, n| answers.kept(key(n), Time::from_secs(101)).is_some();
        assert!(
            !is_kept(&answers, 9) && is_kept(&answers, 10),
            "the oldest go"
        );
        for n in 0..20 {
            answers.keep(
                allowed(5000 + n, 9, 1_000),
                ("a", None),
                Time::from_secs(5000),
            );
            assert!(answers.bytes <= MOST_BYTES);
        }
        assert!(is_kept(&answers, 5019) && held::of(SESSIONS) > before);
        drop(answers);
        assert_eq!(held::of(SESSIONS), before);
    }

    #[test]
    fn a_revocation_ends_what_is_kept() {
        let mut answers = Answers::default();
        let now = Time::from_secs(1);
        for (n, id, name) in [(1, "a", "ann"), (2, "b", "ann"), (3, "a", "bob")] {
            let grant = answers.keep(allowed(n, 10, 1), (id, Some(name)), now);
            answers.enter(id, Some(grant));
        }
        let revocation = |client_id: Option<&str>, username: Option<&str>| Revocation {
            client_id: client_id.map(Into::into),
            username: username.map(Into::into),
        };
        let about = answers.revoke(&revocation(Some("a"), Some("ann")));
        assert_eq!(about, ["a".into()]);
        let kept = |answers: &Answers| [1, 2, 3].map(|n| answers.kept(key(n), now).is_some());
        assert_eq!(kept(&answers), [false, true, true]);
        let about = answers.revoke(&revocation(None, Some("ann")));
        assert_eq!(about.len(), 2);
        assert_eq!(kept(&answers), [false, false, true]);
        assert_eq!(answers.revoke(&revocation(Some("x"), None)), []);
        answers.void("a");
        assert!(matches!(answers.standing("a"), Standing::Revoked));
        assert!(matches!(answers.standing("b"), Standing::Granted(_)));
        answers.leave("a");
        assert!(matches!(answers.standing("a"), Standing::Unknown));
    }
}
