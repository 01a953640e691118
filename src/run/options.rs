//! What the command line says, and the configuration that it names.

use std::path::PathBuf;

use super::{Error, loops, memory};
use crate::config::{self, Config, Doors, Examined, LogTypes, Places, Reading};
use crate::net;

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
pub(super) fn load(options: &Options, reading: Reading) -> Result<(Config, Vec<String>), Error> {
    let loaded = examine(options, reading).sound().map_err(Error::Config)?;
    let looped = loops::find(&loaded.config, &options.ports, &loops::Literally);
    if looped.is_empty() {
        Ok((loaded.config, loaded.notes))
    } else {
        Err(Error::Loop(looped))
    }
}

/// All that can be said about the configuration.
pub(super) fn examine(options: &Options, reading: Reading) -> Examined {
    let mut examined = match &options.config {
        Some(path) => Config::examine(path, &config::Env::system(), reading),
        None => Examined {
            config: Config::default(),
            notes: Vec::new(),
            errors: Vec::new(),
            places: Places::default(),
        },
    };
    examined.notes.extend(loops::rings::find(&examined.config));
    let general = &mut examined.config.general;
    if options.verbose {
        general.log.types = LogTypes::ALL;
    }
    general.memory_limit = general.memory_limit.or_else(memory::default_limit);
    let most = net::most_connections(examined.config.bridges.len());
    set_doors(&mut examined.config.general.doors, most);
    examined
}

/// Sets what the file does not say, for so many connections at most: one address may take most of
/// them, and those that have not said who they are only a part.
fn set_doors(doors: &mut Doors, most: u32) {
    const CONNECTING: u32 = 256;
    let connecting = CONNECTING.min(most / 4).max(2);
    let share = (most / 4).saturating_mul(3).max(1);
    let set = |bound: &mut Option<u32>, default| {
        bound.get_or_insert(default);
    };
    set(&mut doors.max_connecting, connecting);
    set(&mut doors.max_connecting_per_address, connecting / 2);
    set(&mut doors.max_connections_per_address, share);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_go_by_the_descriptors() {
        let bounds = |most| {
            let mut doors = Doors::default();
            set_doors(&mut doors, most);
            [
                doors.max_connections_per_address,
                doors.max_connecting,
                doors.max_connecting_per_address,
            ]
        };
        assert_eq!(bounds(32), [Some(24), Some(8), Some(4)]);
        assert_eq!(bounds(992), [Some(744), Some(248), Some(124)]);
        assert_eq!(bounds(500_000), [Some(375_000), Some(256), Some(128)]);
        assert_eq!(bounds(0), [Some(1), Some(2), Some(1)], "never no limit");
        let mut none = Doors {
            max_connecting: Some(0),
            ..Doors::default()
        };
        set_doors(&mut none, 32);
        assert_eq!(none.max_connecting, Some(0), "what the file says stays");
    }
}
