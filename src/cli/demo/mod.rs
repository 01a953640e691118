//! `footbridge demo`: the main job, end to end, on one machine.

mod broker;
mod device;
mod error;
mod link;
mod report;
mod setup;
mod tally;

use std::path::Path;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};

pub use broker::BROKER;
pub use error::DemoError;
use report::Outcome;
use setup::Setup;

use super::words::Words;
use super::{Error, complain, put};
use crate::run;

/// What `footbridge demo --help` prints.
pub const HELP: &str = include_str!("demo.txt");

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Demo {
    json: bool,
    upstream: Option<(String, u16)>,
    length: Duration,
}

impl Demo {
    /// Understands the words behind `demo`.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn parse(args: &[&str]) -> Result<Demo, Error> {
        let mut demo = Demo {
            json: false,
            upstream: None,
            length: Duration::from_secs(20),
        };
        let mut words = Words::new(args);
        while let Some(option) = words.next() {
            match option {
                "--json" => demo.json = true,
                "--upstream" => demo.upstream = Some(address(words.value(option)?)?),
                "--seconds" => {
                    let seconds = words.number::<u32>(option, 5, 3600)?;
                    demo.length = Duration::from_secs(u64::from(seconds));
                }
                "--help" => return Err(Error::Help),
                _ => return Err(Error::Usage(format!("Unknown option '{option}'."))),
            }
        }
        Ok(demo)
    }

    /// Runs the demo and prints what came out. The temporary folder is removed, but not after a
    /// failure, for its logs.
    ///
    /// # Errors
    /// It could not be run, or [`DemoError::Broken`].
    pub fn run(&self) -> Result<(), DemoError> {
        let folder = broker::make_folder().map_err(DemoError::system("no temporary folder"))?;
        let result = self.run_phases(&folder).and_then(|outcome| {
            let json = if self.json {
                outcome.json()
            } else {
                String::new()
            };
            put(&format!("{}{json}", outcome.text())).map_err(DemoError::system("no output"))?;
            if outcome.is_good() {
                Ok(())
            } else {
                Err(DemoError::Broken)
            }
        });
        match result {
            Ok(()) | Err(DemoError::Interrupted) => setup::remove(&folder),
            Err(_) => complain(&format!("Logs and store are kept in {}", folder.display())),
        }
        result
    }

    fn run_phases(&self, folder: &Path) -> Result<Outcome, DemoError> {
        let mut setup = Setup::set(folder, self.upstream.clone())?;
        let at = |share: f64| self.length.mul_f64(share);
        setup.screen.say("12 devices publish; the uplink is up");
        setup.watch(at(0.15))?;

        setup.link.cut();
        setup
            .screen
            .say("the uplink is cut: the backlog grows on disk");
        setup.watch(at(0.40))?;
        setup.edge.kill();
        setup.screen.say("the edge broker is killed (kill -9)");
        setup.watch(at(0.43))?;
        setup.edge.spawn()?;
        setup
            .screen
            .say("the edge broker is back with its store; the devices come back");
        setup.watch(at(0.65))?;

        let backlog = setup.figures();
        setup.link.mend();
        setup.screen.say("the uplink returns: the backlog drains");
        setup.watch(at(0.80))?;
        setup.screen.say("the devices stop");
        let sent = setup.drain()?;
        let command = setup.command()?;
        setup
            .screen
            .say("a command from upstream has reached a device");
        let totals = setup.settle(&sent)?;
        if self.upstream.is_some() {
            setup.tidy_up();
        }
        setup.screen.say("all is counted");
        Ok(Outcome {
            totals,
            backlog,
            command,
            took: setup.screen.elapsed(),
        })
    }
}

/// Runs a broker of the demo, which ends with the process that started it.
///
/// # Errors
/// The broker's.
pub fn run_broker(args: &[&str]) -> Result<(), DemoError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| DemoError::System("prctl", error.into()))?;
    let options = run::Options {
        config: args.first().map(Into::into),
        verbose: true,
        ..run::Options::default()
    };
    run::run(&options).map_err(DemoError::Run)
}

/// `HOST:PORT`, or `HOST` alone; an IPv6 address stands in brackets.
fn address(text: &str) -> Result<(String, u16), Error> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (
            host,
            Words::new(&[port]).number("The port of --upstream", 1, u16::MAX)?,
        ),
        _ => (text, 1883),
    };
    let host = host.trim_matches(['[', ']']);
    if host.is_empty() {
        Err(Error::Usage("--upstream takes HOST:PORT.".to_owned()))
    } else {
        Ok((host.to_owned(), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood() {
        let demo = Demo::parse(&["--json", "--upstream", "box:1884", "--seconds", "30"]).unwrap();
        assert!(demo.json);
        assert_eq!(demo.upstream, Some(("box".to_owned(), 1884)));
        assert_eq!(demo.length, Duration::from_secs(30));
        let demo = Demo::parse(&["--upstream", "[::1]"]).unwrap();
        assert_eq!(demo.upstream, Some(("::1".to_owned(), 1883)));
        assert!(matches!(Demo::parse(&["--help"]), Err(Error::Help)));
    }

    #[test]
    fn mistakes_are_refused() {
        for args in [
            &["--upstream", "box:x"][..],
            &["--upstream", ":1883"],
            &["--upstream"],
            &["--seconds", "1"],
            &["--nonsense"],
        ] {
            assert!(
                matches!(Demo::parse(args), Err(Error::Usage(_))),
                "{args:?}"
            );
        }
    }
}
