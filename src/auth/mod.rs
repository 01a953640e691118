//! Who may connect, publish and read: `password_file`, `acl_file`, `allow_anonymous` and `auth_socket`.

mod acl;
mod denied;
mod error;
mod login;
pub mod passwd;
mod patterns;
mod rights;
mod rule;
mod rules;
mod socket;
mod topics;
mod who;

use std::collections::VecDeque;

use crate::config::{CertificateUsername, Config, General};

pub use denied::Denied;
pub use error::{Error, Errors};
pub use login::{Check, PasswordCheck, Verdict};
pub use rights::Lines;
pub use rule::LineError;
pub use rules::{Entry, MAX_BYTES, without_bom};
pub use socket::{
    Allowed, AuthSocket, Grant, Login, Reply, ReplyError, Revocation, Said, SocketCheck,
};
pub use who::Who;

use rule::Operation;
use rules::{Reader, Rules};
use socket::{Answers, Standing};

/// The rules in force. Made again on SIGHUP.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Those of a listener that has none of its own.
    general: Rules,
    /// By the name of the listener.
    listeners: Vec<(Box<str>, Rules)>,
    /// Listeners have rules of their own, by `per_listener_settings` or `plugin_use`: who is at no known
    /// listener may do nothing.
    per_listener: bool,
    /// No rules name topics.
    open: bool,
    /// `clientid_prefixes`.
    client_ids: Box<str>,
    /// The client ids that patterns keep out, as far as that was told.
    kept_out: VecDeque<Box<str>>,
    /// What `auth_socket` has said.
    answers: Answers,
}

/// The client ids of which it is remembered that they were told to be kept out.
const MAX_KEPT_OUT: usize = 100;

impl Auth {
    /// Reads the files that `config` names. Where it is silent about `allow_anonymous`, that is
    /// true only without a listener, as in Mosquitto 2.
    ///
    /// The strings are warnings for the log: lines of password files that were skipped.
    ///
    /// # Errors
    /// Files that can't be read, lines of an `acl_file` that are not understood, password hashes
    /// that can't be checked.
    pub fn for_config(config: &Config) -> Result<(Auth, Vec<String>), Errors> {
        let mut reader = Reader::new(config.general.memory_limit);
        let General {
            security,
            per_listener_settings: per_listener,
            clientid_prefixes,
            ..
        } = &config.general;
        let local = config.listeners.is_empty();
        let general = Rules::load(security, local, &mut reader);
        let mut listeners = Vec::with_capacity(config.listeners.len() + 1);
        for (name, listener) in config.named_listeners() {
            let rules = match per_listener {
                true => Rules::load(&listener.security, local, &mut reader),
                false => general
                    .clone()
                    .with_files_of(&listener.security, &mut reader),
            };
            listeners.push((name.into(), rules.overridden(listener)));
        }
        let mut own = config
            .named_listeners()
            .map(|(_, listener)| &listener.security);
        let per_listener = *per_listener || own.any(|own| own.acl_file.is_some());
        let any = |rules: &Rules| rules.acl.is_some() || rules.socket.is_some();
        let open = !any(&general) && !listeners.iter().any(|(_, rules)| any(rules));
        let auth = Auth {
            general,
            listeners,
            per_listener,
            open,
            client_ids: clientid_prefixes.as_str().into(),
            kept_out: VecDeque::new(),
            answers: Answers::default(),
        };
        if reader.errors.is_empty() {
            Ok((auth, reader.warnings))
        } else {
            Err(Errors(reader.errors))
        }
    }

    /// The rules of the listener of this name.
    fn at(&self, listener: Option<&str>) -> Option<&Rules> {
        let known = listener.and_then(|name| {
            let mut listeners = self.listeners.iter();
            listeners.find(|(known, _)| **known == *name)
        });
        match known {
            Some((_, rules)) => Some(rules),
            None => (!self.per_listener).then_some(&self.general),
        }
    }

    /// What of the client's certificate is its user name at `listener`; `None` where a login does not ask
    /// for a certificate at all.
    pub fn asks_for_certificate(&self, listener: &str) -> Option<CertificateUsername> {
        let rules = self.at(Some(listener))?;
        let asks = rules.is_by_certificate() || rules.socket.is_some();
        asks.then_some(rules.by_certificate)
    }

    /// Who gets in at `listener`; `None` where there is no such listener.
    pub fn entry(&self, listener: &str) -> Option<Entry> {
        self.at(Some(listener)).map(Rules::entry)
    }

    /// Whether the topics of clients depend on their listener, by `per_listener_settings` or `plugin_use`.
    pub fn per_listener(&self) -> bool {
        self.per_listener
    }

