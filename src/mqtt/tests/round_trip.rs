//! Whatever is encoded decodes to the same packet; whatever bytes come, decoding does not panic.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::properties::EACH;
use super::property::{Place, check};
use super::*;

const FILTERS: [&str; 8] = [
    "a",
    "a/b/c",
    "#",
    "+/b",
    "a/+/#",
    "/",
    "$share/g/x",
    "$SYS/é",
];

/// What the fields of a packet of any type are drawn from.
#[derive(Clone, Debug)]
struct Material {
    id: PacketId,
    number: u16,
    flags: [bool; 8],
    qos: QoS,
    topic: String,
    text: String,
    payload: Vec<u8>,
    filters: Vec<(&'static str, u8)>,
    reasons: Vec<Index>,
    properties: Vec<Index>,
}

fn material() -> impl Strategy<Value = Material> {
    let fields = (
        (1..=u16::MAX, any::<u16>(), any::<[bool; 8]>(), 0..=2u8),
        ("[a-zé/$ ]{1,20}", "[ -~é𐍈]{0,20}"),
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec((select(&FILTERS[..]), any::<u8>()), 1..6),
        prop::collection::vec(any::<Index>(), 1..6),
        prop::collection::vec(any::<Index>(), 0..12),
    );
    fields.prop_map(
        |(numbers, (topic, text), payload, filters, reasons, properties)| {
            let (id_number, number, flags, qos) = numbers;
            Material {
                id: id(id_number),
                number,
                flags,
                qos: QoS::from_bits(qos).expect("below 3"),
                topic,
                text,
                payload,
                filters,
                reasons,
                properties,
            }
        },
    )
}

impl Material {
    /// Properties that may stand in `place`.
    fn props(&self, place: Place, version: Version) -> PropsBuf {
        let mut buf = PropsBuf::new();
        if version < Version::V5 {
            return buf;
        }
        for index in &self.properties {
            let mut longer = buf.clone();
            longer.push(*index.get(&EACH));
            if check(longer.as_props().as_bytes(), place).is_ok() {
                buf = longer;
            }
        }
        buf
    }

    /// Reason codes that `kind` may carry in `version`.
    fn reasons(&self, kind: PacketType, version: Version) -> Vec<Reason> {
        let read = |code: u8| wire::Reader::new(&[code]).reason(kind).ok();
        let allowed: Vec<_> = match (kind, version) {
            (_, Version::V5) => (0..=u8::MAX).filter_map(read).collect(),
            (PacketType::ConnAck, _) => [0, 0x84, 0x85, 0x88, 0x86, 0x87].map(Reason).to_vec(),
            (PacketType::SubAck, _) => [0, 1, 2, 0x80].map(Reason).to_vec(),
            (PacketType::UnsubAck, _) => return Vec::new(),
            _ => vec![Reason::SUCCESS],
        };
        let pick = |index: &Index| allowed.get(index.index(allowed.len().max(1))).copied();
        self.reasons.iter().filter_map(pick).collect()
    }

