//! The subcommands.

use argh::FromArgs;

use super::bridge::{self, Bridge};
use super::check::{self, Check};
use super::clients::{self, Clients};
use super::demo::{self, Demo};
use super::import::{self, ImportMosquitto};
use super::log::{self, Log};
use super::passwd::{self, Passwd};
use super::publish::{self, Pub};
use super::retained::{self, Retained};
use super::status::{self, Status};
use super::subscribe::{self, Sub};
use super::topics::{self, Topics};
use super::{Error, complain, put};

/// Runs the subcommand that `args` start with; `None` if they start with none. The answer is the
/// exit status.
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
        "status" => ran(command, Status::parse(args), status::HELP, Status::run),
        "bridge" => ran(command, Bridge::parse(args), bridge::HELP, Bridge::run),
        "clients" | "client" | "kick" | "forget" => ran(
            command,
            Clients::parse(command, args),
            clients::HELP,
            Clients::run,
        ),
        "topics" => ran(command, Topics::parse(args), topics::HELP, Topics::run),
        "retained" => ran(
            command,
            Retained::parse(args),
            retained::HELP,
            Retained::run,
        ),
        "log" => ran(command, Log::parse(args), log::HELP, Log::run),
        "check" => ran(command, Check::parse(args), check::HELP, Check::run),
        "import-mosquitto" => ran(
            command,
            ImportMosquitto::parse(args),
            import::HELP,
            ImportMosquitto::run,
        ),
        "demo" => {
            let run = |demo: &Demo| demo.run().map_err(Error::Demo);
            ran(command, Demo::parse(args), demo::HELP, run)
        }
        "passwd" => passwd(args),
        demo::BROKER => end(command, demo::run_broker(args).map_err(Error::Demo), false),
        _ => return None,
    })
}

/// Does what was understood of the arguments, or says why nothing is done.
fn ran<C>(
    command: &str,
    understood: Result<C, Error>,
    help: &str,
    run: impl FnOnce(&C) -> Result<(), Error>,
) -> u8 {
    match understood {
        Err(Error::Help) => print(help),
        Err(error) => end(command, Err(error), false),
        Ok(asked) => end(command, run(&asked), false),
    }
}

fn passwd(args: &[&str]) -> u8 {
    let args = match Passwd::from_args(&["footbridge", "passwd"], args) {
        Ok(args) => args,
        Err(exit) if exit.status.is_ok() => return print(&exit.output),
        Err(exit) => {
            let why: Vec<&str> = exit.output.split_whitespace().collect();
            complain(&format!(
                "Error: {} See footbridge passwd --help.",
                why.join(" ")
            ));
            return 1;
        }
    };
    match passwd::run(args) {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("Error: {error}"));
            1
        }
    }
}

fn print(text: &str) -> u8 {
    end("", put(text).map_err(Error::Write), false)
}

/// Says what went wrong, and how a process ends to which it happened.
fn end(command: &str, result: Result<(), Error>, quiet: bool) -> u8 {
    let Err(error) = result else {
        return 0;
    };
    match &error {
        _ if quiet => {}
        // The report has said it.
        Error::Serious => {}
        Error::Usage(_) => complain(&format!("{error} See footbridge {command} --help.")),
        _ => complain(&error.to_string()),
    }
    error.exit_status()
}