    /// What the client ids begin with that are generated at `listener`; `None` where a client must
    /// have one of its own.
    pub fn auto_id_prefix(&self, listener: &str) -> Option<&str> {
        self.at(Some(listener))?.auto_id_prefix.as_deref()
    }

    /// Whether a client may have this id (`clientid_prefixes`).
    pub fn admits_id(&self, client_id: &str) -> bool {
        client_id.starts_with(&*self.client_ids)
    }

    /// Whether `who` may publish to `topic`.
    pub fn may_publish(&self, who: &Who<'_>, topic: &str) -> bool {
        self.allows(who, topic, Operation::Write)
    }

    /// Whether a message on `topic` may be delivered to `who`.
    pub fn may_read(&self, who: &Who<'_>, topic: &str) -> bool {
        self.allows(who, topic, Operation::Read)
    }

    /// As [`Auth::may_publish`], but whom nobody knows any more that `auth_socket` let in, it might when it did.
    pub fn may_have_published(&self, who: &Who<'_>, topic: &str) -> bool {
        let rules = self.at(who.listener);
        let standing = rules.and_then(|rules| self.standing(rules, who));
        matches!(standing, Some(Standing::Unknown)) || self.may_publish(who, topic)
    }

    /// Whether `who` may publish to `topic` once it is let in with `grant`.
    pub fn may_publish_by(&self, grant: Option<&Grant>, who: &Who<'_>, topic: &str) -> bool {
        let rules = self.at(who.listener);
        self.allows_all()
            || rules.is_some_and(|rules| says(rules, grant, who, topic, Operation::Write))
    }

    fn allows(&self, who: &Who<'_>, topic: &str, operation: Operation) -> bool {
        if self.allows_all() {
            return true;
        }
        let Some(rules) = self.at(who.listener) else {
            return false;
        };
        match self.standing(rules, who) {
            None => says(rules, None, who, topic, operation),
            Some(Standing::Granted(grant)) => says(rules, Some(grant), who, topic, operation),
            Some(Standing::Revoked) => false,
            // It was let in by other rules, and is about to be disconnected.
            Some(Standing::Unknown) if who.is_connected => {
                rules.acl.is_some() && says(rules, None, who, topic, operation)
            }
            // It is away: what may leave its queue is for its next login to say.
            Some(Standing::Unknown) => operation == Operation::Read,
        }
    }

    /// How `who` stands, if it was for `auth_socket` to let it in.
    fn standing(&self, rules: &Rules, who: &Who<'_>) -> Option<Standing<'_>> {
        rules.socket.as_ref()?;
        match self.answers.standing(who.client_id) {
            Standing::Unknown if rules.has_user(who.username) => None,
            standing => Some(standing),
        }
    }

    /// True the first time that it is asked of a client whose names (`/`, `+` or `#`) keep it out of patterns.
    pub fn is_to_be_told(&mut self, who: &Who<'_>) -> bool {
        let rules = self.at(who.listener);
        let standing = rules.and_then(|rules| self.standing(rules, who));
        let has_own =
            matches!(standing, Some(Standing::Granted(grant)) if grant.rights().is_some());
        let acl = rules.and_then(|rules| rules.acl.as_ref());
        let is_kept_out = !has_own && acl.is_some_and(|acl| acl.keeps_out(who));
        if !is_kept_out || self.kept_out.iter().any(|id| **id == *who.client_id) {
            return false;
        }
        if self.kept_out.len() == MAX_KEPT_OUT {
            self.kept_out.pop_front();
        }
        self.kept_out.push_back(who.client_id.into());
        true
    }

    /// Whether `who` may subscribe to `filter`: always, as in Mosquitto 2. What it may read is
    /// checked at delivery, since a filter can match topics with different rules.
    pub fn may_subscribe(&self, _who: &Who<'_>, _filter: &str) -> bool {
        true
    }

    /// True when everyone may publish and read everything, so that nobody need be named to ask.
    pub fn allows_all(&self) -> bool {
        self.open && !self.per_listener
    }

    /// True when every topic is open to everyone: without an `acl_file` the hot path need not ask.
    pub fn open(&self) -> bool {
        self.open
    }
}

/// What `grant`, or else the `acl_file`, says of `operation` with `topic`.
fn says(
    rules: &Rules,
    grant: Option<&Grant>,
    who: &Who<'_>,
    topic: &str,
    operation: Operation,
) -> bool {
    match (grant.and_then(Grant::rights), &rules.acl) {
        (Some(rights), _) => rights.allows(who, topic, operation),
        (None, Some(acl)) => acl.allows(who, topic, operation),
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Listener, Security};

    /// Written by mosquitto_passwd 2.0.11; the password is `sekrit`.
    const ROGER: &str = "roger:$7$101$yi/UEwlQEE0YIyfg$oEUW942RGwBb0BLmyIWz2wkC1oE8+itOj32W6S1xBQ\
                         wRnugnhtkdmJcqABUjQqof3feFSVIc5WUpL0LT4QgMWA==\nbroken\n";

    fn auth(allow: Option<bool>, passwords: bool, listeners: bool) -> (Auth, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        std::fs::write(&path, ROGER).unwrap();
        let security = Security {
            allow_anonymous: allow,
            password_file: passwords.then_some(path),
            ..Security::default()
        };
        let ports: &[u16] = if listeners { &[1883] } else { &[] };
        Auth::for_config(&config(security, ports)).unwrap()
    }

    fn config(security: Security, ports: &[u16]) -> Config {
        let general = General {
            security,
            ..General::default()
        };
        Config {
            general,
            listeners: ports.iter().map(|port| Listener::on(*port)).collect(),
            ..Config::default()
        }
    }

    /// What Mosquitto 2.0.11 does, tried out case by case.
    #[test]
    fn login_without_a_password_file() {
        let (open, _) = auth(Some(true), false, true);
        assert_eq!(open.log_in("1883", None, None), Ok(()));
        assert_eq!(open.log_in("1883", Some("u"), None), Ok(()));
        assert_eq!(open.log_in("1883", Some("u"), Some(b"p")), Ok(()));
        let (shut, _) = auth(Some(false), false, true);
        assert_eq!(shut.log_in("1883", None, None), Err(Denied::Anonymous));
        assert_eq!(
            shut.log_in("1883", Some("u"), Some(b"p")),
            Err(Denied::Credentials)
        );
    }

    /// What Mosquitto 2.0.11 does, tried out case by case.
    #[test]
    fn login_with_a_password_file() {
        let (auth, warnings) = auth(Some(true), true, true);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("passwd:2: "), "{warnings:?}");
        assert_eq!(auth.log_in("1883", None, None), Ok(()));
        assert_eq!(auth.log_in("1883", Some("roger"), Some(b"sekrit")), Ok(()));
        for (name, password) in [
            ("roger", Some("no")),
            ("roger", None),
            ("nobody", Some("sekrit")),
            ("nobody", None),
        ] {
            let login = auth.log_in("1883", Some(name), password.map(str::as_bytes));
            assert_eq!(login, Err(Denied::Credentials), "{name} {password:?}");
        }
    }

