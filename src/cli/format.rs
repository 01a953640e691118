//! `sub -F`: the output formats of mosquitto_sub(1). Times are in UTC.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Error;
use super::client::Message;
use crate::mqtt::{PacketId, Property};
use crate::time::calendar::DateTime;

/// A format string, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Format(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Literal(Vec<u8>),
    Field(Field),
    /// `@` and a character for strftime.
    Time(char),
}

/// A `%` sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Field {
    what: char,
    zero: bool,
    left: bool,
    width: usize,
    max: Option<usize>,
}

/// The characters that may follow `%`.
const FIELDS: &str = "ACDEFIPRSUXjlmpqrtx";
/// The characters that may follow `@`.
const TIMES: &str = "YmdHMSNsFTZzjye";
/// A width beyond is a typing error.
const MAX_WIDTH: usize = 100_000;

impl Format {
    /// The default: the payload.
    pub(super) fn payload() -> Format {
        Format(vec![Part::plain('p')])
    }

    /// `-v`: topic and payload.
    pub(super) fn verbose() -> Format {
        let space = Part::Literal(b" ".to_vec());
        Format(vec![Part::plain('t'), space, Part::plain('p')])
    }

    /// Understands a format string.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(super) fn parse(text: &str) -> Result<Format, Error> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let part = match c {
                '%' => match field(&mut chars)? {
                    Some(field) => Part::Field(field),
                    None => {
                        literal.push('%');
                        continue;
                    }
                },
                '@' => match chars.next() {
                    Some('@') => {
                        literal.push('@');
                        continue;
                    }
                    Some(c) if TIMES.contains(c) => Part::Time(c),
                    c => return Err(unknown('@', c)),
                },
                '\\' => {
                    literal.push(escape(chars.next())?);
                    continue;
                }
                c => {
                    literal.push(c);
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal).into_bytes()));
            }
            parts.push(part);
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into_bytes()));
        }
        Ok(Format(parts))
    }

    /// Appends the message that came at `now`.
    pub(super) fn put(&self, message: &Message, now: SystemTime, out: &mut Vec<u8>) {
        let clock = DateTime::new(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Time(c) => out.extend_from_slice(clock.strftime(*c).as_bytes()),
                Part::Field(field) => field.put(message, &clock, out),
            }
        }
    }
}

impl Part {
    const fn plain(what: char) -> Part {
        Part::Field(Field {
            what,
            zero: false,
            left: false,
            width: 0,
            max: None,
        })
    }
}

/// Reads what follows `%`; `None` for `%%`.
fn field(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<Field>, Error> {
    let (mut zero, mut left) = (false, false);
    while let Some(flag) = chars.next_if(|c| matches!(c, '0' | '-')) {
        zero |= flag == '0';
        left |= flag == '-';
    }
    let width = number(chars).unwrap_or(0);
    let max = chars.next_if_eq(&'.');
    let max = max.map(|_| number(chars).unwrap_or(0));
    match chars.next() {
        Some('%') => Ok(None),
        Some(what) if FIELDS.contains(what) => Ok(Some(Field {
            what,
            zero: zero && !left,
            left,
            width,
            max: max.filter(|_| "CIRt".contains(what)),
        })),
        c => Err(unknown('%', c)),
    }
}

fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut value = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        value = Some((value.unwrap_or(0) * 10 + digit as usize).min(MAX_WIDTH));
    }
    value
}

fn escape(c: Option<char>) -> Result<char, Error> {
    Ok(match c {
        Some('\\') => '\\',
        Some('0') => '\0',
        Some('a') => '\x07',
        Some('e') => '\x1b',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('v') => '\x0b',
        c => return Err(unknown('\\', c)),
    })
}

fn unknown(start: char, c: Option<char>) -> Error {
    Error::Usage(match c {
        Some(c) => format!("Invalid format specifier '{start}{c}'."),
        None => format!("Incomplete format specifier '{start}'."),
    })
}

impl Field {
    fn put(&self, message: &Message, clock: &DateTime, out: &mut Vec<u8>) {
        let text = match self.what {
            'p' => return self.pad(&message.payload, out),
            'D' => {
                if let Some(Property::CorrelationData(data)) =
                    property(message, |p| matches!(p, Property::CorrelationData(_)))
                {
                    self.pad(data, out);
                }
                return;
            }
            't' => message.topic.clone(),
            'l' => message.payload.len().to_string(),
            'q' => (message.delivery.qos() as u8).to_string(),
            'r' => u8::from(message.retain).to_string(),
            'm' => message.delivery.id().map_or(0, PacketId::get).to_string(),
            'x' => hex(&message.payload, false),
            'X' => hex(&message.payload, true),
            'I' => clock.iso8601(),
            'U' => clock.unix(),
            'j' => super::json::message(message, clock),
            what => property_text(message, what),
        };
        let cut = match self.max.and_then(|max| text.char_indices().nth(max)) {
            Some((at, _)) => text.get(..at).unwrap_or_default(),
            None => &text,
        };
        self.pad(cut.as_bytes(), out);
    }

