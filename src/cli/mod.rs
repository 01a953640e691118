//! The command line.

mod amounts;
pub mod bridge;
pub mod check;
pub mod client;
pub mod clients;
pub mod commands;
mod control;
pub mod demo;
mod error;
mod format;
pub mod import;
mod json;
pub mod log;
pub mod options;
pub mod passwd;
mod process;
pub mod property;
pub mod publish;
pub mod retained;
pub mod status;
pub mod subscribe;
pub mod topics;
mod words;

pub use error::Error;
pub use process::{complain, put};

use std::path::PathBuf;

use argh::FromArgs;

use crate::run::Options;

/// A small MQTT broker with a durable bridge. Without a configuration file it listens on loopback
/// only, port 1883. `--help config` explains every directive. Further commands, each with --help of
/// its own: pub, sub, status, clients, client, kick, forget, topics, retained, bridge, check, log,
/// passwd, import-mosquitto, demo.
#[derive(FromArgs, PartialEq, Eq, Debug)]
pub struct Args {
    /// the configuration file, in the dialect of mosquitto.conf
    #[argh(option, short = 'c', long = "config-file", arg_name = "file")]
    config: Option<PathBuf>,

    /// listen on this port of loopback, besides the configured listeners; may be repeated
    #[argh(option, short = 'p', long = "port", arg_name = "port")]
    ports: Vec<u16>,

    /// log everything
    #[argh(switch, short = 'v')]
    verbose: bool,

    /// go into the background
    #[argh(switch, short = 'd')]
    daemon: bool,

    /// check the configuration and exit
    #[argh(switch)]
    test_config: bool,

    /// print the version and exit
    #[argh(switch)]
    version: bool,
}

/// What the command line asks for.
#[derive(PartialEq, Eq, Debug)]
pub enum Request {
    /// Run the broker.
    Run(Options),
    /// `--test-config`.
    Check(Options),
    /// Print this on standard output.
    Print(String),
}

/// Understands the arguments, without the program's name.
///
/// # Errors
/// What is wrong with them, in one line.
pub fn parse(args: &[&str]) -> Result<Request, String> {
    if args == ["--help", "config"] {
        return Ok(Request::Print(crate::config::docs::help_text()));
    }
    let args = match Args::from_args(&["footbridge"], args) {
        Ok(args) => args,
        Err(exit) if exit.status.is_ok() => return Ok(Request::Print(exit.output)),
        Err(exit) => {
            let why: Vec<&str> = exit.output.split_whitespace().collect();
            return Err(format!("{} (see footbridge --help)", why.join(" ")));
        }
    };
    if args.version {
        let version = concat!("footbridge ", env!("CARGO_PKG_VERSION"), "\n");
        return Ok(Request::Print(version.to_owned()));
    }
    let options = Options {
        config: args.config,
        ports: args.ports,
        verbose: args.verbose,
        daemon: args.daemon,
    };
    Ok(if args.test_config {
        Request::Check(options)
    } else {
        Request::Run(options)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mosquittos_arguments_work() {
        let Ok(Request::Run(options)) = parse(&["-c", "/etc/m.conf", "-p", "1884", "-v", "-d"])
        else {
            panic!("not understood");
        };
        assert_eq!(options.config, Some("/etc/m.conf".into()));
        assert_eq!(options.ports, [1884]);
        assert!(options.verbose && options.daemon);
        assert!(matches!(parse(&["--test-config"]), Ok(Request::Check(_))));
    }

    #[test]
    fn a_mistake_is_one_line() {
        for args in [&["--nonsense"][..], &["-p", "99999"], &["-p"]] {
            let line = parse(args).unwrap_err();
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn help_and_version_are_printed() {
        for (args, has) in [
            (&["--help"][..], "--test-config"),
            (&["--help", "config"], "max_inflight_messages"),
            (&["--version"], env!("CARGO_PKG_VERSION")),
        ] {
            let Ok(Request::Print(text)) = parse(args) else {
                panic!("{args:?}");
            };
            assert!(text.contains(has), "{text}");
        }
    }
}