    #[test]
    fn silence_allows_anonymous_clients_only_without_a_listener() {
        assert_eq!(
            auth(None, false, false).0.log_in("1883", None, None),
            Ok(())
        );
        let with = auth(None, false, true).0.log_in("1883", None, None);
        assert_eq!(with, Err(Denied::Anonymous));
        let shut = auth(Some(false), false, false).0.log_in("1883", None, None);
        assert_eq!(shut, Err(Denied::Anonymous));
    }

    #[test]
    fn files_that_cannot_be_used_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acl");
        let security = Security {
            acl_file: Some(path.clone()),
            ..Security::default()
        };
        let mut config = config(security, &[1883]);
        let load = |config: &Config| Auth::for_config(config).map(|_| ()).unwrap_err().0;
        assert!(matches!(load(&config)[..], [Error::Unreadable(..)]));
        // Nobody ever writes to it.
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert!(load(&config)[0].to_string().contains("FIFO"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "topic read a\ntopik b\n").unwrap();
        assert!(matches!(load(&config)[..], [Error::Acl(_, 2, _)]));
        std::fs::write(&path, b"topic \xff\n").unwrap();
        assert!(matches!(load(&config)[..], [Error::NotUtf8(_)]));
        // All of them at once.
        std::fs::write(&path, "topik b\nuser\n").unwrap();
        let passwords = dir.path().join("passwd");
        let argon = "a:$argon2i$v=19$m=47104,t=1,p=1$c2FsdA$aGFzaA\nbroken\n";
        std::fs::write(&passwords, argon).unwrap();
        config.general.security.password_file = Some(passwords);
        let all = load(&config);
        let wanted = matches!(
            all[..],
            [
                Error::Password(_, 1, _),
                Error::Acl(_, 1, _),
                Error::Acl(_, 2, _)
            ]
        );
        assert!(wanted, "{all:?}");
        assert_eq!(Errors(all).to_string().lines().count(), 3);
    }

