//! `footbridge log`: what a running broker logs is shown, or changed until its next reload.

use super::control::Which;
use super::words::Words;
use super::{Error, put};
use crate::config::printable::printable;
use crate::json::Value;
use crate::run::control::protocol::Request;

/// What `footbridge log --help` prints.
pub const HELP: &str = include_str!("log.txt");

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Log {
    which: Which,
    /// None: what is logged is only shown.
    types: Vec<String>,
}

impl Log {
    /// Understands the words behind `log`.
    ///
    /// # Errors
    /// [`Error::Usage`], [`Error::Help`].
    pub fn parse(args: &[&str]) -> Result<Log, Error> {
        let mut log = Log::default();
        let mut words = Words::new(args);
        while let Some(word) = words.next() {
            match word {
                "--help" => return Err(Error::Help),
                _ if log.which.take(word, &mut words)? => {}
                _ if word.starts_with("--") => {
                    return Err(Error::Usage(format!("Unknown option '{word}'.")));
                }
                // -debug takes that type away.
                _ => log.types.push(word.to_owned()),
            }
        }
        Ok(log)
    }

    /// Has the broker do it, and prints what is logged by then.
    ///
    /// # Errors
    /// The broker is not there, or knows no such type.
    pub fn run(&self) -> Result<(), Error> {
        let mut request = Request::new("log");
        if !self.types.is_empty() {
            let types = self.types.iter().map(|name| Value::from(&**name));
            request = request.with("types", Value::List(types.collect()));
        }
        let said = self.which.ask(&request)?.said;
        put(&told(&said)).map_err(Error::Write)
    }
}

fn told(said: &Value) -> String {
    let names = |member: &str| match said.get(member) {
        Some(Value::List(names)) => names
            .iter()
            .filter_map(Value::as_text)
            .map(|name| printable(name).into_owned())
            .collect::<Vec<_>>()
            .join(" "),
        _ => String::new(),
    };
    let (now, of_file) = (names("types"), names("default"));
    if now == of_file {
        format!("Logged, as the configuration says: {now}\n")
    } else {
        format!(
            "Logged: {now}\nThe configuration says: {of_file}\nThat holds again after SIGHUP, a start, or \
             footbridge log default.\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_types() {
        let log = Log::parse(&["+debug", "-c", "x", "-notice"]).unwrap();
        assert_eq!(log.types, ["+debug", "-notice"]);
        assert!(Log::parse(&["--loud"]).is_err());
        assert!(Log::parse(&["-c"]).is_err());
        assert!(matches!(Log::parse(&["--help"]), Err(Error::Help)));
    }

    #[test]
    fn what_is_logged_is_told() {
        let said = |types: &str| {
            let text = format!("{{\"types\":[{types}],\"default\":[\"error\",\"notice\"]}}");
            told(&Value::parse(&text).unwrap())
        };
        assert_eq!(
            said("\"error\",\"notice\""),
            "Logged, as the configuration says: error notice\n"
        );
        let changed = said("\"debug\"");
        assert!(changed.starts_with("Logged: debug\n") && changed.contains("SIGHUP"));
    }
}
