//! SIGHUP: the configuration and the files that it names are read again.

use std::rc::Rc;

use super::bridges::Bridges;
use super::logger::Logger;
use super::options::load;
use super::tls::Tls;
use super::{Error, Options};
use crate::auth::Auth;
use crate::config::{Config, Listener, Reading};
use crate::net::Shared;

/// What changes when the configuration does.
pub(super) struct Reloadable {
    pub options: Options,
    /// What is in force.
    pub config: Config,
    pub logger: Rc<Logger>,
    pub hub: Shared,
    pub bridges: Bridges,
    pub tls: Tls,
}

impl Reloadable {
    /// Takes over what can change while running; the log names what can't. Anything wrong leaves
    /// all as it was, but for files of TLS: a listener whose cannot be used keeps what it has. A log file is opened again in any case.
    pub(super) fn reload(&mut self) {
        match self.read() {
            Ok((config, auth, tls, notes)) => {
                for note in notes {
                    log::warn!("{note}");
                }
                self.apply(config, auth, tls);
                log::info!("Configuration reloaded.");
            }
            Err(e) => {
                self.logger.reopen();
                // One line of the log each: a configuration may have many mistakes.
                for line in e.to_string().lines() {
                    log::error!("The configuration stays as it was: {line}");
                }
            }
        }
    }

    /// The new configuration, as far as it can take effect now, with everything about it that can fail
    /// done.
    fn read(&self) -> Result<(Config, Auth, Tls, Vec<String>), Error> {
        let (mut config, mut notes) = load(&self.options, Reading::Again)?;
        for directive in restore_what_takes_a_restart(&self.config, &mut config) {
            notes.push(format!(
                "{directive}: changed; it takes effect after a restart."
            ));
        }
        let (auth, warnings) = Auth::for_config(&config).map_err(Error::Auth)?;
        notes.extend(warnings);
        let tls = self.tls.read_again(&config).map_err(Error::Tls)?;
        let log = &config.general.log;
        self.logger.apply(log).map_err(|e| Error::of_log(log, e))?;
        Ok((config, auth, tls, notes))
    }

    /// Warns of certificates that end soon.
    pub(super) fn tell_expiring(&self) {
        self.tls.tell_expiring(&self.config);
    }

    fn apply(&mut self, config: Config, auth: Auth, tls: Tls) {
        {
            let mut hub = self.hub.borrow_mut();
            hub.set_general(&config.general);
            hub.set_auth(auth);
            hub.set_tls(&tls.clock, tls.sides.clone());
        }
        self.bridges.reload(&config.bridges);
        {
            let mut hub = self.hub.borrow_mut();
            let now = hub.now();
            hub.broker.resend_dead_letters(now);
        }
        tls.tell(&config);
        self.tls = tls;
        self.config = config;
    }
}

/// Takes back what `new` changes that can't change while running, and names it.
fn restore_what_takes_a_restart(old: &Config, new: &mut Config) -> Vec<&'static str> {
    let mut changed = Vec::new();
    if !restore_listeners(old, new) {
        changed.push("listener");
    }
    let (old, new) = (&old.general, &mut new.general);
    let mut keep = |name, differs: bool| {
        if differs {
            changed.push(name);
        }
    };
    keep("persistence", old.persistence != new.persistence);
    keep("persistence_location", old.store != new.store);
    keep(
        "commit_interval",
        old.commit_interval != new.commit_interval,
    );
    keep("durability", old.durability != new.durability);
    keep("flash_budget", old.flash_budget != new.flash_budget);
    let control = (&old.control.socket, &old.control.group);
    let is_steered_otherwise = control != (&new.control.socket, &new.control.group);
    keep("control_socket", is_steered_otherwise);
    keep("pid_file", old.pid_file != new.pid_file);
    keep("user", old.user != new.user);
    new.persistence = old.persistence;
    new.store.clone_from(&old.store);
    new.commit_interval = old.commit_interval;
    new.durability = old.durability;
    new.flash_budget = old.flash_budget;
    new.control.socket.clone_from(&old.control.socket);
    new.control.group.clone_from(&old.control.group);
    new.pid_file.clone_from(&old.pid_file);
    new.user.clone_from(&old.user);
    changed
}