    fn connect<'a>(&'a self, version: Version, props: Props<'a>, will: Props<'a>) -> Connect<'a> {
        let [
            bridge,
            clean_start,
            has_will,
            retain,
            has_name,
            has_password,
            ..,
        ] = self.flags;
        let username = has_name.then_some(&*self.text);
        Connect {
            version,
            bridge: bridge && version < Version::V5,
            clean_start,
            keep_alive: self.number,
            client_id: &self.text,
            will: has_will.then_some(Will {
                topic: &self.topic,
                payload: &self.payload,
                qos: self.qos,
                retain,
                props: will,
            }),
            username,
            password: (has_password && (has_name || version == Version::V5))
                .then_some(&*self.payload),
            props,
        }
    }

    fn subscriptions(&self, version: Version) -> Vec<Subscription<'_>> {
        let subscription = |&(filter, options): &(&'static str, u8)| match version {
            Version::V5 => Subscription {
                filter,
                qos: self.qos,
                no_local: options & 1 != 0 && !filter.starts_with("$share"),
                retain_as_published: options & 2 != 0,
                retain_handling: match options >> 2 & 3 {
                    0 => RetainHandling::SendIfNew,
                    1 => RetainHandling::DontSend,
                    _ => RetainHandling::Send,
                },
            },
            _ => Subscription::new(filter, self.qos),
        };
        self.filters.iter().map(subscription).collect()
    }

    fn packet<'a>(
        &'a self,
        kind: PacketType,
        version: Version,
        props: Props<'a>,
        will: Props<'a>,
    ) -> Packet<'a> {
        let id = self.id;
        let reasons = self.reasons(kind, version);
        let reason = reasons.first().copied().unwrap_or(Reason::SUCCESS);
        let ack = Ack { id, reason, props };
        match kind {
            PacketType::Connect => Packet::Connect(Box::new(self.connect(version, props, will))),
            PacketType::ConnAck => {
                let may_be_present = reason == Reason::SUCCESS && version > Version::V31;
                let session_present = self.flags[0] && may_be_present;
                Packet::ConnAck(ConnAck {
                    session_present,
                    reason,
                    props,
                })
            }
            PacketType::Publish => Packet::Publish(Publish {
                delivery: Delivery::new(self.qos, id, self.flags[0]),
                retain: self.flags[1],
                topic: if props.topic_alias().is_some() {
                    ""
                } else {
                    &self.topic
                },
                props,
                payload: &self.payload,
            }),
            PacketType::PubAck => Packet::PubAck(ack),
            PacketType::PubRec => Packet::PubRec(ack),
            PacketType::PubRel => Packet::PubRel(ack),
            PacketType::PubComp => Packet::PubComp(ack),
            PacketType::Subscribe => Packet::Subscribe(Subscribe {
                id,
                props,
                filters: self.subscriptions(version),
            }),
            PacketType::SubAck => Packet::SubAck(SubAck { id, props, reasons }),
            PacketType::Unsubscribe => {
                let filters = self.filters.iter().map(|(filter, _)| *filter).collect();
                Packet::Unsubscribe(Unsubscribe { id, props, filters })
            }
            PacketType::UnsubAck => Packet::UnsubAck(UnsubAck { id, props, reasons }),
            PacketType::PingReq => Packet::PingReq,
            PacketType::PingResp => Packet::PingResp,
            PacketType::Disconnect => Packet::Disconnect(Disconnect { reason, props }),
            PacketType::Auth => Packet::Auth(Auth { reason, props }),
        }
    }

    /// Calls `f` with a packet of each type in each version.
    fn for_each_packet(
        &self,
        mut f: impl FnMut(Packet<'_>, Version) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        for version in VERSIONS {
            for kind in (1..=15).filter_map(|bits| PacketType::from_bits(bits, version)) {
                let props = self.props(Place::Packet(kind), version);
                let will = self.props(Place::Will, version);
                f(
                    self.packet(kind, version, props.as_props(), will.as_props()),
                    version,
                )?;
            }
        }
        Ok(())
    }
}

/// If `bytes` decode, then what they decode to survives a round trip.
fn check_bytes(bytes: &[u8]) -> Result<(), TestCaseError> {
    for version in VERSIONS {
        if let Ok(Some((packet, size))) = decode(bytes, version, MAX_PACKET) {
            prop_assert!(size <= bytes.len());
            let again = encoded(&packet, version);
            prop_assert_eq!(&decoded(&again, version), &packet);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_packet_decodes_as_it_was_encoded(material in material()) {
        material.for_each_packet(|packet, version| {
            let bytes = encoded(&packet, version);
            prop_assert_eq!(&decoded(&bytes, version), &packet);
            prop_assert_eq!(decode(&bytes[..bytes.len() - 1], version, MAX_PACKET), Ok(None));
            Ok(())
        })?;
    }

    #[test]
    fn damaged_packets_do_no_harm(
        material in material(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        material.for_each_packet(|packet, version| {
            let mut bytes = encoded(&packet, version);
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            check_bytes(&bytes)
        })?;
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        check_bytes(&bytes)?;
    }

    #[test]
    fn random_bodies_do_no_harm(
        first in any::<u8>(),
        body in prop::collection::vec(prop_oneof![0..8u8, any::<u8>()], 0..100),
    ) {
        let mut bytes = vec![first, body.len() as u8];
        bytes.extend(&body);
        check_bytes(&bytes)?;
    }

    #[test]
    fn matching_agrees_with_a_search_level_by_level(
        filter in "(\\+|[ab]?)(/(\\+|[ab]?)){0,3}(/#)?",
        topic in "[ab]?(/[ab]?){0,4}",
    ) {
        fn matches(filter: &[&str], topic: &[&str]) -> bool {
            match (filter, topic) {
                (["#"], _) | ([], []) => true,
                ([f, filter @ ..], [t, topic @ ..]) => {
                    (*f == "+" || f == t) && matches(filter, topic)
                }
                _ => false,
            }
        }
        let (f, t): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
        prop_assert_eq!(filter_matches(&filter, &topic), matches(&f, &t));
    }
}
