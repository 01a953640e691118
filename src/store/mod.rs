//! The store: what must survive a crash, in one redb file and a journal beside it.
//!
//! A small commit goes to the journal, `NAME.journal`: one page, one sync. It is folded in RAM,
//! where reads see it, and goes to redb when the journal is full or with a large commit; what was
//! deleted or replaced by then never does.
//!
//! Invariants:
//! - A commit is whole or absent, also after a power cut; `Event::Committed` comes after the sync.
//! - Commits happen in the order in which they were handed over; one is in flight at a time.
//! - A record of the journal counts if it is beyond what redb says it has, which redb says in the
//!   transaction that has it; the file's old records are stale by their numbers.
//! - A record is written only once the one before is on disk, in sectors that hold no other that
//!   counts: what is torn was not promised, and a gap is damage, counted, which hides nothing.
//! - A journal belongs to one store by a random number. That of a store which was set aside is
//!   replayed into the new one; any other is ignored.
//! - A journal that fails or is missing costs writes, never a commit: redb takes them directly.
//! - A rewrite puts a whole, synced store in the place of the old; until the folder is synced too,
//!   nothing is committed.
//! - A message row never changes once written; it goes when nobody is owed it.
//! - Message and session numbers found on disk are never handed out again.
//! - A damaged row is skipped and counted, never delivered; a damaged file is set aside, never
//!   overwritten, and all rows of it that can still be read go into a new one.
//! - What was deleted before the damage stays deleted as long as the trees of the file hold.
//! - Whatever the backlog, memory holds ranges of ids and sizes, never its payloads.
//! - The size of every message that waits is known, so queues are counted and bounded exactly.
//! - After an error the batch is kept and retried; nothing is reported committed meanwhile.
//! - No read transaction outlives the call that opened it (it would keep the file growing).

mod ballast;
mod batch;
mod budget;
mod changes;
mod codec;
mod disk;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ids;
mod journal;
mod load;
mod memory;
mod meta;
mod open;
mod queue;
mod record;
mod refs;
mod rescue;
mod row;
mod tables;
mod thread;
mod verbs;
mod view;

#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use budget::Budget;
pub use disk::Usage;
pub use error::{Corrupt, Error};
pub use ids::IdRanges;
pub use load::{Loaded, LoadedSession};
pub use meta::Written;
pub use open::Location;
pub use queue::{Amount, Held, Queue};
pub use record::{DropRecord, SessionRecord, StateRecord, SubscriptionRecord, WillRecord};
pub use refs::Refs;
pub use rescue::{Quarantined, Rescued};
pub use row::{decode_message, decode_retained, decode_targets};
pub use tables::{Db, Need, Rows};
pub use thread::{Event, Figures, Handle, ReadRequest};
pub use verbs::{Promise, Store};
