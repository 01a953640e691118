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
        "status" => match Status::parse(args) {
            Err(Error::Help) => print(status::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(status) => end(command, status.run(), false),
        },
        "bridge" => match Bridge::parse(args) {
            Err(Error::Help) => print(bridge::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(bridge) => end(command, bridge.run(), false),
        },
        "clients" | "client" | "kick" | "forget" => match Clients::parse(command, args) {
            Err(Error::Help) => print(clients::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(clients) => end(command, clients.run(), false),
        },
        "topics" => match Topics::parse(args) {
            Err(Error::Help) => print(topics::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(topics) => end(command, topics.run(), false),
        },
        "retained" => match Retained::parse(args) {
            Err(Error::Help) => print(retained::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(retained) => end(command, retained.run(), false),
        },
        "log" => match Log::parse(args) {
            Err(Error::Help) => print(log::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(log) => end(command, log.run(), false),
        },
        "check" => match Check::parse(args) {
            Err(Error::Help) => print(check::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(check) => end(command, check.run(), false),
        },
        "import-mosquitto" => match ImportMosquitto::parse(args) {
            Err(Error::Help) => print(import::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(import) => end(command, import.run(), false),
        },
        "demo" => match Demo::parse(args) {
            Err(Error::Help) => print(demo::HELP),
            Err(error) => end(command, Err(error), false),
            Ok(demo) => end(command, demo.run().map_err(Error::Demo), false),
        },
        "passwd" => passwd(args),
        demo::BROKER => end(command, demo::run_broker(args).map_err(Error::Demo), false),
        _ => return None,
    })
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
