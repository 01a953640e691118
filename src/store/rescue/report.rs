//! What a rescue tells of the damaged file and of what it saved.

use std::fmt;
use std::path::PathBuf;

use crate::store::error::Error;

/// What became of a damaged file.
#[derive(Debug)]
pub struct Quarantined {
    /// Where it is now.
    pub aside: PathBuf,
    /// What was wrong with it.
    pub why: String,
    /// What was saved into the new store.
    pub rescued: Rescued,
    /// How many rows were not, of all tables; `None` if it isn't known what the file held.
    pub lost: Option<u64>,
    /// Why the new store took no more, with the rest not saved.
    pub cut_short: Option<Error>,
    /// Older damaged files that were deleted.
    pub deleted: Vec<PathBuf>,
}

/// Counts of what was saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rescued {
    /// Queued messages.
    pub messages: u64,
    /// Sessions.
    pub sessions: u64,
    /// Retained messages.
    pub retained: u64,
}

impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rescued {
            messages,
            sessions,
            retained,
        } = self.rescued;
        write!(
            f,
            "The store was damaged ({}). It was set aside as {}; {messages} messages, {sessions} \
             sessions and {retained} retained messages were saved into a new one, ",
            self.why,
            self.aside.display()
        )?;
        match self.lost {
            Some(lost) => write!(f, "{lost} rows are lost.")?,
            None => f.write_str("how much is lost is unknown.")?,
        }
        if let Some(error) = &self.cut_short {
            write!(f, " The new one took no more: {error}.")?;
        }
        for old in &self.deleted {
            write!(f, " The older {} was deleted.", old.display())?;
        }
        Ok(())
    }
}