/// Gives `new` the listeners that are bound; true if it has no others. Only who may do what there
/// is read again.
fn restore_listeners(old: &Config, new: &mut Config) -> bool {
    let bound = |listener: &Listener, rules: &Listener| Listener {
        allow_anonymous: rules.allow_anonymous,
        auto_id_prefix: rules.auto_id_prefix.clone(),
        security: rules.security.clone(),
        tls: rules.tls.clone(),
        ..listener.clone()
    };
    let read = std::mem::take(&mut new.listeners);
    for listener in &old.listeners {
        let again = read.iter().find(|new| new.name() == listener.name());
        new.listeners
            .push(bound(listener, again.unwrap_or(listener)));
    }
    let local = bound(&old.local, &new.local);
    let local = std::mem::replace(&mut new.local, local);
    // What stands above the first `listener` counts only without any.
    let same_local = !old.listeners.is_empty() || local == new.local;
    read == new.listeners && same_local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let env = crate::config::Env::default();
        Config::parse(text, "x.conf", &env).unwrap().config
    }

    #[test]
    fn what_takes_a_restart_is_named_and_stays() {
        let old = config("listener 1\nmax_keepalive 60");
        let mut new = config(
            "listener 2\nmax_keepalive 90\npersistence true\npersistence_location /x\n\
             commit_interval 1\ndurability lazy 5\nflash_budget 1M/day\npid_file /p\nuser u\ncontrol_socket /c",
        );
        let named = restore_what_takes_a_restart(&old, &mut new);
        assert_eq!(
            named,
            [
                "listener",
                "persistence",
                "persistence_location",
                "commit_interval",
                "durability",
                "flash_budget",
                "control_socket",
                "pid_file",
                "user"
            ]
        );
        assert_eq!(new.general.max_keepalive, 90);
        assert_eq!(restore_what_takes_a_restart(&old, &mut new), [""; 0]);
        new.general.max_keepalive = 60;
        assert_eq!(new, old);
    }

    /// The listeners are those that are bound, with the rules that are read again: by the names
    /// that clients came by, else none of them would be known any more.
    #[test]
    fn rules_of_listeners_are_read_again() {
        let old = config("per_listener_settings true\nlistener 1\nlistener 2\nacl_file b");
        let rules = "listener_allow_anonymous true\nlistener_auto_id_prefix x-\nacl_file a";
        let mut new = config(&format!(
            "per_listener_settings true\nlistener 1\n{rules}\nlistener 2\nacl_file b"
        ));
        assert_eq!(restore_what_takes_a_restart(&old, &mut new), [""; 0]);
        assert_eq!(new.listeners[0].allow_anonymous, Some(true));
        assert_eq!(new.listeners[0].auto_id_prefix.as_deref(), Some("x-"));
        assert_eq!(new.listeners[0].security.acl_file, Some("a".into()));
        let mut moved = config(&format!("listener 3\n{rules}\nlistener 1\nmax_qos 1"));
        assert_eq!(restore_what_takes_a_restart(&old, &mut moved), ["listener"]);
        let acls = moved
            .listeners
            .iter()
            .map(|l| (l.port, l.security.acl_file.clone()));
        assert_eq!(acls.collect::<Vec<_>>(), [(1, None), (2, Some("b".into()))]);
        assert_eq!(moved.listeners[0].max_qos, old.listeners[0].max_qos);
        let (local, mut new) = (config(""), config("max_qos 1"));
        assert_eq!(restore_what_takes_a_restart(&local, &mut new), ["listener"]);
    }
}
