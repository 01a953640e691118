//! What the command line says, and the configuration that it names.

use std::path::PathBuf;

use super::{Error, memory};
use crate::config::{self, Config, LogTypes};

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
pub(super) fn load(options: &Options) -> Result<(Config, Vec<String>), Error> {
    let (mut config, notes) = match &options.config {
        Some(path) => {
            let loaded = Config::load(path, &config::Env::system()).map_err(Error::Config)?;
            (loaded.config, loaded.notes)
        }
        None => (Config::default(), Vec::new()),
    };
    if options.verbose {
        config.general.log.types = LogTypes::ALL;
    }
    let general = &mut config.general;
    general.memory_limit = general.memory_limit.or_else(memory::default_limit);
    Ok((config, notes))
}
