//! What is said over the control socket: a line of JSON for a request, lines of JSON for its answer.
//!
//! Versioned by `v`, documented in footbridge-control(5). `footbridge bridge` writes with the same words
//! as the broker reads.

use std::fmt;

use crate::json::Value;

/// The version of what is said.
pub const VERSION: u64 = 1;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The command: `do`.
    pub command: String,
    /// What else it says.
    members: Vec<(String, Value)>,
}

/// Why a request is not done, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl Refusal {
    /// A refusal for this reason.
    pub fn new(why: impl Into<String>) -> Refusal {
        Refusal(why.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl Request {
    /// A request for `command`.
    pub fn new(command: &str) -> Request {
        Request {
            command: command.to_owned(),
            members: Vec::new(),
        }
    }

    /// The same with one more member, which it does not have yet.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Request {
        self.members.push((name.to_owned(), value.into()));
        self
    }

    /// Understands a line.
    ///
    /// # Errors
    /// It is no request of this version.
    pub fn parse(line: &[u8]) -> Result<Request, Refusal> {
        let text = std::str::from_utf8(line).map_err(|_| Refusal::new("a request is UTF-8"))?;
        let value = Value::parse(text)
            .map_err(|e| Refusal::new(format!("a request is a line of JSON: {e}")))?;
        check_version(&value)?;
        let Value::Object(mut members) = value else {
            return Err(Refusal::new("a request is an object"));
        };
        members.retain(|(name, _)| name != "v");
        let at = members.iter().position(|(name, _)| name == "do");
        match at.map(|at| members.remove(at).1) {
            Some(Value::Text(command)) => Ok(Request { command, members }),
            Some(other) => Err(wrong("do", "a string", &other)),
            None => Err(Refusal::new("`do` is missing: it names the command")),
        }
    }

    /// The line that says it, with its end.
    pub fn to_line(&self) -> String {
        let head = [("v", VERSION.into()), ("do", (&*self.command).into())];
        let head = head.map(|(name, value)| (name.to_owned(), value));
        line(head.into_iter().chain(self.members.iter().cloned()))
    }

    /// A string that the command can't do without.
    ///
    /// # Errors
    /// It is missing, or no string.
    pub fn text(&self, name: &str) -> Result<&str, Refusal> {
        match self.get(name) {
            Some(Value::Text(text)) => Ok(text),
            Some(other) => Err(wrong(name, "a string", other)),
            None => Err(Refusal::new(format!("`{name}` is missing"))),
        }
    }

    /// Strings that the command can't do without.
    ///
    /// # Errors
    /// They are missing, or no list of strings.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>, Refusal> {
        let Some(value) = self.get(name) else {
            return Err(Refusal::new(format!("`{name}` is missing")));
        };
        let Value::List(items) = value else {
            return Err(wrong(name, "a list of strings", value));
        };
        let texts = items.iter().map(|item| {
            let text = item.as_text();
            text.ok_or_else(|| wrong(name, "a list of strings", item))
        });
        texts.collect()
    }

    /// A flag; false where nothing is said.
    ///
    /// # Errors
    /// It is neither true nor false.
    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(is)) => Ok(*is),
            Some(other) => Err(wrong(name, "true or false", other)),
        }
    }

    /// Whether it says anything under this name.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Refuses members that are none of `known`: a slip must not go unseen.
    ///
    /// # Errors
    /// Which it is.
    pub fn has_only(&self, known: &[&str]) -> Result<(), Refusal> {
        let mut names = self.members.iter().map(|(name, _)| &**name);
        match names.find(|name| !known.contains(name)) {
            Some(name) => Err(Refusal::new(format!("{} knows no `{name}`", self.command))),
            None => Ok(()),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let mut members = self.members.iter();
        members.find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// One of many things; more lines come.
    Item(Value),
    /// The last line: it is done. What else there is to say.
    Done(Vec<(String, Value)>),
    /// The last line: nothing was done.
    Refused(Refusal),
}

impl Reply {
    /// Understands a line.
    ///
    /// # Errors
    /// It is no answer of this version.
    pub fn parse(line: &[u8]) -> Result<Reply, Refusal> {
        let text = std::str::from_utf8(line).map_err(|_| Refusal::new("an answer is UTF-8"))?;
        let value = Value::parse(text)
            .map_err(|e| Refusal::new(format!("an answer is a line of JSON: {e}")))?;
        check_version(&value)?;
        match (value.get("item"), value.get("ok"), value.get("error")) {
            (Some(item), None, None) => return Ok(Reply::Item(item.clone())),
            (None, Some(Value::Bool(false)), Some(Value::Text(why))) => {
                return Ok(Reply::Refused(Refusal::new(&**why)));
            }
            (None, Some(Value::Bool(true)), None) => {}
            _ => return Err(Refusal::new("the answer has another form")),
        }
        let Value::Object(mut members) = value else {
            return Err(Refusal::new("an answer is an object"));
        };
        members.retain(|(name, _)| name != "v" && name != "ok");
        Ok(Reply::Done(members))
    }

    /// The line that says it, with its end.
    pub fn to_line(&self) -> String {
        let member = |name: &str, value: Value| (name.to_owned(), value);
        let mut members = vec![member("v", VERSION.into())];
        match self {
            Reply::Item(item) => members.push(member("item", item.clone())),
            Reply::Done(more) => {
                members.push(member("ok", true.into()));
                members.extend(more.iter().cloned());
            }
            Reply::Refused(Refusal(why)) => {
                members.push(member("ok", false.into()));
                members.push(member("error", (&**why).into()));
            }
        }
        line(members)
    }
}

fn line(members: impl IntoIterator<Item = (String, Value)>) -> String {
    let mut out = String::new();
    Value::Object(members.into_iter().collect()).write(&mut out);
    out.push('\n');
    out
}

fn check_version(value: &Value) -> Result<(), Refusal> {
    match value.get("v") {
        Some(v) if v.as_u64() == Some(VERSION) => Ok(()),
        Some(_) => Err(Refusal::new(format!(
            "this is version {VERSION} of the protocol, and `v` says another"
        ))),
        None => Err(Refusal::new(format!(
            "`v` is missing: the version of the protocol, which is {VERSION}"
        ))),
    }
}

fn wrong(name: &str, wanted: &str, found: &Value) -> Refusal {
    Refusal::new(format!("`{name}` is {wanted}, not {}", found.kind()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_read_as_it_is_written() {
        let request = Request::new("bridge add")
            .with("section", "a\nb")
            .with("save", true);
        let line = request.to_line();
        assert_eq!(
            line,
            "{\"v\":1,\"do\":\"bridge add\",\"section\":\"a\\nb\",\"save\":true}\n"
        );
        let read = Request::parse(line.trim_end().as_bytes()).unwrap();
        assert_eq!(read, request);
        assert_eq!(read.text("section"), Ok("a\nb"));
        assert_eq!(
            (read.flag("save"), read.flag("other")),
            (Ok(true), Ok(false))
        );
        assert_eq!(read.has_only(&["save", "section"]), Ok(()));
        let Refusal(why) = read.has_only(&["save"]).unwrap_err();
        assert_eq!(why, "bridge add knows no `section`");
        assert!(read.text("save").is_err() && read.text("name").is_err());
        assert!(read.flag("section").is_err());
    }

    #[test]
    fn what_is_no_request_is_told_why() {
        for (line, says) in [
            (&b"\xff"[..], "UTF-8"),
            (b"", "a line of JSON: byte 0"),
            (b"status", "a line of JSON: byte 0"),
            (b"[]", "`v` is missing"),
            (b"{\"do\":\"help\"}", "`v` is missing"),
            (b"{\"v\":2,\"do\":\"help\"}", "version 1"),
            (b"{\"v\":1}", "`do` is missing"),
            (b"{\"v\":1,\"do\":7}", "`do` is a string, not a number"),
        ] {
            let Refusal(why) = Request::parse(line).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn an_answer_is_read_as_it_is_written() {
        for (reply, line) in [
            (
                Reply::Item(Value::object([("name", "a".into())])),
                "{\"v\":1,\"item\":{\"name\":\"a\"}}\n",
            ),
            (
                Reply::Done(vec![("file".to_owned(), "f".into())]),
                "{\"v\":1,\"ok\":true,\"file\":\"f\"}\n",
            ),
            (
                Reply::Refused(Refusal::new("no")),
                "{\"v\":1,\"ok\":false,\"error\":\"no\"}\n",
            ),
        ] {
            assert_eq!(reply.to_line(), line);
            assert_eq!(Reply::parse(line.trim_end().as_bytes()), Ok(reply));
        }
        for wrong in [
            "",
            "[]",
            "{\"v\":1}",
            "{\"v\":1,\"ok\":false}",
            "{\"v\":2,\"ok\":true}",
        ] {
            assert!(Reply::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(noise in "(\\{\"v\":1,)?[\\[\\]{}\",:a-z01 ]{0,40}") {
            drop(Request::parse(noise.as_bytes()));
            drop(Reply::parse(noise.as_bytes()));
        }
    }
}
