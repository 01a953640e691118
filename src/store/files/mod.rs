//! The files of a store: the database's, the journal beside it, and the ballast.

pub(in crate::store) mod ballast;
pub(in crate::store) mod disk;
pub(in crate::store) mod journal;
pub(in crate::store) mod memory;
pub(in crate::store) mod open;
