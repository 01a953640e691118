//! The bodies that are a reason code and properties at most: PUBACK, PUBREC, PUBREL, PUBCOMP,
//! DISCONNECT and AUTH (5.0 §3.4 to §3.7, §3.14, §3.15).

use super::error::Fault;
use super::property::Place;
use super::wire::{Reader, put_id};
use super::{Ack, Auth, Disconnect, PacketType, Props, Reason, Version};

impl<'a> Ack<'a> {
    pub(super) fn read(
        mut reader: Reader<'a>,
        kind: PacketType,
        version: Version,
    ) -> Result<Ack<'a>, Fault> {
        let id = reader.packet_id()?;
        let (reason, props) = read_reason(reader, kind, version)?;
        Ok(Ack { id, reason, props })
    }

    pub(super) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
        put_id(out, self.id);
        put_reason(self.reason, &self.props, version, out)
    }
}

impl<'a> Disconnect<'a> {
    pub(super) fn read(reader: Reader<'a>, version: Version) -> Result<Disconnect<'a>, Fault> {
        let (reason, props) = read_reason(reader, PacketType::Disconnect, version)?;
        Ok(Disconnect { reason, props })
    }

    pub(super) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
        put_reason(self.reason, &self.props, version, out)
    }
}

impl<'a> Auth<'a> {
    pub(super) fn read(reader: Reader<'a>, version: Version) -> Result<Auth<'a>, Fault> {
        let (reason, props) = read_reason(reader, PacketType::Auth, version)?;
        Ok(Auth { reason, props })
    }

    pub(super) fn put(&self, version: Version, out: &mut Vec<u8>) -> Result<(), Fault> {
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
    let reason = Reason::read(&mut reader, kind)?;
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
