//! A line of the program at the other end: an answer, or a revocation that nobody has asked for.

use std::fmt;
use std::time::Duration;

use crate::auth::rights::Lines;
use crate::auth::rule::LineError;
use crate::json::{self, Value};
use crate::mqtt::check_string;

/// No answer counts for longer, in seconds.
const LONGEST: u64 = 86_400;

/// What a line says. What footbridge does not know in it is left for later versions.
#[derive(Debug)]
pub enum Reply {
    /// The answer to the question of this number. A mistake in it refuses that client alone.
    Answer(u64, Result<Said, ReplyError>),
    /// Rights that were given before are void.
    Revoke(Revocation),
}

/// What is said about a login.
#[derive(Debug)]
pub enum Said {
    /// The client may come in.
    Allow {
        /// Its rights; `None`: those of the `acl_file`.
        lines: Option<Lines>,
        /// Its user name from now on, if that is another.
        username: Option<Box<str>>,
        /// For how long that counts for the same login, if it is said.
        cache: Option<Duration>,
    },
    /// It may not.
    Deny,
    /// The program does not know it: as without `auth_socket`.
    Ignore {
        /// For how long that counts for the same login, if it is said.
        cache: Option<Duration>,
    },
}

/// Whose rights are void: those to whom all applies that is said, which is something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The client id.
    pub client_id: Option<Box<str>>,
    /// The user name.
    pub username: Option<Box<str>>,
}

impl Revocation {
    /// Whether it is about this client.
    pub fn is_about(&self, client_id: &str, username: Option<&str>) -> bool {
        self.client_id.as_deref().is_none_or(|id| id == client_id)
            && self
                .username
                .as_deref()
                .is_none_or(|name| username == Some(name))
    }
}

/// What is wrong with a line. Never says what stands in it, but for access rules: that may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// It is not UTF-8.
    NotUtf8,
    /// It is no JSON.
    NotJson(json::Error),
    /// It is neither an answer nor a revocation.
    Neither,
    /// A member has a value that it can't have.
    Member(&'static str, &'static str),
    /// A line of `acl`, from 1, is no access rule.
    Line(usize, LineError),
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::NotUtf8 => f.write_str("it is not UTF-8"),
            ReplyError::NotJson(error) => write!(f, "it is no JSON: {error}"),
            ReplyError::Neither => f.write_str("it has neither \"id\" nor \"revoke\""),
            ReplyError::Member(name, wants) => write!(f, "\"{name}\" must be {wants}"),
            ReplyError::Line(number, error) => write!(f, "line {number} of \"acl\": {error}"),
        }
    }
}

impl std::error::Error for ReplyError {}

impl Reply {
    /// Reads a line.
    ///
    /// # Errors
    /// Why it can't even be said which question it is about.
    pub fn parse(line: &[u8]) -> Result<Reply, ReplyError> {
        let text = std::str::from_utf8(line).map_err(|_| ReplyError::NotUtf8)?;
        let Value::Object(members) = Value::parse(text).map_err(ReplyError::NotJson)? else {
            return Err(ReplyError::Neither);
        };
        let members = Members(&members);
        if let Some(version) = members.get("v")
            && version.as_u64() != Some(1)
        {
            return Err(ReplyError::Member("v", "1"));
        }
        if let Some(revoke) = members.get("revoke") {
            return revocation(revoke).map(Reply::Revoke);
        }
        let id = members.get("id").ok_or(ReplyError::Neither)?;
        let id = id.as_u64();
        let id = id.ok_or(ReplyError::Member("id", "the number of a question"))?;
        Ok(Reply::Answer(id, members.said()))
    }
}

fn revocation(value: &Value) -> Result<Revocation, ReplyError> {
    const WANTS: &str = "an object with \"client_id\" or \"username\"";
    let Value::Object(members) = value else {
        return Err(ReplyError::Member("revoke", WANTS));
    };
    let members = Members(members);
    let revocation = Revocation {
        client_id: members.text("client_id")?,
        username: members.text("username")?,
    };
    if revocation.client_id.is_none() && revocation.username.is_none() {
        return Err(ReplyError::Member("revoke", WANTS));
    }
    Ok(revocation)
}

