//! What bytes are expected: some exactly, some whatever they are.

use std::fmt;

/// A piece of a [`Pattern`].
#[derive(Clone, Debug)]
enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes of any value.
    Any(usize),
    /// A string of any length and content, its length in two bytes before it.
    AnyString,
    /// A four byte integer from one number to another.
    Between(u32, u32),
    /// A variable byte integer in its shortest form, and that many bytes of this pattern.
    Sized(Pattern),
}

/// Bytes that are to be sent or expected. Only what has no wildcards can be sent.
#[derive(Clone, Default, Debug)]
pub(crate) struct Pattern(Vec<Piece>);

impl Pattern {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        match self.0.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.0.push(Piece::Bytes(bytes.to_vec())),
        }
    }

    pub(crate) fn any(&mut self, count: usize) {
        self.0.push(Piece::Any(count));
    }

    pub(crate) fn any_string(&mut self) {
        self.0.push(Piece::AnyString);
    }

    /// A four byte integer that is not known exactly.
    pub(crate) fn between(&mut self, least: u32, most: u32) {
        self.0.push(Piece::Between(least, most));
    }

    /// A string or binary value with its length in two bytes before it.
    pub(crate) fn string(&mut self, text: &[u8]) -> Result<(), String> {
        let len = u16::try_from(text.len()).map_err(|_| "a string over 65,535 bytes")?;
        self.bytes(&len.to_be_bytes());
        self.bytes(text);
        Ok(())
    }

    /// `inner` with its length as a variable byte integer before it.
    pub(crate) fn sized(&mut self, inner: Pattern) {
        match inner.concrete() {
            Some(bytes) => {
                self.bytes(&varint(bytes.len()));
                self.bytes(&bytes);
            }
            None => self.0.push(Piece::Sized(inner)),
        }
    }

    /// The bytes, if there are no wildcards.
    pub(crate) fn concrete(&self) -> Option<Vec<u8>> {
        match &self.0[..] {
            [] => Some(Vec::new()),
            [Piece::Bytes(bytes)] => Some(bytes.clone()),
            _ => None,
        }
    }

    /// Whether `bytes`, all of them, are as expected.
    pub(crate) fn matches(&self, bytes: &[u8]) -> bool {
        self.strip(bytes) == Some(&[])
    }

    /// What follows the pattern at the front of `bytes`.
    fn strip<'b>(&self, mut bytes: &'b [u8]) -> Option<&'b [u8]> {
        for piece in &self.0 {
            bytes = match piece {
                Piece::Bytes(wanted) => bytes.strip_prefix(&wanted[..])?,
                Piece::Any(count) => bytes.get(*count..)?,
                Piece::AnyString => {
                    let (len, rest) = bytes.split_first_chunk::<2>()?;
                    rest.get(usize::from(u16::from_be_bytes(*len))..)?
                }
                Piece::Between(least, most) => {
                    let (number, rest) = bytes.split_first_chunk::<4>()?;
                    let number = u32::from_be_bytes(*number);
                    (*least..=*most).contains(&number).then_some(rest)?
                }
                Piece::Sized(inner) => {
                    let (len, size) = read_varint(bytes)?;
                    let body = bytes.get(size..size + len)?;
                    if varint(len).len() != size || !inner.matches(body) {
                        return None;
                    }
                    &bytes[size + len..]
                }
            };
        }
        Some(bytes)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, piece) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            match piece {
                Piece::Bytes(bytes) => f.write_str(&hex(bytes))?,
                Piece::Any(count) => f.write_str(&vec!["??"; *count].join(" "))?,
                Piece::AnyString => f.write_str("??*")?,
                Piece::Between(least, most) => write!(f, "{least:08x}..{most:08x}")?,
                Piece::Sized(inner) => write!(f, "[ {inner} ]")?,
            }
        }
        Ok(())
    }
}

/// Bytes as hex; of many only the first.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 160;
    let mut text: Vec<String> = bytes
        .iter()
        .take(SHOWN)
        .map(|b| format!("{b:02x}"))
        .collect();
    if bytes.len() > SHOWN {
        text.push(format!("… ({} bytes)", bytes.len()));
    }
    text.join(" ")
}

/// A variable byte integer in its shortest form (5.0 §1.5.5).
pub(crate) fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// Reads a variable byte integer: its value and how many bytes it takes. `None` if there is none
/// of at most four bytes.
pub(crate) fn read_varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

#[test]
fn wildcards_match_what_they_stand_for_and_no_more() {
    let mut inner = Pattern::default();
    inner.bytes(&[1]);
    inner.any_string();
    let mut pattern = Pattern::default();
    pattern.bytes(&[0x20]);
    pattern.sized(inner);
    assert!(pattern.matches(&[0x20, 4, 1, 0, 1, b'x']));
    assert!(!pattern.matches(&[0x20, 5, 1, 0, 1, b'x', 9]));
    assert!(!pattern.matches(&[0x20, 0x84, 0, 1, 0, 1, b'x']));
    assert!(!pattern.matches(&[0x20, 4, 2, 0, 1, b'x']));
    assert_eq!(pattern.to_string(), "20 [ 01 ??* ]");
    let mut number = Pattern::default();
    number.between(2, 3);
    assert!(number.matches(&[0, 0, 0, 2]) && number.matches(&[0, 0, 0, 3]));
    assert!(!number.matches(&[0, 0, 0, 1]) && !number.matches(&[0, 0, 0, 4]));
}
