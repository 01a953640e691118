//! The end of connections and sessions, and wills.

pub(crate) mod close;
pub(crate) mod expire;
pub(crate) mod relief;
pub(crate) mod session;
pub(crate) mod will;
