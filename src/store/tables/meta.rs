//! What the store knows of itself: its format, its journal, the time and the wear.

use std::path::PathBuf;

use redb::{Database, ReadOnlyTable, ReadTransaction, TableError, WriteTransaction};

use super::schema::{META, MSG, RETAINED, SESSION};
use crate::store::error::{Corrupt, Error};
use crate::store::rows::codec::{Reader, put_varint, seal, unseal};
use crate::store::rows::format::Format;
use crate::time::Time;

const FORMAT_KEY: &str = "format";
const JOURNAL_KEY: &str = "journal";
const STAMP_KEY: &str = "stamp";
/// A row that older programs do not know, and do without.
const CLOCK_KEY: &str = "clock";

const DAY_MILLIS: u64 = 86_400_000;

/// Bytes written to the disk, in whole pages as [`Usage`](crate::store::Usage) counts them. A crash loses
/// the count of a minute at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Since the store was first made.
    pub total: u64,
    /// The number of the day, on the broker's clock.
    pub day: u64,
    /// On that day.
    pub today: u64,
}

/// The state of the world at a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::store) struct Stamp {
    /// The newest time the broker has seen.
    pub(in crate::store) floor: Time,
    /// Milliseconds since 1970 by the wall clock at the same moment; 0 if unknown.
    pub(in crate::store) wall: u64,
    pub(in crate::store) written: Written,
}

impl Stamp {
    /// Takes in what a commit says of the time, and the bytes written since the last.
    pub(in crate::store) fn advance(&mut self, floor: Time, wall: u64, bytes: u64) {
        self.count(bytes);
        self.floor = self.floor.max(floor);
        if wall != 0 {
            self.wall = wall;
        }
        let day = self.floor.as_millis() / DAY_MILLIS;
        if self.written.day != day {
            self.written.day = day;
            self.written.today = 0;
        }
    }

    /// Counts bytes written on the day of the last commit.
    pub(in crate::store) fn count(&mut self, bytes: u64) {
        self.written.total = self.written.total.saturating_add(bytes);
        self.written.today = self.written.today.saturating_add(bytes);
    }

    pub(in crate::store) fn encode(&self, out: &mut Vec<u8>) {
        for number in self.numbers() {
            put_varint(number, out);
        }
    }

    pub(in crate::store) fn decode(reader: &mut Reader<'_>) -> Result<Stamp, Corrupt> {
        let mut stamp = [0; 5];
        for number in &mut stamp {
            *number = reader.varint()?;
        }
        Ok(Stamp::from_numbers(stamp))
    }

    fn numbers(&self) -> [u64; 5] {
        let Written { total, day, today } = self.written;
        [self.floor.as_millis(), self.wall, total, day, today]
    }

    fn from_numbers([floor, wall, total, day, today]: [u64; 5]) -> Stamp {
        Stamp {
            floor: Time::from_millis(floor),
            wall,
            written: Written { total, day, today },
        }
    }
}

/// All rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::store) struct Meta {
    /// Which store this is: a journal belongs to one store.
    pub(in crate::store) id: u64,
    /// The tables hold all records of the journal up to and including this number.
    pub(in crate::store) applied: u64,
    /// What a program must know to read it.
    pub(in crate::store) format: Format,
    pub(in crate::store) stamp: Stamp,
    /// The latest time that was known, in milliseconds since 1970; 0 if unknown. Unlike
    /// [`Stamp::wall`] it outlives runs in which the wall clock was wrong.
    pub(in crate::store) known: u64,
}

impl Meta {
    /// That of a new store.
    pub(in crate::store) fn new_store() -> Meta {
        Meta {
            id: fastrand::u64(1..),
            ..Meta::default()
        }
    }

