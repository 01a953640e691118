//! The data types of the wire (5.0 §1.5): integers, strings, binary data.

use super::error::Fault;
use super::reason::is_allowed;
use super::{PacketId, PacketType, Reason};

/// The largest variable byte integer, and so the largest remaining length (5.0 §1.5.5).
pub(super) const MAX_VARIABLE_BYTE_INTEGER: usize = 268_435_455;

/// Reads fields off the front of a byte slice.
pub(super) struct Reader<'a> {
    unread: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { unread: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.unread.is_empty()
    }

    /// What has not been read yet.
    pub(super) const fn unread(&self) -> &'a [u8] {
        self.unread
    }

    /// Checks that everything has been read, and returns `value`.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Fault> {
        if self.unread.is_empty() {
            Ok(value)
        } else {
            Err(Fault::TrailingBytes)
        }
    }

    #[inline]
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let (head, unread) = self.unread.split_at_checked(n).ok_or(Fault::Truncated)?;
        self.unread = unread;
        Ok(head)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, unread) = self.unread.split_first_chunk().ok_or(Fault::Truncated)?;
        self.unread = unread;
        Ok(*head)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable byte integer in its shortest form [MQTT-1.5.5-1].
    pub(super) fn variable(&mut self) -> Result<u32, Fault> {
        match variable(self.unread) {
            Variable::Value {
                value,
                len,
                shortest: true,
            } => {
                self.take(len)?;
                Ok(value)
            }
            Variable::Partial => Err(Fault::Truncated),
            _ => Err(Fault::VariableByteInteger),
        }
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Fault> {
        PacketId::new(self.u16()?).ok_or(Fault::PacketIdZero)
    }

    /// A reason code that `kind` may carry (5.0 table 2-6).
    pub(super) fn reason(&mut self, kind: PacketType) -> Result<Reason, Fault> {
        let code = self.u8()?;
        if is_allowed(code, kind) {
            Ok(Reason(code))
        } else {
            Err(Fault::ReasonCode(code))
        }
    }

    /// Binary data (5.0 §1.5.6).
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// UTF-8 of whatever characters; the caller checks them.
    #[inline]
    pub(super) fn utf8(&mut self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.binary()?).map_err(|_| Fault::Utf8)
    }

    /// A UTF-8 encoded string (5.0 §1.5.4).
    pub(super) fn string(&mut self) -> Result<&'a str, Fault> {
        let string = self.utf8()?;
        check_characters(string)?;
        Ok(string)
    }
}

/// A variable byte integer at the front of a slice.
pub(super) enum Variable {
    /// More bytes are needed.
    Partial,
    /// It goes on after four bytes.
    TooLong,
    /// Its value and the bytes it takes; `shortest` unless fewer bytes would do.
    Value {
        value: u32,
        len: usize,
        shortest: bool,
    },
}

/// Reads the variable byte integer at the front of `bytes`.
#[inline]
pub(super) fn variable(bytes: &[u8]) -> Variable {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Variable::Value {
                value,
                len: i + 1,
                shortest: i == 0 || byte != 0,
            };
        }
    }
    if bytes.len() < 4 {
        Variable::Partial
    } else {
        Variable::TooLong
    }
}

/// The bytes that `value` takes as a variable byte integer.
pub(super) const fn variable_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Appends `value`, at most [`MAX_VARIABLE_BYTE_INTEGER`].
#[inline]
pub(super) fn put_variable(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// The lowest eight bits.
#[inline]
const fn low_byte(value: usize) -> u8 {
    value.to_le_bytes()[0]
}

/// Replaces the byte at `at` by `value`, at most [`MAX_VARIABLE_BYTE_INTEGER`].
pub(super) fn patch_variable(out: &mut Vec<u8>, at: usize, value: usize) {
    match out.get_mut(at) {
        Some(byte) if value <= 0x7f => *byte = low_byte(value),
        _ => {
            let mut bytes = Vec::with_capacity(4);
            put_variable(&mut bytes, value);
            out.splice(at..=at, bytes);
        }
    }
}

/// Appends the length of `bytes` and `bytes`.
#[inline]
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    put_u16(
        out,
        u16::try_from(bytes.len()).map_err(|_| Fault::FieldTooLong)?,
    );
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends a string.
pub(super) fn put_string(out: &mut Vec<u8>, string: &str) -> Result<(), Fault> {
    put_binary(out, string.as_bytes())
}

/// Appends a packet id.
pub(super) fn put_id(out: &mut Vec<u8>, id: PacketId) {
    put_u16(out, id.get());
}

/// Appends a two byte integer (5.0 §1.5.2).
#[inline]
fn put_u16(out: &mut Vec<u8>, value: u16) {
    // Byte by byte, as there are two: the call that copies a slice costs more.
    let [high, low] = value.to_be_bytes();
    out.push(high);
    out.push(low);
}

/// Whether a packet can hold `string` as a UTF-8 encoded string (5.0 §1.5.4): it has at most 65,535
/// bytes, and no character that [`decode`](super::decode) refuses.
///
/// # Errors
/// [`Fault::FieldTooLong`], [`Fault::Character`].
pub fn check_string(string: &str) -> Result<(), Fault> {
    if string.len() > usize::from(u16::MAX) {
        return Err(Fault::FieldTooLong);
    }
    check_characters(string)
}

/// Refuses U+0000 [MQTT-1.5.4-2] and, as 5.0 §1.5.4 allows and Mosquitto does, the other control
/// characters and the non-characters.
pub(super) fn check_characters(string: &str) -> Result<(), Fault> {
    // Folding over all bytes instead of stopping at the first lets the compiler vectorize.
    let printable_ascii = string
        .bytes()
        .fold(true, |all, byte| all & (byte.wrapping_sub(0x20) < 0x5f));
    if printable_ascii || !string.chars().any(is_refused) {
        Ok(())
    } else {
        Err(Fault::Character)
    }
}

fn is_refused(c: char) -> bool {
    let non_character = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    c.is_control() || non_character
}
