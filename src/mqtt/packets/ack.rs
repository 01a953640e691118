//! The bodies that are a reason code and properties at most: PUBACK, PUBREC, PUBREL, PUBCOMP,
//! DISCONNECT and AUTH (5.0 §3.4 to §3.7, §3.14, §3.15).

use crate::mqtt::error::Fault;
use crate::mqtt::property::Place;
use crate::mqtt::wire::{Reader, put_id};
use crate::mqtt::{PacketId, PacketType, Props, Reason, Version};

/// A PUBACK, PUBREC, PUBREL or PUBCOMP. Before 5.0 the reason is always success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    /// The packet id that is acknowledged.
    pub id: PacketId,
    /// The reason code; [`Reason::SUCCESS`] when left out on the wire.
    pub reason: Reason,
    /// Reason string and user properties (5.0).
    pub props: Props<'a>,
}

impl Ack<'_> {
    /// The acknowledgement of `id` with `reason` and no properties.
    pub const fn new(id: PacketId, reason: Reason) -> Ack<'static> {
        Ack {
            id,
            reason,
            props: Props::EMPTY,
        }
    }
}

/// A DISCONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect<'a> {
    /// The reason code; always success before 5.0.
    pub reason: Reason,
    /// Session expiry, reason string, user properties, server reference (5.0).
    pub props: Props<'a>,
}

/// An AUTH (5.0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    /// Success, continue or re-authenticate.
    pub reason: Reason,
    /// Authentication method and data, reason string, user properties.
    pub props: Props<'a>,
}

impl<'a> Ack<'a> {
    /// True if `version` needs nothing but the packet id.
    #[inline]
    pub(in crate::mqtt) fn is_short(&self, version: Version) -> bool {
        version < Version::V5 || (self.reason == Reason::SUCCESS && self.props.is_empty())
    }

    pub(in crate::mqtt) fn read(
        mut reader: Reader<'a>,
        kind: PacketType,
        version: Version,
    ) -> Result<Ack<'a>, Fault> {
        let id = reader.packet_id()?;
        let (reason, props) = read_reason(reader, kind, version)?;
        Ok(Ack { id, reason, props })
    }

    pub(in crate::mqtt) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
        put_id(out, self.id);
        put_reason(self.reason, &self.props, version, out)
    }
}

impl<'a> Disconnect<'a> {
    pub(in crate::mqtt) fn read(
        reader: Reader<'a>,
        version: Version,
    ) -> Result<Disconnect<'a>, Fault> {
        let (reason, props) = read_reason(reader, PacketType::Disconnect, version)?;
        Ok(Disconnect { reason, props })
    }

    pub(in crate::mqtt) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
        put_reason(self.reason, &self.props, version, out)
    }
}

impl<'a> Auth<'a> {
    pub(in crate::mqtt) fn read(reader: Reader<'a>, version: Version) -> Result<Auth<'a>, Fault> {
        let (reason, props) = read_reason(reader, PacketType::Auth, version)?;
        Ok(Auth { reason, props })
    }

    pub(in crate::mqtt) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
        put_reason(self.reason, &self.props, version, out)
    }
}

/// The tail of all these packets: nothing, a reason code, or a reason code and properties.
fn read_reason<'a>(
    mut reader: Reader<'a>,
    kind: PacketType,
    version: Version,
) -> Result<(Reason, Props<'a>), Fault> {
    if version < Version::V5 || reader.is_empty() {
        return reader.finish((Reason::SUCCESS, Props::EMPTY));
    }
    let reason = reader.reason(kind)?;
    if reader.is_empty() {
        return Ok((reason, Props::EMPTY));
    }
    let props = Props::read(&mut reader, Place::Packet(kind))?;
    reader.finish((reason, props))
}

/// Leaves out what may be left out.
fn put_reason(
    reason: Reason,
    props: &Props<'_>,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    if version < Version::V5 || (reason == Reason::SUCCESS && props.is_empty()) {
        return Ok(());
    }
    out.push(reason.0);
    if props.is_empty() {
        Ok(())
    } else {
        props.put(out)
    }
}
