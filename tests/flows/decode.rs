//! Frames in words, for the report of a failure.

use super::packet::{NAMES, Version};
use super::pattern::{hex, read_varint};
use super::property::{Form, PROPERTIES};

/// A frame in about the words that would have expected it, then in hex.
pub(crate) fn show(frame: &[u8], version: Version) -> String {
    let words = words(frame, version).unwrap_or_else(|| "(not a packet)".to_owned());
    let mut shown: String = words.chars().take(300).collect();
    if shown.len() < words.len() {
        shown.push('…');
    }
    format!("{shown}\n              {}", hex(frame))
}

fn words(frame: &[u8], version: Version) -> Option<String> {
    let (first, rest) = frame.split_first()?;
    let (len, size) = read_varint(rest)?;
    let name = NAMES.get(usize::from(first >> 4).checked_sub(1)?)?;
    let mut r = Reader {
        left: rest.get(size..size + len)?,
        version,
    };
    let mut out = (*name).to_owned();
    match *name {
        "CONNACK" => {
            let (present, reason) = (r.byte()?, r.byte()?);
            out += &format!(" present={present} reason=0x{reason:02x}");
            out += &r.props()?;
        }
        "PUBLISH" => {
            let (dup, qos, retain) = (first >> 3 & 1, first >> 1 & 3, first & 1);
            out += &format!(" {}", r.string()?);
            let id = if qos > 0 {
                format!(" id={}", r.two()?)
            } else {
                String::new()
            };
            let props = r.props()?;
            let payload = String::from_utf8_lossy(r.left).into_owned();
            out += &format!(" {payload:?} qos={qos}{id} dup={dup} retain={retain}{props}");
            return Some(out);
        }
        "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP" => {
            out += &format!(" {}", r.two()?);
            out += &r.ending()?;
        }
        "DISCONNECT" | "AUTH" => out += &r.ending()?,
        "SUBACK" | "UNSUBACK" => {
            out += &format!(" {}", r.two()?);
            let props = r.props()?;
            for code in r.left {
                out += &format!(" 0x{code:02x}");
            }
            return Some(out + &props);
        }
        _ => {}
    }
    r.left.is_empty().then_some(out)
}

struct Reader<'a> {
    left: &'a [u8],
    version: Version,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.left.split_first()?;
        self.left = rest;
        Some(*first)
    }

    fn two(&mut self) -> Option<u16> {
        let (first, rest) = self.left.split_first_chunk::<2>()?;
        self.left = rest;
        Some(u16::from_be_bytes(*first))
    }

    fn string(&mut self) -> Option<String> {
        let len = usize::from(self.two()?);
        let (text, rest) = self.left.split_at_checked(len)?;
        self.left = rest;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn ending(&mut self) -> Option<String> {
        if self.left.is_empty() {
            return Some(String::new());
        }
        let reason = self.byte()?;
        let props = if self.left.is_empty() {
            String::new()
        } else {
            self.props()?
        };
        Some(format!(" reason=0x{reason:02x}{props}"))
    }

    fn props(&mut self) -> Option<String> {
        if self.version < Version::V5 {
            return Some(String::new());
        }
        let (len, size) = read_varint(self.left)?;
        let (section, rest) = self.left.get(size..)?.split_at_checked(len)?;
        let version = self.version;
        let mut inner = Reader {
            left: section,
            version,
        };
        let mut out = Vec::new();
        while let Some(id) = inner.byte() {
            let (_, form, name) = PROPERTIES.iter().find(|(known, ..)| *known == id)?;
            let value = match form {
                Form::Byte => inner.byte()?.to_string(),
                Form::Two => inner.two()?.to_string(),
                Form::Four => {
                    let (high, low) = (inner.two()?, inner.two()?);
                    (u32::from(high) << 16 | u32::from(low)).to_string()
                }
                Form::Variable => {
                    let (value, size) = read_varint(inner.left)?;
                    inner.left = &inner.left[size..];
                    value.to_string()
                }
                Form::String => inner.string()?,
                Form::Pair => format!("{}:{}", inner.string()?, inner.string()?),
            };
            out.push(format!("{name}={value}"));
        }
        self.left = rest;
        Some(format!(" {{{}}}", out.join(" ")))
    }
}

#[test]
fn frames_read_as_they_are_written() {
    let line = "PUBLISH a/b \"x\" qos=1 id=7 dup=0 retain=0 {user=k:v subscription_id=300}";
    let frame = super::packet::encode(line, Version::V5).unwrap();
    let shown = words(&frame.concrete().unwrap(), Version::V5);
    assert_eq!(shown.as_deref(), Some(line));
    assert_eq!(words(b"\x20\x01\x00", Version::V311), None);
}
