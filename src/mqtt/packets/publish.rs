//! PUBLISH (5.0 §3.3).

use crate::mqtt::error::Fault;
use crate::mqtt::property::Place;
use crate::mqtt::topic::check_name;
use crate::mqtt::wire::{Reader, put_binary, put_id, variable_len};
use crate::mqtt::{Delivery, PacketType, Props, QoS, Version};

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

const RETAIN: u8 = 0x01;
const DUP: u8 = 0x08;

/// What the lower four bits of the first byte say about delivery.
pub(in crate::mqtt) fn qos_and_dup(flags: u8) -> Result<(QoS, bool), Fault> {
    let qos = QoS::from_bits(flags >> 1 & 3).ok_or(Fault::QoS)?;
    let dup = flags & DUP != 0;
    if dup && qos == QoS::AtMostOnce {
        Err(Fault::DupAtQoS0)
    } else {
        Ok((qos, dup))
    }
}

impl<'a> Publish<'a> {
    /// Reads a body; `flags` are the lower four bits of the first byte.
    pub(in crate::mqtt) fn read(
        mut reader: Reader<'a>,
        flags: u8,
        version: Version,
    ) -> Result<Publish<'a>, Fault> {
        let (qos, dup) = qos_and_dup(flags)?;
        let topic = reader.utf8()?;
        if !topic.is_empty() {
            check_name(topic)?;
        }
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce(reader.packet_id()?, dup),
            QoS::ExactlyOnce => Delivery::ExactlyOnce(reader.packet_id()?, dup),
        };
        let props = match version {
            Version::V5 => Props::read(&mut reader, Place::Packet(PacketType::Publish))?,
            _ => Props::EMPTY,
        };
        if topic.is_empty() && props.topic_alias().is_none() {
            return Err(Fault::TopicEmpty);
        }
        let retain = flags & RETAIN != 0;
        Ok(Publish {
            delivery,
            retain,
            topic,
            props,
            payload: reader.unread(),
        })
    }

    /// The lower four bits of the first byte.
    pub(in crate::mqtt) const fn flags(&self) -> u8 {
        let (qos, dup) = match self.delivery {
            Delivery::AtMostOnce => (0, false),
            Delivery::AtLeastOnce(_, dup) => (1, dup),
            Delivery::ExactlyOnce(_, dup) => (2, dup),
        };
        self.retain as u8 | qos << 1 | (dup as u8) << 3
    }

    /// The remaining length.
    pub(in crate::mqtt) fn body_len(&self, version: Version) -> usize {
        let id = if self.delivery.id().is_some() { 2 } else { 0 };
        let props = match version {
            Version::V5 => variable_len(self.props.as_bytes().len()) + self.props.as_bytes().len(),
            _ => 0,
        };
        2 + self.topic.len() + id + props + self.payload.len()
    }

    /// Puts the body up to the payload.
    pub(in crate::mqtt) fn put_head(
        &self,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        put_binary(out, self.topic.as_bytes())?;
        if let Some(id) = self.delivery.id() {
            put_id(out, id);
        }
        if version == Version::V5 {
            self.props.put(out)?;
        }
        Ok(())
    }
}
