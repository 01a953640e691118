//! The names of the tables, and the types of their keys.

use redb::TableDefinition;

use crate::store::rows::session::SessionKey;

/// What the store says of itself: lists of numbers by name.
pub(in crate::store) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Messages by number.
pub(in crate::store) const MSG: TableDefinition<u64, &[u8]> = TableDefinition::new("msg");
/// Identity and state of sessions.
pub(in crate::store) const SESSION: TableDefinition<SessionKey, &[u8]> =
    TableDefinition::new("session");
/// Retained messages by topic.
pub(in crate::store) const RETAINED: TableDefinition<&str, &[u8]> =
    TableDefinition::new("retained");
