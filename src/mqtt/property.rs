//! One MQTT 5.0 property on the wire (5.0 §2.2.2.2).

use super::PacketType;
use super::error::Fault;
use super::topic::check_name;
use super::types::TOPIC_ALIAS;
use super::wire::{MAX_VARIABLE_BYTE_INTEGER, Reader, put_binary, put_string, put_variable};

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

const SUBSCRIPTION_ID: u8 = 0x0b;
const AUTH_METHOD: u8 = 0x15;
const AUTH_DATA: u8 = 0x16;
const USER: u8 = 0x26;

/// Where a property section stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In a packet of this type.
    Packet(PacketType),
    /// In front of the will topic.
    Will,
}

impl Place {
    const fn bit(self) -> u16 {
        match self {
            Place::Packet(kind) => 1 << kind as u8,
            // No packet type is 0.
            Place::Will => 1,
        }
    }
}

/// The places that may carry the property `id` (5.0 table 2-4), as a set of [`Place::bit`];
/// 0 for an identifier that does not exist.
const fn places(id: u8) -> u16 {
    #[expect(clippy::indexing_slicing, reason = "only the compiler evaluates it")]
    const fn set(kinds: &[PacketType]) -> u16 {
        let mut bits = 0;
        let mut i = 0;
        while i < kinds.len() {
            bits |= Place::Packet(kinds[i]).bit();
            i += 1;
        }
        bits
    }
    use PacketType::*;
    const MESSAGE: u16 = set(&[Publish]) | Place::Will.bit();
    const ACKS: u16 = set(&[PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck]);
    match id {
        0x01 | 0x02 | 0x03 | 0x08 | 0x09 => MESSAGE,
        SUBSCRIPTION_ID => set(&[Publish, Subscribe]),
        0x11 => set(&[Connect, ConnAck, Disconnect]),
        AUTH_METHOD | AUTH_DATA => set(&[Connect, ConnAck, Auth]),
        0x17 | 0x19 => set(&[Connect]),
        0x18 => Place::Will.bit(),
        0x1c => set(&[ConnAck, Disconnect]),
        0x1f => ACKS | set(&[ConnAck, Disconnect, Auth]),
        0x21 | 0x22 | 0x27 => set(&[Connect, ConnAck]),
        TOPIC_ALIAS => set(&[Publish]),
        0x12 | 0x13 | 0x1a | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => set(&[ConnAck]),
        USER => MESSAGE | ACKS | set(&[Connect, ConnAck, Subscribe, Unsubscribe, Disconnect, Auth]),
        _ => 0,
    }
}

/// One more than the highest identifier.
const IDENTIFIERS: u8 = 0x2b;

/// [`places`], computed once.
#[expect(clippy::indexing_slicing, reason = "only the compiler evaluates it")]
const PLACES: [u16; IDENTIFIERS as usize] = {
    let mut table = [0; IDENTIFIERS as usize];
    let mut id = 0;
    while id < IDENTIFIERS {
        table[id as usize] = places(id);
        id += 1;
    }
    table
};

/// Checks a whole property section: identifiers that `place` may carry, no forbidden repeats,
/// values in range.
pub(super) fn check(section: &[u8], place: Place) -> Result<(), Fault> {
    let mut reader = Reader::new(section);
    let mut seen = 0u64;
    while let Some(&id) = reader.unread().first() {
        let places = PLACES.get(usize::from(id)).copied().unwrap_or(0);
        if places & place.bit() == 0 {
            return Err(Fault::Property(id));
        }
        let may_repeat =
            id == USER || id == SUBSCRIPTION_ID && place == Place::Packet(PacketType::Publish);
        if seen & 1 << id != 0 && !may_repeat {
            return Err(Fault::PropertyRepeated(id));
        }
        seen |= 1 << id;
        if !Property::read(&mut reader)?.in_range() {
            return Err(Fault::PropertyValue(id));
        }
    }
    let without_method = seen & (1 << AUTH_DATA | 1 << AUTH_METHOD) == 1 << AUTH_DATA;
    if without_method {
        Err(Fault::AuthMethodMissing)
    } else {
        Ok(())
    }
}

