//! MQTT 5.0 properties (5.0 §2.2.2).
//!
//! A [`Props`] borrows the raw property section of one packet, already checked when the packet
//! was decoded: known identifiers, allowed in that packet, no forbidden repeats, values in range.
//! Reading one property walks the section; nothing is allocated.

use super::Error;

/// One property. The comment gives its identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Property<'a> {
    /// 0x01: 0 unspecified bytes, 1 UTF-8.
    PayloadFormat(u8),
    /// 0x02, seconds.
    MessageExpiry(u32),
    /// 0x03.
    ContentType(&'a str),
    /// 0x08.
    ResponseTopic(&'a str),
    /// 0x09.
    CorrelationData(&'a [u8]),
    /// 0x0B: 1 to 268,435,455.
    SubscriptionId(u32),
    /// 0x11, seconds; `u32::MAX` never expires.
    SessionExpiry(u32),
    /// 0x12.
    AssignedClientId(&'a str),
    /// 0x13, seconds.
    ServerKeepAlive(u16),
    /// 0x15.
    AuthMethod(&'a str),
    /// 0x16.
    AuthData(&'a [u8]),
    /// 0x17: 0 or 1.
    RequestProblemInfo(u8),
    /// 0x18, seconds.
    WillDelay(u32),
    /// 0x19: 0 or 1.
    RequestResponseInfo(u8),
    /// 0x1A.
    ResponseInfo(&'a str),
    /// 0x1C.
    ServerReference(&'a str),
    /// 0x1F.
    ReasonString(&'a str),
    /// 0x21: not 0.
    ReceiveMaximum(u16),
    /// 0x22.
    TopicAliasMaximum(u16),
    /// 0x23: not 0.
    TopicAlias(u16),
    /// 0x24: 0 or 1.
    MaximumQoS(u8),
    /// 0x25: 0 or 1.
    RetainAvailable(u8),
    /// 0x26: name and value.
    User(&'a str, &'a str),
    /// 0x27: not 0.
    MaximumPacketSize(u32),
    /// 0x28: 0 or 1.
    WildcardSubscriptionAvailable(u8),
    /// 0x29: 0 or 1.
    SubscriptionIdAvailable(u8),
    /// 0x2A: 0 or 1.
    SharedSubscriptionAvailable(u8),
}

/// The checked property section of a packet, without its length.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Props<'a>(&'a [u8]);

/// Properties being put together for a packet to encode.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PropsBuf(Vec<u8>);
