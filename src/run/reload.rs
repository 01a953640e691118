//! SIGHUP: the configuration and the files that it names are read again.

use std::rc::Rc;

use super::bridges::Bridges;
use super::logger::Logger;
use super::{Error, Options, load, log_error};
use crate::auth::Auth;
use crate::config::{Config, Listener, Security};
use crate::net::Shared;

/// What changes when the configuration does.
pub(super) struct Running {
    pub options: Options,
    /// What is in force.
    pub config: Config,
    pub logger: Rc<Logger>,
    pub hub: Shared,
    pub bridges: Bridges,
}

impl Running {
    /// Takes over what can change while running; the log names what can't. Anything wrong leaves
    /// all as it was. A log file is opened again in any case.
    pub fn reload(&mut self) {
        match self.read() {
            Ok((config, auth, notes)) => {
                for note in notes {
                    log::warn!("{note}");
                }
                self.apply(config, auth);
                log::info!("Configuration reloaded.");
            }
            Err(e) => {
                self.logger.reopen();
                log::error!("The configuration stays as it was: {e}");
            }
        }
    }

    /// The new configuration, with everything about it that can fail done.
    fn read(&self) -> Result<(Config, Auth, Vec<String>), Error> {
        let (config, mut notes) = load(&self.options)?;
        let (auth, warnings) = Auth::for_config(&config).map_err(Error::Auth)?;
        notes.extend(warnings);
        let log = &config.general.log;
        self.logger.apply(log).map_err(|e| log_error(log, e))?;
        Ok((config, auth, notes))
    }

    fn apply(&mut self, mut config: Config, auth: Auth) {
        for directive in keep_fixed(&self.config, &mut config) {
            log::warn!("{directive}: changed; it takes a restart to heed that.");
        }
        {
            let mut hub = self.hub.borrow_mut();
            hub.set_general(&config.general);
            hub.set_auth(auth);
        }
        self.bridges.reload(&config.bridges);
        self.config = config;
    }
}

/// Takes back what `new` changes that can't change while running, and names it.
fn keep_fixed(old: &Config, new: &mut Config) -> Vec<&'static str> {
    let mut changed = Vec::new();
    // Who may do what is read again.
    let bound = |l: &Listener| Listener {
        security: Security::default(),
        ..l.clone()
    };
    if !old
        .listeners
        .iter()
        .map(bound)
        .eq(new.listeners.iter().map(bound))
    {
        changed.push("listener");
    }
    new.listeners.clone_from(&old.listeners);
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
    keep("pid_file", old.pid_file != new.pid_file);
    keep("user", old.user != new.user);
    new.persistence = old.persistence;
    new.store.clone_from(&old.store);
    new.commit_interval = old.commit_interval;
    new.durability = old.durability;
    new.flash_budget = old.flash_budget;
    new.pid_file.clone_from(&old.pid_file);
    new.user.clone_from(&old.user);
    changed
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
             commit_interval 1\ndurability lazy 5\nflash_budget 1M/day\npid_file /p\nuser u",
        );
        let named = keep_fixed(&old, &mut new);
        assert_eq!(
            named,
            [
                "listener",
                "persistence",
                "persistence_location",
                "commit_interval",
                "durability",
                "flash_budget",
                "pid_file",
                "user"
            ]
        );
        assert_eq!(new.general.max_keepalive, 90);
        assert_eq!(keep_fixed(&old, &mut new), [""; 0]);
        new.general.max_keepalive = 60;
        assert_eq!(new, old);
    }
}
