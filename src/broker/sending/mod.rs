//! From the queue of a session to the outbox of its connection.

pub(crate) mod account;
pub(crate) mod pump;
pub(crate) mod put_back;
pub(crate) mod replies;
pub(crate) mod rows;
pub(crate) mod sync;
pub(crate) mod transmit;
