//! What each packet of a peer does, and what may come in at all.

pub(crate) mod accept;
pub(crate) mod acks;
mod admit;
mod answer;
pub(crate) mod connect;
pub(crate) mod disconnect;
pub(crate) mod login;
pub(crate) mod mount;
pub(crate) mod parked;
pub(crate) mod publish;
pub(crate) mod subscribe;
pub(crate) mod unusable;
