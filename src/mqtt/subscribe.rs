//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (5.0 §3.8 to §3.11).

use super::{PacketId, Props, QoS, Reason};

/// When retained messages are sent for a subscription (5.0 §3.8.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RetainHandling {
    /// At each subscribe.
    #[default]
    Send = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// Never.
    DontSend = 2,
}

/// One topic filter with its options. Before 5.0 all but `qos` are at their defaults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscription<'a> {
    /// The filter, checked; may start with `$share/`.
    pub filter: &'a str,
    /// The highest QoS to send at.
    pub qos: QoS,
    /// Do not send the client its own messages back.
    pub no_local: bool,
    /// Forward the RETAIN flag as published.
    pub retain_as_published: bool,
    /// When to send retained messages.
    pub retain_handling: RetainHandling,
}

impl<'a> Subscription<'a> {
    /// A subscription at `qos` with default options.
    pub const fn new(filter: &'a str, qos: QoS) -> Subscription<'a> {
        Subscription {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }
}

/// A SUBSCRIBE with at least one filter [MQTT-3.8.3-2].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    /// The packet id.
    pub id: PacketId,
    /// Subscription identifier and user properties (5.0).
    pub props: Props<'a>,
    /// The filters, in order.
    pub filters: Vec<Subscription<'a>>,
}

/// A SUBACK: a reason a filter (granted QoS 0 to 2 or an error; before 5.0 an error is 0x80).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubAck<'a> {
    /// The packet id of the SUBSCRIBE.
    pub id: PacketId,
    /// Reason string and user properties (5.0).
    pub props: Props<'a>,
    /// The reasons, in the order of the filters.
    pub reasons: Vec<Reason>,
}

/// An UNSUBSCRIBE with at least one filter [MQTT-3.10.3-2].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    /// The packet id.
    pub id: PacketId,
    /// User properties (5.0).
    pub props: Props<'a>,
    /// The filters, in order.
    pub filters: Vec<&'a str>,
}

/// An UNSUBACK. Before 5.0 it has no reasons.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnsubAck<'a> {
    /// The packet id of the UNSUBSCRIBE.
    pub id: PacketId,
    /// Reason string and user properties (5.0).
    pub props: Props<'a>,
    /// The reasons, in the order of the filters (5.0).
    pub reasons: Vec<Reason>,
}
