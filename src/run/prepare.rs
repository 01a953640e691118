//! What a start needs beside the configuration, some of which only root may have.

use std::rc::Rc;

use super::tls::Tls;
use super::user::{self, User};
use super::{Error, Options, control, daemon};
use crate::auth::Auth;
use crate::config::Config;
use crate::net::{self, Reactor};
use crate::tls::Clock;

/// Everything before the store is opened.
pub(super) struct Prepared {
    pub reactor: Rc<Reactor>,
    pub auth: Auth,
    /// Lines of the files of rules that were skipped.
    pub warnings: Vec<String>,
    pub tls: Tls,
    /// By which the broker is steered; made once, as that may take rights.
    pub control: Option<Rc<net::ControlSocket>>,
    /// Those that had to be bound before rights were given up.
    pub listeners: Option<net::Bound>,
}

impl Prepared {
    /// Reads the files of rules, and those of TLS.
    pub(super) fn new(config: &Config) -> Result<Prepared, Error> {
        Prepared::of(config, None)
    }

    /// The same for a start as root that is to go on as `user`.
    fn of(config: &Config, user: Option<&User>) -> Result<Prepared, Error> {
        let (auth, warnings) = Auth::for_config(config).map_err(Error::Auth)?;
        let tls = Tls::read(config, Clock::default()).map_err(Error::Tls)?;
        let mut prepared = Prepared::with(auth, warnings, tls)?;
        prepared.make_control(config, user);
        Ok(prepared)
    }

    /// For starting over by `config`, where the files of rules or of TLS may be such that they can't be used
    /// any more: what was read of them stays in force then. Where that is for other listeners than those of
    /// `config`, these are again those of `old`, for which `tls` was read: none of them may speak without
    /// TLS, or with another's, where it must not.
    pub(super) fn again(
        config: &mut Config,
        old: &Config,
        rules: Auth,
        tls: &Tls,
    ) -> Result<Prepared, Error> {
        let tls = tls.read_again(config).unwrap_or_else(|errors| {
            for error in errors {
                log::error!("The listeners stay as they were: {error}");
            }
            config.listeners.clone_from(&old.listeners);
            config.local.clone_from(&old.local);
            tls.clone()
        });
        let (auth, warnings) = Auth::for_config(config).unwrap_or_else(|e| {
            log::error!("The access rules stay as they were: {e}");
            (rules, Vec::new())
        });
        Prepared::with(auth, warnings, tls)
    }

    /// Makes the control socket.
    fn make_control(&mut self, config: &Config, user: Option<&User>) {
        let (socket, warning) = control::bind(config, user.map(User::id));
        self.control = socket;
        self.warnings.extend(warning);
    }

    fn with(auth: Auth, warnings: Vec<String>, tls: Tls) -> Result<Prepared, Error> {
        let reactor = Reactor::new().map_err(|e| Error::System("waiting for sockets", e))?;
        Ok(Prepared {
            reactor,
            auth,
            warnings,
            tls,
            control: None,
            listeners: None,
        })
    }

    /// For a start as root that is to go on as `user`: does all that takes rights, and gives them
    /// up. No thread may have been started yet.
    pub(super) fn as_root(
        options: &Options,
        config: &Config,
        user: &User,
    ) -> Result<Prepared, Error> {
        let mut prepared = Prepared::of(config, Some(user))?;
        let bound = bind_listeners(&prepared.reactor, options, config, net::Start::AsRoot)?;
        prepared.listeners = Some(bound);
        let general = &config.general;
        let mut files = general.log.file.iter().chain(&general.pid_file);
        let owned = files.try_for_each(|path| user.own(path));
        owned.and_then(|()| user.become_it()).map_err(Error::User)?;
        Ok(prepared)
    }
}

/// Whom the configuration asks to become, if that is somebody else.
pub(super) fn user_to_become(config: &Config) -> Result<Option<User>, Error> {
    user::wanted(config.general.user.as_deref()).map_err(Error::User)
}

/// Binds the listeners that can be bound, and says in the pid file who has them.
pub(super) fn bind_listeners(
    reactor: &Rc<Reactor>,
    options: &Options,
    config: &Config,
    start: net::Start,
) -> Result<net::Bound, Error> {
    let ports: &[u16] = if config.listeners.is_empty() {
        &options.ports
    } else {
        // As in Mosquitto 2.
        &[]
    };
    let bound = net::bind(reactor, &config.listeners, ports, start).map_err(Error::Listen)?;
    if let Some(path) = &config.general.pid_file {
        let written = daemon::write_pid(path).map_err(|e| Error::File("pid_file", path.clone(), e));
        match written {
            Err(e) if start == net::Start::Again => log::warn!("{e}"),
            written => written?,
        }
    }
    Ok(bound)
}
