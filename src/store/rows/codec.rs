//! Varints, strings and checksums: the alphabet of the rows.

use std::ops::Range;

use crate::impossible;
use crate::store::error::Corrupt;

/// Bytes of a checksum.
pub(super) const CRC_LEN: usize = 4;
/// The most bytes that a varint takes.
pub(super) const MAX_VARINT: usize = 10;

/// `bit` where it is `set`.
pub(in crate::store) const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Appends `n` in 7-bit groups, lowest first: 1 byte up to 127, at most 10.
pub(in crate::store) fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7F) as u8 | 0x80);
        n >>= 7;
    }
    out.push((n & 0x7F) as u8);
}

/// Appends the length of `bytes`, then `bytes`.
pub(in crate::store) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends the checksum of `key` and of all in `out` from `start` on. The key is part of it so
/// that a row which turns up under another key is found out.
pub(in crate::store) fn seal(key: &[u8], start: usize, out: &mut Vec<u8>) {
    let crc = checksum(key, tail(out, start));
    out.extend_from_slice(&crc.to_le_bytes());
}

/// What was appended to `out` since it had `start` bytes.
pub(in crate::store) fn tail(out: &mut [u8], start: usize) -> &mut [u8] {
    out.get_mut(start..).unwrap_or_else(|| {
        impossible!("a buffer that was only appended to is shorter than before");
        &mut []
    })
}

/// The part of `buffer` whose place was noted when it was appended.
pub(in crate::store) fn slice<'a>(buffer: &'a [u8], place: &Range<usize>) -> &'a [u8] {
    buffer.get(place.clone()).unwrap_or_else(|| {
        impossible!("bytes {place:?} of a buffer that has {}", buffer.len());
        &[]
    })
}

/// The row without its checksum.
///
/// # Errors
/// [`Corrupt`] if the checksum is wrong or missing.
pub(in crate::store) fn unseal<'a>(key: &[u8], row: &'a [u8]) -> Result<Reader<'a>, Corrupt> {
    let (body, crc) = row.split_last_chunk::<CRC_LEN>().ok_or(Corrupt)?;
    if checksum(key, body) != u32::from_le_bytes(*crc) {
        return Err(Corrupt);
    }
    Ok(Reader(body))
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

/// Reads a row from front to back.
#[derive(Clone, Copy)]
pub(in crate::store) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads bytes whose checksum was looked at elsewhere.
    pub(in crate::store) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub(in crate::store) fn byte(&mut self) -> Result<u8, Corrupt> {
        let (&first, rest) = self.0.split_first().ok_or(Corrupt)?;
        self.0 = rest;
        Ok(first)
    }

    pub(in crate::store) fn varint(&mut self) -> Result<u64, Corrupt> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7F);
            if shift == 63 && group > 1 {
                return Err(Corrupt);
            }
            n |= group << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Corrupt)
    }

    /// A varint that fits the type asked for.
    pub(in crate::store) fn number<T: TryFrom<u64>>(&mut self) -> Result<T, Corrupt> {
        self.varint()?.try_into().map_err(|_| Corrupt)
    }

    pub(in crate::store) fn take(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Corrupt)?;
        self.0 = rest;
        Ok(head)
    }

    pub(in crate::store) fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let len = self.number()?;
        self.take(len)
    }

    pub(in crate::store) fn str(&mut self) -> Result<&'a str, Corrupt> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Corrupt)
    }

    /// How many items follow, each of at least `min` bytes: a bound for what is reserved.
    pub(in crate::store) fn count(&mut self, min: usize) -> Result<usize, Corrupt> {
        let n: usize = self.number()?;
        if n > self.0.len() / min.max(1) {
            return Err(Corrupt);
        }
        Ok(n)
    }

    pub(in crate::store) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// True if all was read.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All was read.
    pub(in crate::store) fn end(self) -> Result<(), Corrupt> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Corrupt)
        }
    }
}
