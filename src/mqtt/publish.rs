//! PUBLISH (5.0 §3.3).

use super::{Delivery, Props};

/// A PUBLISH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// Quality of service, packet id and DUP.
    pub delivery: Delivery,
    /// The RETAIN flag.
    pub retain: bool,
    /// The topic name, checked; empty only in 5.0 together with a topic alias.
    pub topic: &'a str,
    /// All properties (5.0).
    pub props: Props<'a>,
    /// The application message.
    pub payload: &'a [u8],
}
