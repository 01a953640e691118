//! JSON of one line (RFC 8259): what other programs of the box say to the broker, and how it writes
//! strings to them.
//!
//! What is read may be hostile: it is read at most [`MAX_DEPTH`] deep, so that the stack is enough, an
//! object that names a member twice is refused, because others may take the first, and numbers are
//! kept as they are written.

use std::fmt::{self, Write as _};

/// How deep lists and objects may be nested.
pub const MAX_DEPTH: usize = 16;

/// What a text says.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object; no two members have the same name.
    Object(Vec<(String, Value)>),
}

impl fmt::Debug for Value {
    /// Without what it says: that may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Value {
    /// Reads a whole text.
    ///
    /// # Errors
    /// Where it is no JSON, and why.
    pub fn parse(text: &str) -> Result<Value, Error> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.skip_blanks();
        match reader.peek() {
            None => Ok(value),
            Some(_) => Err(reader.error("something stands behind the end")),
        }
    }

    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// The number, if it is a whole one that fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Number(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Why a text is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The byte at which it was seen, from 0.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for Error {}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn error(&self, what: &'static str) -> Error {
        Error { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(self.error("it is nested too deep"));
        }
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.error("no value begins so")),
            None => Err(self.error("it ends too soon")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Error> {
        let unread = self.text.get(self.at..).unwrap_or_default();
        if !unread.starts_with(word) {
            return Err(self.error("no value begins so"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Error> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.take(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            if self.take(b']') {
                return Ok(Value::List(items));
            }
            if !self.take(b',') {
                return Err(self.error("a comma or ] is missing"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Error> {
        self.at += 1;
        let mut members: Vec<(String, Value)> = Vec::new();
        self.skip_blanks();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_blanks();
            let name = self.string()?;
            if members.iter().any(|(other, _)| *other == name) {
                return Err(self.error("a member is named twice"));
            }
            self.skip_blanks();
            if !self.take(b':') {
                return Err(self.error("a colon is missing"));
            }
            members.push((name, self.value(depth + 1)?));
            self.skip_blanks();
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.take(b',') {
                return Err(self.error("a comma or } is missing"));
            }
        }
    }

    fn digits(&mut self) -> Result<(), Error> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == from {
            return Err(self.error("a digit is missing"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, Error> {
        let from = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        } else if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.error("a number begins with 0"));
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let digits = self.text.get(from..self.at).unwrap_or_default();
        Ok(Value::Number(digits.to_owned()))
    }

    fn string(&mut self) -> Result<String, Error> {
        if !self.take(b'"') {
            return Err(self.error("a string is missing"));
        }
        let mut out = String::new();
        loop {
            let unread = self.text.get(self.at..).unwrap_or_default();
            let special = |c: char| c == '"' || c == '\\' || c < ' ';
            let Some(plain) = unread.find(special) else {
                self.at = self.text.len();
                return Err(self.error("a string has no end"));
            };
            out.push_str(unread.get(..plain).unwrap_or_default());
            self.at += plain;
            if self.take(b'"') {
                return Ok(out);
            }
            if !self.take(b'\\') {
                return Err(self.error("a control character stands in a string"));
            }
            out.push(self.escaped()?);
        }
    }

    /// What stands behind a backslash.
    fn escaped(&mut self) -> Result<char, Error> {
        let byte = self.peek().ok_or(self.error("a string has no end"))?;
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.by_number();
            }
            _ => return Err(self.error("an escape is not known")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// A character by its number in UTF-16, in one half or two.
    fn by_number(&mut self) -> Result<char, Error> {
        let wrong = self.error("an escape names no character");
        let first = self.four_digits()?;
        if let Some(c) = char::from_u32(first.into()) {
            return Ok(c);
        }
        if !(self.take(b'\\') && self.take(b'u')) {
            return Err(wrong);
        }
        let second = self.four_digits()?;
        let mut decoded = char::decode_utf16([first, second]);
        match (decoded.next(), decoded.next()) {
            (Some(Ok(c)), None) => Ok(c),
            _ => Err(wrong),
        }
    }

    fn four_digits(&mut self) -> Result<u16, Error> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|d| d.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let number = number.ok_or(self.error("four digits are missing"))?;
        self.at += 4;
        Ok(number)
    }
}

/// Appends `text` as a string.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string does not fail.
            c if c < ' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// How many bytes [`write_string`] appends for `text`.
pub fn written_len(text: &str) -> usize {
    let of = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        byte if byte < b' ' => 6,
        _ => 1,
    };
    2 + text.bytes().map(of).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn values_are_read() {
        let read = Value::parse(
            " {\"a\":[1,-0.5e+3,\"x\\u00e9\\ud83d\\ude00\\/\\n\"],\"b\" : {} ,\"c\":null,\"d\":true,\
             \"e\":[ ],\"f\":false}\r\n",
        );
        let number = |digits: &str| Value::Number(digits.to_owned());
        let list = vec![number("1"), number("-0.5e+3"), text("xé😀/\n")];
        let wanted = [
            ("a", Value::List(list)),
            ("b", Value::Object(Vec::new())),
            ("c", Value::Null),
            ("d", Value::Bool(true)),
            ("e", Value::List(Vec::new())),
            ("f", Value::Bool(false)),
        ];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value));
        assert!(read == Ok(Value::Object(wanted.to_vec())));
        assert_eq!(number("18446744073709551615").as_u64(), Some(u64::MAX));
        for other in ["18446744073709551616", "-1", "1.0", "1e3"] {
            assert_eq!(Value::parse(other).unwrap().as_u64(), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (wrong, at, what) in [
            ("", 0, "it ends too soon"),
            ("[1,", 3, "it ends too soon"),
            ("{\"a\":1} x", 8, "something stands behind the end"),
            ("{\"a\":1,\"a\":2}", 10, "a member is named twice"),
            ("{a:1}", 1, "a string is missing"),
            ("{\"a\" 1}", 5, "a colon is missing"),
            ("[1 2]", 3, "a comma or ] is missing"),
            ("{\"a\":1;", 6, "a comma or } is missing"),
            ("01", 1, "a number begins with 0"),
            ("-", 1, "a digit is missing"),
            ("1.e", 2, "a digit is missing"),
            ("nul", 0, "no value begins so"),
            ("'a'", 0, "no value begins so"),
            ("\"a", 2, "a string has no end"),
            ("\"a\\", 3, "a string has no end"),
            ("\"a\tb\"", 2, "a control character stands in a string"),
            ("\"\\x\"", 2, "an escape is not known"),
            ("\"\\u12", 3, "four digits are missing"),
            ("\"\\u+123\"", 3, "four digits are missing"),
            ("\"\\ud800\"", 3, "an escape names no character"),
            ("\"\\ud800\\u0041\"", 3, "an escape names no character"),
            ("\"\\udc00\"", 3, "an escape names no character"),
        ] {
            assert_eq!(Value::parse(wrong), Err(Error { at, what }), "{wrong}");
        }
    }

    #[test]
    fn depth_has_a_bound() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Value::parse(&nested(MAX_DEPTH + 1)).is_ok());
        let error = Value::parse(&nested(MAX_DEPTH + 2)).unwrap_err();
        assert_eq!(error.what, "it is nested too deep");
        assert!(Value::parse(&"[".repeat(1_000_000)).is_err());
        assert!(Value::parse(&"{\"a\":".repeat(100_000)).is_err());
    }

    #[test]
    fn what_it_says_is_not_printed() {
        assert_eq!(format!("{:?}", text("secret")), "a string");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(original in any::<String>()) {
            let mut out = String::new();
            write_string(&original, &mut out);
            prop_assert_eq!(out.len(), written_len(&original));
            prop_assert!(!out.bytes().any(|byte| byte < b' '));
            prop_assert!(Value::parse(&out) == Ok(text(&original)));
        }

        #[test]
        fn nothing_panics(noise in "[\\[\\]{}\",:0-9a-z\\\\ué -]{0,40}") {
            drop(Value::parse(&noise));
        }
    }
}