    /// Reads it and checks the format.
    ///
    /// # Errors
    /// [`Error::Newer`] and [`Error::Foreign`] without the path, or what the database says.
    pub(in crate::store) fn read(txn: &ReadTransaction) -> Result<Meta, Error> {
        let table = match txn.open_table(META) {
            Err(TableError::TableDoesNotExist(_)) => return Err(Error::Foreign(PathBuf::new())),
            other => other?,
        };
        let Some([found]) = read_numbers(&table, FORMAT_KEY)? else {
            return Err(damaged(FORMAT_KEY));
        };
        let Some(format) = Format::from_number(found) else {
            let path = PathBuf::new();
            return Err(Error::Newer { path, found });
        };
        let [id, applied] = read_numbers(&table, JOURNAL_KEY)?.unwrap_or_default();
        let stamp = Stamp::from_numbers(read_numbers(&table, STAMP_KEY)?.unwrap_or_default());
        let [known] = read_numbers(&table, CLOCK_KEY)?.unwrap_or_default();
        Ok(Meta {
            id,
            applied,
            format,
            stamp,
            known: known.max(stamp.wall),
        })
    }

    /// Whether a row of this name is one of the table's.
    pub(in crate::store) fn has(key: &[u8]) -> bool {
        [FORMAT_KEY, JOURNAL_KEY, STAMP_KEY, CLOCK_KEY]
            .map(str::as_bytes)
            .contains(&key)
    }

    /// Takes in one row of the table, which may be from a damaged file; whether it says which
    /// store that was.
    ///
    /// # Errors
    /// [`Error::Newer`] without the path.
    pub(in crate::store) fn take(&mut self, key: &[u8], row: &[u8]) -> Result<bool, Error> {
        let numbers = |count: usize| -> Result<Vec<u64>, Corrupt> {
            let mut reader = unseal(key, row)?;
            (0..count).map(|_| reader.varint()).collect()
        };
        if key == FORMAT_KEY.as_bytes() {
            if let Ok(&[found]) = numbers(1).as_deref() {
                let path = PathBuf::new();
                let format = Format::from_number(found).ok_or(Error::Newer { path, found })?;
                self.format = self.format.max(format);
            }
        } else if key == JOURNAL_KEY.as_bytes() {
            if let Ok(&[id, applied]) = numbers(2).as_deref() {
                (self.id, self.applied) = (id, applied);
                return Ok(true);
            }
        } else if key == STAMP_KEY.as_bytes()
            && let Ok(numbers) = numbers(5)
            && let Ok(numbers) = numbers.try_into()
        {
            self.stamp = Stamp::from_numbers(numbers);
            self.known = self.known.max(self.stamp.wall);
        } else if key == CLOCK_KEY.as_bytes()
            && let Ok(&[known]) = numbers(1).as_deref()
        {
            self.known = self.known.max(known);
        }
        Ok(false)
    }

    /// Writes it.
    pub(in crate::store) fn write(&self, txn: &WriteTransaction) -> Result<(), Error> {
        put_numbers(txn, FORMAT_KEY, &[self.format as u64])?;
        put_numbers(txn, JOURNAL_KEY, &[self.id, self.applied])?;
        put_numbers(txn, STAMP_KEY, &self.stamp.numbers())?;
        put_numbers(txn, CLOCK_KEY, &[self.known])
    }
}

/// Creates the tables of an empty store.
pub(in crate::store) fn initialise(database: &Database, meta: &Meta) -> Result<(), Error> {
    let txn = database.begin_write()?;
    txn.open_table(MSG)?;
    txn.open_table(SESSION)?;
    txn.open_table(RETAINED)?;
    meta.write(&txn)?;
    txn.commit()?;
    Ok(())
}

fn put_numbers(txn: &WriteTransaction, key: &str, numbers: &[u64]) -> Result<(), Error> {
    let mut row = Vec::new();
    for &number in numbers {
        put_varint(number, &mut row);
    }
    seal(key.as_bytes(), 0, &mut row);
    txn.open_table(META)?.insert(key, row.as_slice())?;
    Ok(())
}

fn read_numbers<const N: usize>(
    table: &ReadOnlyTable<&str, &[u8]>,
    key: &str,
) -> Result<Option<[u64; N]>, Error> {
    let Some(row) = table.get(key)? else {
        return Ok(None);
    };
    let mut reader = unseal(key.as_bytes(), row.value()).map_err(|_| damaged(key))?;
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = reader.varint().map_err(|_| damaged(key))?;
    }
    Ok(Some(numbers))
}

fn damaged(key: &str) -> Error {
    Error::Corrupt(format!("the {key} row is damaged"))
}
