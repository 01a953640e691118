//! The subcommands whose options are read by hand.

use super::Error;
use super::demo::{self, Demo};
use super::publish::{self, Pub};
use super::subscribe::{self, Sub};

/// Runs `pub`, `sub` and `demo`, whose options are read by hand; `None` if `args` ask for none of
/// them. The answer is the exit status.
pub fn run(args: &[&str]) -> Option<u8> {
    let (&command, args) = args.split_first()?;
    Some(match command {
        "pub" => match Pub::parse(args) {
            Err(Error::Help) => print(publish::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(publish) => end(command, publish.run(), publish.is_quiet()),
        },
        "sub" => match Sub::parse(args) {
            Err(Error::Help) => print(subscribe::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(subscribe) => end(command, subscribe.run(), subscribe.is_quiet()),
        },
        "demo" => match Demo::parse(args) {
            Err(Error::Help) => print(demo::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(demo) => end(command, demo.run().map_err(Error::Demo), false),
        },
        demo::BROKER => end(command, demo::run_broker(args).map_err(Error::Demo), false),
        _ => return None,
    })
}

fn print(text: &str) -> u8 {
    print!("{text}");
    0
}

/// Says what went wrong, and how a process ends to which it happened.
fn end(command: &str, result: Result<(), Error>, quiet: bool) -> u8 {
    let Err(error) = result else {
        return 0;
    };
    match &error {
        _ if quiet => {}
        Error::Usage(_) => eprintln!("{error} See footbridge {command} --help."),
        _ => eprintln!("{error}"),
    }
    error.exit_status()
}
