//! `footbridge clients`, `client`, `kick`, `forget`: the clients of a running broker.

mod screen;

use super::control::{Answered, Which, confirmed};
use super::words::Words;
use super::{Error, put};
use crate::config::printable::printable;
use crate::json::Value;
use crate::run::control::protocol::Request;

/// What `--help` prints.
pub const HELP: &str = include_str!("clients.txt");

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clients {
    which: Which,
    command: Command,
    json: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Command {
    List(Order),
    Show { id: String, topic: Option<String> },
    Kick(String),
    Forget { id: String, yes: bool },
}

/// Who comes first in the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Order {
    #[default]
    Name,
    /// Who published most.
    Rate,
    /// For whom most messages wait.
    Queue,
    /// For whom most bytes wait.
    Bytes,
    Dropped,
}

impl Clients {
    /// Understands the words behind `command`.
    ///
    /// # Errors
    /// [`Error::Usage`], [`Error::Help`].
    pub fn parse(command: &str, args: &[&str]) -> Result<Clients, Error> {
        let mut which = Which::default();
        let (mut json, mut yes, mut order, mut topic) = (false, false, None, None);
        let mut plain = Vec::new();
        let mut words = Words::new(args);
        while let Some(word) = words.next() {
            match (command, word) {
                (_, "--help") => return Err(Error::Help),
                ("clients" | "client", "--json") => json = true,
                ("forget", "--yes") => yes = true,
                ("clients", "--sort") => order = Some(self::order(words.value(word)?)?),
                ("client", "--topic") => topic = Some(words.value(word)?.to_owned()),
                _ if which.take(word, &mut words)? => {}
                // All that follows is a client id, whatever it begins with.
                (_, "--") => plain.extend(words.by_ref().map(str::to_owned)),
                _ if word.starts_with('-') => {
                    return Err(Error::Usage(format!("Unknown option '{word}'.")));
                }
                _ => plain.push(word.to_owned()),
            }
        }
        let mut plain = plain.into_iter();
        let command = match (command, plain.next(), plain.next()) {
            ("clients", None, None) => Command::List(order.unwrap_or_default()),
            ("clients", ..) => {
                return Err(Error::Usage(
                    "clients takes no id: see client ID.".to_owned(),
                ));
            }
            ("client", Some(id), None) => Command::Show { id, topic },
            ("kick", Some(id), None) => Command::Kick(id),
            ("forget", Some(id), None) => Command::Forget { id, yes },
            _ => {
                let usage = "Give one client id: footbridge clients has them.";
                return Err(Error::Usage(usage.to_owned()));
            }
        };
        Ok(Clients {
            which,
            command,
            json,
        })
    }

    /// Asks the broker, and prints what it says.
    ///
    /// # Errors
    /// The broker is not there or refuses; the answer to the question was no.
    pub fn run(&self) -> Result<(), Error> {
        let text = match &self.command {
            Command::List(order) => self.list(*order)?,
            Command::Show { id, topic } => {
                let request = Request::new("client").with("client", &**id);
                let request = match topic {
                    Some(topic) => request.with("topic", &**topic),
                    None => request,
                };
                self.told(self.which.ask(&request)?.items, screen::session)
            }
            Command::Kick(id) => {
                let request = Request::new("client kick").with("client", &**id);
                self.which.ask(&request)?;
                format!("Client {}: disconnected.\n", printable(id))
            }
            Command::Forget { id, yes } => self.forget(id, *yes)?,
        };
        put(&text).map_err(Error::Write)
    }

    fn list(&self, order: Order) -> Result<String, Error> {
        let mut items = self.which.ask(&Request::new("clients"))?.items;
        let rates = self.which.ask(&Request::new("topics"))?;
        for item in &mut items {
            screen::add_rate(item, &rates);
        }
        let count = |item: &Value, name: &str| item.get(name).and_then(Value::as_u64).unwrap_or(0);
        let name = |item: &Value| {
            item.get("client")
                .and_then(Value::as_text)
                .map(str::to_owned)
        };
        items.sort_by_cached_key(name);
        let most = match order {
            Order::Name => None,
            Order::Rate => Some("published"),
            Order::Queue => Some("messages"),
            Order::Bytes => Some("bytes"),
            Order::Dropped => Some("dropped"),
        };
        if let Some(most) = most {
            items.sort_by_key(|item| std::cmp::Reverse(count(item, most)));
        }
        Ok(self.told(items, screen::list))
    }

    fn forget(&self, id: &str, yes: bool) -> Result<String, Error> {
        let name = printable(id);
        if !yes {
            let Answered { items, .. } =
                self.which.ask(&Request::new("client").with("client", id))?;
            let lost = screen::lost(&items);
            confirmed(&format!("Ends the session of client {name}{lost}."))?;
        }
        let request = Request::new("client forget").with("client", id);
        let said = self.which.ask(&request)?.said;
        let lost = said.get("messages").and_then(Value::as_u64).unwrap_or(0);
        Ok(format!(
            "Client {name}: forgotten, with {lost} messages that waited.\n"
        ))
    }

    /// The items, for a program or a person.
    fn told(&self, items: Vec<Value>, screen: fn(&[Value]) -> String) -> String {
        if !self.json {
            return screen(&items);
        }
        let mut out = String::new();
        Value::List(items).write(&mut out);
        out.push('\n');
        out
    }
}

fn order(word: &str) -> Result<Order, Error> {
    Ok(match word {
        "name" => Order::Name,
        "rate" => Order::Rate,
        "queue" => Order::Queue,
        "bytes" => Order::Bytes,
        "dropped" => Order::Dropped,
        other => {
            return Err(Error::Usage(format!(
                "--sort takes name, rate, queue, bytes or dropped, not {other:?}."
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(command: &str, args: &[&str]) -> Command {
        Clients::parse(command, args).unwrap().command
    }

    #[test]
    fn commands_are_understood() {
        assert_eq!(command("clients", &[]), Command::List(Order::Name));
        assert_eq!(
            command("clients", &["--sort", "bytes"]),
            Command::List(Order::Bytes)
        );
        assert_eq!(command("kick", &["a b"]), Command::Kick("a b".to_owned()));
        assert_eq!(
            command("kick", &["--", "-x"]),
            Command::Kick("-x".to_owned())
        );
        let (id, topic) = ("c".to_owned(), Some("t".to_owned()));
        assert_eq!(
            command("client", &["c", "--topic", "t"]),
            Command::Show { id, topic }
        );
        let id = "c".to_owned();
        assert_eq!(
            command("forget", &["c", "--yes"]),
            Command::Forget { id, yes: true }
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (command, args, says) in [
            ("clients", &["x"][..], "takes no id"),
            ("clients", &["--sort", "age"], "--sort takes"),
            ("clients", &["--sort"], "no value"),
            ("client", &[], "one client id"),
            ("kick", &["a", "b"], "one client id"),
            ("kick", &["a", "--yes"], "Unknown option"),
            ("forget", &["--json", "a"], "Unknown option"),
        ] {
            match Clients::parse(command, args) {
                Err(Error::Usage(what)) => assert!(what.contains(says), "{what}"),
                other => panic!("{command} {args:?}: {other:?}"),
            }
        }
        assert!(matches!(
            Clients::parse("kick", &["--help"]),
            Err(Error::Help)
        ));
    }
}