/// The members of an object; one that is `null` counts as absent.
struct Members<'a>(&'a [(String, Value)]);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        let mut members = self.0.iter();
        let found = members.find(|(other, _)| other == name);
        found
            .map(|(_, value)| value)
            .filter(|value| **value != Value::Null)
    }

    fn text(&self, name: &'static str) -> Result<Option<Box<str>>, ReplyError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value.as_text().filter(|text| check_string(text).is_ok());
        let text = text.ok_or(ReplyError::Member(name, "a string that MQTT can carry"))?;
        Ok(Some(text.into()))
    }

    fn said(&self) -> Result<Said, ReplyError> {
        const WANTS: &str = "\"allow\", \"deny\" or \"ignore\"";
        let answer = self.get("answer").and_then(Value::as_text);
        match answer.ok_or(ReplyError::Member("answer", WANTS))? {
            "allow" => Ok(Said::Allow {
                lines: self.lines()?,
                username: self.text("username")?,
                cache: self.cache()?,
            }),
            "deny" => Ok(Said::Deny),
            "ignore" => Ok(Said::Ignore {
                cache: self.cache()?,
            }),
            _ => Err(ReplyError::Member("answer", WANTS)),
        }
    }

    fn cache(&self) -> Result<Option<Duration>, ReplyError> {
        const WANTS: &str = "a whole number of seconds";
        let Some(value) = self.get("cache") else {
            return Ok(None);
        };
        let secs = value.as_u64().ok_or(ReplyError::Member("cache", WANTS))?;
        Ok(Some(Duration::from_secs(secs.min(LONGEST))))
    }

    fn lines(&self) -> Result<Option<Lines>, ReplyError> {
        let wrong = ReplyError::Member("acl", "a list of strings");
        let items = match self.get("acl") {
            None => return Ok(None),
            Some(Value::List(items)) => items,
            Some(_) => return Err(wrong),
        };
        let mut lines = Lines::default();
        for (n, item) in items.iter().enumerate() {
            let line = item.as_text().ok_or(wrong.clone())?;
            let added = lines.add(line);
            added.map_err(|error| ReplyError::Line(n + 1, error))?;
        }
        Ok(Some(lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<Said, String> {
        match Reply::parse(line.as_bytes()) {
            Ok(Reply::Answer(7, said)) => said.map_err(|error| error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers() {
        assert!(matches!(
            said("{\"id\":7,\"answer\":\"deny\"}"),
            Ok(Said::Deny)
        ));
        let ignore = said("{\"v\":1,\"id\":7,\"answer\":\"ignore\",\"cache\":9}");
        assert!(matches!(ignore, Ok(Said::Ignore { cache: Some(c) }) if c.as_secs() == 9));
        let plain = said("{\"id\":7,\"answer\":\"allow\",\"acl\":null,\"later\":[1]}");
        let is_plain = matches!(
            plain,
            Ok(Said::Allow {
                lines: None,
                username: None,
                cache: None
            })
        );
        assert!(is_plain);
        let full = "{\"id\":7,\"answer\":\"allow\",\"acl\":[\"topic read a\"],\"username\":\"ann\",\
                    \"cache\":99999999999}";
        let Ok(Said::Allow {
            lines: Some(_),
            username: Some(name),
            cache: Some(cache),
        }) = said(full)
        else {
            panic!("not all of it");
        };
        assert_eq!((&*name, cache.as_secs()), ("ann", LONGEST));
        let none = said("{\"id\":7,\"answer\":\"allow\",\"acl\":[]}");
        assert!(matches!(none, Ok(Said::Allow { lines: Some(_), .. })));
    }

    #[test]
    fn a_mistake_in_an_answer_is_that_clients() {
        for (rest, wanted) in [
            ("", "\"answer\" must be \"allow\", \"deny\" or \"ignore\""),
            (
                ",\"answer\":true",
                "\"answer\" must be \"allow\", \"deny\" or \"ignore\"",
            ),
            (
                ",\"answer\":\"Allow\"",
                "\"answer\" must be \"allow\", \"deny\" or \"ignore\"",
            ),
            (
                ",\"answer\":\"allow\",\"acl\":\"topic a\"",
                "\"acl\" must be a list of strings",
            ),
            (
                ",\"answer\":\"allow\",\"acl\":[1]",
                "\"acl\" must be a list of strings",
            ),
            (
                ",\"answer\":\"allow\",\"acl\":[\"topic a\",\"user b\"]",
                "line 2 of \"acl\": a user line has no place here, the rights are those of one client",
            ),
            (
                ",\"answer\":\"allow\",\"username\":\"a\\u0000\"",
                "\"username\" must be a string that MQTT can carry",
            ),
            (
                ",\"answer\":\"allow\",\"cache\":-1",
                "\"cache\" must be a whole number of seconds",
            ),
        ] {
            let error = said(&format!("{{\"id\":7{rest}}}")).unwrap_err();
            assert_eq!(error, wanted, "{rest}");
        }
    }

    #[test]
    fn revocations() {
        let revoke = |line: &str| match Reply::parse(line.as_bytes()) {
            Ok(Reply::Revoke(revocation)) => revocation,
            other => panic!("{other:?}"),
        };
        let by_name = revoke("{\"revoke\":{\"username\":\"ann\"}}");
        assert!(by_name.is_about("x", Some("ann")) && !by_name.is_about("x", Some("bob")));
        assert!(!by_name.is_about("ann", None));
        let by_id = revoke("{\"v\":1,\"revoke\":{\"client_id\":\"c\"}}");
        assert!(by_id.is_about("c", None) && !by_id.is_about("d", Some("c")));
        let both = revoke("{\"revoke\":{\"client_id\":\"c\",\"username\":\"ann\"}}");
        assert!(both.is_about("c", Some("ann")) && !both.is_about("c", None));
    }

    /// Nobody knows which question such a line is about.
    #[test]
    fn what_is_neither_is_refused_as_a_whole() {
        for (line, wanted) in [
            (&b"\xff"[..], "it is not UTF-8"),
            (b"hello", "it is no JSON: byte 0: no value begins so"),
            (b"[]", "it has neither \"id\" nor \"revoke\""),
            (b"{}", "it has neither \"id\" nor \"revoke\""),
            (b"{\"v\":2,\"id\":7}", "\"v\" must be 1"),
            (b"{\"id\":\"7\"}", "\"id\" must be the number of a question"),
            (
                b"{\"revoke\":{}}",
                "\"revoke\" must be an object with \"client_id\" or \"username\"",
            ),
            (
                b"{\"revoke\":\"all\"}",
                "\"revoke\" must be an object with \"client_id\" or \"username\"",
            ),
        ] {
            let error = Reply::parse(line).unwrap_err();
            assert_eq!(error.to_string(), wanted);
        }
    }
}
