//! From one message to the queues of its receivers.

pub(crate) mod checks;
pub(crate) mod choose;
pub(crate) mod deliver;
pub(crate) mod retain;
pub(crate) mod revive;
pub(crate) mod route;
pub(crate) mod spread;
pub(crate) mod walk;