    /// Editors of Windows put it there.
    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        std::fs::write(&path, format!("\u{feff}{ROGER}")).unwrap();
        let security = Security {
            password_file: Some(path),
            ..acl(dir.path(), "acl", "\u{feff}user roger\ntopic a\n")
        };
        let (auth, _) = Auth::for_config(&config(security, &[1883])).unwrap();
        assert_eq!(auth.log_in("1883", Some("roger"), Some(b"sekrit")), Ok(()));
        assert!(auth.may_publish(&at(None, Some("roger")), "a"));
    }

    #[test]
    fn who_is_kept_out_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(acl(dir.path(), "acl", "pattern write %c/#\n"), &[1883]);
        let (mut auth, _) = Auth::for_config(&config).unwrap();
        let told = |auth: &mut Auth, id: &str| {
            auth.is_to_be_told(&Who {
                client_id: id,
                username: None,
                listener: None,
                is_connected: true,
            })
        };
        assert!(!told(&mut auth, "a"));
        assert!(told(&mut auth, "a/b") && told(&mut auth, "c+"));
        assert!(!told(&mut auth, "a/b") && !told(&mut auth, "c+"));
        for n in 0..=MAX_KEPT_OUT {
            assert!(told(&mut auth, &format!("a/{n}")));
        }
        assert_eq!(auth.kept_out.len(), MAX_KEPT_OUT);
    }

    #[test]
    fn without_an_acl_file_everything_is_open() {
        let (auth, _) = auth(None, false, true);
        let who = Who {
            client_id: "+",
            username: None,
            listener: None,
            is_connected: true,
        };
        assert!(auth.open());
        assert!(auth.may_publish(&who, "$SYS/x") && auth.may_read(&who, "a"));
        assert!(auth.may_subscribe(&who, "#"));
    }

    fn acl(dir: &Path, name: &str, rules: &str) -> Security {
        let path = dir.join(name);
        std::fs::write(&path, rules).unwrap();
        Security {
            acl_file: Some(path),
            ..Security::default()
        }
    }

    fn at<'a>(listener: Option<&'a str>, username: Option<&'a str>) -> Who<'a> {
        Who {
            client_id: "c",
            username,
            listener,
            is_connected: true,
        }
    }

    /// `per_listener_settings`: every listener by its own rules; who comes from none that is known
    /// may do nothing, as in Mosquitto.
    #[test]
    fn each_listener_has_its_own_rules() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(acl(dir.path(), "all", "topic x\n"), &[1, 2]);
        config.general.per_listener_settings = true;
        config.listeners[0].security = Security {
            allow_anonymous: Some(true),
            auto_id_prefix: "one-".to_owned(),
            ..acl(dir.path(), "one", "topic a\n")
        };
        config.listeners[1].security.allow_zero_length_clientid = false;
        let (auth, _) = Auth::for_config(&config).unwrap();
        assert!(auth.per_listener() && !auth.open());
        assert_eq!(auth.log_in("1", None, None), Ok(()));
        assert_eq!(auth.log_in("2", None, None), Err(Denied::Anonymous));
        assert_eq!(auth.log_in("3", Some("u"), None), Err(Denied::Credentials));
        assert!(
            auth.still_admits(&auth, "1", ("c", None))
                && !auth.still_admits(&auth, "2", ("c", None))
        );
        assert_eq!(auth.auto_id_prefix("1"), Some("one-"));
        assert_eq!(auth.auto_id_prefix("2"), None);
        for (listener, topic, may) in [
            (Some("1"), "a", true),
            (Some("1"), "x", false),
            (Some("2"), "x", true),
            (Some("3"), "a", false),
            (None, "x", false),
        ] {
            let who = at(listener, None);
            assert_eq!(auth.may_publish(&who, topic), may, "{listener:?} {topic}");
            assert_eq!(auth.may_read(&who, topic), may, "{listener:?} {topic}");
        }
    }

    /// Without it the listener does not matter, not even one that is not known.
    #[test]
    fn general_rules_hold_on_every_listener() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(acl(dir.path(), "all", "topic a\n"), &[1, 2]);
        config.general.security.allow_anonymous = Some(true);
        config.listeners[0].security.allow_anonymous = Some(false);
        config.listeners[1].allow_anonymous = Some(false);
        config.listeners[1].auto_id_prefix = Some("two-".to_owned());
        config.general.clientid_prefixes = "dev-".to_owned();
        let (auth, _) = Auth::for_config(&config).unwrap();
        for listener in [None, Some("1"), Some("2"), Some("3")] {
            let who = at(listener, None);
            assert!(auth.may_publish(&who, "a") && !auth.may_publish(&who, "x"));
        }
        assert_eq!(auth.log_in("1", None, None), Ok(()));
        assert_eq!(auth.log_in("2", None, None), Err(Denied::Anonymous));
        assert_eq!(auth.auto_id_prefix("1"), Some("auto-"));
        assert_eq!(auth.auto_id_prefix("2"), Some("two-"));
        assert!(auth.admits_id("dev-1") && !auth.admits_id("auto-1"));
    }
}
