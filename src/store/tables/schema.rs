//! The names of the tables, and the types of their keys.

use redb::TableDefinition;

use crate::store::rows::session::{NarrowKey, SessionKey};

/// What the store says of itself: lists of numbers by name.
pub(in crate::store) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Messages by number.
pub(in crate::store) const MSG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("msg");
/// Identity and state of the sessions whose numbers take at most 32 bits.
pub(in crate::store) const SESSION: TableDefinition<'_, NarrowKey, &[u8]> =
    TableDefinition::new("session");
/// The same of all others; there is no such table before the first of them.
pub(in crate::store) const WIDE_SESSION: TableDefinition<'_, SessionKey, &[u8]> =
    TableDefinition::new("session64");
/// Retained messages by topic.
pub(in crate::store) const RETAINED: TableDefinition<'_, &str, &[u8]> =
    TableDefinition::new("retained");
/// Parts of sessions by key; there is no such table before the first of them.
pub(in crate::store) const PART: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("part");
