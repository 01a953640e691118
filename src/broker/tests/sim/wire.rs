//! What one connection is held to, whatever the messages are.

use std::collections::{BTreeSet, HashMap};

use super::model::{Arrival, Violation};
use crate::mqtt::{Delivery, Publish};

/// The client's end of a connection.
#[derive(Debug)]
pub struct Wire {
    pub receive_maximum: usize,
    pub max_packet: usize,
    pub alias_maximum: u16,
    aliases: HashMap<u16, String>,
    /// The packet ids of QoS 1 and 2 messages that are not answered to the end.
    inflight: BTreeSet<u16>,
}

impl Wire {
    pub fn new(receive_maximum: u16, max_packet: usize, alias_maximum: u16) -> Wire {
        Wire {
            receive_maximum: usize::from(receive_maximum),
            max_packet,
            alias_maximum,
            aliases: HashMap::new(),
            inflight: BTreeSet::new(),
        }
    }

    /// A PUBLISH of `len` bytes has come.
    pub fn publish(&mut self, publish: &Publish<'_>, len: usize) -> Result<Arrival, Violation> {
        if len > self.max_packet {
            return Err(Violation::TooLarge);
        }
        let id = publish.delivery.id().map(|id| id.get());
        if let Some(id) = id {
            if !self.inflight.insert(id) {
                return Err(Violation::PacketIdInUse);
            }
            if self.inflight.len() > self.receive_maximum {
                return Err(Violation::BeyondReceiveMaximum);
            }
        }
        let mut sub_ids: Vec<u32> = publish.props.subscription_ids().collect();
        sub_ids.sort_unstable();
        let mut props = Vec::new();
        publish.props.read_publish(&mut props);
        Ok(Arrival {
            topic: self.topic(publish)?,
            payload: publish.payload.to_vec(),
            qos: publish.delivery.qos(),
            id,
            dup: match publish.delivery {
                Delivery::AtMostOnce => false,
                Delivery::AtLeastOnce(_, dup) | Delivery::ExactlyOnce(_, dup) => dup,
            },
            retain: publish.retain,
            sub_ids,
            props,
            expiry: publish.props.message_expiry(),
        })
    }

    /// The topic, by name or by alias [MQTT-3.3.2-8].
    fn topic(&mut self, publish: &Publish<'_>) -> Result<String, Violation> {
        let Some(alias) = publish.props.topic_alias() else {
            return Ok(publish.topic.to_owned());
        };
        if alias == 0 || alias > self.alias_maximum {
            return Err(Violation::BadAlias);
        }
        if !publish.topic.is_empty() {
            self.aliases.insert(alias, publish.topic.to_owned());
        }
        self.aliases.get(&alias).cloned().ok_or(Violation::BadAlias)
    }

    /// PUBACK or PUBCOMP goes out.
    pub fn answered(&mut self, id: u16) {
        self.inflight.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::tests::{qos1, qos2};
    use crate::mqtt::{Property, Props, PropsBuf};

    fn publish(delivery: Delivery) -> Publish<'static> {
        Publish {
            delivery,
            retain: false,
            topic: "t",
            props: Props::EMPTY,
            payload: b"",
        }
    }

    #[test]
    fn a_connection_has_its_limits() {
        let mut wire = Wire::new(2, 100, 0);
        let mut came = |delivery, len| wire.publish(&publish(delivery), len).map(drop);
        assert_eq!(came(qos1(1), 100), Ok(()));
        assert_eq!(came(Delivery::AtMostOnce, 101), Err(Violation::TooLarge));
        assert_eq!(came(qos2(1), 10), Err(Violation::PacketIdInUse));
        assert_eq!(came(qos2(2), 10), Ok(()));
        assert_eq!(came(Delivery::AtMostOnce, 10), Ok(()));
        assert_eq!(came(qos1(3), 10), Err(Violation::BeyondReceiveMaximum));
        wire.answered(1);
        wire.answered(3);
        assert!(wire.publish(&publish(qos1(1)), 10).is_ok());
    }

    #[test]
    fn an_alias_stands_for_the_topic_it_came_with() {
        let mut wire = Wire::new(1, 100, 2);
        let mut came = |topic, alias| {
            let mut props = PropsBuf::new();
            props.push(Property::TopicAlias(alias));
            let mut publish = publish(Delivery::AtMostOnce);
            (publish.topic, publish.props) = (topic, props.as_props());
            wire.publish(&publish, 10).map(|arrival| arrival.topic)
        };
        assert_eq!(came("", 1), Err(Violation::BadAlias));
        assert_eq!(came("a", 1), Ok("a".to_owned()));
        assert_eq!(came("b", 2), Ok("b".to_owned()));
        assert_eq!(came("", 1), Ok("a".to_owned()));
        assert_eq!(came("c", 1), Ok("c".to_owned()));
        assert_eq!(came("", 1), Ok("c".to_owned()));
        assert_eq!(came("a", 3), Err(Violation::BadAlias));
    }
}
