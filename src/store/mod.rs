//! The store: what must survive a crash, in one redb file.
//!
//! Invariants:
//! - A commit is whole or absent, also after a power cut; `Event::Committed` comes after the sync.
//! - Commits happen in the order in which they were handed over; one is in flight at a time.
//! - A message row never changes once written; it goes when nobody is owed it.
//! - Message and session numbers found on disk are never handed out again.
//! - A damaged row is skipped and counted, never delivered; a damaged file is set aside, never
//!   overwritten.
//! - Whatever the backlog, memory holds ranges of ids and sizes, never its payloads.
//! - The size of every message that waits is known, so queues are counted and bounded exactly.
//! - After an error the batch is kept and retried; nothing is reported committed meanwhile.
//! - No read transaction outlives the call that opened it (it would keep the file growing).

mod batch;
mod codec;
mod error;
mod ids;
mod load;
mod open;
mod queue;
mod record;
mod refs;
mod row;
mod tables;
mod thread;
mod verbs;

#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use error::{Corrupt, Error};
pub use ids::IdRanges;
pub use load::{Loaded, LoadedSession};
pub use open::Location;
pub use queue::{Amount, Held, Queue};
pub use record::{DropRecord, SessionRecord, StateRecord, SubscriptionRecord, WillRecord};
pub use refs::Refs;
pub use row::{Target, decode_message, decode_retained, decode_targets};
pub use tables::{Db, Rows};
pub use thread::{Event, Handle, ReadRequest};
pub use verbs::Store;
