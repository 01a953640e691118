//! `footbridge topics`: who publishes most.

use std::fmt::Write as _;

use super::amounts::bytes;
use super::control::Which;
use super::words::Words;
use super::{Error, put};
use crate::config::printable::printable;
use crate::json::Value;
use crate::run::control::protocol::Request;

/// What `--help` prints.
pub const HELP: &str = include_str!("topics.txt");

/// So many are shown to a person, of topics and of clients.
const SHOWN: usize = 20;

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topics {
    which: Which,
    /// The member that decides who comes first.
    order: &'static str,
    json: bool,
}

impl Topics {
    /// Understands the words behind `topics`.
    ///
    /// # Errors
    /// [`Error::Usage`], [`Error::Help`].
    pub fn parse(args: &[&str]) -> Result<Topics, Error> {
        let mut topics = Topics {
            which: Which::default(),
            order: "messages",
            json: false,
        };
        let mut words = Words::new(args);
        while let Some(word) = words.next() {
            match word {
                "--help" => return Err(Error::Help),
                "--json" => topics.json = true,
                "--sort" => {
                    topics.order = match words.value(word)? {
                        "messages" => "messages",
                        "bytes" => "bytes",
                        other => {
                            return Err(Error::Usage(format!(
                                "--sort takes messages or bytes, not {other:?}."
                            )));
                        }
                    }
                }
                _ if topics.which.take(word, &mut words)? => {}
                _ => return Err(Error::Usage(format!("Unknown option '{word}'."))),
            }
        }
        Ok(topics)
    }

    /// Asks the broker, and prints what it says.
    ///
    /// # Errors
    /// The broker is not there or refuses.
    pub fn run(&self) -> Result<(), Error> {
        let mut said = self.which.ask(&Request::new("topics"))?.said;
        if let Value::Object(members) = &mut said {
            for (_, member) in members {
                if let Value::List(talkers) = member {
                    talkers.sort_by_key(|talker| std::cmp::Reverse(count(talker, self.order)));
                }
            }
        }
        let text = if self.json {
            let mut out = String::new();
            said.write(&mut out);
            out.push('\n');
            out
        } else {
            screen(&said)
        };
        put(&text).map_err(Error::Write)
    }
}

fn count(talker: &Value, name: &str) -> u64 {
    talker.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn screen(said: &Value) -> String {
    let seconds = count(said, "seconds");
    let mut out = format!("Published in the last {seconds} s:\n");
    for (member, what) in [("topics", "topic"), ("clients", "client")] {
        let Some(Value::List(talkers)) = said.get(member) else {
            continue;
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "\n{:>10}  {:>10}  {what}", "messages", "bytes");
        for talker in talkers.iter().take(SHOWN) {
            let name = talker
                .get("name")
                .and_then(Value::as_text)
                .unwrap_or_default();
            let (messages, size) = (count(talker, "messages"), bytes(count(talker, "bytes")));
            let _ = writeln!(out, "{messages:>10}  {size:>10}  {}", printable(name));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood() {
        assert_eq!(Topics::parse(&["--sort", "bytes"]).unwrap().order, "bytes");
        assert!(Topics::parse(&["--json"]).unwrap().json);
        assert!(matches!(Topics::parse(&["x"]), Err(Error::Usage(_))));
        assert!(matches!(
            Topics::parse(&["--sort", "x"]),
            Err(Error::Usage(_))
        ));
        assert!(matches!(Topics::parse(&["--help"]), Err(Error::Help)));
    }

    #[test]
    fn the_screen_has_both_lists() {
        let said = Value::parse(
            r#"{"seconds":61,"topics":[{"name":"a\u0007","messages":3,"bytes":2048}],"clients":[]}"#,
        );
        assert_eq!(
            screen(&said.unwrap()),
            "Published in the last 61 s:\n\n  messages       bytes  topic\n         3      2.0 KB  a\\u{7}\n\n  \
             messages       bytes  client\n"
        );
    }
}
