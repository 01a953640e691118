//! The store: what must survive a crash, in one redb file and a journal beside it.
//!
//! A small commit goes to the journal, `NAME.journal`: one page, one sync. It is folded in RAM,
//! where reads see it, and goes to redb when the journal is full or with a large commit; what was
//! deleted or replaced by then never does.
//!
//! From the bottom up, each using only what stands above it here:
//!
//! | where | what |
//! |---|---|
//! | `error`, `budget` | what can go wrong; how rarely a flash budget lets it commit |
//! | `rows` | messages, sessions and their parts as bytes, and the batch of them that a commit holds |
//! | `queue`, `refs` | what is owed without its contents: ids, sizes and times; how many are owed it |
//! | `ledger` | the broker's side: what is owed, what waits for a commit, what may be deleted |
//! | `tables` | the tables of redb, changes folded for them, and all rows read as one |
//! | `files` | the file, the journal and the ballast |
//! | `rescue` | what can still be read in a damaged file |
//! | `load`, `db`, `thread` | the scan at start-up; the open store; the one thread that uses it |
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
//! - Session numbers beyond 32 bits have a table of their own. The store's format tells of it
//!   before the first is anywhere, so that a program which knows none refuses the store; until
//!   then such a program can go on with it.
//! - Where a session has many subscriptions or open packet ids, each has a row of its own, in a table
//!   that is made with the first of them, and told of in the same way. They go with the session.
//! - A damaged row is skipped and counted, never delivered; a damaged file is set aside, never
//!   overwritten, and all rows of it that can still be read go into a new one.
//! - What was deleted before the damage stays deleted as long as the trees of the file hold.
//! - Whatever the backlog, memory holds ranges of ids and sizes, never its payloads.
//! - The size of every message that waits is known, so queues are counted and bounded exactly.
//! - After an error the batch is kept and retried; nothing is reported committed meanwhile.
//! - No read transaction outlives the call that opened it (it would keep the file growing).

mod budget;
mod db;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ledger;
mod load;
mod queue;
mod refs;
mod rescue;
mod rows;
mod tables;
mod targets;
mod thread;

#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use db::{Db, Need, Rows};
pub use error::{Corrupt, Error};
pub use files::disk::Usage;
pub use files::open::{Location, MOSQUITTO_MAGIC, SQLITE_MAGIC};
pub use ledger::{Promise, Store};
pub use load::{Loaded, LoadedSession};
pub use queue::ids::IdRanges;
pub use queue::{Amount, Queue, Queued, Taken};
pub use refs::Refs;
pub use rescue::peek::check;
pub use rescue::report::{Quarantined, Rescued};
pub use rows::batch::Batch;
pub use rows::bridge::{GivenUpRecord, LineRecord, VolumeRecord};
pub use rows::message::{decode_message, decode_retained, decode_targets};
pub use rows::part::{IdPage, PAGE_IDS, ids_on, place_of};
pub use rows::session::{SessionRecord, SubscriptionRecord, WillRecord};
pub use rows::state::{DropRecord, StateRecord};
pub use rows::sync::SyncRecord;
pub use tables::meta::Written;
pub use thread::{Event, Figures, Handle, ReadRequest};
