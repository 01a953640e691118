//! Rows as bytes: what messages and sessions look like on disk, and the batch of them that one
//! commit holds.

pub(in crate::store) mod batch;
pub(in crate::store) mod bridge;
pub(in crate::store) mod codec;
pub(in crate::store) mod format;
pub(in crate::store) mod message;
pub(in crate::store) mod part;
pub(in crate::store) mod session;
pub(in crate::store) mod state;
pub(in crate::store) mod sync;
