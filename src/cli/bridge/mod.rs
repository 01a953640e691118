//! `footbridge bridge`: the bridges of a running broker are listed and steered.

mod screen;

use std::fs;
use std::io::{self, Read};

use super::control::{Answered, Which};
use super::words::Words;
use super::{Error, put};
use crate::config::printable::printable;
use crate::json::Value;
use crate::run::control::protocol::Request;

/// What `footbridge bridge --help` prints.
pub const HELP: &str = include_str!("bridge.txt");

/// So much of a file is sent: a request has at most 64 KB.
const LONGEST: u64 = 60 * 1024;

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bridge {
    which: Which,
    command: Command,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Command {
    List { json: bool },
    Start(String),
    Stop(String),
    Add { file: String, save: bool },
    Remove { name: String, save: bool },
}

impl Bridge {
    /// Understands the words behind `bridge`.
    ///
    /// # Errors
    /// [`Error::Usage`], [`Error::Help`].
    pub fn parse(args: &[&str]) -> Result<Bridge, Error> {
        let mut which = Which::default();
        let (mut json, mut save, mut plain) = (false, false, Vec::new());
        let mut words = Words::new(args);
        while let Some(word) = words.next() {
            match word {
                "--help" => return Err(Error::Help),
                "--json" => json = true,
                "--save" => save = true,
                _ if which.take(word, &mut words)? => {}
                _ if word.starts_with('-') && word != "-" => {
                    return Err(Error::Usage(format!("Unknown option '{word}'.")));
                }
                _ => plain.push(word.to_owned()),
            }
        }
        let usage = |what: &str| Err(Error::Usage(what.to_owned()));
        let mut plain = plain.into_iter();
        let Some(command) = plain.next() else {
            return usage("Say what to do: list, start, stop, add or remove.");
        };
        let (subject, more) = (plain.next(), plain.next());
        if json && command != "list" {
            return usage("--json is for list.");
        }
        if save && !matches!(&*command, "add" | "remove") {
            return usage("--save is for add and remove.");
        }
        let command = match (&*command, subject, more) {
            ("list", None, None) => Command::List { json },
            ("start", Some(name), None) => Command::Start(name),
            ("stop", Some(name), None) => Command::Stop(name),
            ("add", Some(file), None) => Command::Add { file, save },
            ("remove", Some(name), None) => Command::Remove { name, save },
            ("list", ..) => return usage("list takes no name."),
            ("start" | "stop" | "remove", ..) => {
                return usage("Give the name of one bridge: footbridge bridge list has them.");
            }
            ("add", ..) => {
                return usage(
                    "Give one file with a `connection` section, or - for standard input.",
                );
            }
            (other, ..) => {
                let other = printable(other);
                return Err(Error::Usage(format!("Unknown command '{other}'.")));
            }
        };
        Ok(Bridge { which, command })
    }

    /// Has the broker do it, and prints what has come of it.
    ///
    /// # Errors
    /// The broker is not there or refuses; the file can't be read.
    pub fn run(&self) -> Result<(), Error> {
        let request = self.request()?;
        let answered = self.which.ask(&request)?;
        let text = match &self.command {
            Command::List { json: true } => {
                let mut out = String::new();
                Value::List(answered.items).write(&mut out);
                out.push('\n');
                out
            }
            Command::List { json: false } => screen::list(&answered.items),
            command => command.told(&answered),
        };
        put(&text).map_err(Error::Write)
    }

    fn request(&self) -> Result<Request, Error> {
        Ok(match &self.command {
            Command::List { .. } => Request::new("bridge list"),
            Command::Start(name) => Request::new("bridge start").with("name", &**name),
            Command::Stop(name) => Request::new("bridge stop").with("name", &**name),
            Command::Add { file, save } => Request::new("bridge add")
                .with("section", read(file)?)
                .with("file", file_name(file))
                .with("save", *save),
            Command::Remove { name, save } => Request::new("bridge remove")
                .with("name", &**name)
                .with("save", *save),
        })
    }
}

impl Command {
    /// What a person is told when it is done.
    fn told(&self, answered: &Answered) -> String {
        let said = &answered.said;
        let text = |name: &str| said.get(name).and_then(Value::as_text).map(printable);
        let is = |name: &str| said.get(name) == Some(&Value::Bool(true));
        let mut out = match self {
            Command::List { .. } => String::new(),
            Command::Start(name) if is("already") => format!("Bridge {name}: connects already.\n"),
            Command::Start(name) => format!("Bridge {name}: started.\n"),
            Command::Stop(name) if is("already") => {
                format!("Bridge {name}: was stopped already.\n")
            }
            Command::Stop(name) => format!("Bridge {name}: stopped.\n"),
            Command::Add { .. } => {
                let name = text("name").unwrap_or_default();
                format!("Bridge {name}: added.\n")
            }
            Command::Remove { name, .. } => format!("Bridge {name}: removed.\n"),
        };
        if let Some(file) = text("file") {
            let what = match self {
                Command::Add { .. } => "Saved as",
                _ => "Removed",
            };
            out += &format!("{what} {file}.\n");
        }
        if is("comes_back") {
            out +=
                "It stands in the configuration, and comes back with the next reload or start.\n";
        }
        let waiting = said.get("messages").and_then(Value::as_u64);
        if let Some(waiting) = waiting.filter(|n| *n > 0) {
            out += &format!(
                "{waiting} messages stay in its queue until the next start of the broker.\n"
            );
        }
        if let Some(Value::List(notes)) = said.get("notes") {
            for note in notes.iter().filter_map(Value::as_text) {
                out += &format!("Warning: {}\n", printable(note));
            }
        }
        out
    }
}

/// The text of a section: of a file, or from standard input for `-`.
fn read(file: &str) -> Result<String, Error> {
    let unread = |e: io::Error| Error::Read(file_name(file).to_owned(), e);
    let mut text = String::new();
    let result = if file == "-" {
        io::stdin().take(LONGEST + 1).read_to_string(&mut text)
    } else {
        let opened = fs::File::open(file).map_err(unread)?;
        opened.take(LONGEST + 1).read_to_string(&mut text)
    };
    match result {
        Err(e) => Err(unread(e)),
        Ok(n) if n as u64 > LONGEST => Err(unread(io::Error::other(
            "it is longer than the 60 KB that a section may have",
        ))),
        Ok(_) => Ok(text),
    }
}

fn file_name(file: &str) -> &str {
    if file == "-" { "standard input" } else { file }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood() {
        let command = |args: &[&str]| Bridge::parse(args).unwrap().command;
        assert_eq!(command(&["list"]), Command::List { json: false });
        assert_eq!(
            command(&["--json", "list", "-c", "x"]),
            Command::List { json: true }
        );
        assert_eq!(command(&["stop", "a b"]), Command::Stop("a b".to_owned()));
        let file = "-".to_owned();
        assert_eq!(
            command(&["add", "-", "--save"]),
            Command::Add { file, save: true }
        );
        let name = "n".to_owned();
        assert_eq!(
            command(&["--socket", "/s", "remove", "n"]),
            Command::Remove { name, save: false }
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (args, says) in [
            (&[][..], "what to do"),
            (&["restart", "x"], "Unknown command"),
            (&["list", "x"], "takes no name"),
            (&["start"], "name of one"),
            (&["stop", "a", "b"], "name of one"),
            (&["add"], "one file"),
            (&["start", "x", "--save"], "--save is for"),
            (&["remove", "x", "--json"], "--json is for"),
            (&["list", "--nonsense"], "Unknown option"),
            (&["list", "--socket"], "no value"),
        ] {
            match Bridge::parse(args) {
                Err(Error::Usage(what)) => assert!(what.contains(says), "{what}"),
                other => panic!("{args:?}: {other:?}"),
            }
        }
        assert!(matches!(
            Bridge::parse(&["list", "--help"]),
            Err(Error::Help)
        ));
    }

    #[test]
    fn what_has_come_of_it_is_told() {
        let said =
            Value::parse("{\"file\":\"/d/x\",\"notes\":[\"odd\\n\"],\"name\":\"b\"}").unwrap();
        let items = Vec::new();
        let add = Command::Add {
            file: String::new(),
            save: true,
        };
        assert_eq!(
            add.told(&Answered { items, said }),
            "Bridge b: added.\nSaved as /d/x.\nWarning: odd\\n\n"
        );
        let said = Value::parse("{\"messages\":3,\"comes_back\":true}").unwrap();
        let items = Vec::new();
        let remove = Command::Remove {
            name: "b".to_owned(),
            save: false,
        };
        let told = remove.told(&Answered { items, said });
        assert!(
            told.contains("removed") && told.contains("comes back") && told.contains("3 messages")
        );
    }
}
