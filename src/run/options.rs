//! What the command line says, and the configuration that it names.

use std::path::PathBuf;

use super::{Error, loops, memory};
use crate::config::{self, Config, Examined, LogTypes};

/// What the command line says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// `-c FILE`.
    pub config: Option<PathBuf>,
    /// `-p PORT`, each time it was given.
    pub ports: Vec<u16>,
    /// `-v`: every log type.
    pub verbose: bool,
    /// `-d`: go into the background.
    pub daemon: bool,
}

/// The configuration, and what the log is to note about it.
///
/// # Errors
/// [`Error::Config`], [`Error::Loop`].
pub(super) fn load(options: &Options) -> Result<(Config, Vec<String>), Error> {
    let loaded = examine(options).sound().map_err(Error::Config)?;
    let looped = loops::find(&loaded.config, &options.ports, &loops::Literally);
    if looped.is_empty() {
        Ok((loaded.config, loaded.notes))
    } else {
        Err(Error::Loop(looped))
    }
}

/// All that can be said about the configuration.
pub(super) fn examine(options: &Options) -> Examined {
    let mut examined = match &options.config {
        Some(path) => Config::examine(path, &config::Env::system()),
        None => Examined {
            config: Config::default(),
            notes: Vec::new(),
            errors: Vec::new(),
        },
    };
    let general = &mut examined.config.general;
    if options.verbose {
        general.log.types = LogTypes::ALL;
    }
    general.memory_limit = general.memory_limit.or_else(memory::default_limit);
    examined
}
