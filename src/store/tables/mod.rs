//! The tables of the database: their names, what the store says of itself in them, how changes
//! are folded and written, and how rows are read together with what only the journal has.

pub(in crate::store) mod changes;
pub(in crate::store) mod meta;
pub(in crate::store) mod schema;
pub(in crate::store) mod view;