    fn pad(&self, value: &[u8], out: &mut Vec<u8>) {
        let missing = self.width.saturating_sub(value.len());
        let zero = self.zero && "AEFlmSXxp".contains(self.what);
        let padding = std::iter::repeat_n(if zero { b'0' } else { b' ' }, missing);
        if self.left {
            out.extend_from_slice(value);
            out.extend(padding);
        } else {
            out.extend(padding);
            out.extend_from_slice(value);
        }
    }
}

fn property(message: &Message, is: impl Fn(&Property<'_>) -> bool) -> Option<Property<'_>> {
    message.props.as_props().iter().find(|p| is(p))
}

/// The value of an MQTT 5 property; empty if there is none.
fn property_text(message: &Message, what: char) -> String {
    let props = message.props.as_props();
    let number = |n: Option<u32>| n.map(|n| n.to_string()).unwrap_or_default();
    match what {
        'A' => number(props.topic_alias().map(u32::from)),
        'C' => props.content_type().unwrap_or_default().to_owned(),
        'E' => number(props.message_expiry()),
        'R' => props.response_topic().unwrap_or_default().to_owned(),
        'S' => number(props.subscription_ids().next()),
        'F' => number(props.iter().find_map(|p| match p {
            Property::PayloadFormat(n) => Some(u32::from(n)),
            _ => None,
        })),
        _ => {
            let users = props.iter().filter_map(|p| match p {
                Property::User(name, value) => Some(format!("{name}:{value}")),
                _ => None,
            });
            users.collect::<Vec<_>>().join(" ")
        }
    }
}

fn hex(bytes: &[u8], upper: bool) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = if upper {
            write!(text, "{byte:02X}")
        } else {
            write!(text, "{byte:02x}")
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Delivery, PacketId, PropsBuf};
    use std::time::Duration;

    fn shown(format: &str) -> String {
        let mut props = PropsBuf::new();
        props.push(Property::ContentType("text"));
        props.push(Property::User("a", "b"));
        props.push(Property::User("c", "d"));
        let message = Message {
            topic: "a/b".to_owned(),
            payload: b"hi \"x\"\n".to_vec(),
            delivery: Delivery::AtLeastOnce(PacketId::new(7).unwrap(), false),
            retain: true,
            props,
        };
        let mut out = Vec::new();
        // 2026-11-22 19:12:23.238390444
        let now = UNIX_EPOCH + Duration::new(1_795_374_743, 238_390_444);
        Format::parse(format).unwrap().put(&message, now, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_read_as_mosquittos() {
        for (format, expected) in [
            ("%t %q %r %m %l", "a/b 1 1 7 7"),
            ("%p", "hi \"x\"\n"),
            ("%x|%X", "6869202278220a|6869202278220A"),
            ("%10t|%-10t|%.2t|%5.2t|", "       a/b|a/b       |a/|   a/|"),
            ("%05l|%5l|%-05l|", "00007|    7|7    |"),
            ("%I %U", "2026-11-22T19:12:23+0000 1795374743.238390444"),
            ("%C %P [%R%E%D%S%A]", "text a:b c:d []"),
            ("%% @@ \\\\ \\t", "% @ \\ \t"),
            (
                "@Y-@m-@d @H:@M:@S.@N @s @F @T@z",
                "2026-11-22 19:12:23.238390444 1795374743 2026-11-22 19:12:23+0000",
            ),
        ] {
            assert_eq!(shown(format), expected, "{format}");
        }
    }

    #[test]
    fn json_escapes() {
        assert_eq!(
            shown("%j"),
            "{\"tst\":\"2026-11-22T19:12:23.238390Z+0000\",\"topic\":\"a/b\",\"qos\":1,\
             \"retain\":1,\"payloadlen\":7,\"mid\":7,\"properties\":{\"content-type\":\"text\",\
             \"user-properties\":{\"a\":\"b\",\"c\":\"d\"}},\"payload\":\"hi \\\"x\\\"\\n\"}"
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (format, has) in [
            ("%Z", "'%Z'"),
            ("%", "Incomplete"),
            ("%J", "'%J'"),
            ("a@", "Incomplete"),
            ("\\q", "'\\q'"),
        ] {
            let error = Format::parse(format).unwrap_err().to_string();
            assert!(error.contains(has), "{format}: {error}");
        }
    }
}
