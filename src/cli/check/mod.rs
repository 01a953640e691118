//! `footbridge check`: what a configuration would do, beyond its syntax.

use std::path::PathBuf;

use super::control::PACKAGED;
use super::words::Words;
use super::{Error, put};
use crate::run::{self, Options};

/// What `footbridge check --help` prints.
pub const HELP: &str = include_str!("check.txt");

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    config: PathBuf,
    json: bool,
}

impl Check {
    /// Understands the words behind `check`.
    ///
    /// # Errors
    /// [`Error::Usage`], [`Error::Help`].
    pub fn parse(args: &[&str]) -> Result<Check, Error> {
        let mut check = Check {
            config: PACKAGED.into(),
            json: false,
        };
        let mut words = Words::new(args);
        while let Some(word) = words.next() {
            match word {
                "--help" => return Err(Error::Help),
                "--json" => check.json = true,
                "-c" | "--config-file" => check.config = words.value(word)?.into(),
                _ => return Err(Error::Usage(format!("Unknown option '{word}'."))),
            }
        }
        Ok(check)
    }

    /// Prints the report.
    ///
    /// # Errors
    /// [`Error::Serious`] where anything in it is.
    pub fn run(&self) -> Result<(), Error> {
        let report = run::survey(&Options {
            config: Some(self.config.clone()),
            ..Options::default()
        });
        let text = if self.json {
            let mut line = String::new();
            report.to_json().write(&mut line);
            line + "\n"
        } else {
            report.to_text()
        };
        put(&text).map_err(Error::Write)?;
        if report.is_serious() {
            Err(Error::Serious)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn arguments() {
        let check = Check::parse(&["--json", "-c", "x"]).unwrap();
        assert!(check.json && check.config.as_path() == Path::new("x"));
        assert_eq!(Check::parse(&[]).unwrap().config, PathBuf::from(PACKAGED));
        for bad in [&["x"][..], &["-c"], &["--watch"]] {
            assert!(matches!(Check::parse(bad), Err(Error::Usage(_))), "{bad:?}");
        }
    }
}
