//! `footbridge import-mosquitto`: what Mosquitto keeps is brought over.

use std::path::PathBuf;

use super::words::Words;
use super::{Error, put};
use crate::config::printable::printable;
use crate::run::import::{self, Imported};

/// What `footbridge import-mosquitto --help` prints.
pub const HELP: &str = include_str!("help.txt");

/// The configuration of the packages.
const CONFIG: &str = "/etc/footbridge/footbridge.conf";

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportMosquitto {
    file: PathBuf,
    config: PathBuf,
    dry: bool,
}

impl ImportMosquitto {
    /// Understands the words behind `import-mosquitto`.
    ///
    /// # Errors
    /// [`Error::Usage`], [`Error::Help`].
    pub fn parse(args: &[&str]) -> Result<ImportMosquitto, Error> {
        let (mut file, mut config, mut dry) = (None, PathBuf::from(CONFIG), false);
        let mut words = Words::new(args);
        while let Some(word) = words.next() {
            match word {
                "--help" => return Err(Error::Help),
                "-n" | "--dry-run" => dry = true,
                "-c" | "--config-file" => config = words.value(word)?.into(),
                _ if word.starts_with('-') => {
                    let word = printable(word);
                    return Err(Error::Usage(format!("Unknown option '{word}'.")));
                }
                _ if file.is_none() => file = Some(PathBuf::from(word)),
                _ => return Err(Error::Usage("Give one file of Mosquitto's.".to_owned())),
            }
        }
        let none = || Error::Usage("Give the file of Mosquitto's: mosquitto.db.".to_owned());
        Ok(ImportMosquitto {
            file: file.ok_or_else(none)?,
            config,
            dry,
        })
    }

    /// Brings the file over, and prints what has come of it.
    ///
    /// # Errors
    /// Nothing was brought over, and why.
    pub fn run(&self) -> Result<(), Error> {
        let imported = import::import(&self.config, &self.file, self.dry);
        let imported = imported.map_err(|e| Error::Import(Box::new(e)))?;
        put(&self.told(&imported)).map_err(Error::Write)
    }

    fn told(&self, Imported { report, store }: &Imported) -> String {
        let [file, store] =
            [&self.file, store].map(|path| printable(&path.to_string_lossy()).into_owned());
        let head = if self.dry {
            format!("{file}, format {}, would bring to {store}:", report.format)
        } else {
            format!("{file}, format {}, was brought to {store}:", report.format)
        };
        let mut text = format!("{head}\n{report}");
        let left = report.left();
        if !left.is_empty() {
            text.push_str("Left:\n");
        }
        for line in left {
            text.push_str(&format!("  {}\n", printable(&line)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_asked_for_and_no_more() {
        let parsed = ImportMosquitto::parse(&["a.db", "-c", "b.conf", "-n"]).unwrap();
        assert_eq!(
            (parsed.file.to_str(), parsed.config.to_str(), parsed.dry),
            (Some("a.db"), Some("b.conf"), true)
        );
        assert!(matches!(
            ImportMosquitto::parse(&["--help"]),
            Err(Error::Help)
        ));
        for args in [&[][..], &["a", "b"], &["a", "-x"], &["a", "-c"]] {
            assert!(matches!(ImportMosquitto::parse(args), Err(Error::Usage(_))));
        }
    }
}
