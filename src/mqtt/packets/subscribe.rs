//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (5.0 §3.8 to §3.11).

use crate::mqtt::error::Fault;
use crate::mqtt::property::Place;
use crate::mqtt::topic::check_filter;
use crate::mqtt::wire::{Reader, put_id, put_string};
use crate::mqtt::{PacketId, PacketType, Props, QoS, Reason, Version};

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

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;

impl<'a> Subscription<'a> {
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Subscription<'a>, Fault> {
        let filter = read_filter(reader)?;
        let options = reader.u8()?;
        let reserved = if version == Version::V5 { 0xc0 } else { 0xfc };
        if options & reserved != 0 {
            return Err(Fault::SubscriptionOptions(options));
        }
        let subscription = Subscription {
            filter,
            qos: QoS::from_bits(options & 3).ok_or(Fault::SubscriptionQoS)?,
            no_local: options & NO_LOCAL != 0,
            retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match options >> 4 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DontSend,
                _ => return Err(Fault::RetainHandling),
            },
        };
        if subscription.no_local && filter.starts_with("$share/") {
            return Err(Fault::NoLocalShared);
        }
        Ok(subscription)
    }

    fn options(&self, version: Version) -> u8 {
        let qos = self.qos as u8;
        if version < Version::V5 {
            return qos;
        }
        let no_local = if self.no_local { NO_LOCAL } else { 0 };
        let as_published = if self.retain_as_published {
            RETAIN_AS_PUBLISHED
        } else {
            0
        };
        qos | no_local | as_published | (self.retain_handling as u8) << 4
    }
}

fn read_filter<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Fault> {
    let filter = reader.string()?;
    check_filter(filter)?;
    Ok(filter)
}

/// The packet id and, in 5.0, the properties that all four packets start with.
fn read_head<'a>(
    reader: &mut Reader<'a>,
    kind: PacketType,
    version: Version,
) -> Result<(PacketId, Props<'a>), Fault> {
    let id = reader.packet_id()?;
    let props = match version {
        Version::V5 => Props::read(reader, Place::Packet(kind))?,
        _ => Props::EMPTY,
    };
    Ok((id, props))
}

fn put_head(
    id: PacketId,
    props: &Props<'_>,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    put_id(out, id);
    if version == Version::V5 {
        props.put(out)
    } else {
        Ok(())
    }
}

/// The reason codes that fill the rest of a SUBACK or UNSUBACK.
fn read_reasons(mut reader: Reader<'_>, kind: PacketType) -> Result<Vec<Reason>, Fault> {
    if reader.is_empty() {
        return Err(Fault::NoReason);
    }
    let mut reasons = Vec::with_capacity(reader.unread().len());
    while !reader.is_empty() {
        reasons.push(reader.reason(kind)?);
    }
    Ok(reasons)
}

impl<'a> Subscribe<'a> {
    pub(in crate::mqtt) fn read(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        let (id, props) = read_head(&mut reader, PacketType::Subscribe, version)?;
        let mut filters = Vec::new();
        while !reader.is_empty() {
            filters.push(Subscription::read(&mut reader, version)?);
        }
        if filters.is_empty() {
            return Err(Fault::NoFilter);
        }
        Ok(Subscribe { id, props, filters })
    }

    pub(in crate::mqtt) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
        put_head(self.id, &self.props, version, out)?;
        for subscription in &self.filters {
            put_string(out, subscription.filter)?;
            out.push(subscription.options(version));
        }
        Ok(())
    }
}

impl<'a> SubAck<'a> {
    pub(in crate::mqtt) fn read(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        let (id, props) = read_head(&mut reader, PacketType::SubAck, version)?;
        let reasons = read_reasons(reader, PacketType::SubAck)?;
        let unknown = |reason: &&Reason| reason.is_error() && **reason != Reason::UNSPECIFIED;
        match reasons.iter().find(unknown) {
            Some(reason) if version < Version::V5 => Err(Fault::ReasonCode(reason.0)),
            _ => Ok(SubAck { id, props, reasons }),
        }
    }

    pub(in crate::mqtt) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
        put_head(self.id, &self.props, version, out)?;
        out.extend(self.reasons.iter().map(|reason| match version {
            Version::V5 => reason.0,
            // The one failure of 3.1.1 [MQTT-3.9.3-2]; 3.1 has none, and its brokers send this.
            _ if reason.is_error() => Reason::UNSPECIFIED.0,
            _ => reason.0,
        }));
        Ok(())
    }
}

impl<'a> Unsubscribe<'a> {
    pub(in crate::mqtt) fn read(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        let (id, props) = read_head(&mut reader, PacketType::Unsubscribe, version)?;
        let mut filters = Vec::new();
        while !reader.is_empty() {
            filters.push(read_filter(&mut reader)?);
        }
        if filters.is_empty() {
            return Err(Fault::NoFilter);
        }
        Ok(Unsubscribe { id, props, filters })
    }

    pub(in crate::mqtt) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
        put_head(self.id, &self.props, version, out)?;
        self.filters
            .iter()
            .try_for_each(|filter| put_string(out, filter))
    }
}

impl<'a> UnsubAck<'a> {
    pub(in crate::mqtt) fn read(mut reader: Reader<'a>, version: Version) -> Result<Self, Fault> {
        let (id, props) = read_head(&mut reader, PacketType::UnsubAck, version)?;
        let reasons = match version {
            Version::V5 => read_reasons(reader, PacketType::UnsubAck)?,
            _ => reader.finish(Vec::new())?,
        };
        Ok(UnsubAck { id, props, reasons })
    }

    pub(in crate::mqtt) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
        put_head(self.id, &self.props, version, out)?;
        if version == Version::V5 {
            out.extend(self.reasons.iter().map(|reason| reason.0));
        }
        Ok(())
    }
}
