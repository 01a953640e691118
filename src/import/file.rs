//! Mosquitto's file, record by record, and single records by their place. Of a record only as much is in
//! RAM as is asked for: the payloads of a large file are passed over.

use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};

use super::error::Error;
use super::records::{Format, Kind};
use crate::store::{MOSQUITTO_MAGIC, SQLITE_MAGIC};

/// Bytes of the file that are read at a time.
const BUFFER: usize = 64 << 10;

/// A file of Mosquitto's.
#[derive(Debug)]
pub(super) struct DbFile<R> {
    input: BufReader<R>,
    /// Where the next record begins.
    at: u64,
    /// Bytes of the file.
    len: u64,
    format: Format,
}

/// A record: what is in it begins at `at` and takes `len` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) at: u64,
    pub(super) len: u32,
}

impl Record {
    /// What a record that makes no sense is reported as.
    pub(super) fn damaged(self, what: &'static str) -> Error {
        Error::Damaged { at: self.at, what }
    }
}

impl<R: Read + Seek> DbFile<R> {
    /// Reads the head of the file.
    ///
    /// # Errors
    /// It is no file of Mosquitto's, or in a format that is not known; it can't be read.
    pub(super) fn new(input: R) -> Result<DbFile<R>, Error> {
        let mut input = BufReader::with_capacity(BUFFER, input);
        let len = input.seek(SeekFrom::End(0))?;
        input.rewind()?;
        let mut head = Vec::new();
        input.by_ref().take(23).read_to_end(&mut head)?;
        if head.starts_with(SQLITE_MAGIC) {
            return Err(Error::Sqlite);
        }
        // A checksum follows, which is always 0, and then the format.
        let rest = head.strip_prefix(MOSQUITTO_MAGIC).ok_or(Error::Foreign)?;
        let format = rest.get(4..8).and_then(|bytes| bytes.try_into().ok());
        let number = u32::from_be_bytes(format.ok_or(Error::Foreign)?);
        Ok(DbFile {
            input,
            at: 23,
            len,
            format: Format::new(number).ok_or(Error::Format(number))?,
        })
    }

    /// The format.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// The file ends within it, or can't be read.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Error> {
        let start = self.at;
        if start == self.len {
            return Ok(None);
        }
        let damaged = |what| Error::Damaged { at: start, what };
        let mut head = [0; 8];
        let head_len: u32 = if self.format.has_structs() { 8 } else { 6 };
        // The kind has four bytes with structs, else two.
        let unused = 8 - head_len as usize;
        self.seek(start)?;
        let wanted = head.get_mut(unused..).unwrap_or_default();
        self.input.read_exact(wanted).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => damaged("the file ends within a record"),
            _ => Error::Read(e),
        })?;
        let [k0, k1, k2, k3, l0, l1, l2, l3] = head;
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        let at = start + u64::from(head_len);
        self.at = at + u64::from(len);
        if self.at > self.len {
            return Err(damaged("the file ends within a record"));
        }
        Ok(Some(Record {
            kind: Kind::new(u32::from_be_bytes([k0, k1, k2, k3])),
            at,
            len,
        }))
    }

    /// Puts what is in a record into `body`, or its first `most` bytes if there are more.
    ///
    /// # Errors
    /// The file can't be read, or was cut short meanwhile.
    pub(super) fn read(
        &mut self,
        record: Record,
        most: usize,
        body: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.seek(record.at)?;
        let wanted = u64::from(record.len).min(most as u64);
        body.clear();
        // What one large message took is given back.
        body.shrink_to(BUFFER);
        self.input.by_ref().take(wanted).read_to_end(body)?;
        if (body.len() as u64) < wanted {
            return Err(record.damaged("the file ends within a record"));
        }
        Ok(())
    }

    /// Goes to a place, within what is in the buffer if it can.
    fn seek(&mut self, to: u64) -> Result<(), Error> {
        let here = self.input.stream_position()?;
        let step = i64::try_from(to)
            .ok()
            .zip(i64::try_from(here).ok())
            .map(|(to, here)| to - here);
        match step {
            Some(step) => self.input.seek_relative(step)?,
            None => {
                self.input.seek(SeekFrom::Start(to))?;
            }
        }
        Ok(())
    }
}
