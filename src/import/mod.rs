//! What Mosquitto keeps in its persistence file, brought over into a store of ours: retained messages,
//! sessions, subscriptions, queues, and handshakes of QoS 2 that are half-way.
//!
//! The file is read twice: once for all but the messages (`gather`), from which follows in which order these
//! are stored (`plan`), and once message by message (`write`). So memory holds some 80 bytes for each message
//! with its place in a queue, and one message.
//!
//! | file | what |
//! |---|---|
//! | `moment`, `native`, `records`, `file` | the time; the format: numbers, records, and where they lie |
//! | `report`, `error` | what was brought and left; why nothing was |
//! | `gather` | all that the file says |
//! | `bridges`, `sessions` | clients as sessions, and which of them are bridges |
//! | `plan`, `receivers`, `write` | the order of the messages, whom they go to, and batches of them |
//!
//! A message that was sent keeps its packet id, and a session goes on counting where Mosquitto stopped: so a
//! receiver that has a QoS 2 message knows it again. What Mosquitto has answered with PUBREC it routes only
//! with the PUBREL; here it is routed, and the packet id kept, so that the publisher's PUBREL or its PUBLISH
//! come to an end without a second delivery.

mod bridges;
mod error;
mod file;
mod gather;
mod moment;
mod native;
mod plan;
mod receivers;
mod records;
mod report;
mod sessions;
mod write;

#[cfg(test)]
mod tests;

use std::io::{Read, Seek};

pub use error::Error;
pub use moment::Moment;
pub use report::Report;

use self::file::DbFile;
use self::write::Writer;
use crate::config::Config;
use crate::message::{MessageId, SessionId};
use crate::store::{Batch, Db};

/// A file of Mosquitto's that is going to be brought over.
#[derive(Debug)]
pub struct Import<R> {
    file: DbFile<R>,
}

impl<R: Read + Seek> Import<R> {
    /// Looks at the head of the file.
    ///
    /// # Errors
    /// It is no persistence file of Mosquitto's, or in a format that is not known; it can't be read.
    pub fn open(input: R) -> Result<Import<R>, Error> {
        Ok(Import {
            file: DbFile::new(input)?,
        })
    }

    /// Brings it over into `db`, in which there is nothing, all of it or nothing. `config` says what bridges
    /// there are; `first` are the numbers for the first message and session.
    ///
    /// # Errors
    /// The file is damaged or can't be read; the store can't be written. The store is then as it was.
    pub fn into_store(
        self,
        db: &mut Db,
        (config, moment): (&Config, Moment),
        first: (MessageId, SessionId),
    ) -> Result<Report, Error> {
        let mut writer = self.plan((config, moment), first)?;
        db.fill(|batch| writer.fill(batch))?;
        Ok(writer.report)
    }

    /// Tells what would be brought over.
    ///
    /// # Errors
    /// The file is damaged or can't be read.
    pub fn into_report(self, config: &Config, moment: Moment) -> Result<Report, Error> {
        let mut writer = self.plan((config, moment), (MessageId(1), SessionId(1)))?;
        let mut batch = Batch::new(0);
        while writer.fill(&mut batch)? {
            batch.reset(0);
        }
        Ok(writer.report)
    }

    fn plan(
        mut self,
        (config, moment): (&Config, Moment),
        first: (MessageId, SessionId),
    ) -> Result<Writer<'_, R>, Error> {
        let mut report = Report::of_format(self.file.format() as u32);
        let plan = plan::plan(&mut self.file, (config, &moment), first, &mut report)?;
        Ok(Writer::new(self.file, (config, moment), plan, report))
    }
}
