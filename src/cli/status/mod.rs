//! `footbridge status`: how a running broker and its bridges are, on one screen.
//!
//! It is asked over its control socket; one that is elsewhere over MQTT, for what it publishes under `$SYS`.

mod overview;
mod screen;
mod sys;
mod troubles;
mod watch;

use std::time::Duration;

use super::control::Which;
use super::options::ClientOptions;
use super::process::asked_to_end;
use super::words::Words;
use super::{Error, put};
use crate::run::control::protocol::Request;
use overview::Overview;

/// What `footbridge status --help` prints.
pub const HELP: &str = include_str!("status.txt");

/// How often `--watch` draws without a number behind it.
const WATCH: Duration = Duration::from_secs(2);

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    which: Which,
    options: ClientOptions,
    /// An option for a connection over MQTT was given.
    by_mqtt: bool,
    json: bool,
    /// It is drawn again after so long.
    watch: Option<Duration>,
}

impl Status {
    /// Understands the words behind `status`.
    ///
    /// # Errors
    /// [`Error::Usage`], [`Error::Help`].
    pub fn parse(args: &[&str]) -> Result<Status, Error> {
        let mut status = Status::default();
        let mut at = 0;
        while let Some((option, rest)) = args.get(at..).and_then(<[&str]>::split_first) {
            let mut words = Words::new(rest);
            match *option {
                "--json" => status.json = true,
                "--watch" => {
                    let seconds = rest.first().and_then(|word| word.parse::<u32>().ok());
                    at += usize::from(seconds.is_some());
                    let seconds = seconds.map(|n| Duration::from_secs(n.max(1).into()));
                    status.watch = Some(seconds.unwrap_or(WATCH));
                }
                "-t" | "-q" | "-L" => {
                    return Err(Error::Usage(format!("Unknown option '{option}'.")));
                }
                option if status.which.take(option, &mut words)? => {}
                option => {
                    status.options.take(option, &mut words)?;
                    status.by_mqtt = true;
                }
            }
            at += 1 + rest.len() - words.count();
        }
        if status.by_mqtt && status.which != Which::default() {
            let what =
                "Give the control socket (-c, --socket) or a connection over MQTT, not both.";
            return Err(Error::Usage(what.to_owned()));
        }
        status.options.finish()?;
        Ok(status)
    }

    /// Prints how the broker is, once or again and again.
    ///
    /// # Errors
    /// There is no broker, or it says nothing.
    pub fn run(&self) -> Result<(), Error> {
        if self.watch.is_none() && !self.is_by_mqtt() {
            return put(&self.ask()?).map_err(Error::Write);
        }
        let ended = asked_to_end().map_err(|e| Error::Read("signals".to_owned(), e))?;
        let make = || {
            if self.is_by_mqtt() {
                sys::tell(&self.options, self.json, &ended)
            } else {
                self.ask()
            }
        };
        match self.watch {
            None => put(&make()?).map_err(Error::Write),
            Some(every) => watch::run(every, &ended, make),
        }
    }

    /// Without a word about which broker, one that no package has put here is asked over MQTT.
    fn is_by_mqtt(&self) -> bool {
        self.by_mqtt || !self.which.is_known()
    }

    fn ask(&self) -> Result<String, Error> {
        let overview = Overview::of(self.which.ask(&Request::new("status"))?.items);
        Ok(if self.json {
            overview.json()
        } else {
            screen::text_of(&overview)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_how_the_broker_is_asked() {
        let status = Status::parse(&["--json", "-p", "1884"]).unwrap();
        assert!(status.json && status.by_mqtt && status.watch.is_none());
        let status = Status::parse(&["--watch", "5", "-c", "x"]).unwrap();
        assert!(!status.by_mqtt && status.which.is_known());
        assert_eq!(status.watch, Some(Duration::from_secs(5)));
        let status = Status::parse(&["--watch", "--json", "--socket", "/s"]).unwrap();
        assert_eq!((status.watch, status.json), (Some(WATCH), true));
        for wrong in [
            &["-t", "a"][..],
            &["-c", "x", "-p", "1"],
            &["-c"],
            &["--nonsense"],
        ] {
            assert!(Status::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