impl<'a> Property<'a> {
    /// Reads one property without checking the range of its value.
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Property<'a>, Fault> {
        // Every identifier is below 0x80: a variable byte integer of one byte.
        Ok(match r.u8()? {
            0x01 => Property::PayloadFormat(r.u8()?),
            0x02 => Property::MessageExpiry(r.u32()?),
            0x03 => Property::ContentType(r.string()?),
            0x08 => Property::ResponseTopic(r.string()?),
            0x09 => Property::CorrelationData(r.binary()?),
            SUBSCRIPTION_ID => Property::SubscriptionId(r.variable()?),
            0x11 => Property::SessionExpiry(r.u32()?),
            0x12 => Property::AssignedClientId(r.string()?),
            0x13 => Property::ServerKeepAlive(r.u16()?),
            AUTH_METHOD => Property::AuthMethod(r.string()?),
            AUTH_DATA => Property::AuthData(r.binary()?),
            0x17 => Property::RequestProblemInfo(r.u8()?),
            0x18 => Property::WillDelay(r.u32()?),
            0x19 => Property::RequestResponseInfo(r.u8()?),
            0x1a => Property::ResponseInfo(r.string()?),
            0x1c => Property::ServerReference(r.string()?),
            0x1f => Property::ReasonString(r.string()?),
            0x21 => Property::ReceiveMaximum(r.u16()?),
            0x22 => Property::TopicAliasMaximum(r.u16()?),
            TOPIC_ALIAS => Property::TopicAlias(r.u16()?),
            0x24 => Property::MaximumQoS(r.u8()?),
            0x25 => Property::RetainAvailable(r.u8()?),
            USER => Property::User(r.string()?, r.string()?),
            0x27 => Property::MaximumPacketSize(r.u32()?),
            0x28 => Property::WildcardSubscriptionAvailable(r.u8()?),
            0x29 => Property::SubscriptionIdAvailable(r.u8()?),
            0x2a => Property::SharedSubscriptionAvailable(r.u8()?),
            id => return Err(Fault::Property(id)),
        })
    }

    fn in_range(&self) -> bool {
        match *self {
            Property::PayloadFormat(flag)
            | Property::RequestProblemInfo(flag)
            | Property::RequestResponseInfo(flag)
            | Property::MaximumQoS(flag)
            | Property::RetainAvailable(flag)
            | Property::WildcardSubscriptionAvailable(flag)
            | Property::SubscriptionIdAvailable(flag)
            | Property::SharedSubscriptionAvailable(flag) => flag <= 1,
            Property::ReceiveMaximum(n) | Property::TopicAlias(n) => n > 0,
            Property::SubscriptionId(n) | Property::MaximumPacketSize(n) => n > 0,
            // [MQTT-3.3.2-14]: a topic name.
            Property::ResponseTopic(topic) => check_name(topic).is_ok(),
            _ => true,
        }
    }

    /// True for what goes on to the receivers of a message as it is.
    pub(super) const fn is_forwardable(&self) -> bool {
        matches!(
            self,
            Property::PayloadFormat(_)
                | Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::User(..)
        )
    }

    const fn id(&self) -> u8 {
        match self {
            Property::PayloadFormat(_) => 0x01,
            Property::MessageExpiry(_) => 0x02,
            Property::ContentType(_) => 0x03,
            Property::ResponseTopic(_) => 0x08,
            Property::CorrelationData(_) => 0x09,
            Property::SubscriptionId(_) => SUBSCRIPTION_ID,
            Property::SessionExpiry(_) => 0x11,
            Property::AssignedClientId(_) => 0x12,
            Property::ServerKeepAlive(_) => 0x13,
            Property::AuthMethod(_) => AUTH_METHOD,
            Property::AuthData(_) => AUTH_DATA,
            Property::RequestProblemInfo(_) => 0x17,
            Property::WillDelay(_) => 0x18,
            Property::RequestResponseInfo(_) => 0x19,
            Property::ResponseInfo(_) => 0x1a,
            Property::ServerReference(_) => 0x1c,
            Property::ReasonString(_) => 0x1f,
            Property::ReceiveMaximum(_) => 0x21,
            Property::TopicAliasMaximum(_) => 0x22,
            Property::TopicAlias(_) => TOPIC_ALIAS,
            Property::MaximumQoS(_) => 0x24,
            Property::RetainAvailable(_) => 0x25,
            Property::User(..) => USER,
            Property::MaximumPacketSize(_) => 0x27,
            Property::WildcardSubscriptionAvailable(_) => 0x28,
            Property::SubscriptionIdAvailable(_) => 0x29,
            Property::SharedSubscriptionAvailable(_) => 0x2a,
        }
    }

    /// Appends identifier and value.
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        out.push(self.id());
        match *self {
            Property::PayloadFormat(n)
            | Property::RequestProblemInfo(n)
            | Property::RequestResponseInfo(n)
            | Property::MaximumQoS(n)
            | Property::RetainAvailable(n)
            | Property::WildcardSubscriptionAvailable(n)
            | Property::SubscriptionIdAvailable(n)
            | Property::SharedSubscriptionAvailable(n) => out.push(n),
            Property::ServerKeepAlive(n)
            | Property::ReceiveMaximum(n)
            | Property::TopicAliasMaximum(n)
            | Property::TopicAlias(n) => out.extend_from_slice(&n.to_be_bytes()),
            Property::MessageExpiry(n)
            | Property::SessionExpiry(n)
            | Property::WillDelay(n)
            | Property::MaximumPacketSize(n) => out.extend_from_slice(&n.to_be_bytes()),
            Property::SubscriptionId(n) if n as usize > MAX_VARIABLE_BYTE_INTEGER => {
                return Err(Fault::FieldTooLong);
            }
            Property::SubscriptionId(n) => put_variable(out, n as usize),
            Property::ContentType(s)
            | Property::ResponseTopic(s)
            | Property::AssignedClientId(s)
            | Property::AuthMethod(s)
            | Property::ResponseInfo(s)
            | Property::ServerReference(s)
            | Property::ReasonString(s) => put_string(out, s)?,
            Property::CorrelationData(bytes) | Property::AuthData(bytes) => put_binary(out, bytes)?,
            Property::User(name, value) => {
                put_string(out, name)?;
                put_string(out, value)?;
            }
        }
        Ok(())
    }
}
